"""Rasters whose bytes are damaged: every layout that TIFF has for its blocks, and formats that are none."""

import itertools
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from rasterio.errors import NotGeoreferencedWarning

from ris_core.tiles import TileSpec, cut_tiles
from ris_core.tiling.rasters import describe_raster, write_thumbnail
from ris_core.tiling.tiff_directory import read_directory
from tests.reliability.fuzzing import Target, as_scenarios
from tests.reliability.mutations import Rng, chosen, damaged_bytes

_TILE_PX = 16
_SIZE_PX = (48, 64)
_TILED = {"tiled": True, "blockxsize": 16, "blockysize": 16}
_LAYOUTS: dict[str, dict[str, Any]] = {
    "tiled": _TILED,
    "strips": {"blockysize": 8},
    "one_strip": {"blockysize": 48},
    "big": {**_TILED, "BIGTIFF": "YES"},
    "big_endian": {**_TILED, "ENDIANNESS": "BIG"},
    "deflate": {**_TILED, "compress": "deflate"},
    "lzw": {**_TILED, "compress": "lzw", "predictor": 2},
    "jpeg": {**_TILED, "compress": "jpeg", "photometric": "ycbcr"},
    "zstd": {**_TILED, "compress": "zstd"},
    "packbits": {"compress": "packbits"},
    "by_band": {**_TILED, "interleave": "band"},
    "sparse": {**_TILED, "SPARSE_OK": True},
    "sparse_big": {**_TILED, "SPARSE_OK": True, "BIGTIFF": "YES", "interleave": "band"},
    "nodata": {**_TILED, "nodata": 0},
    "alpha": {**_TILED, "count": 4, "ALPHA": "YES"},
    "palette": {"count": 1, "photometric": "palette"},
    "sixteen_bits": {**_TILED, "dtype": "uint16"},
    "floats": {**_TILED, "dtype": "float32", "compress": "deflate", "predictor": 3},
    "cog": {"driver": "COG", "BLOCKSIZE": 128},
    "png": {"driver": "PNG"},
    "bmp": {"driver": "BMP"},
}


def _rasters(folder: Path) -> list[bytes]:
    """A small raster of each layout, some with a mask or overviews."""
    rng = np.random.default_rng(0)
    files = []
    for name, layout in _LAYOUTS.items():
        profile: dict[str, Any] = {"driver": "GTiff", "count": 3, "dtype": "uint8", **layout}
        values = rng.integers(1, 255, (profile["count"], *_SIZE_PX)).astype(profile["dtype"])
        path = folder / f"{name}.tif"
        with warnings.catch_warnings(), rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            place = {"crs": "EPSG:3857", "transform": Affine(0.5, 0, 0, 0, -0.5, 0)}
            with rasterio.open(path, "w", height=_SIZE_PX[0], width=_SIZE_PX[1], **place, **profile) as dataset:
                rows = slice(0, 16 if "sparse" in name else None)
                dataset.write(values[:, rows], window=rasterio.windows.Window(0, 0, _SIZE_PX[1], len(values[0, rows])))
                if name in ("tiled", "strips"):
                    dataset.write_mask(values[0] > 40)
                if name in ("deflate", "big"):
                    dataset.build_overviews([2, 4])
        files.append(path.read_bytes())
    return files


def _read_damaged(files: list[bytes], case: Path, rng: Rng) -> None:
    path = case / "damaged.tif"
    path.write_bytes(damaged_bytes(rng, chosen(rng, files), chosen(rng, files)))
    reads = (
        lambda: describe_raster(path, _TILE_PX),
        lambda: write_thumbnail(path, case / "small.png"),
        lambda: cut_tiles(path, TileSpec(_TILE_PX, min_coverage=0), out=case / "tiles", threads=1),
        lambda: cut_tiles(path, TileSpec(_TILE_PX, sample=2, bands=(1, 1, 1)), threads=1),
    )
    chosen(rng, reads)()


def _read_directories(files: list[bytes], case: Path, rng: Rng) -> None:
    """Our own reader of directories a hundred times: it never raises."""
    path = case / "damaged.tif"
    for _ in itertools.repeat(None, 100):
        path.write_bytes(damaged_bytes(rng, chosen(rng, files), chosen(rng, files)))
        directory = read_directory(path)
        if directory is not None:
            directory.entries(path.stat().st_size)


TARGETS = (
    Target(
        "damaged_rasters",
        "Bytes of a raster are damaged, in its header above all: 21 layouts, read by `inspect` and cut into tiles.",
        _rasters,
        _read_damaged,
        tries=10_000,
    ),
    Target(
        "damaged_directories",
        "The same for our own reader of a TIFF's block table, 100 files a try.",
        _rasters,
        _read_directories,
        tries=1000,
        tries_in_tests=2,
    ),
)
SCENARIOS = as_scenarios(__name__, TARGETS)
