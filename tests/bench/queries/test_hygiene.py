import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.queries.hygiene import examine_features, examine_tiles
from bench.stages.base import Asked, Base
from ris_core.records import Features, Hits, Tiles


def grid(n_cols: int, stride_px: int = 16, **columns: object) -> Tiles:
    """A row of random tiles of 16 px."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"id": np.arange(n_cols), "raster": "r", "row": 0, "col": np.arange(n_cols), "row_px": 0,
                          "col_px": np.arange(n_cols) * stride_px, "coverage_frac": 1.0, **columns})  # fmt: skip
    return Tiles(rng.integers(0, 256, (n_cols, 16, 16, 3), np.uint8), table)


def by_name(findings: list[dict]) -> dict[str, dict]:
    assert json.loads(json.dumps(findings, allow_nan=False)) == findings  # run.json holds them
    return {finding["about"]: finding for finding in findings}


def about_tiles(tiles: Tiles, rows: list[int] | None = None, block_px: int = 64) -> dict[str, dict]:
    return by_name(examine_tiles(tiles, np.array([0] if rows is None else rows), 16, block_px))


def test_sound_tiles_are_told_to_be_sound() -> None:
    found = about_tiles(grid(8), [0, 4])
    assert [finding["count"] for finding in found.values()] == [0] * 5
    assert found["identical tiles"]["consequence"] == "No two of the 8 tiles are identical."
    assert found["queries in one block"]["groups"] == 2
    assert "each in its own" in found["queries in one block"]["consequence"]


def test_copies_are_counted_in_groups() -> None:
    tiles = grid(10)
    tiles.pixels[4] = tiles.pixels[3]
    tiles.pixels[6:8] = tiles.pixels[5]
    tiles.pixels[9] = np.clip(tiles.pixels[8].astype(int) + 1, 0, 255)
    found = about_tiles(tiles)
    identical, near = found["identical tiles"], found["near-duplicate tiles"]
    assert (identical["count"], identical["of"], identical["frac"], identical["groups"]) == (5, 10, 0.5, 2)
    assert (near["count"], near["groups"]) == (7, 3)
    assert identical["consequence"].startswith("5 of 10 tiles (50 %) have an identical copy, in 2 groups")


def test_large_corpus_is_sampled_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.queries.hygiene.MOST_BYTES", 6 * 16 * 16 * 3)
    tiles = grid(10)
    tiles.pixels[:] = 7
    identical = about_tiles(tiles)["identical tiles"]
    assert (identical["count"], identical["of"]) == (6, 6)
    assert "a sample of 6 of 10 tiles" in identical["consequence"]


def test_no_data_is_counted_with_its_area() -> None:
    found = about_tiles(grid(4, coverage_frac=[1.0, 0.9, 0.98, 1.0]))["tiles with no-data"]
    assert (found["count"], found["of"]) == (2, 4)
    assert "on average 6 % of their area and at most 10 %" in found["consequence"]


def test_overlap_and_queries_of_one_block() -> None:
    found = about_tiles(grid(9, stride_px=8), [0, 2, 8])
    assert found["overlapping tiles"]["count"] == 9
    blocks = found["queries in one block"]
    assert (blocks["count"], blocks["of"], blocks["groups"]) == (2, 3, 2)
    assert "The 3 timed queries lie in 2 blocks of 64 px; 2 share" in blocks["consequence"]


def test_tiles_without_places_are_no_error() -> None:
    found = about_tiles(grid(3, raster=["a", "b", "c"]))
    for about in ("overlapping tiles", "queries in one block"):
        assert (found[about]["count"], found[about]["of"], found[about]["frac"]) == (0, 0, None)
        assert "no places on the ground" in found[about]["consequence"]


def about_features(values: np.ndarray, tied: list[bool]) -> dict[str, dict]:
    features = Features(values.astype(np.float32), np.arange(len(values)), "space")
    asked = Asked(np.arange(1), features.values[:1], features.values[:1])
    truth = Hits(np.array([[1]]), np.ones((1, 1), np.float32))
    base = Base("tiny", features, features, Path(), np.arange(len(values)), Path(), asked, truth)
    facts = pd.DataFrame({"set": ["timed"] * len(tied) + ["judged"], "tied": [*tied, True]})
    return by_name(examine_features(base, facts, 10))


def test_vectors_that_differ_and_queries_without_ties() -> None:
    found = about_features(np.eye(5), [False, False])
    assert [finding["count"] for finding in found.values()] == [0, 0, 0]
    assert {finding["backbone"] for finding in found.values()} == {"tiny"}
    assert found["duplicate vectors"]["consequence"] == "All 5 vectors differ."
    assert "None of the 2 timed queries" in found["tied queries"]["consequence"]


def test_duplicate_vectors_and_ties_are_counted() -> None:
    values = np.eye(6)
    values[1] = values[0]
    values[3] = values[2] * (1 + 1e-6)
    found = about_features(values, [True, False, True, True])
    equal, close, tied = (
        found[name] for name in ("duplicate vectors", "vectors equal but for rounding", "tied queries")
    )
    assert (equal["count"], equal["of"], equal["groups"]) == (2, 6, 1)
    assert (close["count"], close["groups"]) == (4, 2)
    assert (tied["count"], tied["of"], tied["frac"]) == (3, 4, 0.75)
    assert "3 of 4 timed queries (75 %) are tied at rank 10" in tied["consequence"]
