"""Rasters made for a test."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.errors import NotGeoreferencedWarning

MakeRaster = Callable[..., Path]


@pytest.fixture
def make_raster(tmp_path: Path) -> MakeRaster:
    """A function that writes (bands, h, w) values as a GeoTIFF and returns its path; ``profile`` overrides."""

    def make(values: np.ndarray, name: str = "ortho.tif", **profile: Any) -> Path:
        mask = profile.pop("mask", None)
        colours = profile.pop("colours", None)
        tags = profile.pop("tags", {})
        windows = profile.pop("windows", ())  # parts to write, the rest stays unstored; none = all
        bands, height, width = values.shape
        defaults = {
            "driver": "GTiff",
            "crs": "EPSG:3857",
            "transform": Affine(0.5, 0, 900_000, 0, -0.5, 7_900_000),
            "tiled": True,
            "blockxsize": 16,
            "blockysize": 16,
            "compress": "deflate",
        }
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings(), rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            shape = {"count": bands, "height": height, "width": width, "dtype": values.dtype}
            with rasterio.open(path, "w", **(defaults | shape | profile)) as dataset:
                if windows:
                    for window in windows:
                        rows, cols = window.toslices()
                        dataset.write(values[:, rows, cols], window=window)
                else:
                    dataset.write(values)
                if colours is not None:
                    dataset.colorinterp = colours
                if mask is not None:
                    dataset.write_mask(mask)
                if tags:
                    dataset.update_tags(**tags)
        return path

    return make
