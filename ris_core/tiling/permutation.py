"""Items of a file put in order in place, one in memory, so that a process that is killed meanwhile has a successor.

Each cycle of the permutation is walked once: its first item is put aside, each other one goes to its place, and the one
put aside goes last. Before each step the journal names it. A step reads one place and writes another, so the last one
that was named can be done again, whether it had been begun or not.
"""

import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ris_core.errors import ArtifactError
from ris_core.tiling.journal import Entry, Journal

ASIDE = -1  # the place of the item that was put aside
_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Items:
    """Items of one size that follow each other in a file.

    Attributes:
        file: Open for reading and writing.
        start: Place of the first byte of the first.
        item_bytes: Of each.
        aside: A file for one of them.
    """

    file: BinaryIO
    start: int
    item_bytes: int
    aside: Path

    def read(self, place: int) -> bytes:
        """The bytes of an item."""
        if place == ASIDE:
            return self.aside.read_bytes()
        self.file.seek(self.start + place * self.item_bytes)
        return self.file.read(self.item_bytes)

    def write(self, place: int, item: bytes) -> None:
        """Set an item."""
        if place == ASIDE:
            self.aside.write_bytes(item)
            return
        self.file.seek(self.start + place * self.item_bytes)
        self.file.write(item)
        self.file.flush()


def permute(items: Items, order: np.ndarray, journal: Journal) -> None:
    """Set item i to the old item ``order[i]``, reading and writing each once; go on where an earlier attempt was.

    Args:
        items: They.
        order: (n,) permutation.
        journal: Where the steps are named; those of an earlier attempt, if any, stand there.

    Raises:
        ArtifactError: If what an earlier attempt left is of another permutation, from before a restart of the machine,
            or otherwise not what the journal says. The file is a mixture then.
    """
    last = max((entry for _, entry in journal.earlier() if is_permuting(entry)), key=_number, default=None)
    work = _digest(order)
    if last is not None and last["of"] != work:
        raise ArtifactError("the order of the tiles, or the machine, is not what it was.")
    for number, (target, source) in enumerate(_steps(order)):
        if last is not None and number < last["step"]:
            continue
        item = items.read(source)
        step = {"step": number, "crc": zlib.crc32(item), "of": work}
        if last is None or number > last["step"]:
            journal.append(step)
        elif step != dict(last):
            raise ArtifactError("a tile that was to be moved is not what it was.")
        if number == 0:
            journal.sync()
        items.write(target, item)


def is_permuting(entry: Entry) -> bool:
    """Whether an entry of a journal is of a permutation, so that the items are not in their old order any more."""
    return "step" in entry


def _number(entry: Entry) -> int:
    return int(entry["step"])


def _steps(order: np.ndarray) -> Iterator[tuple[int, int]]:
    """Target and source of each step."""
    is_done = np.zeros(len(order), bool)
    for start in np.flatnonzero(order != np.arange(len(order))).tolist():
        if is_done[start]:
            continue
        yield ASIDE, start
        here = start
        while (source := int(order[here])) != start:
            is_done[here] = True
            yield here, source
            here = source
        is_done[here] = True
        yield here, ASIDE


def _digest(order: np.ndarray) -> str:
    """What tells a permutation from others, and this run of the machine from the last, whose writes may be lost."""
    boot = _BOOT.read_bytes() if _BOOT.is_file() else b""
    return hashlib.sha256(np.ascontiguousarray(order, np.int64).tobytes() + boot).hexdigest()[:16]
