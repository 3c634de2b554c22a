"""Values from all over a raster, far fewer than it has: what scalings to 8 bits are fitted on."""

from typing import Any

import numpy as np
from rasterio.windows import Window

from ris_core.tiling.blocks import BlockTable
from ris_core.tiling.grid import lay_grids, random_order
from ris_core.tiling.pixels import empty_values
from ris_core.tiling.raster_facts import RasterFacts, read_validity, read_values

_SAMPLE_PX = 1024  # longest side of a decimated read
_MOST_DECIMATED = 2**14  # blocks; without overviews a decimated read of more would decode for minutes to days
_SQUARE_PX = 64  # side of the squares that are read instead
_LOOKED_UP = 2**12  # places of squares at a time


def read_sample(
    dataset: Any, facts: RasterFacts, bands: tuple[int, ...], most_px: int = _SAMPLE_PX
) -> tuple[np.ndarray, np.ndarray]:
    """Values from all over a raster, (bands, m), and which of them are empty, (bands, m) bool.

    Every n-th pixel, or the nearest overview; the same for the same file. Without overviews every block that such
    a pixel lies in is decoded, so of a raster of more than 16,384 blocks as many pixels come from small squares, drawn
    with a fixed seed where blocks are stored.
    """
    if facts.blocks > _MOST_DECIMATED and not facts.overviews:
        windows = _stored_squares(dataset, facts, bands, max(1, (most_px // _SQUARE_PX) ** 2))
        parts = [_read_part(dataset, facts, bands, {"window": window}, {"window": window}) for window in windows]
    else:
        shape = decimated_shape(facts, most_px)
        parts = [_read_part(dataset, facts, bands, {"out_shape": (len(bands), *shape)}, {"out_shape": shape})]
    nothing = np.empty((len(bands), 0))
    values = np.concatenate([part[0] for part in parts] or [nothing], axis=1)
    return values, np.concatenate([part[1] for part in parts] or [nothing.astype(bool)], axis=1)


def _read_part(
    dataset: Any, facts: RasterFacts, bands: tuple[int, ...], how: dict[str, Any], how_valid: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    values = read_values(dataset, bands, **how)
    empty = empty_values(values, [facts.nodata[band - 1] for band in bands])
    validity = read_validity(dataset, facts, bands, **how_valid)
    if validity is not None:
        empty |= ~validity
    return values.reshape(len(bands), -1), empty.reshape(len(bands), -1)


def _stored_squares(dataset: Any, facts: RasterFacts, bands: tuple[int, ...], n: int) -> list[Window]:
    """Up to ``n`` squares in the corners of blocks that are stored, drawn with a fixed seed."""
    table = BlockTable(dataset, bands)
    shorter = min(facts.height_px, facts.width_px)  # a narrow raster has narrow squares
    square = min(_SQUARE_PX, shorter)
    side = min(max(square, *facts.block_px), shorter) if min(facts.block_px) >= square else square
    layout = lay_grids([(facts.height_px, facts.width_px)], side, side, half_offset=False)
    found: list[Window] = []
    for part in random_order(layout.n_cells, 0):
        for start in range(0, len(part), _LOOKED_UP):
            cells = layout.locate(part[start : start + _LOOKED_UP])
            stored = np.flatnonzero(table.stored_frac(dataset, cells.row_px, cells.col_px, square) > 0)
            corners = zip(cells.col_px[stored].tolist(), cells.row_px[stored].tolist(), strict=True)
            found += [Window(col, row, square, square) for col, row in corners]
            if len(found) >= n:
                return found[:n]
    return found


def decimated_shape(facts: RasterFacts, most_px: int) -> tuple[int, int]:
    """Height and width of a whole raster read small, its longest side at most ``most_px``."""
    factor = max(1.0, max(facts.height_px, facts.width_px) / most_px)
    return max(1, round(facts.height_px / factor)), max(1, round(facts.width_px / factor))
