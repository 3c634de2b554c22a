import dataclasses
import getpass
import json
import socket
from hashlib import sha256
from pathlib import Path

import pytest

from bench.machine import fingerprint
from bench.results import BuildResult, Result, RunRecord, StageNote
from bench.tables.provenance_table import provenance_table, trace_words, without_path

MACHINE = {
    "cpu": {"model": "Abacus 3000", "architecture": "x86_64", "flags": ["avx2"], "physical_cores": 2}
    | {"logical_cores": 2, "usable_cores": 2, "governor": None},
    "memory_gib": 8.0, "load_average": [0.1, 0.1, 0.1], "system": "Linux", "kernel": "6.1", "python": "CPython 3.11",
    "versions": {"numpy": "2.0"}, "blas": [], "gpu": None, "commit": {"hash": "0123456789abcdef", "dirty": False},
}  # fmt: skip


def run_record(**changes: object) -> RunRecord:
    fields = {
        "run_id": "first", "suite_name": "imaginary", "suite_file": "/home/someone/suites/imaginary.toml",
        "suite_text": 'title = "<b>&"', "suite": {"corpus": {"source": "scene"}}, "version": "0.1.0",
        "machine": MACHINE, "corpus": {"source": "scene", "tiles_key": "abc", "indexed": 4000},
        "started": "2026-11-21T10:00:00+00:00", "finished": "2026-11-21T10:10:00+00:00", "status": "ok",
    }  # fmt: skip
    return RunRecord(**{**fields, **changes})


def build(cell: str, **changes: object) -> BuildResult:
    return BuildResult(**{"cell": cell, "backbone": "tiny", "engine": "falconn", "kind": "falconn", "params": {},
                          "threads": 1, **changes})  # fmt: skip


def facts(record: RunRecord, results: list[Result] | None = None) -> dict[str, str]:
    table = provenance_table(record, results or [])
    assert list(table) == ["key", "value"]
    assert table["key"].is_unique
    return dict(zip(table["key"], table["value"], strict=True))


def test_run_program_and_suite_are_named() -> None:
    found = facts(run_record(overrides=["queries.k=10", "corpus.source=/home/someone/ortho.tif"]))
    assert found["run.id"] == "first"
    assert found["run.ris-bench"] == "0.1.0"
    assert found["run.commit"] == "0123456789ab"
    assert found["suite.file"] == "imaginary.toml"
    assert found["suite.sha256"] == sha256(b'title = "<b>&"').hexdigest()
    assert found["suite.overrides"] == "queries.k=10, corpus.source=ortho.tif"
    assert found["run.started"] < found["run.finished"]


def test_uncommitted_changes_are_named() -> None:
    machine = MACHINE | {"commit": {"hash": "f" * 40, "dirty": True}}
    assert facts(run_record(machine=machine))["run.commit"] == "ffffffffffff with uncommitted changes"
    assert facts(run_record(machine=MACHINE | {"commit": None}))["run.commit"] == "not a checkout"


def test_every_seed_of_the_suite_is_found() -> None:
    falconn = [{"params": {"seed": seed, "tables": tables}} for seed in (7, 9) for tables in (5, 10)]
    suite = run_record().suite | {
        "corpus": {"seed": 1, "scene_seed": 2},
        "queries": {"seed": 3, "count": 5},
        "judge": {"seed": 4},
        "backbones": [
            {"name": "tiny", "spec": {"seed": 5}, "recipe": {"seed": 0}},
            {"name": "colour", "spec": {"seed": 6}, "recipe": None},
        ],
        "engines": [{"name": "falconn", "builds": falconn}],
    }
    found = {key: value for key, value in facts(run_record(suite=suite)).items() if key.startswith("seed.")}
    assert found == {
        "seed.corpus": "1",
        "seed.corpus scene_seed": "2",
        "seed.queries": "3",
        "seed.judge": "4",
        "seed.backbones tiny spec": "5",
        "seed.backbones tiny recipe": "0",
        "seed.backbones colour spec": "6",
        "seed.engines falconn builds params": "7, 9",
    }


def test_data_are_named_by_their_keys() -> None:
    notes = [("tiles", "", "aa"), ("features", "tiny", "bb"), ("features", "mini", "cc")]
    stages = [StageNote(stage, of, "/cache/x", key, reused=True, wall_s=1.0).to_json() for stage, of, key in notes]
    found = facts(run_record(stages=stages))
    keys = {key: value for key, value in found.items() if key.startswith("artifact.")}
    assert keys == {"artifact.tiles": "aa", "artifact.features tiny": "bb", "artifact.features mini": "cc"}
    assert found["corpus.tiles_key"] == "abc"
    assert found["corpus.indexed"] == "4000"


