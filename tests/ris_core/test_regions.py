"""Boxes of files, sliding windows and crops: by hand, and for any size."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ris_core.errors import CorpusError
from ris_core.regions.boxes import BoxFile
from ris_core.regions.crops import cut_crops, square_boxes
from ris_core.regions.merging import MERGES, merge_by_distance, merge_by_turns
from ris_core.regions.params import SOURCES, BoxParams, DetectorParams, RegionParams, WindowParams
from ris_core.regions.sliding_window import slide_windows

SIZES = st.tuples(st.integers(8, 200), st.integers(8, 200))


def written(folder: Path, text: str, name: str = "boxes.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_windows_of_half_a_side_with_half_overlap_are_nine() -> None:
    found = slide_windows((128, 128), [0.5], 0.5)
    starts = [0, 32, 64]
    assert found.tolist() == [[x, y, x + 64, y + 64] for y in starts for x in starts]


def test_windows_follow_the_longer_side_and_the_order_of_sizes() -> None:
    found = slide_windows((100, 40), [1.0, 0.5], 0.0)
    assert found[:3].tolist() == [[0, 0, 40, 40], [30, 0, 70, 40], [60, 0, 100, 40]]
    assert len(found) == 3 + 5 * 2


@given(size=SIZES, frac=st.floats(0.05, 1), overlap=st.floats(0, 0.9))
def test_windows_cover_every_pixel_and_overlap_as_asked(size: tuple[int, int], frac: float, overlap: float) -> None:
    boxes = slide_windows(size, [frac], overlap).astype(int)
    seen = np.zeros(size[::-1], bool)
    for x1, y1, x2, y2 in boxes:
        assert 0 <= x1 < x2 <= size[0]
        assert 0 <= y1 < y2 <= size[1]
        seen[y1:y2, x1:x2] = True
    assert seen.all()
    side = boxes[0, 2] - boxes[0, 0]
    steps = np.diff(np.unique(boxes[:, 0]))
    assert (steps <= max(1, side * (1 - overlap)) + 1).all()  # + 1: starts are whole pixels


def test_square_is_grown_about_the_middle_and_moved_into_the_picture() -> None:
    boxes = np.array([[10, 20, 30, 24], [0, 0, 4, 2], [95, 40, 100, 50]])
    assert square_boxes(boxes, (100, 50)).tolist() == [[10, 12, 30, 32], [0, 0, 4, 4], [90, 40, 100, 50]]
    assert square_boxes(boxes[:1], (100, 50), context=2).tolist() == [[0, 2, 40, 42]]


def test_box_longer_than_the_picture_is_high_is_cut_to_its_middle() -> None:
    assert square_boxes(np.array([[0, 10, 100, 20]]), (100, 50)).tolist() == [[25, 0, 75, 50]]


@given(size=SIZES, shares=st.tuples(*[st.floats(0, 0.999)] * 4), context=st.floats(1, 3))
def test_squares_lie_in_the_picture_and_hold_what_fits(
    size: tuple[int, int], shares: tuple[float, float, float, float], context: float
) -> None:
    x1, y1 = shares[0] * size[0], shares[1] * size[1]
    box = np.array([[x1, y1, x1 + max(0.1, shares[2] * (size[0] - x1)), y1 + max(0.1, shares[3] * (size[1] - y1))]])
    box[:, 2:] = np.minimum(box[:, 2:], size)
    (square,) = square_boxes(box, size, context)
    sides = square[2:] - square[:2]
    assert sides[0] == sides[1] >= 1
    assert (square[:2] >= 0).all()
    assert (square[2:] <= size).all()
    if (box[0, 2:] - box[0, :2]).max() * context <= min(size) - 1:
        assert (square[:2] <= box[0, :2] + 1).all()
        assert (square[2:] >= box[0, 2:] - 1).all()


def test_crop_of_the_whole_picture_is_the_stored_tile() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    blocks = picture.reshape(32, 2, 32, 2, 3).astype(float).mean(axis=(1, 3))
    crop = cut_crops(picture, np.array([[0, 0, 64, 64]]), 32)[0]
    assert np.array_equal(crop, np.floor(blocks + 0.5))


def test_crop_shows_its_own_pixels_and_small_ones_are_enlarged() -> None:
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[10:20, 30:40] = [10, 200, 30]
    crops = cut_crops(picture, np.array([[30, 10, 40, 20], [30, 10, 40, 20], [0, 20, 20, 40]]), 10)
    assert (crops[:2] == [10, 200, 30]).all()
    assert not crops[2].any()
    assert (cut_crops(picture, np.array([[30, 10, 40, 20]]), 16) == [10, 200, 30]).all()


def test_boxes_of_csv_and_json_are_the_same(tmp_path: Path) -> None:
    rows = [("7", 1.5, 2, 10, 20), ("a/b.png", 0, 0, 5, 5), ("7", 3, 4, 6, 8)]
    text = "query,x1,y1,x2,y2,note\n" + "\n".join(f"{','.join(map(str, row))},seen" for row in rows)
    entries = [dict(zip(("query", "x1", "y1", "x2", "y2"), row, strict=True)) for row in rows]
    for path in (written(tmp_path, text), written(tmp_path, json.dumps(entries), "boxes.json")):
        boxes = BoxFile.read(path)
        assert boxes.of(["7"], (10, 20)).tolist() == [[1.5, 2, 10, 20], [3, 4, 6, 8]]
        assert boxes.of(["9", "a/b.png"], (5, 5)).tolist() == [[0, 0, 5, 5]]
        assert boxes.of(["9"], (5, 5)).shape == (0, 4)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("7,10,10,10,20", r"line 3: box \(10, 10, 10, 20\) of 7 is empty"),
        ("7,10,10,5,20", r"line 3: box \(10, 10, 5, 20\) of 7 is reversed"),
        ("7,-1,10,5,20", r"line 3: box \(-1, 10, 5, 20\) of 7 begins before the picture"),
        ("7,a,10,5,20", "line 3: '7, a, 10, 5, 20' is no query with four numbers"),
        ("7,nan,10,5,20", "line 3.* is no query with four numbers"),
        (",1,1,5,20", "line 3.* is no query with four numbers"),
        ("7,1,1", "line 3.* is no query with four numbers"),
    ],
)
def test_impossible_boxes_are_told_by_their_line(tmp_path: Path, row: str, words: str) -> None:
    path = written(tmp_path, f"query,x1,y1,x2,y2\n7,1,1,2,2\n{row}\n")
    with pytest.raises(CorpusError, match=f"boxes.csv: {words}.*Mend or remove the line"):
        BoxFile.read(path)


def test_box_outside_its_picture_names_line_box_and_sizes(tmp_path: Path) -> None:
    boxes = BoxFile.read(written(tmp_path, "query,x1,y1,x2,y2\n7,1,1,2,2\n7,0,0,65,30\n"))
    words = r"line 3: box \(0, 0, 65, 30\) of 7 reaches out of its picture of 64 x 48 px.*x2 <= 64 and y2 <= 48"
    with pytest.raises(CorpusError, match=words):
        boxes.of(["7"], (64, 48))


def test_boxes_of_unknown_queries_are_refused_together(tmp_path: Path) -> None:
    boxes = BoxFile.read(written(tmp_path, "query,x1,y1,x2,y2\n" + "\n".join(f"{q},0,0,2,2" for q in range(20))))
    boxes.check_queries(lambda name: int(name) < 20)
    with pytest.raises(CorpusError, match="'3', which is no tile and no image of the corpus") as error:
        boxes.check_queries(lambda name: int(name) < 3)
    assert "line 5" in str(error.value)
    assert "and 9 more" in str(error.value)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("boxes.csv", "query,x1,y1,x2\n7,1,1,2\n", "lacks the column y2"),
        ("boxes.csv", "", "lacks the column query, x1, y1, x2, y2"),
        ("boxes.json", '{"query": 7}', "holds dict, not a list"),
        ("boxes.json", '[{"query": 7}]', "entry 1 is no object with the keys"),
        ("boxes.json", "[", "no boxes to be read"),
        ("boxes.json", "[" * 100_000, "no boxes to be read"),
        ("none.csv", None, "No such file"),
    ],
)
def test_what_is_no_file_of_boxes_is_refused(tmp_path: Path, name: str, text: str | None, words: str) -> None:
    path = tmp_path / name if text is None else written(tmp_path, text, name)
    with pytest.raises(CorpusError, match=words):
        BoxFile.read(path)


def test_merged_rankings_by_hand() -> None:
    rows = np.array([[1, 2, 3], [4, 2, -1], [2, 5, 1]])
    distances = np.array([[1, 4, 9], [2, 3, np.inf], [0.5, 2, 8]])
    assert merge_by_distance(rows, distances).tolist() == [2, 1, 4, 5, 3]  # 4 and 5 at 2: the earlier crop first
    assert merge_by_turns(rows, distances).tolist() == [1, 4, 2, 5, 3]


@given(data=st.data(), crops=st.integers(1, 4), n=st.integers(2, 30))
def test_merging_k_nearest_is_exact_for_the_first_k(data: st.DataObject, crops: int, n: int) -> None:
    k = data.draw(st.integers(1, n))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    base, vectors = rng.normal(size=(n, 3)), rng.normal(size=(crops, 3))
    every = np.square(vectors[:, None] - base).sum(axis=2)
    rows = np.argsort(every, axis=1)[:, :k]
    merged = merge_by_distance(rows, np.take_along_axis(every, rows, 1))
    assert merged[:k].tolist() == np.argsort(every.min(axis=0))[:k].tolist()
    turns = merge_by_turns(rows, np.take_along_axis(every, rows, 1))
    assert len(set(turns.tolist())) == len(turns)
    assert set(turns.tolist()) == set(rows.ravel().tolist())
    assert turns[0] == rows[0, 0]


def test_one_vector_alone_keeps_its_ranking() -> None:
    rows, distances = np.array([[3, 1, 2, -1]]), np.array([[0.0, 0.0, 1.0, np.inf]])
    for merge in MERGES.values():
        assert merge(rows, distances).tolist() == [3, 1, 2]


@pytest.mark.parametrize(
    ("params", "words"),
    [
        (RegionParams(per_crop=10), "per_crop = 10; it must be in 1 to 9"),
        (RegionParams(context=0.5), "context = 0.5; it must be at least 1"),
        (WindowParams(sizes=(0.5, 1.5)), r"sizes = \[0.5, 1.5\]; name shares"),
        (WindowParams(sizes=()), r"sizes = \[\]; name shares"),
        (WindowParams(sizes=(0.5, 0.01)), r"sizes = \[0.5, 0.01\] with overlap = 0.5 make 39,\d+ windows"),
        (WindowParams(overlap=1.0), "overlap = 1.0; it must be in"),
        (BoxParams(boxes=Path("none.csv")), "boxes = 'none.csv' is no file"),
        (DetectorParams(), "prompt is empty"),
    ],
)
def test_impossible_parameters_say_what_is_allowed(params: RegionParams, words: str) -> None:
    (fault,) = params.faults(10, 4)
    assert re.search(words, fault)


def test_defaults_of_sources_are_possible() -> None:
    for kind in SOURCES.values():
        assert kind().faults(10, 4) == [] or kind is DetectorParams  # whose prompt has no default
