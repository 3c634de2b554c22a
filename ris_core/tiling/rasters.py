"""What a raster is, before a tile of it is cut: facts to print and a small picture to look at."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rasterio.enums import Resampling
from tqdm import tqdm

from ris_core.errors import RasterError
from ris_core.tiling.blocks import BlockTable
from ris_core.tiling.grid import Layout, lay_grids
from ris_core.tiling.pixels import Scaling, empty_values
from ris_core.tiling.raster_facts import (
    DEFAULT_BANDS,
    RasterFacts,
    bounded_cache,
    check_bands,
    check_georeference,
    facts_of,
    open_raster,
    read_validity,
    read_values,
)
from ris_core.tiling.raster_sample import decimated_shape
from ris_core.tiling.virtual_path import as_path

__all__ = ["RasterFacts", "describe_raster", "facts_table", "inspect_raster", "write_thumbnail"]

_MOST_CELLS = 200_000  # more cells are not looked up one by one where GDAL has to be asked about each
_MOST_AVERAGED = 2**16  # blocks that a thumbnail is averaged over where there is no overview
_VAST_PX = 128  # side of the thumbnail of more
_SLAB = 2**18  # cells that are looked up at a time
_PATIENCE_S = 1.0  # what takes no longer shows no progress


def inspect_raster(path: Path, bands: tuple[int, ...] = DEFAULT_BANDS) -> RasterFacts:
    """Facts of a raster that is fit for tiling, with its share of empty blocks.

    Raises:
        RasterError: If it is missing, truncated, no raster, lacks the bands, has no CRS or geotransform, or is
            rotated.
    """
    path = as_path(path)
    with open_raster(path) as dataset:
        return _inspected(dataset, path, BlockTable(dataset, bands), bands)


def _inspected(dataset: Any, path: Path, table: BlockTable, bands: tuple[int, ...]) -> RasterFacts:
    facts = facts_of(dataset, path)
    check_bands(facts, bands)
    check_georeference(facts)
    empty = table.empty_frac(dataset)
    if empty is None:
        return facts
    return dataclasses.replace(facts, empty_blocks_frac=empty[0], empty_blocks_estimated=empty[1])


def write_thumbnail(path: Path, out_png: Path, max_px: int = 1024) -> None:
    """Write a small PNG of a raster, transparent where it is nodata, masked or not stored.

    Values are averaged over the area of each pixel, from an overview where there is one. Of a raster of more than
    65,536 blocks without overviews each pixel is one of the raster's, and there are 128 a side at most: a block is
    decoded for each, which takes a minute or two, instead of every block. Wider types are scaled from their 2nd and
    98th percentile. Rasters of one or two bands become grey.

    Args:
        path: The raster.
        out_png: The picture.
        max_px: Its longest side.

    Raises:
        RasterError: If the raster cannot be read or decoded.
    """
    path = as_path(path)
    with bounded_cache(), open_raster(path) as dataset:
        facts = facts_of(dataset, path)
        bands = DEFAULT_BANDS if facts.bands >= len(DEFAULT_BANDS) else (1, 1, 1)
        is_vast = facts.blocks > _MOST_AVERAGED and not facts.overviews
        shape = decimated_shape(facts, min(max_px, _VAST_PX) if is_vast else max_px)
        resampling = Resampling.nearest if is_vast else Resampling.average
        values = read_values(dataset, bands, out_shape=(3, *shape), resampling=resampling)
        invalid = [np.asarray(values[i] == nodata) for i, nodata in enumerate([facts.nodata[b - 1] for b in bands])]
        validity = read_validity(dataset, facts, bands, out_shape=shape)
    opaque = ~np.logical_and.reduce(invalid) if validity is None else validity & ~np.logical_and.reduce(invalid)
    if values.dtype != np.uint8:
        empty = empty_values(values, [facts.nodata[b - 1] for b in bands]) | ~opaque
        values = Scaling.fit(values.reshape(3, -1), empty.reshape(3, -1), (2.0, 98.0)).apply(values)
    picture = np.dstack([*values, np.where(opaque, 255, 0).astype(np.uint8)])
    Image.fromarray(picture, "RGBA").save(out_png)


def facts_table(facts: RasterFacts, tile_px: int) -> list[tuple[str, str]]:
    """Rows (label, value) that describe a raster and its grid of tiles to a person."""
    decimals = 6 if facts.unit == "degree" else 3
    left, bottom, right, top = (f"{value:,.{decimals}f}" for value in facts.bounds)
    width, height = facts.size_of_pixel
    grid = lay_grids([(facts.height_px, facts.width_px)], tile_px, tile_px, half_offset=False).grids[0]
    nodata = sorted({"none" if value is None else f"{value:g}" for value in facts.nodata})
    size = "not on this machine" if facts.file_bytes is None else f"{facts.file_bytes / 2**20:,.1f} MiB"
    rows = [
        ("file", f"{facts.path} ({size}, {facts.driver})"),
        ("size", f"{facts.width_px:,} x {facts.height_px:,} px (width x height)"),
        ("CRS", facts.crs if facts.crs.startswith("EPSG") else " ".join(facts.crs.split())[:80]),
        ("bounds", f"left {left}, bottom {bottom}, right {right}, top {top}"),
        ("pixel", f"{width:.6g} x {height:.6g} {facts.unit}"),
        ("bands", f"{facts.bands} x {facts.dtype} ({', '.join(facts.colours)})"),
        ("nodata", ", ".join(nodata)),
        ("mask", {"none": "none", "alpha": f"alpha, band {facts.alpha_band}", "mask": "internal or .msk"}[facts.mask]),
        ("blocks", f"{facts.blocks:,} of {facts.block_px[1]} x {facts.block_px[0]} px, {facts.interleave}-interleaved"),
        ("compression", facts.compression),
        ("overviews", ", ".join(f"1:{factor}" for factor in facts.overviews) or "none"),
        ("empty blocks", _empty_text(facts)),
        ("tiles", f"{grid.n_cells:,} of {tile_px} px ({grid.n_rows:,} rows x {grid.n_cols:,} columns)"),
    ]
    if facts.dtype != "uint8":
        rows.insert(6, ("to 8 bits", "by percentiles of the valid values, 2nd to 98th unless the suite says otherwise"))
    if grid.n_cells == 0:
        rows.append(("note", f"a tile of {tile_px} px is larger than the raster"))
    elif facts.block_px[1] >= facts.width_px > 4 * tile_px and facts.block_px[0] < tile_px:
        rows.append(
            ("note", "stored in strips: a sample of tiles is slow; `gdal_translate -of COG IN OUT` makes it fast")
        )
    return rows


def _empty_text(facts: RasterFacts) -> str:
    if facts.empty_blocks_frac is None:
        return "unknown: the format has no block table"
    empty = round(facts.empty_blocks_frac * facts.blocks)
    if facts.empty_blocks_estimated:
        return f"about {facts.empty_blocks_frac:.1%} are not stored"
    return f"{facts.empty_blocks_frac:.1%} are not stored: {empty:,}; {facts.blocks - empty:,} are"


def describe_raster(path: Path, tile_px: int, progress: bool = False) -> str:
    """Aligned lines that say what a raster is and how many tiles it gives.

    Args:
        path: The raster.
        tile_px: Side of a tile.
        progress: Whether a progress line goes to stderr while tiles are counted, once that takes a second.

    Raises:
        RasterError: As `inspect_raster`, or if a tile has no size.
    """
    if tile_px < 1:
        raise RasterError(f"{path}: a tile of {tile_px} px was asked for; allowed: 1 px or more.")
    path = as_path(path)
    with open_raster(path) as dataset:
        table = BlockTable(dataset, DEFAULT_BANDS)
        facts = _inspected(dataset, path, table, DEFAULT_BANDS)
        rows = facts_table(facts, tile_px)
        layout = lay_grids([(facts.height_px, facts.width_px)], tile_px, tile_px, half_offset=False)
        is_quick = table.is_read_in_pages or layout.n_cells <= _MOST_CELLS
        if facts.empty_blocks_frac is not None and layout.n_cells and is_quick:
            stored = _count_stored(dataset, table, layout, progress)
            tiles = [label for label, _ in rows].index("tiles")
            text = f"{layout.n_cells - stored:,} lie in empty blocks altogether, {stored:,} may hold information"
            rows.insert(tiles + 1, ("", text))
    width = max(len(label) for label, _ in rows)
    return "\n".join(f"{label:<{width}}  {value}" for label, value in rows) + "\n"


def _count_stored(dataset: Any, table: BlockTable, layout: Layout, progress: bool) -> int:
    """How many cells of the only grid of a layout lie in a stored block with a part of them at least."""
    n, size_px = layout.n_cells, layout.grids[0].size_px
    stored = 0
    with tqdm(desc="tiles", total=n, unit="tile", delay=_PATIENCE_S, disable=not progress) as bar:
        for start in range(0, n, _SLAB):
            cells = layout.locate(np.arange(start, min(start + _SLAB, n)))
            stored += int(np.count_nonzero(table.stored_frac(dataset, cells.row_px, cells.col_px, size_px)))
            bar.update(len(cells))
    return stored
