import dataclasses
import errno
import os
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from bench.__main__ import main
from bench.judging.judge import JudgeSpec, judge_tiles
from bench.queries.hygiene import examine_features
from bench.results import QueryResult, StageNote, read_results, read_run
from bench.running import run_suite
from bench.stages.base import Base, Cut, exact_neighbours, without_pixels
from bench.stages.flow import Cache, prepare_base, prepare_tiles
from bench.stages.vector_corpus import copy_vectors, vector_table
from bench.suites.suite import SYNTHETIC, VECTORS, BackboneEntry, CorpusSpec, QuerySpec, SpaceSpec
from fixtures.vectors import SyntheticVectors
from ris_core.backbone import BackboneSpec
from ris_core.errors import ArtifactError, CorpusError
from ris_core.vector_files import read_vectors

RNG = np.random.default_rng(0)
BASE = RNG.standard_normal((30, 4)).astype(np.float32) + 3
TEST = RNG.standard_normal((6, 4)).astype(np.float32) + 3
ENTRY = BackboneEntry("mine", BackboneSpec(VECTORS))
QUERIES = QuerySpec(count=5, k=4)
PLAIN = SpaceSpec(center=False, normalize=False)
ANGLES = SpaceSpec(center=False, normalize=True)
PLAIN_ENTRY = dataclasses.replace(ENTRY, space=PLAIN)


