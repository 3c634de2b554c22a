"""Regions of a picture without knowing what it shows: square windows that slide over it."""

import math
from collections.abc import Sequence

import numpy as np


def slide_windows(size_px: tuple[int, int], fracs: Sequence[float], overlap: float) -> np.ndarray:
    """Square windows of several sizes that cover a picture, spread evenly from edge to edge.

    Args:
        size_px: Width and height of the picture.
        fracs: Sides of the windows, as shares of the picture's shorter side, in (0, 1].
        overlap: Share of its side, in [0, 1), that a window has in common with its neighbour at least.

    Returns:
        (m, 4) float64: x1, y1, x2, y2 in whole pixels; sizes in the order given, then row by row.

    Source:
        The regions of R-MAC, Tolias et al. 2016, arXiv:1511.05879: square, evenly spread, a wanted overlap. Differs:
        the sizes are given, where R-MAC derives them from levels; windows are cut from the image, not from its map.
    """
    boxes = []
    for frac in fracs:
        side = max(1, round(frac * min(size_px)))
        xs, ys = (_starts(length, side, overlap) for length in size_px)
        boxes += [(x, y, x + side, y + side) for y in ys for x in xs]
    return np.array(boxes, np.float64).reshape(-1, 4)


def _starts(length: int, side: int, overlap: float) -> list[int]:
    """First pixels of the fewest windows that cover a length with that overlap."""
    step = max(1.0, side * (1 - overlap))
    count = math.ceil((length - side) / step - 1e-9) + 1  # 1e-9: a quotient that is whole but for rounding
    return np.rint(np.linspace(0, length - side, count)).astype(int).tolist()
