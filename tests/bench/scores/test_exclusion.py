import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import affinity
from shapely.geometry import box

from bench.scores.exclusion import (
    BLOCK,
    OVERLAP,
    block_codes,
    excluded_rows,
    extra_depth,
    overlapping_pairs,
    precision_without,
    recall_without,
    without,
)
from bench.scores.score import precision_at_k, recall_at_k
from ris_core.errors import CorpusError, SearchError
from ris_core.records import PADDING_ID, Hits, Tiles


def tiles_at(places: list[tuple[int, int]], raster: list[str] | str = "r", footprints: list | None = None) -> Tiles:
    row_px, col_px = np.array(places, np.int64).reshape(-1, 2).T
    table = pd.DataFrame({"id": np.arange(len(places)), "raster": raster, "row_px": row_px, "col_px": col_px})
    if footprints is not None:
        table = gpd.GeoDataFrame(table.assign(footprint=footprints), geometry="footprint", crs="EPSG:32632")
    return Tiles(np.zeros((len(places), 1, 1, 3), np.uint8), table)


def of_overlap(tiles: Tiles, rows: list[int], tile_px: int = 10) -> list[list[int]]:
    return [found.tolist() for found in excluded_rows(tiles, np.array(rows), OVERLAP, tile_px, 100)]


def test_tiles_that_share_an_area_are_excluded_and_those_that_touch_are_not() -> None:
    tiles = tiles_at([(0, 0), (0, 5), (5, 0), (0, 10), (10, 10), (9, 9)])
    assert of_overlap(tiles, [0, 3]) == [[1, 2, 5], [1, 5]]


def test_pixels_of_another_raster_are_other_ground_without_footprints() -> None:
    tiles = tiles_at([(0, 0), (0, 5), (0, 0), (0, 5)], ["a", "a", "b", "b"])
    assert of_overlap(tiles, [0, 3]) == [[1], [2]]


def test_footprints_count_across_rasters() -> None:
    # The second raster lies 3 m to the east of the first; its pixels have the same places.
    footprints = [box(0, 0, 10, 10), box(10, 0, 20, 10), box(3, 0, 13, 10), box(13, 0, 23, 10)]
    tiles = tiles_at([(0, 0), (0, 10), (0, 0), (0, 10)], ["a", "a", "b", "b"], footprints)
    assert of_overlap(tiles, [0, 1]) == [[2], [2, 3]]


def test_turned_footprints_overlap_by_area_and_not_by_bounding_box() -> None:
    diamond = affinity.rotate(box(0, 0, 10, 10), 45)
    near_the_tip, in_the_corner = box(4, 11, 6, 13), box(9, 9, 12, 12)
    tiles = tiles_at([(0, 0), (0, 1), (0, 2)], footprints=[diamond, near_the_tip, in_the_corner])
    assert of_overlap(tiles, [0]) == [[1]]


def test_rounding_of_coordinates_is_no_overlap() -> None:
    tiles = tiles_at([(0, 0), (0, 1)], footprints=[box(0, 0, 10, 10), box(10 - 1e-9, 0, 20, 10)])
    assert of_overlap(tiles, [0, 1]) == [[], []]


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=2, max_size=30, unique=True),
    st.integers(1, 15),
)
def test_overlap_agrees_with_comparing_all_pairs(places: list[tuple[int, int]], tile_px: int) -> None:
    tiles = tiles_at(places)
    expected = [
        [j for j, b in enumerate(places) if j != i and max(abs(a[0] - b[0]), abs(a[1] - b[1])) < tile_px]
        for i, a in enumerate(places)
    ]
    assert of_overlap(tiles, list(range(len(places))), tile_px) == expected


def test_block_is_that_of_the_centre_in_the_same_raster() -> None:
    places = [(0, 0), (80, 80), (94, 0), (95, 0), (99, 99), (0, 0), (0, 40)]
    tiles = tiles_at(places, ["a"] * 5 + ["b"] * 2)
    found = excluded_rows(tiles, np.array([0, 3, 5]), BLOCK, 10, 100)
    assert [part.tolist() for part in found] == [[1, 2], [], [6]]
    assert block_codes(tiles, 10, 100).tolist() == [0, 0, 0, 1, 2, 3, 3]


def test_query_asked_twice_is_excluded_twice() -> None:
    tiles = tiles_at([(0, 0), (0, 5)])
    for how in (OVERLAP, BLOCK):
        found = excluded_rows(tiles, np.array([1, 0, 1]), how, 10, 100)
        assert [part.tolist() for part in found] == [[0], [1], [0]]
        assert all(part.dtype == np.int64 for part in found)
        assert excluded_rows(tiles, np.array([], int), how, 10, 100) == []


@pytest.mark.parametrize("how", [OVERLAP, BLOCK])
@pytest.mark.parametrize(
    "tiles", [tiles_at([(0, 0), (3, 0)], ["a.png", "b.png"]), tiles_at([(0, 0), (0, 0), (0, 0)], "vectors")]
)
def test_tiles_without_places_are_refused(tiles: Tiles, how: str) -> None:
    with pytest.raises(CorpusError, match=r'no places on the ground.*exclude = \["self"\]'):
        excluded_rows(tiles, np.array([0]), how, 10, 100)


