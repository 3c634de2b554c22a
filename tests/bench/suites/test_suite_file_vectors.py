"""Suites over files of vectors and over synthetic ones: what they leave out, their sizes, faults and metric."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from bench.running.progress import plan_lines
from bench.suites.suite import VECTORS
from bench.suites.suite_file import read_suite
from fixtures.vectors import SyntheticVectors
from ris_core.errors import SuiteError

SMALL = """
backbone.colour.model = "colour"
engine.exact = {}
corpus = { scene_px = 1024, tile_px = 128 }
queries = { count = 20, k = 10 }
"""


def write(folder: Path, text: str) -> Path:
    (folder / "small.toml").write_text(text, encoding="utf-8")
    return folder / "small.toml"


def faults_of(path: Path, *overrides: str) -> str:
    with pytest.raises(SuiteError) as caught:
        read_suite(path, overrides)
    return str(caught.value)


def write_vectors(folder: Path, n: int = 60, **more: np.ndarray) -> Path:
    np.savez(folder / "my vectors.npz", vectors=np.random.default_rng(0).standard_normal((n, 5)), **more)
    return folder / "my vectors.npz"


def write_hdf5(folder: Path, distance: str) -> Path:
    with h5py.File(folder / "v.hdf5", "w") as file:
        file["train"] = np.eye(60, 5) + 1
        file.attrs["distance"] = distance
    return folder / "v.hdf5"


def test_any_suite_runs_on_vectors_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    suite = read_suite(write(tmp_path, SMALL), [f"corpus.source={write_vectors(tmp_path)}"])
    assert [(entry.name, entry.spec.model) for entry in suite.backbones] == [("my_vectors", VECTORS)]
    assert suite.unused == ("[backbone.colour]", "corpus.scene_px", "corpus.tile_px")
    lines = plan_lines(suite, [], tmp_path, tmp_path)
    told = next(line for line in lines if "left out" in line)
    assert "[backbone.colour], corpus.scene_px, corpus.tile_px: of no use to this corpus" in told
    assert any(line.endswith("my vectors.npz (vectors)") for line in lines)


def test_exclusion_is_left_out_where_nothing_lies_on_the_ground(tmp_path: Path) -> None:
    (tmp_path / "pictures" / "a").mkdir(parents=True)
    for i in range(30):
        (tmp_path / "pictures" / "a" / f"{i}.png").write_bytes(b"")
    path = write(tmp_path, SMALL)
    exclude = "queries.exclude=['self', 'overlap']"
    for source, others in ((write_vectors(tmp_path), 3), (tmp_path / "pictures", 0)):
        suite = read_suite(path, [f"corpus.source={source}", exclude])
        assert suite.unused[others:] == ("queries.exclude",)
        assert suite.queries.exclude == ("self",)
        assert "queries.exclude" not in read_suite(path, [f"corpus.source={source}", "queries.exclude=['self']"]).unused
    assert read_suite(path, [exclude]).queries.exclude == ("self", "overlap")


def test_suite_over_vectors_needs_no_backbone(tmp_path: Path) -> None:
    write_vectors(tmp_path)
    text = "[corpus]\nsource = 'my vectors.npz'\n[engine.exact]\n[queries]\ncount = 60\nk = 59\n"
    suite = read_suite(write(tmp_path, text))
    assert suite.unused == ()
    assert suite.corpus.vectors().n == 60


@pytest.mark.parametrize(
    ("override", "finding"),
    [
        ("corpus.tile_pixels=3", "has unknown key 'tile_pixels'. Did you mean 'tile_px'?"),
        ("queries.k=60", "k = 60, but the index holds 60 vectors and a vector is never its own neighbour"),
        ("queries.count=61", "count = 61; the index holds only 60 vectors."),
        ("corpus.sample=61", "sample = 61; the corpus gives at most 60 vectors."),
        ("space.whiten=6", "whiten = 6; my_vectors has only 5 dimensions"),
        ("corpus.queries=nowhere.npy", "queries = 'nowhere.npy' does not exist"),
        ("corpus.labels=nowhere.csv", "labels = 'nowhere.csv' does not exist"),
        ("engine.falconn.hash_bits=20", "[engine.falconn] hash_bits = 20"),
    ],
)
def test_faults_over_vectors(tmp_path: Path, override: str, finding: str) -> None:
    path = write(tmp_path, SMALL)
    message = faults_of(path, f"corpus.source={write_vectors(tmp_path)}", override)
    assert finding in message
    assert "faults:" not in message


def test_held_out_queries_have_faults_of_their_own(tmp_path: Path) -> None:
    source = f"corpus.source={write_vectors(tmp_path, queries=np.ones((7, 5)))}"
    path = write(tmp_path, SMALL)
    assert "count = 8; only 7 queries are held out. Lower count to 7." in faults_of(path, source, "queries.count=8")
    message = faults_of(path, source, "queries.count=7", "queries.k=60")
    assert "k = 60, but the index holds 60 vectors; k must be at most 59. Lower k" in message
    assert read_suite(path, [source, "queries.count=7", "queries.k=59"]).queries.k == 59


def test_sizes_are_variants_in_place_of_a_backbone(tmp_path: Path) -> None:
    source = write_vectors(tmp_path, queries=np.ones((30, 5)))
    suite = read_suite(write(tmp_path, SMALL), [f"corpus.source={source}", "corpus.sizes=[50, 40]"])
    assert [(entry.name, entry.size) for entry in suite.backbones] == [("my_vectors-n50", 50), ("my_vectors-n40", 40)]
    assert suite.to_json()["backbones"][0]["size"] == 50


@pytest.mark.parametrize(
    ("override", "finding"),
    [
        ("corpus.sizes=[61, 40]", "sizes = [61, 40]; the corpus gives at most 60 vectors."),
        ("corpus.sizes=[40, 40]", "sizes = [40, 40] names one twice."),
        ("corpus.sizes=[0, 40]", "sizes = [0, 40]; each must be at least 1."),
        ("corpus.sizes=[60, 15]", "count = 20; the index holds only 15 vectors."),
        ("corpus.sizes=40", "sizes = 40; it must be a list, each a whole number."),
    ],
)
def test_faults_of_sizes(tmp_path: Path, override: str, finding: str) -> None:
    message = faults_of(write(tmp_path, SMALL), f"corpus.source={write_vectors(tmp_path)}", override)
    assert finding in message


def test_every_size_must_take_every_parameter(tmp_path: Path) -> None:
    source = f"corpus.source={write_vectors(tmp_path, 5000)}"
    bits = "engine.falconn.hash_bits=10"
    assert read_suite(write(tmp_path, SMALL), [source, bits, "corpus.sizes=[5000]"])
    message = faults_of(write(tmp_path, SMALL), source, bits, "corpus.sizes=[50, 5000]")
    assert "hash_bits = 10" in message
    assert "faults:" not in message


def test_sizes_belong_to_vectors(tmp_path: Path) -> None:
    assert "only vectors are indexed in several sizes" in faults_of(write(tmp_path, SMALL), "corpus.sizes=[10]")


def test_any_suite_runs_on_synthetic_vectors(tmp_path: Path) -> None:
    law = ["corpus.synthetic.n=500", "corpus.synthetic.d=8", "corpus.synthetic.intrinsic_dim=3"]
    suite = read_suite(write(tmp_path, SMALL), ["corpus.source=synthetic", *law])
    assert suite.corpus.synthetic == SyntheticVectors(n=500, d=8, intrinsic_dim=3)
    assert [entry.name for entry in suite.backbones] == ["synthetic"]
    assert suite.unused == ("[backbone.colour]", "corpus.scene_px", "corpus.tile_px")
    assert suite.about.title == "small on synthetic"


@pytest.mark.parametrize(
    ("overrides", "finding"),
    [
        (["corpus.synthetic.d=4"], "[corpus] synthetic intrinsic_dim = 16; it must be at most d = 4."),
        (["corpus.synthetic.n=0"], "[corpus] synthetic n = 0; it must be at least 1."),
        (["corpus.synthetic.dims=4"], "[corpus] synthetic has unknown key 'dims'"),
        (["queries.count=9", "corpus.synthetic.queries=8"], "count = 9; only 8 queries are held out."),
        (["corpus.sizes=[100001]"], "sizes = [100001]; the corpus gives at most 100000 vectors."),
    ],
)
def test_faults_of_synthetic_vectors(tmp_path: Path, overrides: list[str], finding: str) -> None:
    message = faults_of(write(tmp_path, SMALL), "corpus.source=synthetic", *overrides)
    assert finding in message
    assert "faults:" not in message


def test_damaged_vectors_are_one_fault(tmp_path: Path) -> None:
    (tmp_path / "v.npy").write_bytes(b"nothing")
    message = faults_of(write(tmp_path, SMALL), f"corpus.source={tmp_path / 'v.npy'}")
    assert message.count("is no readable .npy file") == 1
    assert "faults:" not in message


def test_queries_belong_to_vectors(tmp_path: Path) -> None:
    write_vectors(tmp_path)
    assert "queries belong to files of vectors and folders of images" in faults_of(
        write(tmp_path, SMALL), f"corpus.queries={tmp_path / 'my vectors.npz'}"
    )


@pytest.mark.parametrize(
    ("distance", "overrides", "expected"),
    [
        ("angular", [], (False, True)),
        ("angular", ["space.center=true"], (True, True)),
        ("euclidean", [], (True, False)),
        ("euclidean", ["space.normalize=true"], (True, True)),
    ],
)
def test_metric_of_the_file_fills_what_the_suite_leaves_open(
    tmp_path: Path, distance: str, overrides: list[str], expected: tuple[bool, bool]
) -> None:
    suite = read_suite(write(tmp_path, SMALL), [f"corpus.source={write_hdf5(tmp_path, distance)}", *overrides])
    assert (suite.space.center, suite.space.normalize) == expected


def test_without_a_metric_the_space_is_the_suites(tmp_path: Path) -> None:
    suite = read_suite(write(tmp_path, SMALL), [f"corpus.source={write_vectors(tmp_path)}"])
    assert (suite.space.center, suite.space.normalize) == (True, True)


def test_suite_tells_nothing_of_a_corpus_that_it_does_not_name(tmp_path: Path) -> None:
    path = write(tmp_path, SMALL + "[suite]\npurpose = 'Why'\nduration = 'long'")
    assert read_suite(path).about.duration == "long"
    source = f"corpus.source={write_vectors(tmp_path)}"
    about = read_suite(path, [source]).about
    assert (about.title, about.purpose, about.duration) == ("small on my vectors.npz", "", "")
    assert read_suite(path, [source, "suite.title='Mine'"]).about.title == "Mine"
