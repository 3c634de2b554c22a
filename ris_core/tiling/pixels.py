"""Pure arithmetic on pixels: which values hold information, 16 bits to 8, and resizing by area."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Self

import numpy as np

from ris_core.errors import RasterError

DARKEST, BRIGHTEST = 0, 255
_HALF = 0.5


def empty_values(values: np.ndarray, nodata: Sequence[float | None] = ()) -> np.ndarray:
    """Which values hold no information: 0, the type's largest (255 for uint8), and nodata.

    Args:
        values: (bands, h, w) as read. Floating-point rasters have no largest value: there, 0 and what is not
            finite count.
        nodata: One value a band, None where a band has none.

    Returns:
        (bands, h, w) bool.

    Source:
        The thesis counts values that are 0 or 255, each band on its own. Differs: nodata and wider types.
    """
    if values.dtype == np.uint8:
        empty = (values + np.uint8(1)) < 2  # 255 wraps round to 0: one comparison finds both ends
        nodata = [None if value in (DARKEST, BRIGHTEST) else value for value in nodata]
    elif np.issubdtype(values.dtype, np.integer):
        empty = (values == 0) | (values == np.iinfo(values.dtype).max)
    else:
        empty = values == 0
    if any(value is not None for value in nodata) or values.dtype.kind == "f":
        empty |= unknown_values(values, nodata)
    return np.asarray(empty)


def unknown_values(values: np.ndarray, nodata: Sequence[float | None]) -> np.ndarray:
    """Which values are nodata or not finite, (bands, h, w) bool."""
    unknown = ~np.isfinite(values) if values.dtype.kind == "f" else np.zeros(values.shape, bool)
    for band, value in enumerate(nodata):
        if value is not None:
            unknown[band] |= values[band] == value
    return unknown


def holds_information(empty: int | np.ndarray, values: int, min_coverage: float) -> bool | np.ndarray:
    """Whether a tile with ``empty`` of ``values`` values empty is kept; for an array of counts, an array.

    Strictly fewer than ``1 - min_coverage`` of the values may be empty, as in the thesis (fewer than 10 %); a
    ``min_coverage`` of 0 keeps every tile, also one without any information.
    """
    return empty < (round((1 - min_coverage) * values, 6) if min_coverage > 0 else np.inf)


@dataclasses.dataclass(frozen=True)
class Scaling:
    """A straight line from a raster's values to 0..255, one for each of the three bands.

    Attributes:
        low: Values that become 0, as all below them.
        high: Values that become 255, as all above them.
        percentiles: Which percentiles of the valid values ``low`` and ``high`` are.
    """

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    percentiles: tuple[float, float]

    @classmethod
    def fit(cls, values: np.ndarray, empty: np.ndarray, percentiles: tuple[float, float]) -> Self:
        """The scaling of a sample of values.

        Args:
            values: (3, m) of any real type.
            empty: (3, m) bool, values that do not count.
            percentiles: In [0, 100], ascending.

        Raises:
            RasterError: If a band of the sample has no valid value at all.
        """
        low, high = [], []
        for band in range(3):
            valid = values[band][~empty[band]]
            if len(valid) == 0:
                raise RasterError(
                    f"the scaling to 8 bits found no valid value in a sample of {values.shape[1]} pixels of the "
                    f"band at place {band + 1} of `bands`; every value is 0, nodata or masked. Choose other bands, "
                    "or convert the raster to 8 bits beforehand."
                )
            ends = np.percentile(valid.astype(np.float64), percentiles)
            low.append(float(ends[0]))
            high.append(float(ends[1]) if ends[1] > ends[0] else float(ends[0]) + 1.0)
        return cls((low[0], low[1], low[2]), (high[0], high[1], high[2]), percentiles)

    def apply(self, values: np.ndarray) -> np.ndarray:
        """``values`` (3, h, w) as uint8, rounded to the nearest; what is not a number becomes 0."""
        if values.dtype in (np.uint16, np.int16):  # a table of 65,536 answers is faster than arithmetic
            tables = [_line_table(self, band, values.dtype) for band in range(3)]
            return np.stack([table[values[band].view(np.uint16)] for band, table in enumerate(tables)])
        return np.stack([self._line(values[band].astype(np.float32), band) for band in range(3)])

    def _line(self, values: np.ndarray, band: int) -> np.ndarray:
        share = (values - np.float32(self.low[band])) / np.float32(self.high[band] - self.low[band])
        return np.rint(np.clip(np.nan_to_num(share, nan=0.0), 0, 1) * BRIGHTEST).astype(np.uint8)


@functools.lru_cache(maxsize=12)
def _line_table(scaling: Scaling, band: int, dtype: np.dtype) -> np.ndarray:
    """(65536,) uint8: the scaled value of every 16-bit pattern."""
    every = np.arange(2**16, dtype=np.uint16).view(dtype).astype(np.float32)
    return scaling._line(every, band)


def resize_by_area(values: np.ndarray, size_px: int) -> np.ndarray:
    """A smaller image, each of whose pixels is the mean over the area that it covers.

    Args:
        values: (bands, h, w) uint8.
        size_px: Side of the result, at most h and w.

    Returns:
        (bands, size_px, size_px) uint8. Exact block means, halves rounded up, where the factor is an integer;
        otherwise pixels at the border of two areas count by the share that lies in each.
    """
    if values.shape[1:] == (size_px, size_px):
        return values
    height, width = values.shape[1:]
    if height % size_px or width % size_px:
        means = _area_means(_area_means(values, size_px, axis=1), size_px, axis=2)
        return np.floor(means + _HALF).astype(np.uint8)
    rows, cols = height // size_px, width // size_px
    strips = values.reshape(len(values), size_px, rows, width).sum(axis=2, dtype=np.uint32)
    sums = sum(strips[:, :, i::cols] for i in range(cols))
    return ((sums + rows * cols // 2) // (rows * cols)).astype(np.uint8)


def _area_means(values: np.ndarray, size_px: int, axis: int) -> np.ndarray:
    """Means over ``size_px`` equal spans along an axis: differences of the running sum, read between pixels."""
    length = values.shape[axis]
    moved = np.moveaxis(values, axis, 0)
    running = np.zeros((length + 1, *moved.shape[1:]))
    np.cumsum(moved, axis=0, out=running[1:])
    edges = np.arange(size_px + 1) * (length / size_px)
    whole = np.minimum(edges.astype(np.int64), length - 1)
    part = (edges - whole).reshape(-1, *[1] * (moved.ndim - 1))
    at_edges = running[whole] * (1 - part) + running[whole + 1] * part
    means = np.diff(at_edges, axis=0) * (size_px / length)
    return np.moveaxis(means, 0, axis)
