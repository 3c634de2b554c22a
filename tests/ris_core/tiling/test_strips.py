import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window

from ris_core.errors import RasterError
from ris_core.tiling import strips
from ris_core.tiling.grid import lay_grids
from ris_core.tiling.raster_facts import read_facts
from ris_core.tiling.strips import ReadPlan, TileReader, common_windows, fit_scaling, strip_shape

MakeRaster = Callable[..., Path]


def holey(height: int = 130, width: int = 170) -> np.ndarray:
    """Values of which some tiles are full, some nearly empty, some empty."""
    random = np.random.default_rng(3)
    values = random.integers(1, 255, (3, height, width)).astype(np.uint8)
    values[:, 60:, 90:] = 0
    values[0, :40, 100:] = 255
    values[1, random.random((height, width)) < 0.02] = 0
    return values


def published_way(path: Path, size: int, stride: int, min_coverage: float) -> dict[int, np.ndarray]:
    """Tile by tile through a window each, with the thesis' rule in plain NumPy."""
    found = {}
    with rasterio.open(path) as dataset:
        n_cols = (dataset.width - size) // stride + 1
        for row in range((dataset.height - size) // stride + 1):
            for col in range(n_cols):
                tile = dataset.read([1, 2, 3], window=Window(col * stride, row * stride, size, size))
                if ((tile == 0) | (tile == 255)).mean() < round(1 - min_coverage, 9):
                    found[row * n_cols + col] = tile.transpose(1, 2, 0)
    return found


def read_all(path: Path, size: int, stride: int, threads: int, min_coverage: float = 0.9) -> dict[int, np.ndarray]:
    facts = read_facts(path)
    layout = lay_grids([(facts.height_px, facts.width_px)], size, stride, half_offset=False)
    reader = TileReader(ReadPlan((facts,), layout, size, size, (1, 2, 3), min_coverage, None), threads)
    cells = layout.locate(np.arange(layout.n_cells))
    found: dict[int, np.ndarray] = {}
    for stretch in reader.read([cells[reader.may_hold_information(cells)]]):
        assert stretch.cells.ids.tolist() == sorted(stretch.cells.ids.tolist())
        assert min(stretch.cells.ids, default=10**9) > max(found, default=-1)
        found |= dict(zip(stretch.cells.ids.tolist(), stretch.pixels, strict=True))
    return found


LAYOUTS: list[dict[str, Any]] = [
    {},
    {"interleave": "band"},
    {"compress": "jpeg", "photometric": "ycbcr"},
    {"compress": None, "nodata": 0},
    {"tiled": False, "blockxsize": None, "blockysize": 3},
    {"blockxsize": 64, "blockysize": 32, "sparse_ok": True, "windows": [Window(0, 0, 90, 130), Window(0, 0, 170, 60)]},
]


@pytest.mark.parametrize("profile", LAYOUTS, ids=["tiled", "band", "jpeg", "plain", "strips", "sparse"])
@pytest.mark.parametrize("strip_px", [1, 5_000, 2**23])
def test_tiles_equal_the_published_way(
    make_raster: MakeRaster, monkeypatch: pytest.MonkeyPatch, profile: dict[str, Any], strip_px: int
) -> None:
    monkeypatch.setattr(strips, "_STRIP_PX", strip_px)
    path = make_raster(holey(), **profile)
    for size, stride in ((16, 16), (20, 20), (24, 10), (16, 50)):
        expected = published_way(path, size, stride, 0.9)
        found = read_all(path, size, stride, threads=2)
        assert list(found) == list(expected)
        assert all((found[i] == expected[i]).all() for i in expected)
        assert 0 < len(expected) < ((170 - size) // stride + 1) * ((130 - size) // stride + 1)


def test_tiles_do_not_depend_on_the_number_of_threads(make_raster: MakeRaster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strips, "_STRIP_PX", 3_000)
    path = make_raster(holey())
    one, four = read_all(path, 16, 8, 1), read_all(path, 16, 8, 4)
    assert list(one) == list(four)
    assert all((one[i] == four[i]).all() for i in one)


def test_blocks_that_are_not_stored_are_never_read(make_raster: MakeRaster, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Window] = []
    original = strips.read_values

    def count(dataset: Any, bands: tuple[int, ...], window: Window) -> np.ndarray:
        read.append(window)
        return original(dataset, bands, window=window)

    monkeypatch.setattr(strips, "read_values", count)
    path = make_raster(np.full((3, 64, 320), 9, np.uint8), sparse_ok=True, windows=[Window(16, 16, 32, 32)])
    assert list(read_all(path, 16, 16, 1)) == [21, 22, 41, 42]
    assert max(window.col_off + window.width for window in read) == 48
    assert min(window.row_off for window in read) == 16


def test_scattered_tiles_are_read_alone_and_neighbours_together() -> None:
    together = common_windows(np.array([0, 0, 16]), np.array([0, 16, 0]), 16)
    assert [(w.width, w.height, list(m)) for w, m in together] == [(32, 32, [0, 1, 2])]
    alone = common_windows(np.array([0, 0]), np.array([0, 500]), 16)
    assert [(w.col_off, w.width, list(m)) for w, m in alone] == [(0, 16, [0]), (500, 16, [1])]


def test_strip_shape_fits_memory() -> None:
    assert strip_shape(8_192, 512, 512) == (2, 16)  # 2 rows of 8,192 x 512 px are 2**23
    assert strip_shape(3_825_911, 512, 512) == (1, 32)
    assert strip_shape(100_000, 100_000, 512) == (1, 196)  # full-width storage is read at full width


def test_wider_types_are_scaled_in_common_for_all_rasters(make_raster: MakeRaster) -> None:
    low = make_raster(np.full((3, 32, 32), 1_000, np.uint16), "a.tif")
    high = make_raster(np.full((3, 32, 32), 3_000, np.uint16), "b.tif", nodata=3_000)
    ramp = np.broadcast_to(np.linspace(2_000, 5_000, 32).astype(np.uint16), (3, 32, 32))
    facts = tuple(read_facts(path) for path in (low, high, make_raster(ramp, "c.tif")))
    scaling = fit_scaling(facts, (1, 2, 3), (0.0, 100.0))
    assert scaling is not None
    assert (scaling.low, scaling.high) == ((1_000.0,) * 3, (5_000.0,) * 3)
    assert fit_scaling((read_facts(make_raster(holey(), "d.tif")),), (1, 2, 3), (2.0, 98.0)) is None


def test_nodata_of_a_wide_type_becomes_black(make_raster: MakeRaster) -> None:
    values = np.full((3, 16, 16), 2_000, np.uint16)
    values[:, 8:] = 3_000
    values[:, 0, 0] = 60_000
    facts = read_facts(make_raster(values, nodata=60_000))
    scaling = fit_scaling((facts,), (1, 2, 3), (0.0, 100.0))
    layout = lay_grids([(16, 16)], 16, 16, half_offset=False)
    reader = TileReader(ReadPlan((facts,), layout, 16, 16, (1, 2, 3), 0.9, scaling), 1)
    (stretch,) = reader.read([layout.locate(np.array([0]))])
    assert stretch.pixels[0, [0, 0, 15], [0, 1, 0], 0].tolist() == [0, 0, 255]
    assert stretch.coverage.tolist() == [pytest.approx(1 - 1 / 256)]


def test_raster_that_vanishes_is_named(make_raster: MakeRaster) -> None:
    path = make_raster(holey())
    facts = read_facts(path)
    layout = lay_grids([(130, 170)], 16, 16, half_offset=False)
    reader = TileReader(ReadPlan((facts,), layout, 16, 16, (1, 2, 3), 0.9, None), 2)
    path.unlink()
    with pytest.raises(RasterError, match=r"ortho\.tif: cannot be opened any more"):
        list(reader.read([layout.locate(np.arange(4))]))


def test_window_that_cannot_be_decoded_is_named(make_raster: MakeRaster) -> None:
    path = make_raster(holey())
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 900] = bytes(900)
    path.write_bytes(content)
    with pytest.raises(RasterError, match=r"ortho\.tif: the window of \d+ x \d+ px at row \d+, column \d+ cannot be"):
        read_all(path, 16, 16, 2)


def test_fewer_threads_read_a_raster_whose_block_table_is_large(
    make_raster: MakeRaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_raster(holey())  # 9 x 11 blocks
    facts = read_facts(path)
    layout = lay_grids([(130, 170)], 16, 16, half_offset=False)
    plan = ReadPlan((facts,), layout, 16, 16, (1, 2, 3), 0.9, None)
    used: list[int] = []
    monkeypatch.setattr(strips, "in_order", lambda function, items, threads: used.append(threads) or [])
    for budget in (2**30, 3 * 99 * 16, 99 * 16 - 1):
        monkeypatch.setattr(strips, "_HANDLES_BYTES", budget)
        assert list(TileReader(plan, 5).read([])) == []
    assert used == [5, 3, 1]
    by_band = read_facts(make_raster(holey(), "band.tif", interleave="band"))  # a table for each of three bands
    monkeypatch.setattr(strips, "_HANDLES_BYTES", 2 * 4 * 99 * 16)
    assert list(TileReader(dataclasses.replace(plan, rasters=(facts, by_band)), 5).read([])) == []
    assert used[3:] == [2]
