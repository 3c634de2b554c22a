"""Where the pixels of tiles gather: in memory, or in a growing ``.npy`` file whose length is not known beforehand.

With the file grows a journal of the pieces that were read into it. A tiling that is killed, at whatever point, goes on
where it was: pieces that the journal knows are not read again. Both outlive the process with each `append`. They are
not forced to the disk: after a loss of power, file systems that let a file grow only once its content is written
(ext4 and XFS as they are set up by default) still show a beginning of both, which is taken for what it is.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ris_core.artifacts import disk_error
from ris_core.errors import ArtifactError
from ris_core.tiling.journal import Entry, Journal
from ris_core.tiling.permutation import Items, is_permuting, permute

PIXELS = "pixels.npy"
PARTIAL, JOURNAL, ASIDE = f".{PIXELS}.partial", f".{PIXELS}.journal", f".{PIXELS}.aside"

_HEADER_BYTES = 128  # of a NumPy file of such an array, of whatever length

Record = Mapping[str, Any]  # what is known of a piece beside its pixels; plain lists and numbers


@dataclass(frozen=True, eq=False)
class Batch:
    """What was read of one or more pieces.

    Attributes:
        pixels: (m, size, size, 3) uint8.
        records: One a piece; each has its number of tiles under ``n``. They sum up to m.
    """

    pixels: np.ndarray
    records: Sequence[Record]


class PixelStore:
    """Tiles appended one batch after another; with a folder, in its ``pixels.npy`` and never all in memory.

    The file bears another name until `finish`, so that what is called ``pixels.npy`` is whole.

    Attributes:
        size_px: Side of the tiles.
        folder: Where the file is; None: in memory.
        work: What tells the work from any other.
    """

    def __init__(self, size_px: int, folder: Path | None, expected: int | None, work: str = "") -> None:
        """A store, with what an earlier attempt at the same work left there.

        Args:
            size_px: Side of the tiles.
            folder: Where the file goes; None keeps the pixels in memory.
            expected: Number of tiles, where known, for a look at the free space of the disk.
            work: What tells the work from any other.

        Raises:
            ArtifactError: If the disk is too small, or cannot be written.
        """
        self.size_px, self.folder, self.work = size_px, folder, work
        self._n = 0
        self._parts: list[np.ndarray] = []
        self._file: BinaryIO | None = None
        self._is_ordered = self._is_finished = False  # tiles are not where they were appended; all is done
        if folder is None:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._check_room(expected or 0)
            self._journal = Journal(folder / JOURNAL, {"work": work, "size_px": size_px})
            if not self._may_go_on():
                self._journal.clear()
                self._is_ordered = self._is_finished = False
            self._file = self._open(is_new=self._journal.is_new)
        except OSError as error:
            raise disk_error(folder / PIXELS, error) from error
        self._earlier: Iterator[tuple[int, Entry]] | None = self._journal.earlier()

    @property
    def _shape(self) -> tuple[int, int, int, int]:
        return (self._n, self.size_px, self.size_px, 3)

    @property
    def _tile_bytes(self) -> int:
        return 3 * self.size_px**2

    def recorded(self, piece: str) -> Record | None:
        """The record of the next piece, if an earlier attempt read it: its tiles are in the store then.

        Args:
            piece: What tells it from others. Where the journal has another one next, that and the rest are dropped.

        Raises:
            ArtifactError: If they cannot be dropped, since the tiles are in another order already.
        """
        if self._file is None or self._earlier is None:
            return None
        place, entry = next(self._earlier, (None, {}))
        if entry.get("piece") == piece:
            self._n += entry["n"]
            return entry
        self._earlier = None
        if place is not None:
            if self._is_ordered:
                self._refuse("its pieces are not those of this tiling.")
            self._journal.cut(place)
        self._file.truncate(self._end())
        self._file.seek(self._end())
        return None

    def append(self, pixels: np.ndarray, records: Sequence[Record]) -> None:
        """Add (m, size, size, 3) uint8 tiles at the end.

        Args:
            pixels: They, of one or more pieces whose record was asked for and is not known.
            records: Of these pieces, with ``piece``, what tells it from others, and ``n``, its number of tiles.

        Raises:
            ArtifactError: If the disk is full.
        """
        self._n += len(pixels)
        if self._file is None:
            self._parts.append(pixels)
            return
        try:
            self._file.write(np.ascontiguousarray(pixels).data)
            self._file.flush()
            self._journal.append(*records)
        except OSError as error:
            raise disk_error(self._place(PARTIAL), error) from error

    def finish(self, order: np.ndarray) -> np.ndarray:
        """All tiles, (n, size, size, 3) uint8, memory-mapped from the file where there is one.

        Args:
            order: (n,) permutation: tile i of the result is the ``order[i]``-th one that was appended.

        Raises:
            ArtifactError: If the disk is full, or a change of the order that was cut off cannot be finished.
        """
        if self._file is None:
            gathered = np.concatenate(self._parts) if self._parts else np.empty(self._shape, np.uint8)
            return gathered if (np.diff(order) == 1).all() else gathered[order]
        path = self._place(PIXELS)
        try:
            if not self._is_finished:
                self._order(order)
                self._journal.append({"finished": self._n})
            self._file.close()
            if self._place(PARTIAL).exists():
                self._place(PARTIAL).replace(path)
        except OSError as error:
            raise disk_error(path, error) from error
        return np.load(path, mmap_mode="r")

    def close(self) -> None:
        """Close the files. What was read is kept for the next attempt."""
        if self._file is None:
            return
        self._file.close()
        self._journal.close()
        if self._place(JOURNAL).exists() and next(self._journal.earlier(), None) is None:
            self.discard()

    def discard(self) -> None:
        """Close and remove what was written, but for finished pixels: another attempt would begin anew."""
        if self._file is not None:
            self._file.close()
            self._journal.close()
            for name in (PARTIAL, ASIDE, JOURNAL):
                self._place(name).unlink(missing_ok=True)

    def _place(self, name: str) -> Path:
        assert self.folder is not None
        return self.folder / name

    def _check_room(self, expected: int) -> None:
        partial = self._place(PARTIAL)
        free = shutil.disk_usage(partial.parent).free + (partial.stat().st_size if partial.exists() else 0)
        needed = expected * self._tile_bytes
        if needed > free:
            raise ArtifactError(
                f"{self.folder}: {expected:,} tiles of {self.size_px} px need {needed / 2**30:.1f} GiB, but only "
                f"{free / 2**30:.1f} GiB are free there. Free some space, choose another place with --cache, or store "
                "fewer or smaller tiles (sample, stored_px)."
            )

    def _may_go_on(self) -> bool:
        """Whether the file has what the journal says; entries of tiles that it lacks are dropped."""
        place = self._place(PARTIAL if self._place(PARTIAL).exists() else PIXELS)
        size = place.stat().st_size if place.exists() else 0
        end, beyond = self._end(), None
        for at, entry in self._journal.earlier():
            end += entry.get("n", 0) * self._tile_bytes
            beyond = at if beyond is None and end > size else beyond
            self._is_ordered |= is_permuting(entry) or "finished" in entry
            self._is_finished |= "finished" in entry
        if beyond is not None:
            self._journal.cut(beyond)
        is_there = self._is_finished or place.name == PARTIAL
        return is_there and size >= _HEADER_BYTES and not (self._is_ordered and beyond is not None)

    def _open(self, *, is_new: bool) -> BinaryIO:
        if not is_new and not self._place(PARTIAL).exists():
            return self._place(PIXELS).open("rb")  # finished, and so never written
        file = self._place(PARTIAL).open("w+b" if is_new else "r+b")
        if is_new:
            self._write_header(file)
        return file

    def _order(self, order: np.ndarray) -> None:
        """Put the tiles of the file in order, and write how many they are."""
        file = self._file
        assert file is not None
        file.truncate(self._end())
        self._write_header(file)
        if (np.diff(order) == 1).all() and not self._is_ordered:
            return
        items = Items(file, self._end(0), self._tile_bytes, self._place(ASIDE))
        try:
            permute(items, order, self._journal)
        except ArtifactError as error:
            self._refuse(str(error))

    def _refuse(self, why: str) -> None:
        self.discard()
        raise ArtifactError(
            f"{self.folder}: an earlier attempt was cut off while it put tiles in order, and cannot be taken up: {why} "
            "What it left was removed. Run again."
        )

    def _end(self, n: int | None = None) -> int:
        """Where the file ends behind so many tiles; those of now where nothing else is said."""
        return _HEADER_BYTES + (self._n if n is None else n) * self._tile_bytes

    def _write_header(self, file: BinaryIO) -> None:
        """NumPy pads the header for a first axis of any length, so it can be written again once n is known."""
        file.seek(0)
        header = {"descr": "|u1", "fortran_order": False, "shape": self._shape}
        np.lib.format.write_array_header_1_0(file, header)
        file.flush()
