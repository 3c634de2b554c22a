"""Standard streams that outlast whoever reads them: a run of hours does not end with a window, or with `head`."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO


class Lasting:
    """A text stream whose writes never fail: what cannot be written, to a closed pipe or a full disk, is lost."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write what can be written; the length of all."""
        with contextlib.suppress(OSError, ValueError):  # ValueError: the stream is closed, or cannot encode it
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush what can be flushed."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def lasting_streams() -> Iterator[None]:
    """Within it printing never raises: neither for a reader that is gone, nor for a letter that has no code here."""
    _occupy_descriptors()
    before = sys.stdout, sys.stderr
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        sys.stdout, sys.stderr = (_lasting(stream or nowhere) for stream in before)  # None: closed before Python began
        try:
            yield
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            sys.stdout, sys.stderr = before


def _lasting(stream: TextIO) -> Any:
    if isinstance(stream, io.TextIOWrapper):
        with contextlib.suppress(OSError):  # what was printed before can no longer be written
            stream.reconfigure(errors="backslashreplace")
    return Lasting(stream)


def _occupy_descriptors() -> None:
    """Open what stands for closed streams: else the next file has their number, and gets what libraries complain of."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
