import dataclasses
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.results import (
    BuildResult,
    QueryResult,
    RunRecord,
    StageNote,
    cell_slug,
    read_result,
    read_results,
    read_run,
    refusing_damage,
    result_path,
    write_result,
    write_run,
)
from ris_core.errors import ArtifactError

BUILD = BuildResult(
    cell="tiny/falconn/build-1t", backbone="tiny", engine="falconn", kind="falconn", params={"tables": 3}, threads=1,
    n=10, d=4, build_s=[[0.1, 0.2]], load_s=[0.01], transform_s=[0.02], size_bytes=12, derived={"hash_functions": 2},
)  # fmt: skip
QUERY = QueryResult(
    cell="tiny/falconn/corrected/single-1t", backbone="tiny", engine="falconn", kind="falconn", params={"tables": 3},
    query_params={"probes_per_table": 1}, space="corrected", mode="single", threads=1, k=3, q=2, times_s=[[0.5, 1e-9]],
    recall_at_k=[1.0, 1 / 3], precision={"easy": [0.25]}, hits_file="hits/x.npz",
)  # fmt: skip
RUN = RunRecord("r1", "demo", "demo.toml", "text", {"name": "demo"}, cells=[QUERY.cell, BUILD.cell])


@pytest.mark.parametrize("result", [BUILD, QUERY])
def test_result_comes_back_unchanged(tmp_path: Path, result: BuildResult | QueryResult) -> None:
    write_result(tmp_path, result)
    assert read_result(result_path(tmp_path, result.cell)) == result


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=5))
def test_times_keep_every_digit(times: list[float]) -> None:
    result = dataclasses.replace(QUERY, times_s=[times])
    assert QueryResult.from_json(json.loads(json.dumps(result.to_json()))) == result


def test_results_come_in_the_order_of_the_suite(tmp_path: Path) -> None:
    write_run(tmp_path, RUN)
    write_result(tmp_path, BUILD)
    write_result(tmp_path, QUERY)
    assert read_results(tmp_path) == [QUERY, BUILD]


def test_run_comes_back_unchanged(tmp_path: Path) -> None:
    note = StageNote("tiles", "", "/c/tiles-1", "1", False, 2.5, {"n": 3})
    record = dataclasses.replace(RUN, stages=[note.to_json()])
    write_run(tmp_path / "run", record)
    assert read_run(tmp_path / "run") == record
    assert read_run(tmp_path / "run").stage_notes == [note]


def test_run_on_disk_names_no_absolute_folder(tmp_path: Path) -> None:
    note = StageNote("tiles", "", str(tmp_path / "cache" / "tiles-1"), "1", False, 2.5)
    write_run(tmp_path / "run", dataclasses.replace(RUN, stages=[note.to_json()]))
    text = (tmp_path / "run" / "run.json").read_text(encoding="utf-8")
    assert json.loads(text)["stages"][0]["folder"] == "../cache/tiles-1"
    assert str(tmp_path) not in text
    (tmp_path / "run").rename(tmp_path / "moved")
    assert read_run(tmp_path / "moved").stage_notes == [note]


def test_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="Name the folder of a run"):
        read_run(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"record": "other"}', '{"record": "build", "cell": "x"}', "\xff"])
def test_damaged_result_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ArtifactError, match=r"x\.json"):
        read_result(path)


def test_result_of_another_version_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps({**BUILD.to_json(), "colour": 3}), encoding="utf-8")
    with pytest.raises(ArtifactError, match="unknown field colour"):
        read_result(path)


def test_results_that_are_no_numbers_are_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_result(tmp_path, dataclasses.replace(BUILD, load_s=float("nan")))


def test_long_and_odd_ids_keep_apart() -> None:
    assert cell_slug("a/b-1t") == "a__b-1t"
    long = "x" * 300
    assert len(cell_slug(long)) < 200
    assert cell_slug(long + "1") != cell_slug(long + "2")
    assert cell_slug("a b") != cell_slug("a_b")


@pytest.mark.parametrize(
    "change", [{"q": "many"}, {"recall_at_k": [[1.0]]}, {"params": []}, {"slow_build": 1}, {"hits_file": "../x.npz"},
               {"hits_file": "/x.npz"}, {"record": []}],
)  # fmt: skip
def test_cell_of_other_types_or_with_answers_elsewhere_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    cell = QueryResult(
        "a/b", "a", "exact", "exact", {}, {}, space="corrected", mode="single", threads=1, k=5, hits_file="hits/a.npz"
    )
    path = tmp_path / "cell.json"
    path.write_text(json.dumps(cell.to_json()), encoding="utf-8")
    assert read_result(path) == cell
    path.write_text(json.dumps({**cell.to_json(), **change}), encoding="utf-8")
    with pytest.raises(ArtifactError, match=re.escape(str(path))):
        read_result(path)


@pytest.mark.parametrize("name", ["../x", "/x", "a/b", "", 7, ".hidden"])
def test_run_whose_backbones_would_name_files_elsewhere_is_refused(tmp_path: Path, name: object) -> None:
    record = RunRecord("one", "small", "small.toml", "", {"backbones": [{"name": name}]})
    (tmp_path / "run.json").write_text(json.dumps(record.to_json()), encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"run\.json"):
        read_run(tmp_path)


def test_what_a_run_does_not_hold_is_told_of_its_folder(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"KeyError: 'corpus' \(test_results.py, line"), refusing_damage(tmp_path):
        {}["corpus"]
