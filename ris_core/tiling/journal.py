"""A file of entries, each there whole or not at all: what a killed process had done is read from it by its successor.

An entry is a line: a checksum, then JSON. What was written last may be torn; it and all behind it count as not written.
"""

import itertools
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Entry = Mapping[str, Any]


class Journal:
    """Entries of this attempt, behind those of earlier ones at the same work.

    Attributes:
        path: The file.
        is_new: Whether there are no earlier ones.
    """

    def __init__(self, path: Path, head: Entry) -> None:
        """Open or begin one.

        Args:
            path: The file.
            head: What tells this work from any other; entries under another head are dropped.
        """
        self.path = path
        self._head = head
        path.touch()
        entries = read_entries(path)
        _, end, first = next(entries, (0, 0, None))
        self.is_new = first != head
        self._file = path.open("r+b")
        if self.is_new:
            self.clear()
        else:
            self.cut(max((behind for _, behind, _ in entries), default=end))  # what is torn

    def earlier(self) -> Iterator[tuple[int, Entry]]:
        """Place and content of every entry behind the head, as they stand in the file now."""
        return ((start, entry) for start, _, entry in itertools.islice(read_entries(self.path), 1, None))

    def cut(self, place: int) -> None:
        """Drop the entry at this place and those behind it."""
        self._file.truncate(place)

    def clear(self) -> None:
        """Drop all entries."""
        self.cut(0)
        self.append(self._head)
        self.is_new = True

    def append(self, *entries: Entry) -> None:
        """Write entries behind the others; when this returns, they outlive this process, but not yet the machine."""
        self._file.seek(0, 2)
        self._file.write(b"".join(_line(entry) for entry in entries))
        self._file.flush()

    def sync(self) -> None:
        """Have the disk take what was written."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_entries(path: Path) -> Iterator[tuple[int, int, Entry]]:
    """Start, end and content of every entry of a journal, its head first."""
    start = 0
    with path.open("rb") as file:
        while (entry := _parse(line := file.readline())) is not None:
            yield start, start + len(line), entry
            start += len(line)


def _line(entry: Entry) -> bytes:
    text = json.dumps(entry, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _parse(line: bytes) -> Entry | None:
    """The entry of a line; None where it is torn, or there is none."""
    checksum, _, text = line.removesuffix(b"\n").partition(b" ")
    if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(text):
        return None
    entry = json.loads(text)
    return entry if isinstance(entry, dict) else None
