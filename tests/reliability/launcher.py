"""Starts runs of the program in processes of their own, from one that has imported everything and done nothing.

Importing torch and the rest takes seconds, most of what a tiny run takes. The server forks a process for each run,
which leads a session of its own: by that all its processes are found, and killed as one group.
"""

import contextlib
import dataclasses
import functools
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import psutil

from tests.reliability.scenario import Failure
from tests.reliability.strike import Strike, await_strike, family

ROOT = Path(__file__).parents[2]
PATIENCE_S = 300.0  # what takes longer hangs, however busy the machine is
_BREATH_S = 0.02


@dataclasses.dataclass(eq=False)
class Launched:
    """A run under way.

    Attributes:
        pid: Its process, which leads its session and group.
        log: File of what it says.
    """

    pid: int
    log: Path
    _status: int | None = None

    def said(self) -> str:
        """What it has said so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def poll(self) -> int | None:
        """Its exit status; None while it lives."""
        if self._status is None:
            self._status = _server().ask({"poll": self.pid})
        return self._status

    def wait(self) -> int:
        """Its exit status, negative for a signal.

        Raises:
            Failure: If it hangs; it is killed then.
        """
        deadline = time.monotonic() + PATIENCE_S
        while (status := self.poll()) is None:
            if time.monotonic() > deadline:
                self.kill()
                raise Failure(f"hangs; it said: {self.said()[-500:]}")
            time.sleep(_BREATH_S)
        return status

    def wait_until_nobody_is_left(self) -> None:
        """Wait for the last of its processes to end.

        Raises:
            Failure: If one outlives the run; it is killed then.
        """
        deadline = time.monotonic() + PATIENCE_S / 5
        while family(self.pid):
            if time.monotonic() > deadline:
                names = [" ".join(psutil.Process(pid).cmdline())[:80] for pid in family(self.pid)]
                self.kill()
                raise Failure(f"processes outlive the run: {'; '.join(names)}")
            time.sleep(_BREATH_S)

    def kill(self) -> None:
        """Kill whatever is left of it."""
        for pid in family(self.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)


def launch(
    arguments: list[str],
    folder: Path,
    strike: Strike | None = None,
    log: str = "log",
    *,
    draws: bool = False,
    meddling: Sequence[object] = (),
) -> Launched:
    """Start ``python -m bench ARGUMENTS`` in a folder.

    Args:
        arguments: Of the command line.
        folder: Its working directory.
        strike: What strikes it.
        log: Name of the file of what it says there, without its ending.
        draws: Whether a run draws its report, which is most of its work.
        meddling: Name and arguments of a function of `tests.reliability.meddling` that is called in it first.
    """
    said = folder / f"{log}.txt"
    order = {"arguments": arguments, "folder": str(folder), "log": str(said), "draws": draws}
    order |= {"strike": strike and dataclasses.asdict(strike), "meddling": list(meddling)}
    return Launched(_server().ask(order), said)


class _Server:
    """The process that forks runs; it ends with this one, whose end of the pipe closes then."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.reliability.launcher"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, order: dict[str, Any]) -> Any:
        """Its answer to an order."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(order) + "\n")
        stdin.flush()
        return json.loads(stdout.readline())


@functools.cache
def _server() -> _Server:
    return _Server()


def _serve() -> None:
    """The server's life: one answer an order, until nobody asks any more."""
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as `bench.__main__` does, before torch is imported
    import bench.publish  # noqa: F401 - the forked runs find it imported
    from bench.running import run_suite

    machine = run_suite.fingerprint()  # looking at the machine takes a second
    run_suite.fingerprint = lambda: machine
    answers = os.dup(1)
    for line in sys.stdin:
        order = json.loads(line)
        answer = _poll(order["poll"]) if "poll" in order else os.fork()
        if answer == 0 and "poll" not in order:
            os.close(answers)
            _run(order)
        os.write(answers, f"{json.dumps(answer)}\n".encode())


def _poll(pid: int) -> int | None:
    ended, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def _run(order: dict[str, Any]) -> NoReturn:
    """The life of a run's process, which ends as any interpreter does."""
    from bench.__main__ import main
    from bench.running import run_suite

    if not order["draws"]:
        run_suite.write_report = lambda folder: folder / "index.html"
    os.setsid()
    os.chdir(order["folder"])
    said = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(said, 1)
    os.dup2(said, 2)
    if order["strike"] is not None:
        await_strike(Strike(**order["strike"]))
    if order["meddling"]:
        name, *given = order["meddling"]
        getattr(importlib.import_module("tests.reliability.meddling"), name)(*given)
    raise SystemExit(main(order["arguments"]))


if __name__ == "__main__":
    _serve()
