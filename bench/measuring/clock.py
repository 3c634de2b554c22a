"""The clock: between two readings runs the engine's own call and nothing else.

It runs in a process of its own (`bench.measuring.worker`), which has loaded neither pytest nor, unless an engine did,
torch.
"""

import contextlib
import dataclasses
import gc
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ris_core.engines.contract import Engine

SINGLE, BATCH = "single", "batch"


@dataclasses.dataclass(frozen=True)
class Rounds:
    """How often the clock runs, see `bench.suites.suite.MeasureSpec`."""

    rounds: int = 5
    slow_build_s: float = 10.0
    slow_rounds: int = 1
    warmup: int = 1


ONCE = Rounds(rounds=1, warmup=0)


@dataclasses.dataclass(frozen=True, eq=False)
class Asking:
    """What an engine is asked.

    Attributes:
        queries: (q, d) float32, C-contiguous.
        k: Length of the answers, the queries' own tiles included.
        params: The engine's query parameters.
        threads: Threads that it may use.
    """

    queries: np.ndarray
    k: int
    params: Any
    threads: int


def time_builds(build: Callable[[], Engine], rounds: Rounds) -> tuple[Engine, list[float], bool]:
    """Build an index several times; the index before is freed outside the clock.

    The first build tells whether builds are slow. A slow one is the first round; else the first ones warm the caches
    and are not counted.

    Returns:
        The engine of the last round, the seconds of each round, and whether builds are slow.
    """
    engine = None
    all_s: list[float] = []
    with collection_off():
        while True:
            engine = None
            synchronize()
            start_ns = time.perf_counter_ns()
            engine = build()
            synchronize()
            all_s.append((time.perf_counter_ns() - start_ns) * 1e-9)
            slow = all_s[0] > rounds.slow_build_s
            times_s = all_s if slow else all_s[rounds.warmup :]
            if len(times_s) == (rounds.slow_rounds if slow else rounds.rounds):
                return engine, times_s, slow


def time_queries(engine: Engine, asking: Asking, mode: str, rounds: Rounds) -> tuple[np.ndarray, list[float]]:
    """Ask all queries, in single mode each once and alone, in batch mode all together in several rounds.

    Before come untimed calls of the same kind.

    Returns:
        (q, k) int64 rows as the engine gave them, in batch mode those of the last round; and the seconds of each call.
    """
    queries, k, params, threads = asking.queries, asking.k, asking.params, asking.threads
    queries.setflags(write=False)  # an engine that changed them would change what it is held against
    parts = [queries[i : i + 1] for i in range(len(queries))] if mode == SINGLE else [queries] * rounds.rounds
    answers, times_s = [], []
    for _ in range(rounds.warmup):
        engine.search(parts[0], k, params, threads)
    with collection_off():
        for part in parts:
            synchronize()
            start_ns = time.perf_counter_ns()
            answer = engine.search(part, k, params, threads)
            synchronize()
            times_s.append((time.perf_counter_ns() - start_ns) * 1e-9)
            answers.append(answer[0].copy())  # now: what an engine writes into its buffer later does not count
    return np.concatenate(answers) if mode == SINGLE else answers[-1], times_s


@contextlib.contextmanager
def collection_off() -> Iterator[None]:
    """Collect garbage now, and not again until the end."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def synchronize() -> None:
    """Wait for a GPU to finish what it was given; nothing where no engine has loaded torch or used CUDA."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.synchronize()
