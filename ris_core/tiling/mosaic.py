"""The rasters of a corpus taken together: one layout of cells, one walk over them, one table."""

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from ris_core.cluster import Cluster
from ris_core.errors import CorpusError, RasterError
from ris_core.records import Tiles
from ris_core.tiling.gathering import Readers, gather
from ris_core.tiling.grid import Cells, Layout, RandomDraw, lay_grids
from ris_core.tiling.labels import read_labels
from ris_core.tiling.landcover import check_same_grid, class_fractions
from ris_core.tiling.pixel_store import PixelStore, Record
from ris_core.tiling.raster_facts import RasterFacts, bounded_cache, check_bands, check_georeference, read_facts
from ris_core.tiling.strips import ReadPlan, TileReader, fit_scaling
from ris_core.tiling.tile_spec import TileSpec

_SLAB = 2**16  # cells that are looked up at a time, at most
_SMALLEST_SLAB = 32


def cut_rasters(
    paths: list[Path], spec: TileSpec, store: PixelStore, bar: Any, readers: Readers
) -> tuple[Tiles, dict[str, Any]]:
    """Tiles of the rasters, and what was read, left out and scaled on the way.

    Args:
        paths: The rasters, sorted by name.
        spec: How they are cut.
        store: Where the pixels go.
        bar: The tqdm progress line.
        readers: Who reads.

    Raises:
        CorpusError: If there are too few tiles, or the labels do not fit.
        RasterError: If a raster is unreadable or unfit, or smaller than a tile.
    """
    with bounded_cache():
        return _cut(paths, spec, store, bar, readers)


def _cut(
    paths: list[Path], spec: TileSpec, store: PixelStore, bar: Any, readers: Readers
) -> tuple[Tiles, dict[str, Any]]:
    rasters = _fit_rasters(paths, spec)
    layout = _lay_out(rasters, spec)
    candidates, labels = _candidates(paths, layout, spec)
    if spec.sample is not None:
        check_sample(paths[0] if len(paths) == 1 else paths[0].parent, spec, len(candidates))
    classes = _class_rasters(rasters, spec)
    plan = _plan(rasters, layout, spec)
    visit = _Visit(TileReader(plan, readers.threads), store, bar, readers.cluster)
    if spec.sample is None:
        visit.all(candidates)
    else:
        visit.some(candidates, spec.sample, spec.seed)
    if visit.n_kept < (spec.sample or 1):
        raise CorpusError(_too_few(paths, spec, visit))
    cells, coverage = visit.gathered()
    order = np.argsort(cells.ids)
    pixels = store.finish(order)
    table = _table(rasters, cells[order], coverage[order], spec.size_px, classes)
    if labels is not None:
        table.insert(len(table.columns) - 1, "label", labels.loc[cells.ids[order]].to_numpy(object))
    return Tiles(pixels, table), {
        "kind": "rasters",
        "rasters": [path.name for path in paths],
        "crs": rasters[0].crs,
        "cells": layout.n_cells,
        "candidates": len(candidates),
        "scaling": None if plan.scaling is None else dataclasses.asdict(plan.scaling),
        **visit.facts(),
    }


def tile_reader(paths: list[Path], spec: TileSpec, threads: int) -> TileReader:
    """Who reads any tiles of the rasters, whatever cells were kept.

    Raises:
        CorpusError, RasterError: As `cut_rasters`.
    """
    rasters = _fit_rasters(paths, spec)
    return TileReader(_plan(rasters, _lay_out(rasters, spec), spec), threads)


def _plan(rasters: tuple[RasterFacts, ...], layout: Layout, spec: TileSpec) -> ReadPlan:
    scaling = fit_scaling(rasters, spec.bands, spec.percentiles)
    return ReadPlan(rasters, layout, spec.size_px, spec.output_px, spec.bands, spec.min_coverage, scaling)


