"""Which blocks of a TIFF are stored, read from its block table without decoding a pixel."""

from pathlib import Path
from typing import Any

import numpy as np

from ris_core.errors import RasterError

_UNKNOWN = -1
_MOST_COUNTED = 200_000  # about half a second; larger tables are estimated from that many of their blocks


class BlockTable:
    """Lazily learned block table of an open raster.

    A sparse TIFF leaves out blocks that hold nodata only. Formats without such a table count as stored
    throughout. Only what is asked for is looked up, so a sample of a raster of 45 million blocks stays cheap.
    """

    def __init__(self, dataset: Any, bands: tuple[int, ...]) -> None:
        height, width = dataset.block_shapes[0]
        self.block_px = (int(height), int(width))
        self.shape = (-(-dataset.height // height), -(-dataset.width // width))
        self._path = Path(dataset.name)
        self._has_table = dataset.driver in ("GTiff", "COG") and self._path.is_file()
        planes = bands if dataset.interleaving is not None and dataset.interleaving.value == "BAND" else (bands[0],)
        self._planes = tuple(sorted(set(planes)))  # one table serves all bands that are stored together
        self._file_bytes = self._path.stat().st_size if self._has_table else 0
        self._stored = np.full(self.shape, _UNKNOWN if self._has_table else len(self._planes), np.int8)

    def stored_frac(self, dataset: Any, row_px: int, col_px: int, size_px: int) -> float:
        """Share of a square's values that lie in stored blocks, in [0, 1].

        Args:
            dataset: The open raster that the table was made for.
            row_px: Upper edge of the square.
            col_px: Left edge of the square.
            size_px: Side of the square.

        Raises:
            RasterError: If one of its blocks lies behind the end of the file.
        """
        rows, row_shares = _overlaps(row_px, size_px, self.block_px[0])
        cols, col_shares = _overlaps(col_px, size_px, self.block_px[1])
        part = self._stored[rows, cols]
        if (part == _UNKNOWN).any():
            for row, col in np.argwhere(part == _UNKNOWN):
                part[row, col] = self._look_up(dataset, rows.start + int(row), cols.start + int(col))
        return float(row_shares @ part @ col_shares) / len(self._planes)

    def empty_frac(self, dataset: Any) -> tuple[float, bool] | None:
        """Share of blocks that are not stored, and whether it is estimated; None for a format without a table.

        The estimate looks at 200,000 blocks drawn with a fixed seed: its standard error is at most 0.0011.
        """
        if not self._has_table:
            return None
        n = self._stored.size
        is_estimated = n > _MOST_COUNTED
        places = np.random.default_rng(0).integers(0, n, _MOST_COUNTED) if is_estimated else np.arange(n)
        rows, cols = np.divmod(places, self.shape[1])
        for row, col in zip(rows.tolist(), cols.tolist(), strict=True):
            if self._stored[row, col] == _UNKNOWN:
                self._stored[row, col] = self._look_up(dataset, row, col)
        return float((self._stored[rows, cols] == 0).mean()), is_estimated

    def _look_up(self, dataset: Any, row: int, col: int) -> int:
        """Number of planes in which the block is stored."""
        stored = 0
        for band in self._planes:
            size = int(dataset.get_tag_item(f"BLOCK_SIZE_{col}_{row}", "TIFF", bidx=band) or 0)
            if size == 0:
                continue
            end = int(dataset.get_tag_item(f"BLOCK_OFFSET_{col}_{row}", "TIFF", bidx=band) or 0) + size
            if end > self._file_bytes:
                raise RasterError(
                    f"{self._path}: truncated: the block in row {row}, column {col} of its block table ends at byte "
                    f"{end:,}, but the file has {self._file_bytes:,} bytes. Copy or download the file again."
                )
            stored += 1
        return stored


def _overlaps(start_px: int, size_px: int, block_px: int) -> tuple[slice, np.ndarray]:
    """The blocks along one axis that a span touches, and the share of the span in each."""
    first, last = start_px // block_px, (start_px + size_px - 1) // block_px
    edges = np.clip(np.arange(first, last + 2) * block_px, start_px, start_px + size_px)
    return slice(first, last + 1), np.diff(edges) / size_px
