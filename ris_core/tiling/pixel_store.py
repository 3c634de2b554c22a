"""Where the pixels of tiles gather: in memory, or in a growing ``.npy`` file whose length is not known beforehand."""

import shutil
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ris_core.artifacts import disk_error
from ris_core.errors import ArtifactError

PIXELS = "pixels.npy"


class PixelStore:
    """Tiles appended one stretch after another; with a folder, in its ``pixels.npy`` and never all in memory.

    The file bears another name until `finish`, so that what is called ``pixels.npy`` is whole.
    """

    def __init__(self, size_px: int, folder: Path | None, expected: int | None) -> None:
        """A new store.

        Args:
            size_px: Side of the tiles.
            folder: Where the file goes; None keeps the pixels in memory.
            expected: Number of tiles, where known, for a look at the free space of the disk.

        Raises:
            ArtifactError: If the disk is too small, or cannot be written.
        """
        self._shape = (size_px, size_px, 3)
        self._n = 0
        self._parts: list[np.ndarray] = []
        self._folder = folder
        self._file: BinaryIO | None = None
        if folder is None:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            free, needed = shutil.disk_usage(folder).free, (expected or 0) * 3 * size_px**2
            if needed > free:
                raise ArtifactError(
                    f"{folder}: {expected:,} tiles of {size_px} px need {needed / 2**30:.1f} GiB, but only "
                    f"{free / 2**30:.1f} GiB are free there. Free some space, choose another place with --cache, or "
                    "store fewer or smaller tiles (sample, stored_px)."
                )
            self._file = self._partial.open("wb")
            self._write_header()
        except OSError as error:
            raise disk_error(folder / PIXELS, error) from error

    @property
    def _partial(self) -> Path:
        return (self._folder or Path()) / f".{PIXELS}.partial"

    def append(self, pixels: np.ndarray) -> None:
        """Add (m, size, size, 3) uint8 tiles at the end.

        Raises:
            ArtifactError: If the disk is full.
        """
        self._n += len(pixels)
        if self._file is None:
            self._parts.append(pixels)
            return
        try:
            self._file.write(np.ascontiguousarray(pixels).data)
        except OSError as error:
            raise disk_error(self._partial, error) from error

    def finish(self, order: np.ndarray) -> np.ndarray:
        """All tiles, (n, size, size, 3) uint8, memory-mapped from the file where there is one.

        Args:
            order: (n,) permutation: tile i of the result is the ``order[i]``-th one that was appended.

        Raises:
            ArtifactError: If the disk is full.
        """
        if self._file is None or self._folder is None:
            gathered = np.concatenate(self._parts) if self._parts else np.empty((0, *self._shape), np.uint8)
            return gathered if (np.diff(order) == 1).all() else gathered[order]
        path = self._folder / PIXELS
        try:
            self._file.seek(0)
            self._write_header()
            self._file.close()
            if not (np.diff(order) == 1).all():
                pixels = np.load(self._partial, mmap_mode="r+")
                permute_in_place(pixels, order)
                pixels.flush()
            self._partial.replace(path)
        except OSError as error:
            raise disk_error(path, error) from error
        pixels = np.load(path, mmap_mode="r")
        return pixels

    def discard(self) -> None:
        """Close and remove what was written, unless it was finished."""
        if self._file is not None:
            self._file.close()
            self._partial.unlink(missing_ok=True)

    def _write_header(self) -> None:
        """NumPy pads the header for a first axis of any length, so it can be written again once n is known."""
        if self._file is not None:
            header = {"descr": "|u1", "fortran_order": False, "shape": (self._n, *self._shape)}
            np.lib.format.write_array_header_1_0(self._file, header)


def permute_in_place(items: np.ndarray, order: np.ndarray) -> None:
    """Set ``items[i]`` to the old ``items[order[i]]``, reading and writing each item once, with one item in memory."""
    is_done = np.zeros(len(order), bool)
    for start in range(len(order)):
        if is_done[start]:
            continue
        first, here = items[start].copy(), start
        while (source := int(order[here])) != start:
            items[here] = items[source]
            is_done[here] = True
            here = source
        items[here] = first
        is_done[here] = True
