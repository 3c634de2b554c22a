"""Exact search that goes wrong in the way that the file ``trouble`` in the working directory names.

Workers import this module by its name, so the tests that use it put this folder on the path.
"""

import dataclasses
import gc
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from ris_core.engines import ENGINES
from ris_core.engines.contract import EngineKind
from ris_core.engines.exact import Exact, ExactParams, ExactQuery, FaissVectors
from ris_core.errors import SearchError


@dataclasses.dataclass(frozen=True)
class TroubleParams(ExactParams):
    ghost: bool = False


class OnCpu(Exact):
    """Exact search over a base in memory."""

    def __init__(self, base: np.ndarray) -> None:
        super().__init__(FaissVectors(base), base.shape[1])


class Hoarder(OnCpu):
    """An index of 32 MiB, as it says itself."""

    def __init__(self, base: np.ndarray) -> None:
        super().__init__(base)
        self._hoard = np.ones(2**22, np.float64)

    def size_bytes(self) -> int:
        return self._hoard.nbytes


def build_hoarder(base: np.ndarray, params: ExactParams, threads: int = 1) -> Hoarder:
    return Hoarder(base)


class Spy(OnCpu):
    """Tells what its process has imported."""

    def derived(self) -> dict[str, int | float | str]:
        return {name: int(name in sys.modules) for name in ("torch", "pytest")}


def build_spy(base: np.ndarray, params: ExactParams, threads: int = 1) -> Spy:
    return Spy(base)


def _is_later() -> bool:
    """Whether another process than this one has asked before."""
    first = Path("first")
    if not first.exists():
        first.write_text(str(os.getpid()), encoding="utf-8")
    return first.read_text(encoding="utf-8") != str(os.getpid())


class Trouble(OnCpu):
    def prepare(self, k: int, query: Any, threads: int = 1) -> dict[str, int | float]:
        if Path("trouble").read_text(encoding="utf-8") == "promise too much":
            raise SearchError("a recall of 0.9 is out of reach.")
        with Path("prepared").open("a", encoding="utf-8") as file:
            file.write(f"{k} {threads}\n")
        return {"probes": 3 * k}

    def search(self, queries: np.ndarray, k: int, query: Any, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
        fault = Path("trouble").read_text(encoding="utf-8")
        if fault == "raise" or (fault == "raise later" and _is_later()):
            raise RuntimeError("out of luck")
        if fault == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if fault == "lose the cache":
            Path(".ris_cache").rename(".ris_cache.gone")
            raise RuntimeError("of no account")
        if fault == "exit":
            os._exit(3)
        if fault == "hang":
            time.sleep(600)
        if fault == "interrupt":
            parent = multiprocessing.parent_process()
            assert parent is not None
            os.kill(parent.pid, signal.SIGTERM)  # as Ctrl-C, which a shell's background jobs ignore
            time.sleep(600)
        rows, distances = super().search(queries, k, ExactQuery(), threads)
        if fault == "lazy" and not gc.isenabled():  # the clock runs
            rows[:] = -1
        if fault == "waver":  # every process answers in an order of its own
            rows = np.roll(rows, os.getpid() % 7, axis=1)
        return rows, distances


def build_trouble(base: np.ndarray, params: TroubleParams, threads: int = 1) -> Trouble:
    if Path("trouble").read_text(encoding="utf-8") == "slow build":
        with Path("builds").open("a", encoding="utf-8") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(0.05)
    return Trouble(base)


def trouble_kind(unavailable: str | None = None) -> EngineKind:
    return dataclasses.replace(
        ENGINES["exact"], build=build_trouble, build_params=TroubleParams, unavailable=lambda: unavailable
    )
