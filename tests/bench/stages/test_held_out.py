"""Queries held out of an image corpus: asked and judged, never trained on, never indexed."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bench.__main__ import main
from bench.judging.judge import JudgeSpec, judge_tiles
from bench.judging.judgments import Judgments
from bench.results import QueryResult, read_results, read_run
from bench.running import run_suite
from bench.stages.base import Cut, without_pixels
from bench.stages.flow import Cache, prepare_base, prepare_tiles
from bench.stages.knn_probe import split_for_knn
from bench.suites.suite import BackboneEntry, CorpusSpec, QuerySpec
from bench.suites.suite_file import read_suite
from ris_core.backbone import BackboneSpec
from ris_core.errors import CorpusError, SearchError, SuiteError
from ris_core.records import Features
from ris_core.space import Space

COLOUR = BackboneEntry("colour", BackboneSpec(model="colour", preprocess="native"))
COLOURS = {"field": (80, 140, 60), "water": (40, 60, 150), "sand": (200, 180, 120)}
SUITE = """
[corpus]
source = "pictures"
tile_px = 16
queries = "test"

[backbone.colour]
model = "colour"
preprocess = "native"

[engine.exact]

[queries]
count = 6
k = 5

[judge]
per_label = 3
label_depth = 4

[measure]
processes = 1
rounds = 1
"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten pictures of field and of water to search; four of each, and two of sand, to ask."""
    root = tmp_path_factory.mktemp("held_out") / "pictures"
    rng = np.random.default_rng(0)
    for part, label, count in (("train", "field", 10), ("train", "water", 10), ("test", "field", 4),
                               ("test", "water", 4), ("test", "sand", 2)):  # fmt: skip
        (root / part / label).mkdir(parents=True)
        for i in range(count):
            pixels = np.clip(rng.normal(COLOURS[label], 25, (16, 16, 3)), 1, 254).astype(np.uint8)
            Image.fromarray(pixels).save(root / part / label / f"{i:02}.png")
    return root


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", lambda note: None)


def cut_of(cache: Cache, pictures: Path, **keys: object) -> Cut:
    return prepare_tiles(cache, CorpusSpec(source=str(pictures), tile_px=16, queries=Path("test"), **keys))  # type: ignore[arg-type]


def test_held_out_tiles_are_neither_trained_on_nor_searched(cache: Cache, pictures: Path) -> None:
    for train_frac, sizes in ((0.0, (20, 20)), (0.25, (5, 15))):
        cut = cut_of(cache, pictures, train_frac=train_frac)
        assert (len(cut.train_rows), len(cut.base_rows)) == sizes
        assert len(cut.asked_rows) == 10
        assert all(name.startswith("test/") for name in cut.tiles.table["raster"].iloc[cut.asked_rows])
        assert not set(cut.asked_rows) & {*cut.train_rows, *cut.base_rows}
        assert cut.tiles.table["is_query"].sum() == 10


def test_a_zip_holds_out_the_same_tiles(cache: Cache, pictures: Path, tmp_path: Path) -> None:
    packed = Path(shutil.make_archive(str(tmp_path / "pictures"), "zip", pictures))
    assert zipfile.is_zipfile(packed)
    assert cut_of(cache, packed).asked_rows.tolist() == cut_of(cache, pictures).asked_rows.tolist()


def test_timed_queries_are_held_out_and_have_k_neighbours_none_of_them_themselves(cache: Cache, pictures: Path) -> None:
    cut = cut_of(cache, pictures)
    base = prepare_base(cache, COLOUR, cut, QuerySpec(count=10, k=20))  # as many as are indexed
    assert set(base.timed.rows) == {-1}
    assert base.timed.ids is not None
    assert base.timed.ids.tolist() == cut.tiles.ids[cut.asked_rows].tolist()
    assert base.truth.ids.shape == (10, 20)
    fitted = Space.open(base.space_folder)
    by_hand = fitted.apply(Features(base.raw.values[cut.asked_rows], base.timed.ids)).values
    np.testing.assert_array_equal(base.timed.corrected, by_hand)
    distances = np.square(base.corrected.values[None].astype(float) - by_hand[:, None]).sum(axis=2)
    np.testing.assert_array_equal(base.truth.ids[:, 0], base.corrected.ids[distances.argmin(axis=1)])


def test_any_tile_of_the_corpus_asks_by_its_id(cache: Cache, pictures: Path) -> None:
    cut = cut_of(cache, pictures)
    base = prepare_base(cache, COLOUR, cut, QuerySpec(count=10, k=5))
    ids = np.array([base.corrected.ids[3], base.timed.ids[2], base.timed.ids[2]])  # type: ignore[index]
    asked = base.asked_by(ids)
    assert asked.rows.tolist() == [3, -1, -1]
    np.testing.assert_array_equal(asked.corrected, [base.corrected.values[3], *base.timed.corrected[[2, 2]]])
    np.testing.assert_array_equal(asked.raw[1], base.timed.raw[2])
    with pytest.raises(SearchError, match="999 is the id of no tile"):
        base.asked_by(np.array([999]))


