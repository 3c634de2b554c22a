"""Tiles read from rasters, a stretch of neighbours at a time, on several threads."""

import contextlib
import dataclasses
import functools
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from rasterio.errors import RasterioError
from rasterio.windows import Window

from ris_core.errors import RasterError
from ris_core.parallel import in_order
from ris_core.tiling.blocks import BlockTable
from ris_core.tiling.grid import Cells, Layout
from ris_core.tiling.pixel_store import Batch
from ris_core.tiling.pixels import Scaling, empty_values, holds_information, resize_by_area, unknown_values
from ris_core.tiling.raster_facts import (
    RasterFacts,
    bounded_cache,
    open_dataset,
    open_raster,
    read_validity,
    read_values,
)
from ris_core.tiling.raster_sample import read_sample

_STRIP_PX = 2**23  # pixels of a strip: 24 MiB of three 8-bit bands, for each thread and each waiting result
_DENSE_FRAC = 0.5  # tiles that fill less of their common window are read one by one
_MOST_OPEN = 16  # rasters that a thread keeps open
_ENTRY_BYTES = 16  # that GDAL's handle of a TIFF holds for each block of the file, once it has read one of the last
_HANDLES_BYTES = 2**30  # that the handles of all threads may hold in this way; more threads than fit do not read


@dataclasses.dataclass(frozen=True)
class ReadPlan:
    """What every thread needs to know to read tiles of a corpus.

    Attributes:
        rasters: Facts of its rasters.
        layout: Its grids.
        size_px: Side of a tile in the raster.
        stored_px: Side of a tile as stored.
        bands: The three bands.
        min_coverage: See `holds_information`.
        scaling: From wider types to 8 bits; None where the values are 8-bit already.
    """

    rasters: tuple[RasterFacts, ...]
    layout: Layout
    size_px: int
    stored_px: int
    bands: tuple[int, int, int]
    min_coverage: float
    scaling: Scaling | None


@dataclasses.dataclass(frozen=True, eq=False)
class Stretch:
    """The tiles of one strip that hold information.

    Attributes:
        rows: (m,) positions of those that hold information, among all that were read.
        cells: They.
        pixels: (m, stored, stored, 3) uint8.
        coverage: (m,) float64, share of values that hold information.
    """

    rows: np.ndarray
    cells: Cells
    pixels: np.ndarray
    coverage: np.ndarray

    @property
    def batch(self) -> Batch:
        """The same as a store takes it: ``rows`` and ``coverage`` are the record."""
        record = {"n": len(self.rows), "rows": self.rows.tolist(), "coverage": self.coverage.tolist()}
        return Batch(self.pixels, [record])


