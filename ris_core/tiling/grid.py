"""Where tiles lie: square grids over the rasters of a corpus, and the ids of their cells."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

_PERMUTED_WHOLE = 2**20  # more numbers are drawn as they are needed


@dataclasses.dataclass(frozen=True)
class Grid:
    """A grid of square cells over one raster; cells that would cross the raster's edge are left out.

    Attributes:
        raster: Position of the raster in the corpus.
        height_px: Height of the raster.
        width_px: Width of the raster.
        size_px: Side of a cell.
        stride_px: Distance between neighbouring cells; less than ``size_px`` makes them overlap.
        offset_px: Distance of the first cell from the upper left corner, down and to the right.
        first_id: Id of the first cell.
    """

    raster: int
    height_px: int
    width_px: int
    size_px: int
    stride_px: int
    offset_px: int = 0
    first_id: int = 0

    @property
    def n_rows(self) -> int:
        """Cells from top to bottom."""
        return self._fitting(self.height_px)

    @property
    def n_cols(self) -> int:
        """Cells from left to right."""
        return self._fitting(self.width_px)

    @property
    def n_cells(self) -> int:
        """Cells of the grid."""
        return self.n_rows * self.n_cols

    def _fitting(self, length_px: int) -> int:
        return max(0, (length_px - self.offset_px - self.size_px) // self.stride_px + 1)


@dataclasses.dataclass(frozen=True, eq=False)
class Cells:
    """Cells of the grids of a layout, one entry a cell, all int64.

    Attributes:
        ids: Tile ids.
        grid: Position of the grid in its layout.
        raster: Position of the raster in the corpus.
        row: Row in the grid.
        col: Column in the grid.
        row_px: Upper edge in the raster.
        col_px: Left edge in the raster.
    """

    ids: np.ndarray
    grid: np.ndarray
    raster: np.ndarray
    row: np.ndarray
    col: np.ndarray
    row_px: np.ndarray
    col_px: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows: np.ndarray | slice) -> "Cells":
        """The cells at these positions."""
        return Cells(*(getattr(self, field.name)[rows] for field in dataclasses.fields(self)))


@dataclasses.dataclass(frozen=True)
class Layout:
    """The grids of a corpus, one after another.

    The id of a cell is ``row * n_cols + col`` in its grid (for one raster without overlap that is the thesis'
    ``row * (width // size) + col``), plus the number of cells of all grids before it.
    """

    grids: tuple[Grid, ...]

    @property
    def n_cells(self) -> int:
        """Cells of all grids."""
        return sum(grid.n_cells for grid in self.grids)

    def locate(self, ids: np.ndarray) -> Cells:
        """Where the cells with these ids, in [0, n_cells), lie."""
        ids = np.asarray(ids, np.int64)
        firsts, n_cols, strides, offsets, rasters = (
            np.array([getattr(grid, name) for grid in self.grids], np.int64)
            for name in ("first_id", "n_cols", "stride_px", "offset_px", "raster")
        )
        grid = np.searchsorted(firsts, ids, side="right") - 1  # the last of several grids that begin at one id: an
        row, col = np.divmod(ids - firsts[grid], np.maximum(n_cols[grid], 1))  # empty grid shares its successor's id
        return Cells(
            ids,
            grid,
            rasters[grid],
            row,
            col,
            row * strides[grid] + offsets[grid],
            col * strides[grid] + offsets[grid],
        )


def lay_grids(shapes_px: Sequence[tuple[int, int]], size_px: int, stride_px: int, half_offset: bool) -> Layout:
    """The grids over rasters of these shapes (height, width), in their order.

    Args:
        shapes_px: Of each raster.
        size_px: Side of a cell.
        stride_px: Distance between neighbouring cells.
        half_offset: Whether each raster has a second grid too, moved down and right by half a cell.
    """
    grids: list[Grid] = []
    first_id = 0
    for raster, (height, width) in enumerate(shapes_px):
        for offset in (0, size_px // 2) if half_offset else (0,):
            grid = Grid(raster, height, width, size_px, stride_px, offset, first_id)
            grids.append(grid)
            first_id += grid.n_cells
    return Layout(tuple(grids))


def random_order(n: int, seed: int) -> Iterator[np.ndarray]:
    """Yield the numbers 0..n-1 in random order, in parts (int64), each number once.

    Every order is equally likely. Of a large ``n`` only what is asked for is drawn, so that the first thousand of
    45 million cost little: numbers drawn with repetition, less those that came before, until half are gone.
    """
    random = np.random.default_rng(seed)
    is_seen, n_seen = np.zeros(n if n > _PERMUTED_WHOLE else 0, bool), 0
    while n > _PERMUTED_WHOLE and 2 * n_seen < n:
        drawn = random.integers(0, n, _PERMUTED_WHOLE // 4)
        drawn = drawn[np.sort(np.unique(drawn, return_index=True)[1])]
        fresh = drawn[~is_seen[drawn]]
        is_seen[fresh] = True
        n_seen += len(fresh)
        yield fresh
    yield random.permutation(np.flatnonzero(~is_seen) if n_seen else n)


class RandomDraw:
    """The numbers of a `random_order`, as many at a time as are asked for."""

    def __init__(self, n: int, seed: int) -> None:
        self._parts = random_order(n, seed)
        self._rest = np.empty(0, np.int64)

    def take(self, n: int) -> np.ndarray:
        """The next ``n`` numbers, or those that are left."""
        while len(self._rest) < n and (part := next(self._parts, None)) is not None:
            self._rest = np.concatenate([self._rest, part])
        taken, self._rest = self._rest[:n], self._rest[n:]
        return taken
