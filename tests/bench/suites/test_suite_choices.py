"""Choices of single tables: a backbone's own space, and engines for some backbones alone."""

import json
from pathlib import Path

import numpy as np
import pytest

from bench.suites.cells import expand_cells
from bench.suites.suite import BackboneEntry, SpaceSpec, takes
from bench.suites.suite_faults import corpus_faults
from bench.suites.suite_file import read_suite
from ris_core.backbone import BackboneSpec
from ris_core.errors import SuiteError

SUITE = """
[corpus]
scene_px = 1024
tile_px = 128

[space]
whiten = 4

[backbone.colour]
model = "colour"

[backbone.raw]
like = "colour"
space = { center = false, normalize = false }

[backbone.codes]
like = "raw"
space.normalize = true

[backbone.net]
model = "test_resnet"
seed = [0, 1]

[engine.exact]

[engine.kdtree]
backbones = ["raw", "net"]

[queries]
count = 20
k = 10
"""


def write(folder: Path, text: str = SUITE) -> Path:
    path = folder / "small.toml"
    path.write_text(text, encoding="utf-8")
    return path


def faults_of(path: Path, *overrides: str) -> str:
    with pytest.raises(SuiteError) as caught:
        read_suite(path, overrides)
    return str(caught.value)


def test_own_space_lies_over_the_suites_and_over_that_of_the_like(tmp_path: Path) -> None:
    suite = read_suite(write(tmp_path))
    assert suite.space == SpaceSpec(whiten=4)
    assert suite.backbone("colour").space == suite.space
    assert suite.backbone("raw").space == SpaceSpec(center=False, normalize=False, whiten=4)
    assert suite.backbone("codes").space == SpaceSpec(center=False, normalize=True, whiten=4)


def test_engine_takes_every_variant_of_the_tables_that_it_names(tmp_path: Path) -> None:
    cells = expand_cells(read_suite(write(tmp_path)))
    found = {(cell.index.backbone, cell.index.engine) for cell in cells}
    names = ["colour", "raw", "codes", "net-seed0", "net-seed1"]
    taken = [(name, "kdtree") for name in ("raw", "net-seed0", "net-seed1")]
    assert found == {*((name, "exact") for name in names), *taken}
    assert next(cell.index.backbone for cell in cells if cell.index.engine == "kdtree") == "raw"  # the backbones' order


def test_no_names_mean_all() -> None:
    entry = BackboneEntry("net-seed0", BackboneSpec("colour"), table="net")
    assert (takes((), entry), takes(("net",), entry), takes(("net-seed0",), entry)) == (True, True, False)


@pytest.mark.parametrize(
    ("override", "finding"),
    [
        ("engine.kdtree.backbones=['rwa']", "[engine.kdtree] backbones: 'rwa' is no backbone. Did you mean 'raw'?"),
        ("engine.kdtree.backbones=['x']", "Known: colour, raw, codes, net."),
        ("engine.kdtree.backbones=[3]", "3 is no backbone"),
        ("engine.kdtree.backbones=[['raw']]", "['raw'] is no backbone"),
        ("engine.kdtree.kind=['kdtree']", "[engine.kdtree] kind = ['kdtree'] is no engine."),
        ("rerank.a.kind=['geometric']", "[rerank.a] kind = ['geometric'] is no re-ranker."),
        ("regions.a.source=['windows']", "[regions.a] source = ['windows'] is no source of regions."),
        ("corpus.distractors=['.']", "[corpus] distractors belong to folders of images. Remove the key."),
        ("engine.kdtree.backbones=[]", "backbones = []; it must be a list of names, or left out to take all."),
        ("engine.kdtree.backbones=raw", "backbones = 'raw'; it must be a list of names"),
        ("engine.exact.backbones=['net']", "[backbone.colour] is taken by no engine."),
        ("backbone.raw.space.centre=false", "[backbone.raw.space] has unknown key 'centre'. Did you mean 'center'?"),
        ("backbone.raw.space.center=3", "[backbone.raw.space] center = 3; it must be true or false"),
        ("backbone.raw.space=3", "[backbone.raw.space] is 3; it must be a table of keys"),
        ("backbone.raw.space.whiten=0", "[backbone.raw.space] whiten = 0; it must be at least 1 dimension"),
        ("backbone.raw.space.whiten=7", "[backbone.raw.space] whiten = 7; raw has only 6 dimensions"),
        ("queries.space=['as_published']", "the index 4. Leave it out, or set [backbone.raw.space] whiten = 6."),
    ],
)
def test_fault_names_the_table_and_the_remedy(tmp_path: Path, override: str, finding: str) -> None:
    assert finding in faults_of(write(tmp_path), override)


def test_engines_are_refused_by_the_width_of_those_that_they_take(tmp_path: Path) -> None:
    text = SUITE.replace("whiten = 4", "") + "\n[engine.crosspolytope]\nhash_bits = 4\n"
    widths = {"colour": 6, "raw": 6, "codes": 6, "net-seed0": 10**6, "net-seed1": 10**6}
    found = {}
    for table in ("colour", "net"):
        suite = read_suite(write(tmp_path, text), [f"engine.crosspolytope.backbones=['{table}']"])
        found[table] = corpus_faults(suite, 64, 64, widths)
    assert found["colour"] == []
    assert "[engine.crosspolytope] vectors have 1000000 dimensions" in found["net"][0]


def test_record_holds_choices_where_they_were_made_alone(tmp_path: Path) -> None:
    """A suite without any is recorded as it always was, so that runs of before remain comparable."""
    record = read_suite(write(tmp_path)).to_json()
    entries = {entry["name"]: entry for entry in record["backbones"]}
    assert "space" not in entries["colour"]
    assert entries["codes"]["space"] == {"center": False, "normalize": True, "whiten": 4}
    assert not any("table" in entry for entry in record["backbones"])
    assert [grid.get("backbones") for grid in record["engines"]] == [None, ["raw", "net"]]
    assert json.loads(json.dumps(record)) == record


def test_vectors_have_no_use_for_choices_among_backbones(tmp_path: Path) -> None:
    np.save(tmp_path / "mine.npy", np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32))
    suite = read_suite(write(tmp_path), [f"corpus.source={tmp_path / 'mine.npy'}"])
    assert "engine.kdtree.backbones" in suite.unused
    assert {(cell.index.backbone, cell.index.engine) for cell in expand_cells(suite)} == {
        ("mine", "exact"),
        ("mine", "kdtree"),
    }
    assert suite.backbones[0].space.whiten == 4


def test_engine_section_that_is_no_table_is_a_fault_and_no_crash(tmp_path: Path) -> None:
    np.save(tmp_path / "mine.npy", np.eye(40, 8, dtype=np.float32) + 1)
    message = faults_of(write(tmp_path), f"corpus.source={tmp_path / 'mine.npy'}", "engine=3")
    assert "no [engine.NAME] table" in message