class TileReader:
    """Reads tiles; each thread has its own handles, since GDAL's are not safe to share.

    It can be sent to another process, where it reads with one thread.

    Attributes:
        plan: What it knows.
        threads: How many read at a time: no more than the memory of their handles allows.
    """

    def __init__(self, plan: ReadPlan, threads: int) -> None:
        self.plan = plan
        entries = sorted(facts.blocks * (facts.bands if facts.interleave == "band" else 1) for facts in plan.rasters)
        self.threads = max(1, min(threads, _HANDLES_BYTES // (_ENTRY_BYTES * sum(entries[-_MOST_OPEN:]))))
        self._tables: dict[int, BlockTable] = {}
        self._local = threading.local()

    def __reduce__(self) -> tuple[Any, tuple[ReadPlan]]:
        return _reader_of, (self.plan,)

    def may_hold_information(self, cells: Cells) -> np.ndarray:
        """(n,) bool: whether the stored blocks under each cell suffice for its coverage. Decodes nothing."""
        values = 3 * self.plan.size_px**2
        keep = np.ones(len(cells), bool)
        if self.plan.min_coverage <= 0:
            return keep
        for raster in np.unique(cells.raster).tolist():
            dataset = self._dataset(raster)
            if raster not in self._tables:
                self._tables[raster] = BlockTable(dataset, self.plan.bands)
            here = cells.raster == raster
            stored = self._tables[raster].stored_frac(
                dataset, cells.row_px[here], cells.col_px[here], self.plan.size_px
            )
            keep[here] = holds_information(np.rint((1 - stored) * values), values, self.plan.min_coverage)
        return keep

    def read(self, parts: Iterable[Cells]) -> Iterator[Stretch]:
        """The cells that hold information, stretch by stretch, in the order given.

        Args:
            parts: Cells, of ascending ids within each part; drawn from as reading goes on, in this thread.

        Raises:
            RasterError: If a window cannot be decoded.
        """
        yield from in_order(self._read_stretch, self.stretches(parts), self.threads)

    def stretches(self, parts: Iterable[Cells]) -> Iterator[Cells]:
        """Cells that are read together, those of one grid that lie in one strip, in the order given.

        Args:
            parts: Cells, of ascending ids within each part; drawn from as the stretches are.
        """
        return (stretch for part in parts for stretch in self._stretches(part))

    def ids(self, piece: Cells) -> np.ndarray:
        """(n,) int64 of a stretch."""
        return piece.ids

    @contextlib.contextmanager
    def reading(self) -> Iterator[Callable[[Cells], Batch]]:
        """A function that reads a stretch; see `gathering.Source`."""
        with bounded_cache():
            yield lambda cells: self._read_stretch(cells).batch

    def part(self, pieces: Sequence[Cells]) -> tuple["TileReader", list[Cells]]:
        """A reader that knows the rasters of these stretches alone, and they as it numbers the rasters."""
        numbers = sorted({int(cells.raster[0]) for cells in pieces})
        rasters = tuple(self.plan.rasters[number] for number in numbers)
        plan = dataclasses.replace(self.plan, rasters=rasters, layout=Layout(()))
        renumbered = [dataclasses.replace(cells, raster=np.searchsorted(numbers, cells.raster)) for cells in pieces]
        return TileReader(plan, 1), renumbered

    def _stretches(self, cells: Cells) -> Iterator[Cells]:
        """Cells of one grid that lie in one strip, strip by strip."""
        if len(cells) == 0:
            return
        grids = self.plan.layout.grids
        strip_of = np.empty((len(cells), 2), np.int64)
        for number in np.unique(cells.grid):
            grid, here = grids[number], cells.grid == number
            rows, cols = strip_shape(grid.width_px, self.plan.rasters[grid.raster].block_px[1], grid.stride_px)
            strip_of[here, 0] = cells.row[here] // rows
            strip_of[here, 1] = cells.col[here] // cols
        keys = np.column_stack([cells.grid, strip_of])
        starts = np.flatnonzero(np.any(np.diff(keys, axis=0, prepend=keys[:1] - 1), axis=1))
        for start, end in zip(starts, [*starts[1:], len(cells)], strict=True):
            yield cells[start:end]

    def _read_stretch(self, cells: Cells) -> Stretch:
        size = self.plan.size_px
        dataset = self._dataset(int(cells.raster[0]))
        pixels, kept, coverage = [], [], []
        nodata = self._nodata(cells)
        for window, values, members in self._windows(dataset, cells):
            for i in members:
                row, col = int(cells.row_px[i]) - window.row_off, int(cells.col_px[i]) - window.col_off
                tile = values[:, row : row + size, col : col + size]
                n_empty = int(np.count_nonzero(empty_values(tile, nodata)))
                if holds_information(n_empty, 3 * size**2, self.plan.min_coverage):
                    pixels.append(self._tile(tile, nodata))
                    kept.append(i)
                    coverage.append(1 - n_empty / (3 * size**2))
        stored = self.plan.stored_px
        stacked = np.stack(pixels) if pixels else np.empty((0, stored, stored, 3), np.uint8)
        rows = np.array(kept, np.int64)
        return Stretch(rows, cells[rows], stacked, np.array(coverage, np.float64))

    def _windows(self, dataset: Any, cells: Cells) -> Iterator[tuple[Window, np.ndarray, Sequence[int]]]:
        """Windows with their values, 0 where masked, and the positions of the cells that lie within."""
        facts = self.plan.rasters[int(cells.raster[0])]
        for window, members in common_windows(cells.row_px, cells.col_px, self.plan.size_px):
            values = read_values(dataset, self.plan.bands, window=window)
            validity = read_validity(dataset, facts, self.plan.bands, window=window)
            if validity is not None:
                values[:, ~validity] = 0  # the colour behind a mask must not shape a feature
            yield window, values, members

    def _tile(self, values: np.ndarray, nodata: Sequence[float | None]) -> np.ndarray:
        if self.plan.scaling is not None:
            unknown = unknown_values(values, nodata)
            values = self.plan.scaling.apply(values)
            values[unknown] = 0
        return np.ascontiguousarray(resize_by_area(values, self.plan.stored_px).transpose(1, 2, 0))

    def _nodata(self, cells: Cells) -> list[float | None]:
        nodata = self.plan.rasters[int(cells.raster[0])].nodata
        return [nodata[band - 1] for band in self.plan.bands]

    def _dataset(self, raster: int) -> Any:
        """This thread's handle of a raster; the least recently used is closed."""
        if not hasattr(self._local, "datasets"):
            self._local.datasets = OrderedDict()
        datasets: OrderedDict[int, Any] = self._local.datasets
        if raster not in datasets:
            if len(datasets) >= _MOST_OPEN:
                datasets.popitem(last=False)[1].close()
            path = self.plan.rasters[raster].path
            try:
                datasets[raster] = open_dataset(path)
            except RasterioError as error:
                raise RasterError(f"{path}: cannot be opened any more ({error}). Was it moved meanwhile?") from error
        datasets.move_to_end(raster)
        return datasets[raster]


@functools.lru_cache(maxsize=1)
def _reader_of(plan: ReadPlan) -> TileReader:
    """The reader of a process that reads one shard after another: it keeps its files open."""
    return TileReader(plan, 1)


def strip_shape(width_px: int, block_width_px: int, stride_px: int) -> tuple[int, int]:
    """Rows and columns of tiles in a strip.

    As many whole tile rows as memory allows. Where one is too much, part of a row, unless the raster is stored in
    full-width strips, which decoding in parts would decode again and again.
    """
    cols = -(-width_px // stride_px)
    if width_px * stride_px <= _STRIP_PX or block_width_px >= width_px:
        return max(1, _STRIP_PX // (width_px * stride_px)), cols
    return 1, max(1, _STRIP_PX // stride_px**2)


def common_windows(row_px: np.ndarray, col_px: np.ndarray, size_px: int) -> list[tuple[Window, Sequence[int]]]:
    """Windows to read, and which tiles lie in each: one for all where the tiles fill most of it, else one a tile."""
    top, left = int(row_px.min()), int(col_px.min())
    height, width = int(row_px.max()) + size_px - top, int(col_px.max()) + size_px - left
    if len(row_px) * size_px**2 >= _DENSE_FRAC * height * width:
        return [(Window(left, top, width, height), range(len(row_px)))]
    return [(Window(int(col_px[i]), int(row_px[i]), size_px, size_px), [i]) for i in range(len(row_px))]


def fit_scaling(
    rasters: Sequence[RasterFacts], bands: tuple[int, int, int], percentiles: tuple[float, float]
) -> Scaling | None:
    """The common scaling of the rasters of a corpus to 8 bits, from a decimated read of each; None for 8-bit ones.

    Raises:
        RasterError: If a band has no valid value in any of them.
    """
    if all(facts.dtype == "uint8" for facts in rasters):
        return None
    values, empty = [], []
    most_px = max(64, int(1024 / len(rasters) ** 0.5))
    for facts in rasters:
        with open_raster(facts.path) as dataset:
            sample = read_sample(dataset, facts, bands, most_px)
        values.append(sample[0])
        empty.append(sample[1])
    return Scaling.fit(np.concatenate(values, axis=1), np.concatenate(empty, axis=1), percentiles)