def test_machine_is_told_and_so_is_what_cannot_be() -> None:
    settings = {"governor": "powersave", "turbo": True, "smt": False, "hybrid": False, "huge_pages": "always"}
    gpu = {"name": "Accelerator", "count": 2, "driver": "580.1", "cuda": "13.0"}
    blas = [{"library": "openblas", "version": "0.3", "threads": 2}]
    machine = MACHINE | {"cpu": MACHINE["cpu"] | settings | {"quota_cores": 1.5}, "gpu": gpu, "blas": blas}
    found = facts(run_record(machine=machine))
    assert found["machine.processor"] == "Abacus 3000 (x86_64)"
    assert found["machine.cores"] == "2 physical, 2 logical, 2 usable"
    assert found["machine.frequency governor"] == "powersave"
    assert (found["machine.turbo"], found["machine.SMT"]) == ("on", "off")
    assert found["machine.transparent huge pages"] == "always"
    assert found["machine.CPU quota"] == "1.5 cores"
    assert found["machine.GPU"] == "2 x Accelerator, driver 580.1, CUDA 13.0"
    assert found["machine.BLAS and OpenMP"] == "openblas 0.3, 2 threads"
    assert found["version.numpy"] == "2.0"
    assert found["load.average_1_5_15_min"] == "0.1 0.1 0.1"
    untold = facts(run_record(machine={}))
    for name in ("frequency governor", "turbo", "efficiency cores", "transparent huge pages", "memory", "Python"):
        assert untold[f"machine.{name}"] == "cannot be told"


def test_threads_and_other_load_are_of_the_cells_that_succeeded() -> None:
    results = [
        build("a", other_load_fracs=[0.1], threads_seen={"openblas": 1, "torch": 1}),
        build("b", other_load_fracs=[0.3], threads_seen={"openblas": 1, "openmp": 1}),
        build("c", other_load_fracs=[0.02], threads=4, threads_seen={"torch": 4}),
        build("d"),
        build("e", other_load_fracs=[0.9], threads_seen={"torch": 9}, status="failed"),
    ]
    found = facts(run_record(measuring="By hand."), list(results))
    assert found["measure.how"] == "By hand."
    assert found["threads.1 given"] == "openblas 1, openmp 1, torch 1"
    assert found["threads.4 given"] == "torch 4"
    assert (found["load.cells"], found["load.noisy_cells"]) == ("3", "1")
    assert (found["load.other_frac_median"], found["load.other_frac_max"]) == ("0.100", "0.300")
    assert not any(key.startswith("load.other") for key in facts(run_record()))


def test_no_fact_names_host_user_or_folder() -> None:
    record = run_record(
        machine=json.loads(json.dumps(fingerprint())),
        suite_file=r"C:\Users\someone\suites\own.toml",
        corpus={"source": "/home/someone/ortho.tif", "tiles": 3},
        overrides=["corpus.source=/home/someone/ortho.tif", r"corpus.labels=C:\Users\someone\labels.csv"],
    )
    found = facts(record)
    text = json.dumps(found)
    private = ["someone", "/home", "Users", str(Path.home()), socket.gethostname()]
    if len(getpass.getuser()) > 4:  # "root" may be part of any word
        private.append(getpass.getuser())
    assert [secret for secret in private if len(secret) > 1 and secret in text] == []
    assert (found["suite.file"], found["corpus.source"]) == ("own.toml", "ortho.tif")


@pytest.mark.parametrize(
    ("override", "shown"),
    [("queries.k=10", "queries.k=10"), ("a.b=/x/y.tif", "a.b=y.tif"), ("a.b=", "a.b="), (r"a=D:\x\y z", "a=y z")],
)
def test_overrides_keep_the_last_name_of_a_path(override: str, shown: str) -> None:
    assert without_path(override) == shown


def test_captions_trace_a_table_to_its_run() -> None:
    record = run_record()
    digest = sha256(record.suite_text.encode()).hexdigest()[:8]
    assert trace_words(record) == f"Run first, commit 0123456789ab, suite imaginary (SHA-256 {digest})."
    other = dataclasses.replace(record, suite_text=record.suite_text + " ")
    assert trace_words(other) != trace_words(record)
