import re
import tracemalloc
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from shapely.geometry import box

from ris_core.errors import ArtifactError, CorpusError, SearchError
from ris_core.records import Features, Hits, Tiles


def small_tiles(n: int = 3, **columns: object) -> Tiles:
    table = pd.DataFrame(
        {
            "id": np.arange(n) * 10,
            "raster": "a.tif",
            "row": np.arange(n),
            "col": 0,
            "row_px": np.arange(n) * 4,
            "col_px": 0,
            "coverage_frac": 1.0,
            **columns,
        }
    )
    return Tiles(np.arange(n * 48, dtype=np.uint8).reshape(n, 4, 4, 3), table)


def test_tiles_reject_what_is_not_a_tile() -> None:
    tiles = small_tiles()
    with pytest.raises(CorpusError, match="uint8 of shape"):
        Tiles(tiles.pixels.astype(np.float32), tiles.table)
    with pytest.raises(CorpusError, match="table of 2 rows"):
        Tiles(tiles.pixels, tiles.table.iloc[:2])
    with pytest.raises(CorpusError, match="not unique"):
        small_tiles(id=[1, 2, 1])


@pytest.mark.parametrize("rows", [[2, 0], np.array([2, 0]), np.array([False, True, True]), slice(1, None)])
def test_selected_tiles_keep_pixels_and_table_together(rows: object) -> None:
    tiles = small_tiles()
    chosen = tiles[rows]  # type: ignore[index]
    np.testing.assert_array_equal(chosen.pixels, tiles.pixels[rows])  # type: ignore[index]
    np.testing.assert_array_equal(chosen.ids, tiles.ids[rows])  # type: ignore[index]


def test_tiles_come_back_from_disk_with_their_place_on_earth(tmp_path: Path) -> None:
    tiles = small_tiles(label=["a", "b", "a"], frac_water=np.float32([0, 0.5, 1]))
    table = gpd.GeoDataFrame(
        tiles.table.assign(footprint=[box(i, 0, i + 1, 1) for i in range(3)]), geometry="footprint"
    )
    Tiles(tiles.pixels, table.set_crs("EPSG:3857")).save(tmp_path)
    opened = Tiles.open(tmp_path)
    assert isinstance(opened.pixels, np.memmap)
    assert isinstance(opened.table, gpd.GeoDataFrame)
    assert opened.table.crs.to_epsg() == 3857
    assert opened.labels is not None
    assert opened.labels.tolist() == ["a", "b", "a"]
    assert opened.class_fractions is not None
    assert opened.class_fractions["water"].tolist() == [0, 0.5, 1]


def test_tiles_without_a_place_come_back_too(tmp_path: Path) -> None:
    small_tiles().save(tmp_path)
    opened = Tiles.open(tmp_path)
    assert opened.labels is None
    assert opened.class_fractions is None
    with pytest.raises(ArtifactError, match="no tiles to be read"):
        Tiles.open(tmp_path / "missing")


def test_features_are_checked_in_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ris_core.records._BLOCK_VALUES", 2**12)
    values = np.zeros((20_000, 64), np.float32)
    values[[4_999, 19_999], 63] = np.nan
    tracemalloc.start()
    with pytest.raises(SearchError, match="2 of 20000 features are NaN or infinite, first for tile 4999"):
        Features(values, np.arange(20_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < values.size * 0.75  # one byte a value is what a mask of all takes; ids are half of it


def test_features_name_the_tile_that_is_not_finite() -> None:
    values = np.ones((3, 2), np.float32)
    values[1, 0] = np.nan
    with pytest.raises(SearchError, match="1 of 3 features are NaN or infinite, first for tile 20"):
        Features(values, np.array([10, 20, 30]))


def test_features_keep_ids_and_space_through_selection_and_disk(tmp_path: Path) -> None:
    features = Features(np.eye(3, dtype=np.float32), np.array([7, 8, 9]), "abc")
    chosen = features[[2, 0]]
    chosen.save(tmp_path)
    opened = Features.open(tmp_path)
    assert opened.ids.tolist() == [9, 7]
    assert opened.space == "abc"
    np.testing.assert_array_equal(opened.values, [[0, 0, 1], [1, 0, 0]])


def test_hits_reject_wrong_shapes_and_come_back_from_disk(tmp_path: Path) -> None:
    hits = Hits(np.array([[3, -1]]), np.array([[0.5, np.inf]], np.float32))
    hits.save(tmp_path)
    assert Hits.open(tmp_path).ids.tolist() == [[3, -1]]
    assert hits.k == 2
    with pytest.raises(SearchError, match="shape"):
        Hits(np.zeros((1, 2), np.int64), np.zeros((2, 1), np.float32))
    with pytest.raises(SearchError, match="int64 and float32"):
        Hits(np.zeros((1, 2), np.int32), np.zeros((1, 2), np.float32))


@pytest.mark.parametrize("header", ["{'descr': '<f4', 'fortran_order': (", "\0", "{'shape': }", "'"])
def test_array_whose_header_is_no_python_is_a_damaged_artifact(tmp_path: Path, header: str) -> None:
    Hits(np.zeros((2, 3), np.int64), np.zeros((2, 3), np.float32)).save(tmp_path)
    content = (tmp_path / "ids.npy").read_bytes()
    (tmp_path / "ids.npy").write_bytes(content[:10] + header.encode().ljust(118) + content[128:])
    with pytest.raises(ArtifactError, match=re.escape(str(tmp_path))):
        Hits.open(tmp_path)


def test_arrays_that_do_not_fit_each_other_name_their_folder(tmp_path: Path) -> None:
    Hits(np.zeros((2, 3), np.int64), np.zeros((2, 3), np.float32)).save(tmp_path)
    np.save(tmp_path / "ids.npy", np.zeros(7, np.int64))
    with pytest.raises(ArtifactError, match=re.escape(str(tmp_path))):
        Hits.open(tmp_path)