def nearest(base: np.ndarray, queries: np.ndarray, k: int, normalize: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Rows and squared distances of the k nearest, by brute force in float64."""
    base, queries = base.astype(np.float64), queries.astype(np.float64)
    if normalize:
        base, queries = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (base, queries))
    distances = np.square(queries[:, None] - base).sum(axis=2)
    rows = np.argsort(distances, axis=1)[:, :k]
    return rows, np.take_along_axis(distances, rows, 1)


class Desk:
    """A cache and the notes that its stages left."""

    def __init__(self, root: Path) -> None:
        self.notes: list[StageNote] = []
        self.cache = Cache(root, self.notes.append)

    def prepare(
        self, corpus: CorpusSpec, space: SpaceSpec = PLAIN, queries: QuerySpec = QUERIES
    ) -> tuple[Cut, Base, dict[str, StageNote]]:
        self.notes.clear()
        cut = prepare_tiles(self.cache, corpus)
        base = prepare_base(self.cache, dataclasses.replace(ENTRY, space=space), cut, queries)
        return cut, base, {note.stage: note for note in self.notes}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "cache")


def npz(tmp_path: Path, **arrays: object) -> CorpusSpec:
    np.savez(tmp_path / "v.npz", **{"vectors": BASE, **arrays})
    return CorpusSpec(str(tmp_path / "v.npz"))


def hdf5(tmp_path: Path, distance: str, **changes: np.ndarray) -> CorpusSpec:
    data = {"train": BASE, "test": TEST, "neighbors": nearest(BASE, TEST, 10, distance == "angular")[0], **changes}
    with h5py.File(tmp_path / f"{distance}.hdf5", "w") as file:
        for name, values in data.items():
            file[name] = values
        file.attrs["distance"] = distance
    return CorpusSpec(str(tmp_path / f"{distance}.hdf5"))


def test_vectors_stand_in_for_tiles_and_features(desk: Desk, tmp_path: Path) -> None:
    cut, base, notes = desk.prepare(npz(tmp_path, ids=np.arange(30) * 2, labels=["a", "b"] * 15))
    assert list(notes) == ["features", "space", "truth"]
    assert (len(cut.train_rows), len(cut.base_rows)) == (0, 30)
    assert cut.tiles.labels is not None
    assert cut.tiles.labels.tolist() == ["a", "b"] * 15
    assert base.raw.ids.tolist() == (np.arange(30) * 2).tolist()
    np.testing.assert_array_equal(base.raw.values, BASE)
    np.testing.assert_array_equal(np.load(base.features_folder / "features.npy")[base.rows], BASE)
    noted = notes["features"].notes
    assert (noted["file"], noted["n"], noted["d"], noted["held_out"], noted["zero_vectors"]) == ("v.npz", 30, 4, 0, 0)
    assert noted["norm_mean"] == pytest.approx(np.linalg.norm(BASE, axis=1).mean())


def test_without_held_out_queries_vectors_ask_for_each_other(desk: Desk, tmp_path: Path) -> None:
    _, base, _ = desk.prepare(npz(tmp_path))
    assert len(set(base.timed.rows.tolist())) == 5
    rows, distances = nearest(BASE, BASE[base.timed.rows], 5)
    np.testing.assert_array_equal(rows[:, 0], base.timed.rows)
    np.testing.assert_array_equal(base.truth.ids[:, :4], rows[:, 1:])
    np.testing.assert_allclose(base.truth.distances[:, :4], distances[:, 1:], rtol=1e-5)


def test_held_out_queries_are_nobodys_tile_and_may_have_all_vectors_as_neighbours(desk: Desk, tmp_path: Path) -> None:
    _, base, _ = desk.prepare(npz(tmp_path, queries=TEST), queries=QuerySpec(count=6, k=30))
    assert base.timed.rows.tolist() == [-1] * 6
    np.testing.assert_array_equal(base.timed.raw, TEST)
    np.testing.assert_array_equal(base.truth.ids, nearest(BASE, TEST, 30)[0])


def test_a_query_equal_to_a_vector_finds_it(desk: Desk, tmp_path: Path) -> None:
    _, base, _ = desk.prepare(npz(tmp_path, queries=BASE[[7]]), queries=QuerySpec(count=1, k=4))
    assert base.truth.ids[0, 0] == 7
    assert base.truth.distances[0, 0] == 0


def test_held_out_queries_go_through_the_space_of_the_base(desk: Desk, tmp_path: Path) -> None:
    _, base, _ = desk.prepare(npz(tmp_path, queries=TEST), SpaceSpec(), QuerySpec(count=6, k=4))
    mean = BASE.mean(axis=0, dtype=np.float64)
    rows, distances = nearest(BASE - mean, TEST - mean, 4, normalize=True)
    np.testing.assert_array_equal(base.truth.ids[:, :4], rows)
    np.testing.assert_allclose(base.truth.distances[:, :4], distances, rtol=1e-4)
    assert exact_neighbours(base.corrected, base.timed, 30).ids.shape == (6, 30)


@pytest.mark.parametrize(
    ("distance", "space", "is_same"),
    [
        ("euclidean", PLAIN, True),
        ("euclidean", SpaceSpec(center=True, normalize=False), True),
        ("euclidean", ANGLES, False),
        ("angular", ANGLES, True),
        ("angular", SpaceSpec(center=True, normalize=True), False),
        ("angular", PLAIN, False),
        ("angular", SpaceSpec(center=True, normalize=True, whiten=3), False),
        ("euclidean", SpaceSpec(center=True, normalize=False, whiten=3), False),
    ],
)
def test_neighbours_of_the_file_are_compared_where_the_metric_is_its_own(
    desk: Desk, tmp_path: Path, distance: str, space: SpaceSpec, is_same: bool
) -> None:
    noted = desk.prepare(hdf5(tmp_path, distance), space)[2]["truth"].notes
    assert (noted.get("file_recall"), noted.get("file_k")) == ((1.0, 4) if is_same else (None, None))


def test_wrong_neighbours_of_the_file_are_seen(desk: Desk, tmp_path: Path) -> None:
    neighbours = nearest(BASE, TEST, 3)[0]
    neighbours[:, 0] = nearest(BASE, TEST, 30)[0][:, -1]
    corpus = hdf5(tmp_path, "euclidean", neighbors=neighbours)
    _, base, notes = desk.prepare(corpus, queries=QuerySpec(count=6, k=10))
    assert notes["truth"].notes["file_k"] == 3
    assert notes["truth"].notes["file_recall"] == pytest.approx(2 / 3)
    *_, finding = examine_features(base, pd.DataFrame({"set": ["timed"] * 6, "tied": False}), 10)
    assert (finding["about"], finding["count"], finding["of"]) == ("neighbours that the file names", 6, 6)
    assert "their mean recall is 0.6667" in finding["consequence"]


def test_sample_is_drawn_by_seed_and_leaves_the_files_neighbours_out(desk: Desk, tmp_path: Path) -> None:
    path = hdf5(tmp_path, "euclidean").source
    drawn = []
    for seed in (0, 0, 1):
        cut, base, notes = desk.prepare(CorpusSpec(path, sample=12, seed=seed))
        rows = cut.tiles.table["row"].to_numpy()
        np.testing.assert_array_equal(base.raw.values[base.rows], BASE[rows])
        np.testing.assert_array_equal(base.raw.ids, rows)
        assert "file_recall" not in notes["truth"].notes
        drawn.append(rows.tolist())
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0])) == 12
    with pytest.raises(CorpusError, match="sample = 31, but it holds 30"):
        prepare_tiles(desk.cache, CorpusSpec(path, sample=31))


def test_sizes_are_nested_and_asked_by_the_same_queries(desk: Desk, tmp_path: Path) -> None:
    corpus = dataclasses.replace(npz(tmp_path), sizes=(25, 8, 16))
    cut = prepare_tiles(desk.cache, corpus)
    assert len(cut.base_rows) == 25
    held, asked = [], []
    for size in corpus.sizes:
        base = prepare_base(desk.cache, ENTRY, cut.of_size(size), QUERIES)
        rows = cut.sizes[size]
        assert (len(rows), base.corrected.ids.tolist()) == (size, rows.tolist())
        corrected = BASE[rows] - BASE[rows].mean(axis=0, dtype=np.float64)
        corrected /= np.linalg.norm(corrected, axis=1, keepdims=True)
        np.testing.assert_allclose(base.corrected.values, corrected, rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(base.timed.raw, BASE[rows][base.timed.rows])
        nearest_rows, _ = nearest(corrected, corrected[base.timed.rows], 5)
        np.testing.assert_array_equal(base.truth.ids[:, :4], rows[nearest_rows[:, 1:]])
        again = base.asked_by(base.corrected.ids[[3]])
        np.testing.assert_array_equal(again.raw[0], BASE[rows[3]])
        held.append(set(rows.tolist()))
        asked.append(rows[base.timed.rows].tolist())
    assert held[1] < held[2] < held[0]
    assert asked[0] == asked[1] == asked[2]
    other = prepare_tiles(desk.cache, dataclasses.replace(corpus, seed=1))
    assert set(other.sizes[8].tolist()) != held[1]


def test_sizes_share_features_and_held_out_queries_and_nothing_else(desk: Desk, tmp_path: Path) -> None:
    cut = prepare_tiles(desk.cache, dataclasses.replace(npz(tmp_path, queries=TEST), sizes=(10, 20)))
    keys = []
    for size in (10, 20):
        desk.notes.clear()
        base = prepare_base(desk.cache, PLAIN_ENTRY, cut.of_size(size), QUERIES)
        keys.append({note.stage: note.key for note in desk.notes})
        assert base.timed.rows.tolist() == [-1] * 5
        assert set(base.truth.ids.ravel().tolist()) <= set(cut.sizes[size].tolist())
    assert keys[0]["features"] == keys[1]["features"]
    assert keys[0]["space"] != keys[1]["space"]
    assert keys[0]["truth"] != keys[1]["truth"]


def test_one_size_among_other_sizes_has_a_truth_of_its_own(desk: Desk, tmp_path: Path) -> None:
    """The same twenty vectors are asked by queries that lie in the smallest size, which differs."""
    corpus, truths = npz(tmp_path), []
    for smallest in (10, 5):
        cut = prepare_tiles(desk.cache, dataclasses.replace(corpus, sizes=(smallest, 20)))
        base = prepare_base(desk.cache, PLAIN_ENTRY, cut.of_size(20), QUERIES)
        truths.append(base.truth.ids)
        rows = nearest(base.corrected.values, base.timed.corrected, 5)[0]
        np.testing.assert_array_equal(base.truth.ids[:, :4], base.corrected.ids[rows[:, 1:]])
    assert truths[0].tolist() != truths[1].tolist()


def test_synthetic_vectors_are_made_once_and_read_as_a_file(desk: Desk) -> None:
    law = SyntheticVectors(n=60, d=5, intrinsic_dim=2, off_centre=3.0, queries=7)
    corpus = CorpusSpec(SYNTHETIC, synthetic=law)
    cut, base, notes = desk.prepare(corpus)
    assert list(notes) == ["vectors", "features", "space", "truth"]
    noted = notes["vectors"].notes
    assert (noted["n"], noted["d"], noted["held_out"]) == (60, 5, 7)
    assert (len(cut.base_rows), base.raw.values.shape, len(base.timed)) == (60, (60, 5), 5)
    assert base.timed.rows.tolist() == [-1] * 5
    np.testing.assert_array_equal(base.truth.ids[:, :4], nearest(base.raw.values, base.timed.raw, 4)[0])
    assert all(note.reused for note in desk.prepare(corpus)[2].values())
    other = dataclasses.replace(corpus, synthetic=dataclasses.replace(law, seed=1))
    assert not any(note.reused for note in desk.prepare(other)[2].values())


def test_labels_of_a_csv_are_judged_and_blank_ones_are_no_label(desk: Desk, tmp_path: Path) -> None:
    names = ["x", "y", ""] * 10
    (tmp_path / "labels.csv").write_text("\n".join(["label", *names]) + "\n", encoding="utf-8")
    corpus = CorpusSpec(npz(tmp_path).source, labels=tmp_path / "labels.csv")
    cut, _, notes = desk.prepare(corpus, queries=QUERIES)
    judged = judge_tiles(without_pixels(cut.tiles, cut.base_rows), JudgeSpec(per_label=3, label_depth=5))
    assert judged is not None
    assert set(judged.queries["concept"]) == {"x", "y"}
    assert judged.relevant.sum(axis=1).tolist() == [9] * 6
    assert not judged.relevant[:, 2::3].any()
    assert [notes["space"].notes[f"knn_{name}"] for name in ("memory", "queries")] == [10, 10]
    (tmp_path / "labels.csv").write_text("label\nx\n", encoding="utf-8")
    with pytest.raises(CorpusError, match=r"labels 1 vectors, but there are 30"):
        prepare_tiles(desk.cache, corpus)
    (tmp_path / "labels.csv").write_text("class\nx\n", encoding="utf-8")
    with pytest.raises(CorpusError, match=r"has no column label \(found: class\)"):
        prepare_tiles(desk.cache, corpus)


@pytest.mark.parametrize("change", [{"vectors": BASE[:, :3]}, {"ids": np.arange(30) + 1}, {"labels": ["a"] * 30}])
def test_every_part_of_the_file_is_part_of_its_key(desk: Desk, tmp_path: Path, change: dict) -> None:
    before = desk.prepare(npz(tmp_path))[2]["features"]
    assert desk.prepare(npz(tmp_path))[2]["features"].reused
    after = desk.prepare(npz(tmp_path, **change))[2]["features"]
    assert (after.reused, after.key == before.key) == (False, False)


def test_other_queries_beside_the_same_file_are_another_truth(desk: Desk, tmp_path: Path) -> None:
    np.save(tmp_path / "x_base.npy", BASE)
    keys = set()
    for queries in (TEST, TEST + 1):
        np.save(tmp_path / "x_query.npy", queries)
        keys.add(desk.prepare(CorpusSpec(str(tmp_path / "x_base.npy")))[2]["truth"].key)
    assert len(keys) == 2


def test_vectors_without_direction_are_refused_where_they_are_normalised_as_they_are(
    desk: Desk, tmp_path: Path
) -> None:
    zero = BASE.copy()
    zero[[3, 5]] = 0
    queries = QuerySpec(count=2, k=4)
    for arrays, found in (
        ({"vectors": zero}, "2 of its vectors and 0 of its queries"),
        ({"queries": zero[3:5]}, "0 of its vectors and 1 of its queries"),
    ):
        corpus = npz(tmp_path, **arrays)
        with pytest.raises(CorpusError, match=f"{found} are zero"):
            desk.prepare(corpus, ANGLES, queries)
        desk.prepare(corpus, PLAIN, queries)
        desk.prepare(corpus, SpaceSpec(), queries)


def test_nan_is_told_by_its_row_and_leaves_no_artifact(desk: Desk, tmp_path: Path) -> None:
    bad = BASE.copy()
    bad[17, 2] = np.nan
    with pytest.raises(CorpusError, match="vector 17 is NaN"):
        desk.prepare(npz(tmp_path, vectors=bad))
    assert not list((tmp_path / "cache").glob("features-*"))


SUITE = """
[corpus]
tile_px = 16
[backbone.colour]
model = "colour"
[engine.exact]
[queries]
count = 6
k = 5
[judge]
per_label = 2
label_depth = 4
[measure]
rounds = 1
"""


@pytest.fixture
def no_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs go into the working folder, a fresh one, and no page is drawn."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_suite, "write_report", lambda folder: folder / "index.html")
    monkeypatch.delenv("RIS_CACHE", raising=False)


@pytest.mark.usefixtures("no_report")
def test_suite_runs_on_a_file_of_vectors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hdf5(tmp_path, "euclidean")
    Path("small.toml").write_text(SUITE, encoding="utf-8")
    Path("labels.csv").write_text("\n".join(["label", *"ab" * 15]), encoding="utf-8")
    settings = ["--set", "corpus.source=euclidean.hdf5", "--set", "corpus.labels=labels.csv"]
    assert main(["run", "small.toml", *settings, "--run-id", "one"]) == 0
    assert "left out   [backbone.colour], corpus.tile_px" in capsys.readouterr().err
    folder = Path("reports/small/one")
    record, results = read_run(folder), read_results(folder)
    asked = [result for result in results if isinstance(result, QueryResult)]
    assert [result.recall_ids_at_k for result in asked] == [[1.0] * 6] * 2
    assert [(result.n, result.d, result.q, result.k) for result in asked] == [(30, 4, 6, 5)] * 2
    assert [(result.self_first_frac, result.self_missed_frac) for result in asked] == [(None, None)] * 2
    assert [len(result.precision["label"]) for result in asked] == [4, 4]
    assert record.corpus["trained"] == 0
    assert record.stage_notes[-1].notes["file_recall"] == 1
    findings = {finding["about"]: finding for finding in record.hygiene}
    assert findings["neighbours that the file names"]["count"] == 0
    assert "identical tiles" not in findings


SIZES = """
[corpus]
source = "synthetic"
sizes = [50, 100]
synthetic = { n = 120, d = 6, intrinsic_dim = 2, queries = 8 }
[engine.exact]
[queries]
count = 6
k = 5
[measure]
rounds = 1
processes = 1
"""


@pytest.mark.usefixtures("no_report")
def test_sizes_stand_where_backbones_stand_and_nothing_is_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("sizes.toml").write_text(SIZES, encoding="utf-8")
    assert main(["run", "sizes.toml", "--run-id", "one"]) == 0
    said = capsys.readouterr().err
    assert "corpus     synthetic (vectors, n = 50, 100)" in said
    assert "vectors: 120 vectors, d = 6, 8 held-out queries" in said
    results = read_results(Path("reports/sizes/one"))
    sizes = {(result.backbone, result.n) for result in results}
    assert sizes == {("synthetic-n50", 50), ("synthetic-n100", 100)}
    asked = [result for result in results if isinstance(result, QueryResult)]
    assert {tuple(result.recall_ids_at_k) for result in asked} == {(1.0,) * 6}
    assert [(result.chosen, len(result.prepare_s)) for result in asked] == [({}, 1)] * 4
    np.savez(tmp_path / "v.npz", vectors=np.random.default_rng(0).standard_normal((200, 6)), labels=["a", "b"] * 100)
    assert main(["run", "sizes.toml", "--set", "corpus.source=v.npz", "--set", "judge.per_label=2"]) == 0
    assert "left out   corpus.synthetic, [judge]" in capsys.readouterr().err
    (folder,) = (path for path in Path("reports/sizes").iterdir() if path.name != "one")
    assert {result.backbone for result in read_results(folder)} == {"v-n50", "v-n100"}
    assert not any(result.precision for result in read_results(folder) if isinstance(result, QueryResult))


def test_full_disk_is_told_before_vectors_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    np.save(tmp_path / "a.npy", np.eye(4, dtype=np.float32))
    corpus = CorpusSpec(source=str(tmp_path / "a.npy"))
    vectors = read_vectors(tmp_path / "a.npy")
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ArtifactError, match="Free some space"):
        copy_vectors(vectors, vector_table(vectors, corpus), tmp_path)