def test_grid_of_neighbours_is_not_cut_polygon_by_polygon(monkeypatch: pytest.MonkeyPatch) -> None:
    places = [(row * 10, col * 10) for row in range(8) for col in range(8)]
    cut = []
    intersection = __import__("shapely").intersection
    monkeypatch.setattr(
        "bench.scores.exclusion.shapely.intersection", lambda a, b: cut.append(len(a)) or intersection(a, b)
    )
    mine, others = overlapping_pairs(tiles_at(places), np.arange(64), 10)
    assert np.array_equal(mine, others)
    assert cut == [64]


def hits(ids: list[list[int]], distances: list[list[float]] | None = None) -> Hits:
    array = np.array(ids, np.int64)
    ranks = np.broadcast_to(np.arange(1, array.shape[1] + 1), array.shape)
    values = np.where(array == PADDING_ID, np.inf, ranks if distances is None else distances)
    return Hits(array, values.astype(np.float32))


def none_for(q: int) -> list[np.ndarray]:
    return [np.zeros(0, np.int64)] * q


def test_excluded_tiles_leave_the_list_and_the_rest_moves_up() -> None:
    left = without(hits([[4, 7, 9, -1], [1, 2, 3, 4]]), [np.array([7]), np.array([1, 4, 99])])
    assert left.ids.tolist() == [[4, 9, -1, -1], [2, 3, -1, -1]]
    assert left.distances.tolist() == [[1, 3, np.inf, np.inf], [2, 3, np.inf, np.inf]]


def test_recall_without_by_hand() -> None:
    # Without tile 1 the three nearest are 2, 3 and 4; the engine found 2 and 4 of them.
    truth = hits([[1, 2, 3, 4, 5]])
    answers = hits([[1, 2, 4, 6]], [[1, 2, 4, 9]])
    assert recall_at_k(answers, truth, 3).tolist() == [pytest.approx(2 / 3)]
    assert recall_without(answers, truth, [np.array([1])], 3).tolist() == [pytest.approx(2 / 3)]
    assert recall_without(answers, truth, [np.array([1, 3])], 2).tolist() == [1.0]
    assert recall_without(answers, truth, [np.array([2, 4])], 3).tolist() == [pytest.approx(1 / 3)]


def test_recall_is_missing_where_too_few_neighbours_are_left() -> None:
    truth = hits([[1, 2, 3], [1, 2, 3]])
    found = recall_without(truth, truth, [np.array([1, 2]), np.array([1])], 2, np.array([8, 9]))
    assert np.isnan(found[0])
    assert found[1] == 1
    assert np.isnan(recall_without(truth, truth, [np.arange(9)] * 2, 2)).all()


def test_precision_without_by_hand() -> None:
    relevance = np.array([[True, False, True, True]])
    answers = hits([[1, 2, 3, 4]])
    assert precision_without(answers, relevance, [np.array([1])], 2).tolist() == [0.5]
    assert precision_without(answers, relevance, [np.array([2])], 3).tolist() == [1.0]
    assert precision_without(answers, relevance, [np.array([1, 3])], 4).tolist() == [0.25]


def test_number_of_exclusion_lists_must_fit() -> None:
    with pytest.raises(SearchError, match="1 answer lists have 2 lists of excluded tiles"):
        recall_without(hits([[1]]), hits([[1]]), none_for(2), 1)


def test_extra_depth_is_that_of_the_query_with_most_exclusions() -> None:
    assert extra_depth([np.arange(3), np.arange(5), np.arange(0)]) == 5
    assert extra_depth([]) == 0


@settings(max_examples=50)
@given(st.data())
def test_scores_without_are_those_of_a_corpus_that_never_had_the_tiles(data: st.DataObject) -> None:
    n, k = 12, 3
    points = data.draw(st.lists(st.integers(0, 1000), min_size=n, max_size=n, unique=True))
    out = data.draw(st.lists(st.integers(1, n - 1), max_size=n - 1 - k, unique=True))
    answered = data.draw(st.permutations(range(1, n)))[: data.draw(st.integers(1, n - 1))]
    relevant = data.draw(st.lists(st.booleans(), min_size=n, max_size=n))
    distance = [abs(point - points[0]) for point in points]
    nearest = sorted(range(1, n), key=distance.__getitem__)

    def listed(ids: list[int]) -> Hits:
        padded = (ids + [PADDING_ID] * n)[:n]
        return hits([padded], [[distance[i] for i in padded]])

    def scores(truth: list[int], found: list[int]) -> tuple[float, float]:
        shown = listed(found)
        relevance = np.array([[i != PADDING_ID and relevant[i] for i in shown.ids[0].tolist()]])
        return (
            recall_at_k(shown, Hits(listed(truth).ids[:, :k], listed(truth).distances[:, :k]), k)[0],
            precision_at_k(shown, relevance, k)[0],
        )

    expected = scores([i for i in nearest if i not in out], [i for i in answered if i not in out])
    shown = listed(list(answered))
    relevance = np.array([[i != PADDING_ID and relevant[i] for i in shown.ids[0].tolist()]])
    gone = [np.array(out, np.int64)]
    assert recall_without(shown, listed(nearest), gone, k)[0] == expected[0]
    assert precision_without(shown, relevance, gone, k)[0] == expected[1]
