"""``[system.NAME]`` of a suite: read, recorded, refused."""

from pathlib import Path

import numpy as np
import pytest

from bench.suites.suite_file import read_suite
from bench.suites.system_spec import SystemSpec
from ris_core.errors import SuiteError

SUITE = """
[corpus]
scene_px = 1024
tile_px = 128

[backbone.colour]
model = "colour"

[backbone.net]
model = "test_resnet"
seed = [0, 1]

[engine.exact]

[engine.kdtree]
backbones = ["colour"]
leaf_size = [5, 10]

[rerank.expansion]
kind = "query_expansion"
backbones = ["net"]
top = 10

[rerank.many]
kind = "query_expansion"
top = [10, 20]

[regions.windows]
sizes = [0.5]

[system.plain]
title = "Colour, exact"
backbone = "colour"
engine = "exact"

[system.expanded]
backbone = "net-seed0"
engine = "exact"
rerank = "expansion"

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


def test_systems_are_read_in_order_and_recorded_where_there_are_some(tmp_path: Path) -> None:
    suite = read_suite(write(tmp_path))
    plain = SystemSpec("colour", "exact", name="plain", title="Colour, exact")
    assert suite.systems == (plain, SystemSpec("net-seed0", "exact", "expanded", "expanded", rerank="expansion"))
    assert [system["name"] for system in suite.to_json()["systems"]] == ["plain", "expanded"]
    without = SUITE[: SUITE.index("[system.plain]")] + SUITE[SUITE.index("[queries]") :]
    assert "systems" not in read_suite(write(tmp_path, without)).to_json()


@pytest.mark.parametrize(
    ("override", "finding"),
    [
        ("system.plain.backbone=color", "backbone = 'color' is not in the suite. Did you mean 'colour'?"),
        ("system.plain.backbone=net", "Known: colour, net-seed0, net-seed1."),
        ("system.plain.engine=falconn", "[system.plain] engine = 'falconn' is not in the suite."),
        ("system.plain.rerank=expansoin", "rerank = 'expansoin' is not in the suite. Did you mean 'expansion'?"),
        ("system.plain.regions=boxes", "regions = 'boxes' is not in the suite. Known: windows."),
        ("system.plain.engine=kdtree", "is one setting, and [engine.kdtree] makes 2. Give each of its keys one value."),
        ("system.plain.rerank=many", "is one setting, and [rerank.many] makes 2."),
        ("system.expanded.engine=kdtree", "engine = 'kdtree' is for other backbones. Add 'net' to its backbones."),
        (
            "system.plain.rerank=expansion",
            "rerank = 'expansion' is for other backbones. Add 'colour' to its backbones.",
        ),
        (
            "system.expanded.regions=windows",
            "names rerank and regions; answers to regions are merged and not re-ranked",
        ),
        ("system.plain.name=x", "[system.plain] has unknown key 'name'"),
        ("system.plain.engin=exact", "has unknown key 'engin'. Did you mean 'engine'?"),
        ("system.none={}", "[system.none] lacks backbone"),
        ("system.plain=3", "[system] plain must be a table"),
    ],
)
def test_fault_names_the_system_and_the_remedy(tmp_path: Path, override: str, finding: str) -> None:
    assert finding in faults_of(write(tmp_path), override)


def test_vectors_have_no_use_for_systems(tmp_path: Path) -> None:
    np.save(tmp_path / "mine.npy", np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32))
    text = SUITE.replace("[regions.windows]\nsizes = [0.5]\n", "")
    suite = read_suite(write(tmp_path, text), [f"corpus.source={tmp_path / 'mine.npy'}"])
    assert suite.systems == ()
    assert "[system]" in suite.unused
