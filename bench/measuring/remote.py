"""A process of its own for what is measured: what hangs, crashes or eats memory there costs its cell and no other.

The processes are forked from a server that has imported the engines and done nothing yet, so that a fresh one costs
tens of milliseconds and inherits no threads, no caches and no heap of the harness.
"""

import contextlib
import gc
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Self

import psutil

from ris_core.errors import RisError, SearchError

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["bench.measuring.worker", "ris_core.engines"])
_DYING_S = 10.0  # a killed process is gone long before
_LEAVING_S = 10.0  # one that is left to end by itself is gone in tenths of a second
_HINTS: dict[int, str] = {
    signal.SIGKILL: "killed, mostly for want of memory",
    signal.SIGBUS: "Bus error: mostly a full disk under a mapped file, or one that was cut short",
}
_CPU_S = "cpu_s"  # what every process can be asked, whatever it holds


class WorkerError(SearchError):
    """A cell was not measured: its process raised an error, died, or took too long."""


class _RemoteError(Exception):
    """The traceback of an error in the process, as text."""


class Remote:
    """One process that holds one object, whose methods it can be asked; close it when done.

    Args:
        make: A module-level class or function that makes the object there, of ``order``.
        order: What it is made of.
        timeout_s: Seconds of its own work, since its start or `begin`, after which the process is killed.
        doing: What making takes, for the message of an error.
        has_children: Whether the object may start processes of its own.
    """

    def __init__(
        self,
        make: Callable[[Any], Any],
        order: Any,
        timeout_s: float,
        doing: str = "setting up",
        *,
        has_children: bool = False,
    ) -> None:
        self._timeout_s, self._has_children = timeout_s, has_children
        self._here, there = _SERVER.Pipe()
        self._process = _SERVER.Process(
            target=_serve, args=(there, make, order), name="ris-bench worker", daemon=not has_children
        )
        self._process.start()
        there.close()
        self._left_s, self._cpu_before_s = timeout_s, 0.0
        try:
            self._receive(doing)
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid or 0

    def begin(self) -> None:
        """Start the time limit and the count of CPU seconds anew, for the next cell."""
        self._left_s = self._timeout_s
        self._cpu_before_s = self._cpu_s()

    def used_cpu_s(self) -> float:
        """CPU seconds that the process and its children have used for this cell."""
        return self._cpu_s() - self._cpu_before_s

    def call(self, method: str, doing: str, *arguments: Any) -> Any:
        """What a method of the object returns.

        Raises:
            WorkerError: If nothing: the process raised, died, or was killed for taking too long while ``doing``.
        """
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it is dead: receiving tells of what
            self._here.send((method, arguments))
        return self._receive(doing)

    def close(self) -> None:
        """End the process, whatever it is doing.

        One that may have children shares locks with them (tqdm's, a DataLoader's), which the system keeps where it is
        killed. With nobody to listen to it, it frees them and ends by itself, unless it is busy for too long.
        """
        self._here.close()
        if self._has_children:
            self._process.join(_LEAVING_S)
        self._kill()

    def _kill(self) -> None:
        """End the process and its children now."""
        family: list[Any] = [self._process]
        if self._has_children:
            with contextlib.suppress(psutil.NoSuchProcess):
                family += psutil.Process(self.pid).children(recursive=True)
        for each in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        self._process.join(_DYING_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _cpu_s(self) -> float:
        return self.call(_CPU_S, "telling its CPU time")

    def _receive(self, doing: str) -> Any:
        """The process' reply; raises as `call`."""
        start = time.monotonic()
        try:
            if not self._here.poll(self._left_s):
                self._kill()
                raise WorkerError(
                    f"took longer than measure.timeout_s = {self._timeout_s:g} s and was killed while {doing}. "
                    "Raise timeout_s in [measure], or ask less of the engine."
                )
            is_good, reply, text = self._here.recv()
            self._left_s = max(0.0, self._left_s - (time.monotonic() - start))
        except (EOFError, ConnectionResetError):
            self._process.join(_DYING_S)
            raise WorkerError(f"its process died of {death_words(self._process.exitcode)} while {doing}.") from None
        if not is_good:
            raise WorkerError(reply) from _RemoteError(text)
        return reply


def death_words(exitcode: int | None) -> str:
    """What a process died of: ``SIGSEGV (Segmentation fault)``, ``exit status 3``."""
    if exitcode is None or exitcode >= 0:
        return f"exit status {exitcode}"
    try:
        name = signal.Signals(-exitcode).name
    except ValueError:
        return f"signal {-exitcode}"
    return f"{name} ({_HINTS.get(-exitcode, signal.strsignal(-exitcode))})"


def _serve(there: Connection, make: Callable[[Any], Any], order: Any) -> None:
    """The process' life: one reply for its object, then one for each call, until nobody listens any more."""
    for number in (signal.SIGINT, signal.SIGHUP):  # Ctrl-C, or a terminal closed, is for the harness, which ends us
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    gc.freeze()  # what the server imported is no garbage: looking at it before each measurement would copy its pages
    held: list[Any] = []

    def handle() -> Any:
        if not held:
            held.append(make(order))
            return None
        method, arguments = there.recv()
        return _family_cpu_s() if method == _CPU_S else getattr(held[0], method)(*arguments)

    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            try:
                reply = (True, handle(), "")
            except EOFError:
                raise
            except RisError as error:
                reply = (False, str(error), "")
            except Exception as error:  # noqa: BLE001 - sent on: the cell's failed row bears it, with its traceback
                reply = (False, f"{type(error).__name__}: {error}", traceback.format_exc())
            there.send(reply)


def _family_cpu_s() -> float:
    """CPU seconds that this process and its children have used, those included that have ended and been waited for."""
    spent = os.times()
    total = time.process_time() + spent.children_user + spent.children_system
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += sum(child.cpu_times()[:4])  # user and system, its own and of its own children that have ended
    return total


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
