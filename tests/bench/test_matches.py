"""The figure of a tile and its nearest, with distances and places."""

from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from matplotlib.figure import Figure

from bench.__main__ import main
from bench.figures.matches import draw_matches, place_words
from bench.figures.thesis import FigureOptions, draw_named
from bench.finished.finished_run import FinishedRun
from bench.finished.run_answers import Answers, find_answers
from ris_core.errors import ArtifactError, SuiteError
from ris_core.records import PADDING_ID, Tiles

STRIDE = 256


def placed_tiles(crs: str = "EPSG:32615", size: float = 4.0) -> Tiles:
    """Two cells of a.tif and one of its second grid, and one of b.tif; a footprint is ``size`` wide."""
    table = pd.DataFrame(
        {
            "id": [3, 5, 8, 9],
            "raster": ["a.tif", "a.tif", "a.tif", "b.tif"],
            "row": [0, 2, 2, 1],
            "col": [1, 3, 3, 0],
            "row_px": [0, 512, 640, 256],
            "col_px": [256, 768, 896, 0],
            "coverage_frac": 1.0,
        }
    )
    left = np.array([10.0, 20.0, 30.0, 1000.0])
    footprints = shapely.box(left, 5.0, left + size, 5.0 + size)
    pixels = np.full((4, 8, 8, 3), 120, np.uint8)
    return Tiles(pixels, gpd.GeoDataFrame(table, geometry=footprints, crs=crs).rename_geometry("footprint"))


def answer(ids: list[int], distances: list[float]) -> Answers:
    shape = (1, len(ids))
    return Answers(
        "backbone b, engine e", np.array([3]), np.array([""]), np.array([""]), np.zeros(1, np.int64),
        np.array(ids).reshape(shape), np.zeros(shape, bool), np.array(distances).reshape(shape), np.zeros(1, bool),
    )  # fmt: skip


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_place_is_file_cell_and_middle() -> None:
    tiles = placed_tiles()
    assert place_words(tiles, 5, STRIDE) == ["a.tif", "row 2, col 3", "x 22.0", "y 7.0"]
    assert place_words(tiles, 8, STRIDE) == ["a.tif", "row 2, col 3 +128", "x 32.0", "y 7.0"]
    assert place_words(tiles, 9, STRIDE) == ["b.tif", "row 1, col 0", "x 1,002.0", "y 7.0"]


def test_degrees_are_told_to_a_decimetre() -> None:
    tiles = placed_tiles("EPSG:4326", size=0.001)
    assert place_words(tiles, 3, STRIDE)[2:] == ["x 10.000500", "y 5.000500"]


def test_picture_of_a_folder_has_a_file_alone() -> None:
    table = pd.DataFrame(placed_tiles().table.drop(columns="footprint"))
    assert place_words(Tiles(np.zeros((4, 1, 1, 3), np.uint8), table), 9, STRIDE) == ["b.tif"]


def test_matches_bear_rank_root_of_the_squared_distance_and_place() -> None:
    found = words(draw_matches(placed_tiles(), answer([8, 9, 5], [2.25, 16.0, 1e4]), STRIDE))
    assert [word for word in found if word in ("1", "2", "3")] == ["1", "2", "3"]
    first, second, third = (found.index(distance) for distance in ("1.500", "4.000", "100.0"))
    assert found[first + 2 : first + 6] == [
        "a.tif",
        "row 2, col 3 +128",
        "x 32.0",
        "y 7.0",
    ]  # after the line of the distance
    assert "b.tif" in found[second:third]


def test_short_answer_leaves_its_places_empty() -> None:
    found = words(draw_matches(placed_tiles(), answer([8, PADDING_ID], [1.0, np.inf]), STRIDE))
    assert found.count("no\nanswer") == 1
    assert not any("inf" in word for word in found)


def test_distances_are_euclidean_in_the_backbones_space(finished_run: Path) -> None:
    run = FinishedRun.open(finished_run)
    tile = run.random_tile(0)
    for k in (5, 40):  # of a tile that nobody judged both are asked anew
        answers = find_answers(run, run.setting("micro"), [tile], k)
        values, ids = (np.load(run.artifact("space", "micro") / f"{name}.npy") for name in ("features", "ids"))
        own = values[ids == tile][0].astype(np.float64)
        expected = np.sort(np.square(values[ids != tile] - own).sum(axis=1))[:k]
        np.testing.assert_allclose(answers.distances[0], expected, rtol=1e-5)


def test_kept_answers_tell_the_same_distances_as_those_asked_anew(finished_run: Path) -> None:
    run = FinishedRun.open(finished_run)
    judged = run.judgments.queries["query_id"].tolist()[:3]
    kept = find_answers(run, run.setting("micro"), judged, 5)
    other = next(int(tile) for tile in run.tiles.ids if tile not in run.judgments.queries["query_id"].tolist())
    anew = find_answers(run, run.setting("micro"), [*judged, other], 5)
    np.testing.assert_allclose(kept.distances, anew.distances[:3], rtol=1e-6)


def test_random_tile_is_a_searched_one_and_follows_its_seed(finished_run: Path) -> None:
    run = FinishedRun.open(finished_run)
    drawn = [run.random_tile(seed) for seed in range(40)]
    assert set(drawn) <= set(np.load(run.folder / "indexed_ids.npy").tolist())
    assert len(set(drawn)) > 10
    assert drawn == [run.random_tile(seed) for seed in range(40)]
    assert f"tile {run.random_tile(0)}" in words(draw_named(run, "matches"))


def test_run_without_tiles_has_no_random_one(tmp_path: Path, finished_run: Path) -> None:
    run = FinishedRun(tmp_path, FinishedRun.open(finished_run).record)
    with pytest.raises(ArtifactError, match=r"indexed_ids\.npy: cannot be read"):
        run.random_tile()


def test_command_draws_a_random_tile_under_its_id(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "random.png"
    assert main(["figure", str(finished_run), "matches", "--tile", "random", "--out", str(out)]) == 0
    assert out.is_file()
    with pytest.raises(SystemExit, match="2"):
        main(["figure", str(finished_run), "matches", "--tile", "any"])
    assert "any is neither the id of a tile nor 'random'" in capsys.readouterr().err


def test_matches_show_one_tile(finished_run: Path) -> None:
    with pytest.raises(SuiteError, match="shows one tile"):
        draw_named(FinishedRun.open(finished_run), "matches", FigureOptions(tile=(1, 2)))
