from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rasterio.windows import Window

from ris_core.tiling import raster_sample
from ris_core.tiling.raster_facts import open_raster, read_facts
from ris_core.tiling.raster_sample import read_sample

MakeRaster = Callable[..., Path]


def test_sample_leaves_out_nodata_and_masked_values(make_raster: MakeRaster) -> None:
    values = np.full((3, 40, 40), 500, np.uint16)
    values[:, :10] = 9
    values[1, 10:20] = 0
    mask = np.ones((40, 40), bool)
    mask[:, 30:] = False
    path = make_raster(values, nodata=None, mask=mask)
    facts = read_facts(path)
    with open_raster(path) as dataset:
        read, empty = read_sample(dataset, facts, (1, 2, 3))
    assert read.shape == (3, 1600)
    assert (~empty).sum(axis=1).tolist() == [1200, 900, 1200]


def test_sample_of_a_vast_raster_without_overviews_comes_from_stored_blocks(
    make_raster: MakeRaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.zeros((3, 640, 640), np.uint16)
    windows = [Window(128, 256, 128, 64), Window(512, 512, 64, 64)]
    for window in windows:
        values[(slice(None), *window.toslices())] = np.random.default_rng(0).integers(500, 900, (window.height, 1))
    values[0, 512:, 512:544] = 77  # nodata
    path = make_raster(values, sparse_ok=True, windows=windows, blockxsize=64, blockysize=64, nodata=77)
    facts = read_facts(path)
    monkeypatch.setattr(raster_sample, "_MOST_DECIMATED", 99)
    read: list[Window] = []
    original = raster_sample.read_values

    def count(dataset: Any, bands: tuple[int, ...], **how: Any) -> np.ndarray:
        read.append(how["window"])
        return original(dataset, bands, **how)

    monkeypatch.setattr(raster_sample, "read_values", count)
    with open_raster(path) as dataset:
        found, empty = read_sample(dataset, facts, (1, 2, 3))
        assert sorted((w.row_off, w.col_off) for w in read) == [(256, 128), (256, 192), (512, 512)]
        assert found.shape == (3, 3 * 64 * 64)
        assert empty.sum(axis=1).tolist() == [64 * 32, 0, 0]
        assert found[1].min() >= 500
        assert read_sample(dataset, facts, (1, 2, 3), most_px=64)[0].shape == (3, 64 * 64)
        assert (read_sample(dataset, facts, (1, 2, 3))[0] == found).all()
    monkeypatch.setattr(raster_sample, "_MOST_DECIMATED", 100)
    monkeypatch.setattr(raster_sample, "read_values", original)
    with open_raster(path) as dataset:
        assert read_sample(dataset, facts, (1, 2, 3))[0].shape == (3, 640 * 640)
    blank = make_raster(values, "blank.tif", sparse_ok=True, windows=[Window(0, 0, 0, 0)])
    with open_raster(blank) as dataset:
        monkeypatch.setattr(raster_sample, "_MOST_DECIMATED", 99)
        assert read_sample(dataset, read_facts(blank), (1, 2, 3))[0].shape == (3, 0)


@pytest.mark.parametrize("block_px", [16, 128])
def test_narrow_raster_is_sampled_too(make_raster: MakeRaster, monkeypatch: pytest.MonkeyPatch, block_px: int) -> None:
    values = np.random.default_rng(0).integers(500, 900, (3, 48, 1024)).astype(np.uint16)
    path = make_raster(values, blockxsize=block_px, blockysize=block_px)
    monkeypatch.setattr(raster_sample, "_MOST_DECIMATED", 1)
    facts = read_facts(path)
    with open_raster(path) as dataset:
        found, empty = read_sample(dataset, facts, (1, 2, 3))
    assert found.shape == (3, 48 * (1024 // 48 * 48))
    assert not empty.any()