def test_labels_judge_held_out_queries_over_the_searched_tiles(cache: Cache, pictures: Path) -> None:
    cut = cut_of(cache, pictures)
    searched, held_out = (without_pixels(cut.tiles, rows) for rows in (cut.base_rows, cut.asked_rows))
    judged = judge_tiles(searched, JudgeSpec(per_label=3, label_depth=12), held_out)
    assert judged is not None
    assert judged.queries["concept"].tolist() == ["field"] * 3 + ["water"] * 3  # nobody asks for sand, which is nowhere
    assert set(judged.queries["row"]) == {-1}
    assert set(judged.queries["query_id"]) <= set(held_out.ids)
    np.testing.assert_array_equal(judged.relevant[0], searched.labels == "field")
    assert judged.chance.tolist() == [0.5] * 6  # ten of twenty, none of them the query
    assert any("sand" in note for note in judged.notes)
    assert any("fewer relevant tiles than their depth" in note for note in judged.notes)
    foreign = without_pixels(cut.tiles, cut.asked_rows[:2])
    foreign.table["label"] = "moor"
    with pytest.raises(CorpusError, match="no searched tile bears a label of the 2 held-out ones \\(moor\\)"):
        judge_tiles(searched, JudgeSpec(label_depth=5), foreign)


def test_held_out_tiles_may_be_topics_of_a_qrels_file(cache: Cache, pictures: Path, tmp_path: Path) -> None:
    cut = cut_of(cache, pictures)
    searched, held_out = (without_pixels(cut.tiles, rows) for rows in (cut.base_rows, cut.asked_rows))
    asks, right = held_out.ids[0], searched.ids[4]
    (tmp_path / "mine.qrels").write_text(f"{asks} easy {right} 1\n{right} easy {right} 1\n", encoding="utf-8")
    judged = judge_tiles(searched, JudgeSpec(qrels=tmp_path / "mine.qrels", easy_depth=3), held_out)
    assert judged is not None
    assert judged.queries["row"].tolist() == [-1, 4]
    assert [np.flatnonzero(row).tolist() for row in judged.relevant] == [[4], []]  # no tile is right for itself


def test_held_out_labels_are_asked_in_the_knn_protocol_and_the_rest_votes(cache: Cache, pictures: Path) -> None:
    cut = cut_of(cache, pictures)
    split = split_for_knn(cut)
    assert split is not None
    assert split.queries.tolist() == cut.asked_rows.tolist()
    assert split.memory.tolist() == cut.train_rows.tolist()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("corpus.queries=val", "no image lies in a folder 'val'; its folders are field, sand, test, train, water"),
        ("corpus.queries=pictures", "no image lies in a folder 'pictures'"),
        ("queries.count=11", "only 10 queries are held out"),
        ("queries.k=21", "k must be at most 20"),
    ],
)
def test_what_cannot_be_held_out_is_told_before_anything_runs(
    pictures: Path, tmp_path: Path, override: str, words: str
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(SUITE, encoding="utf-8")
    with pytest.raises(SuiteError, match=words):
        read_suite(path, (f"corpus.source={pictures}", override))
    assert read_suite(path, (f"corpus.source={pictures}", "queries.count=10", "queries.k=20"))


def test_some_images_must_be_left_to_be_searched(pictures: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(SUITE, encoding="utf-8")
    for label in ("field", "water"):
        shutil.copytree(pictures / "test" / label, tmp_path / "all" / "test" / label)
    with pytest.raises(SuiteError, match=r"all 8 images .* lie there, so none is left"):
        read_suite(path, (f"corpus.source={tmp_path / 'all'}",))


def test_a_run_asks_judges_draws_and_exports_held_out_queries(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_suite, "write_report", lambda folder: folder / "index.html")  # which takes longest
    monkeypatch.setattr(run_suite, "fingerprint", lambda: {"cpu": {"model": "A", "usable_cores": 2}, "memory_gib": 4.0})
    (tmp_path / "mine.toml").write_text(SUITE, encoding="utf-8")
    arguments = ["run", "mine.toml", "--set", f"corpus.source={pictures}", "--cache", "cache", "--reports", "reports"]
    assert main(arguments) == 0
    (run,) = (tmp_path / "reports" / "mine").iterdir()
    assert read_run(run).corpus["held_out"] == 10
    judged = Judgments.open(run / "judgments")
    asked = [r for r in read_results(run) if isinstance(r, QueryResult) and r.mode == "single"]
    assert asked[0].recall_at_k == [1.0] * 6
    assert asked[0].judged_recall == [1.0] * 6
    assert np.mean(asked[0].precision["label"]) > 0.9  # colours tell the two apart
    facts = pd.read_parquet(run / "queries" / "colour.parquet")
    assert set(facts["label"]) <= {"field", "water", "sand"}
    assert (facts["query_id"] >= 0).all()
    tile = str(judged.queries["query_id"][0])
    assert main(["figure", str(run), "neighbours", "--tile", tile, "--k", "5", "--cache", "cache"]) == 0
    assert main(["export", str(run), "trec"]) == 0
    assert (tmp_path / "trec" / "judgments.qrels").is_file()