class _Visit:
    """A walk over the cells of a corpus that keeps those that hold information."""

    def __init__(self, reader: TileReader, store: PixelStore, bar: Any, cluster: Cluster) -> None:
        self._reader = reader
        self._store = store
        self._bar = bar
        self._cluster = cluster
        self._kept: list[tuple[Cells, np.ndarray]] = []
        self.n_kept = self.n_read = self.n_skipped = 0

    def all(self, candidates: range | np.ndarray) -> None:
        """Visit all candidates, ascending ids."""
        self._bar.reset(total=len(candidates))
        slabs = (np.asarray(candidates[start : start + _SLAB]) for start in range(0, len(candidates), _SLAB))
        for stretch, record in self._gathered(self._worth_reading(slab, counts=True) for slab in slabs):
            self._keep(stretch, record)
            self._bar.update(len(stretch))

    def some(self, candidates: range | np.ndarray, sample: int, seed: int) -> None:
        """Visit candidates in random order until ``sample`` of them hold information, or none is left.

        Each round reads as many as are still missing, so that no tile with information is read in vain, and looks up
        about as many as it takes to find them, since every look may fetch a part of the block table.
        """
        self._bar.reset(total=sample)
        draw = RandomDraw(len(candidates), seed)
        waiting = np.empty(0, np.int64)
        n_found = n_looked_up = 1
        while self.n_kept < sample:
            missing = sample - self.n_kept
            while (wanted := missing - len(waiting)) > 0:
                places = draw.take(min(_SLAB, max(_SMALLEST_SLAB, wanted * n_looked_up // n_found)))
                if len(places) == 0:
                    break
                ids = places if isinstance(candidates, range) else candidates[places]
                found = self._worth_reading(ids).ids
                waiting = np.concatenate([waiting, found])
                n_found, n_looked_up = n_found + len(found), n_looked_up + len(ids)
            if len(waiting) == 0:
                break
            part, waiting = np.sort(waiting[:missing]), waiting[missing:]
            for stretch, record in self._gathered([self._reader.plan.layout.locate(part)]):
                self._keep(stretch, record)
                self._bar.update(record["n"])

    def gathered(self) -> tuple[Cells, np.ndarray]:
        """The cells kept and their coverage, in the order of the store."""
        parts = [cells for cells, _ in self._kept]
        names = [field.name for field in dataclasses.fields(Cells)]
        cells = Cells(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
        return cells, np.concatenate([coverage for _, coverage in self._kept])

    def facts(self) -> dict[str, int]:
        """How many cells were left out by the block table, read, and kept."""
        return {"empty_by_block_table": self.n_skipped, "read": self.n_read, "tiles": self.n_kept}

    def _worth_reading(self, ids: np.ndarray, counts: bool = False) -> Cells:
        cells = self._reader.plan.layout.locate(ids)
        keep = self._reader.may_hold_information(cells)
        skipped = len(cells) - int(keep.sum())
        self.n_skipped += skipped
        if counts:
            self._bar.update(skipped)
        return cells[keep]

    def _gathered(self, parts: Iterable[Cells]) -> Iterator[tuple[Cells, Record]]:
        return gather(self._reader, self._reader.stretches(parts), self._store, self._cluster)

    def _keep(self, stretch: Cells, record: Record) -> None:
        kept = stretch[np.array(record["rows"], np.int64)]
        self._kept.append((kept, np.array(record["coverage"], np.float64)))
        self.n_read += len(stretch)
        self.n_kept += len(kept)


def _fit_rasters(paths: list[Path], spec: TileSpec) -> tuple[RasterFacts, ...]:
    """Facts of the rasters, each fit for tiling and all fit for one another.

    Raises:
        RasterError: If one is not, or is smaller than a tile.
        CorpusError: If they differ in CRS or type of values.
    """
    rasters = tuple(read_facts(path) for path in paths)
    for facts in rasters:
        check_bands(facts, spec.bands)
        check_georeference(facts)
        if min(facts.width_px, facts.height_px) < spec.size_px:
            raise RasterError(
                f"{facts.path}: is {facts.width_px} x {facts.height_px} px (width x height), smaller than a tile of "
                f"{spec.size_px} px. Set tile_px = {min(facts.width_px, facts.height_px)} or less"
                + (", or take the file out of the folder." if len(paths) > 1 else ".")
            )
    for what, values in (("CRS", [f.crs for f in rasters]), ("type of values", [f.dtype for f in rasters])):
        other = next((i for i, value in enumerate(values) if value != values[0]), None)
        if other is not None:
            raise CorpusError(
                f"{paths[0].parent}: its rasters differ in {what}: {paths[0].name} has {values[0][:60]}, "
                f"{paths[other].name} has {values[other][:60]}; one corpus needs one. Convert them first, with "
                "`gdalwarp -t_srs` or `gdal_translate -ot`, or keep them in folders of their own."
            )
    return rasters


def _lay_out(rasters: tuple[RasterFacts, ...], spec: TileSpec) -> Layout:
    shapes = [(facts.height_px, facts.width_px) for facts in rasters]
    return lay_grids(shapes, spec.size_px, spec.stride_px or spec.size_px, spec.half_offset)


def _candidates(paths: list[Path], layout: Layout, spec: TileSpec) -> tuple[range | np.ndarray, pd.Series | None]:
    """Ids of the cells that may become tiles, ascending, and their labels where there are any."""
    if spec.labels is None:
        return range(layout.n_cells), None
    labels = read_labels(Path(spec.labels), [path.name for path in paths], layout)
    return labels.index.to_numpy(np.int64), labels


def count_candidates(paths: list[Path], spec: TileSpec) -> int:
    """How many cells of the rasters may become tiles, as far as their headers and the labels tell."""
    return len(_candidates(paths, _lay_out(_fit_rasters(paths, spec), spec), spec)[0])


def check_sample(place: Path, spec: TileSpec, n: int) -> None:
    """Refuse a sample that is larger than the ``n`` tiles that there are."""
    if spec.sample is not None and spec.sample > n:
        raise CorpusError(
            f"{place}: a sample of {spec.sample:,} tiles was asked for, but there are only {n:,} of {spec.size_px} px. "
            "Lower sample, or take smaller or overlapping tiles."
        )


def _too_few(paths: list[Path], spec: TileSpec, visit: _Visit) -> str:
    place = paths[0] if len(paths) == 1 else paths[0].parent
    wanted = "none" if spec.sample is None else f"{visit.n_kept:,} of the {spec.sample:,} asked for"
    return (
        f"{place}: of {visit.n_read + visit.n_skipped:,} cells of {spec.size_px} px, {wanted} hold information: more "
        f"than {spec.min_coverage:.0%} of their values must be none of 0, the largest value, nodata or masked. Lower "
        "min_coverage or sample, or take smaller tiles."
    )


def _class_rasters(rasters: tuple[RasterFacts, ...], spec: TileSpec) -> list[Path]:
    """The land-cover raster of each raster, checked to lie pixel on pixel over it; none where none are given."""
    if spec.classes is None:
        return []
    source = Path(spec.classes)
    is_folder = source.is_dir() or len(rasters) > 1
    paths = [source / facts.path.name if is_folder else source for facts in rasters]
    for path, facts in zip(paths, rasters, strict=True):
        check_same_grid(path, facts)
    return paths


def _table(
    rasters: tuple[RasterFacts, ...], cells: Cells, coverage: np.ndarray, size_px: int, classes: list[Path]
) -> gpd.GeoDataFrame:
    """The table of `Tiles`, with footprints and class fractions."""
    a, _, c, _, e, f = np.array([facts.transform for facts in rasters])[cells.raster].T
    x, y = c + a * cells.col_px, f + e * cells.row_px
    x_end, y_end = x + a * size_px, y + e * size_px
    box = shapely.box(np.minimum(x, x_end), np.minimum(y, y_end), np.maximum(x, x_end), np.maximum(y, y_end))
    table = pd.DataFrame(
        {
            "id": cells.ids,
            "raster": np.array([facts.path.name for facts in rasters], object)[cells.raster],
            "row": cells.row,
            "col": cells.col,
            "row_px": cells.row_px,
            "col_px": cells.col_px,
            "coverage_frac": coverage,
        }
    )
    if classes:
        table = table.join(_fractions(classes, cells, size_px))
    return gpd.GeoDataFrame(table.assign(footprint=box), geometry="footprint", crs=rasters[0].crs)


def _fractions(classes: list[Path], cells: Cells, size_px: int) -> pd.DataFrame:
    """Class fractions of the cells; a class that a raster does not know covers nothing of it."""
    parts = []
    for number in np.unique(cells.raster):
        here = np.flatnonzero(cells.raster == number)
        side = np.full(len(here), size_px)
        windows = np.column_stack([cells.row_px[here], cells.col_px[here], side, side])
        parts.append(class_fractions(classes[number], windows).set_index(here))
    return pd.concat(parts).fillna(np.float32(0)).sort_index()
