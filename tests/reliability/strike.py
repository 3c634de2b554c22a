"""A process struck while it writes: killed at the n-th of its file operations that a pattern names, or soon after it.

Python tells an audit hook of every file that is opened, made, renamed or removed, before it is done. So a kill at each
of these moments leaves each state that a dead process can leave on disk, but for those of files half written, which a
short delay reaches.
"""

import contextlib
import dataclasses
import os
import re
import signal
import sys
import threading
import time
from typing import Any

import psutil

SELF, GROUP, OTHER = "self", "group", "other"
_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate", "shutil.copyfile"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


@dataclasses.dataclass(frozen=True)
class Strike:
    """When a process is struck, and by what.

    Attributes:
        pattern: Regular expression, searched in the path that an operation changes.
        number: Which of the operations whose path it matches, from 1; 0: none, they are only noted.
        delay_s: Seconds after it.
        signal: What the process gets.
        target: Who gets it: the process itself, its whole group, or one of the others of its session.
        journal: File to which every operation is noted, as seconds since the start and path; empty for none.
    """

    pattern: str = ""
    number: int = 0
    delay_s: float = 0.0
    signal: int = signal.SIGKILL
    target: str = GROUP
    journal: str = ""


def await_strike(strike: Strike) -> None:
    """Listen to this process' file operations from now on; there is no way back."""
    pattern, start, pid = re.compile(strike.pattern), time.monotonic(), os.getpid()
    journal = os.open(strike.journal, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) if strike.journal else None
    seen = 0

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        path = changed(event, arguments)
        if path is None or os.getpid() != pid:  # a child's operations are its own
            return
        if journal is not None:
            os.write(journal, f"{time.monotonic() - start:.6f} {path}\n".encode())
        if strike.number and pattern.search(path):
            seen += 1
            if seen == strike.number:
                _hit(strike)

    sys.addaudithook(hear)


def changed(event: str, arguments: tuple[Any, ...]) -> str | None:
    """The path that an operation changes; None for one that changes nothing."""
    if event == "open":
        path, mode, flags = arguments
        is_written = bool(set(mode) & set("wax+")) if isinstance(mode, str) else bool((flags or 0) & _WRITING)
        return str(path) if is_written and isinstance(path, str | bytes | os.PathLike) else None
    return str(arguments[-1 if event == "shutil.copyfile" else 0]) if event in _CHANGES else None


def _hit(strike: Strike) -> None:
    if strike.target != OTHER and not strike.delay_s:
        _hit_later(strike)
        return
    timer = threading.Timer(strike.delay_s, _hit_later, [strike])
    timer.daemon = True
    timer.start()


def _hit_later(strike: Strike) -> None:
    if strike.target != OTHER:
        (os.killpg if strike.target == GROUP else os.kill)(os.getpid(), strike.signal)
        return
    while not (others := [pid for pid in family(os.getpid()) if pid != os.getpid()]):
        time.sleep(0.001)
    with contextlib.suppress(ProcessLookupError):
        os.kill(max(others), strike.signal)  # the youngest: mostly the one that measures


def family(session: int) -> list[int]:
    """All living processes of a session."""
    return [pid for pid in psutil.pids() if _session(pid) == session]


def _session(pid: int) -> int | None:
    try:
        return None if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE else os.getsid(pid)
    except (ProcessLookupError, PermissionError, psutil.Error):
        return None
