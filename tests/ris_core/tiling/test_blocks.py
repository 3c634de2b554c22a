import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window

from ris_core.errors import RasterError
from ris_core.tiling import blocks
from ris_core.tiling.blocks import BlockTable
from ris_core.tiling.tiff_directory import Column, TiffDirectory

LEFT_UPPER = [Window(0, 0, 32, 16)]  # two of 3 x 4 blocks of 16 px


def stored(table: BlockTable, dataset: Any, row_px: int, col_px: int, size_px: int) -> float:
    (share,) = table.stored_frac(dataset, np.array([row_px]), np.array([col_px]), size_px)
    return float(share)


@pytest.fixture
def sparse(make_raster: Callable[..., Path]) -> Path:
    values = np.full((3, 48, 60), 9, np.uint8)
    return make_raster(values, sparse_ok=True, windows=LEFT_UPPER)


def test_stored_frac_by_hand(sparse: Path) -> None:
    with rasterio.open(sparse) as dataset:
        table = BlockTable(dataset, (1, 2, 3))
        assert table.shape == (3, 4)
        assert stored(table, dataset, 0, 0, 16) == 1
        assert stored(table, dataset, 0, 24, 16) == 0.5
        assert stored(table, dataset, 8, 24, 16) == 0.25
        assert stored(table, dataset, 16, 0, 32) == 0
        assert stored(table, dataset, 12, 30, 8) == pytest.approx(4 * 2 / 64)
        assert table.empty_frac(dataset) == (10 / 12, False)


def test_stored_frac_of_a_band_interleaved_raster_counts_each_band(make_raster: Callable[..., Path]) -> None:
    values = np.full((3, 16, 16), 9, np.uint8)
    path = make_raster(values, interleave="band", sparse_ok=True, windows=[Window(0, 0, 0, 0)])
    with rasterio.open(path, "r+") as dataset:
        dataset.write(values[1], 2)  # bands 1 and 3 stay unstored
    with rasterio.open(path) as dataset:
        assert stored(BlockTable(dataset, (1, 2, 3)), dataset, 0, 0, 16) == pytest.approx(1 / 3)
        assert stored(BlockTable(dataset, (1, 2, 2)), dataset, 0, 0, 16) == pytest.approx(2 / 3)
        assert stored(BlockTable(dataset, (2, 2, 2)), dataset, 0, 0, 16) == 1


def test_stored_frac_of_many_squares_equals_a_count_of_pixels(make_raster: Callable[..., Path]) -> None:
    windows = [Window(0, 0, 16, 16), Window(32, 0, 32, 16), Window(16, 32, 16, 16)]
    values = np.full((3, 70, 90), 9, np.uint8)
    with rasterio.open(make_raster(values, sparse_ok=True, windows=windows)) as dataset:
        table = BlockTable(dataset, (1, 2, 3))
        pixels = dataset.read(1)
        for size in (1, 7, 16, 33):
            rows, cols = (grid.ravel() for grid in np.mgrid[0 : 71 - size : 3, 0 : 91 - size : 5])
            counted = [(pixels[r : r + size, c : c + size] > 0).mean() for r, c in zip(rows, cols, strict=True)]
            assert table.stored_frac(dataset, rows, cols, size) == pytest.approx(counted)


def test_table_of_another_format_counts_as_stored(make_raster: Callable[..., Path]) -> None:
    path = make_raster(np.zeros((3, 16, 16), np.uint8), "a.img", driver="HFA", compress=None)
    with rasterio.open(path) as dataset:
        table = BlockTable(dataset, (1, 2, 3))
        assert stored(table, dataset, 0, 0, 16) == 1
        assert table.empty_frac(dataset) is None


def test_large_table_is_estimated(sparse: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_MOST_ASKED", 11)
    monkeypatch.setattr(blocks, "read_directory", lambda _: None)  # as of a raster that only GDAL can open
    with rasterio.open(sparse) as dataset:
        share, is_estimated = BlockTable(dataset, (1, 2, 3)).empty_frac(dataset) or (0.0, False)
    assert is_estimated
    assert 0.3 < share <= 1


def test_block_behind_the_end_of_the_file_is_named(make_raster: Callable[..., Path]) -> None:
    values = np.random.default_rng(0).integers(1, 255, (3, 64, 64)).astype(np.uint8)
    path = make_raster(values)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with rasterio.open(path) as dataset:
        table = BlockTable(dataset, (1, 2, 3))
        assert stored(table, dataset, 0, 0, 16) == 1
        with pytest.raises(RasterError, match="truncated: the block in row 3, column 3"):
            stored(table, dataset, 48, 48, 16)


def test_table_behind_the_end_of_the_file_is_named(make_raster: Callable[..., Path]) -> None:
    path = make_raster(np.full((3, 640, 640), 9, np.uint8), tiled=True, bigtiff="YES")
    with rasterio.open(path) as dataset:
        table = BlockTable(dataset, (1, 2, 3))
        path.write_bytes(path.read_bytes()[:400])  # the table begins before and ends behind
        with pytest.raises(RasterError, match=r"ortho\.tif: its block table cannot be read \(it is cut off\)"):
            stored(table, dataset, 0, 0, 640)


def test_only_asked_pages_of_a_table_are_read(
    make_raster: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.full((3, 320, 320), 9, np.uint8)
    path = make_raster(values, sparse_ok=True, windows=[Window(0, 0, 320, 160)])  # 20 x 20 blocks, the upper half
    monkeypatch.setattr(blocks, "_PAGE", 10)
    read: list[tuple[int, int]] = []
    original = Column.read

    def count(column: Column, file: object, start: int, n: int) -> np.ndarray:
        read.append((start, n))
        return original(column, file, start, n)

    monkeypatch.setattr(Column, "read", count)
    with rasterio.open(path) as dataset:
        table = BlockTable(dataset, (1, 2, 3))
        read.clear()
        assert stored(table, dataset, 160, 0, 16) == 0
        assert read == [(200, 10)]  # sizes alone: nothing is stored there
        assert stored(table, dataset, 160, 48, 16) == 0
        assert len(read) == 1  # known by now
        assert stored(table, dataset, 0, 304, 16) == 1
        assert read[1:] == [(10, 10), (10, 10)]  # sizes and offsets
        assert table.empty_frac(dataset) == (0.5, False)
        assert sum(n for _, n in read) <= 10 + 2 * 200 + 200  # the rest, each page once


def test_states_of_entries_by_hand() -> None:
    entries = np.array([[0, 900, 90, 91, 2**64 - 1], [5, 0, 10, 10, 10]], "<u8")  # offsets, sizes; 100 bytes of file
    columns = [Column(at, 5, np.dtype("<u8")) for at in (0, 40)]
    directory = TiffDirectory((16, 16), (1, 5), 1, *columns)
    states = blocks._states(directory, io.BytesIO(entries.tobytes()), 0, 5, 100)
    assert states.tolist() == [1, 0, 1, blocks._BEHIND, blocks._BEHIND]
