"""Whole runs over a corpus of forty small pictures: what is on disk afterwards, whatever happened on the way.

One file, long as it is: every test needs the same small desk and engine of trouble, and each is one fate of a run.
"""

import dataclasses
import importlib
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench import machine, report
from bench.__main__ import main
from bench.measuring.worker import Worker
from bench.results import BuildResult, QueryResult, read_results, read_run, result_path
from bench.running import bench_cells, run_suite
from bench.running.session import Session
from ris_core import artifacts
from ris_core.engines import ENGINES

SUITE = """
[suite]
title = "Forty pictures"

[corpus]
source = "pictures"
tile_px = 16
seed = 3

[backbone.colour]
model = "colour"
preprocess = "native"

[engine.exact]

[queries]
count = 10
k = 5

[judge]
per_label = 2
label_depth = 4

[measure]
rounds = 2
processes = 2
"""
NETWORK = """
[backbone.micro]
model = "vit_tiny_patch16_224"
arch = { img_size = 16, patch_size = 8, embed_dim = 16, depth = 1, num_heads = 2 }
preprocess = "native"

[backbone.micro.train]
method = "dino"
epochs = 1
warmup_epochs = 0
batch = 8
global_px = 16
local_px = 8
local_crops = 1
out_dim = 16
hidden_dim = 16
bottleneck_dim = 8

[engine.falconn]
tables = [2, 4]
hash_bits = 4
query.probes_per_table = 2
"""
MACHINE = {"cpu": {"model": "A processor", "usable_cores": 2}, "memory_gib": 4.0, "load_average": [0.0, 0.0, 0.0]}
EXACT_CELLS = 3  # a build, single and batch queries


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a corpus and a suite; reports are not drawn, which takes longer than all the rest."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_suite, "write_report", lambda folder: folder / "index.html")
    monkeypatch.setattr(run_suite, "fingerprint", lambda: MACHINE)  # looking at the machine takes a second
    monkeypatch.delenv("RIS_CACHE", raising=False)
    rng = np.random.default_rng(0)
    for label, colour in (("field", (80, 140, 60)), ("water", (40, 60, 150))):
        folder = tmp_path / "pictures" / label
        folder.mkdir(parents=True)
        for i in range(20):
            pixels = np.clip(rng.normal(colour, 25, (16, 16, 3)), 1, 254).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{i:02}.png")
    (tmp_path / "small.toml").write_text(SUITE, encoding="utf-8")
    return tmp_path


@pytest.fixture
def drawn(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports are drawn after all, and the machine is looked at."""
    monkeypatch.setattr(run_suite, "write_report", report.write_report)
    monkeypatch.setattr(run_suite, "fingerprint", machine.fingerprint)


@pytest.fixture
def trouble(desk: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Adds an engine ``trouble`` that goes wrong in a way of one's choice."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    engine = importlib.import_module("trouble_engine")

    def add(fault: str, unavailable: str | None = None) -> None:
        (desk / "trouble").write_text(fault, encoding="utf-8")
        monkeypatch.setitem(ENGINES, "trouble", engine.trouble_kind(unavailable))

    return add


def only_run(desk: Path) -> Path:
    (folder,) = (path.parent for path in (desk / "reports" / "small").glob("*/run.json"))
    return folder


@pytest.mark.usefixtures("drawn")
def test_whole_chain_leaves_rows_tables_and_page(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (desk / "small.toml").write_text(SUITE + NETWORK, encoding="utf-8")
    arguments = ["run", "small.toml", "--set", "queries.space=['corrected', 'as_published']"]
    assert main([*arguments, "--set", "corpus.train_frac=0.25", "--run-id", "first"]) == 0
    folder = desk / "reports" / "small" / "first"
    results = read_results(folder)
    record = read_run(folder)
    assert [result.cell for result in results] == record.cells
    assert len(results) == 2 * (1 + 4 + 2 * (1 + 4))
    assert {result.status for result in results} == {"ok"}
    assert {(result.n, result.d) for result in results} == {(30, 6), (30, 16)}
    exact = [r for r in results if isinstance(r, QueryResult) and r.engine == "exact" and r.space == "corrected"]
    assert all(set(result.recall_at_k) == {1.0} for result in exact)
    single = next(result for result in exact if result.mode == "single")
    batch = next(result for result in exact if result.mode == "batch")
    assert [len(process) for process in single.times_s] == [10, 10]
    assert [len(process) for process in batch.times_s] == [2, 2]
    assert [len(process) for process in single.judged_times_s] == [4, 4]
    assert set(single.judged_recall) == {1.0}
    assert single.self_missed_frac == single.unstable_frac == 0
    assert single.precision.keys() == {"label"}
    assert len(single.precision["label"]) == 4
    build = next(result for result in results if isinstance(result, BuildResult))
    assert [len(process) for process in build.build_s] == [2, 2]
    assert len(build.load_s) == len(build.transform_s) == len(build.ready_s) == 2
    assert build.memory["vector_bytes"] == 30 * build.d * 4
    assert {way: [len(process) for process in times] for way, times in record.overhead.items()} == {
        "single-1t": [10, 10],
        "batch-1t": [2, 2],
    }
    assert {finding["backbone"] for finding in record.hygiene} == {"", "colour", "micro"}
    assert record.status == "ok"
    assert record.peak_bytes > 2**26
    assert record.corpus["trained"] == 10
    assert [note.stage for note in record.stage_notes].count("checkpoint") == 1
    assert (folder / "index.html").is_file()
    assert {path.name for path in (folder / "tables").glob("*.csv")} >= {"runtimes.csv", "losses.csv", "models.csv"}
    benchmark = json.loads((folder / "benchmark.json").read_text(encoding="utf-8"))
    clocked = benchmark["benchmarks"]
    assert {entry["extra_info"]["cell"] for entry in clocked} == set(record.cells)
    for number, times in enumerate(batch.times_s, 1):
        facts = {"cell": batch.cell, "process": number}
        (entry,) = (entry for entry in clocked if entry["extra_info"] == facts)
        assert entry["stats"]["data"] == pytest.approx(times)
    assert benchmark["machine_info"] == record.machine != MACHINE
    hits = np.load(folder / single.hits_file)
    assert hits["ids"].shape == (4, 4)
    assert not (hits["ids"] == hits["query_ids"][:, None]).any()
    out = capsys.readouterr().out
    assert out.count("\n") == 2 * len(results)
    assert out.startswith("[ 1/60] colour exact build")
    told = [line.partition("]")[2].split("  ")[0] for line in out.splitlines()]
    assert told[:30] == told[30:]  # every cell once before any has its second process
    assert len(set(told)) == 30


def test_second_run_reuses_every_artifact_and_says_so(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "small.toml", "-k", "batch", "--run-id", "a"]) == 0
    capsys.readouterr()
    assert main(["run", "small.toml", "-k", "batch", "--run-id", "b"]) == 0
    said = capsys.readouterr().err
    for stage in ("tiles", "features colour", "space colour", "truth colour"):
        (line,) = (line for line in said.splitlines() if line.startswith(f"{stage}:"))
        assert "reused" in line


def test_failing_cell_is_a_row_and_the_run_goes_on(
    desk: Path, trouble: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    trouble("raise")
    assert main(["run", "small.toml", "--set", "engine.trouble.ghost=false", "--run-id", "r"]) == 1
    folder = only_run(desk)
    rows = {result.cell: result for result in read_results(folder)}
    failed = [result for result in rows.values() if result.status == "failed"]
    assert len(rows) == 2 * EXACT_CELLS
    assert [result.cell.rpartition("/")[2] for result in failed] == ["build-1t", "single-1t", "batch-1t"]
    assert {result.reason for result in failed} == {"RuntimeError: out of luck"}
    assert read_run(folder).status == "failed"
    assert "FAILED: RuntimeError: out of luck" in capsys.readouterr().out
    traces = [path.read_text(encoding="utf-8") for path in (folder / "failures").glob("*.txt")]
    assert len(traces) == 3
    assert all("in search" in trace for trace in traces)  # of the worker, not of the harness that waited for it


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("crash", "its process died of SIGSEGV (Segmentation fault) while building."),
        ("exit", "its process died of exit status 3 while building."),
        ("hang", "took longer than measure.timeout_s = 5 s and was killed while building."),
    ],
)
def test_engine_that_dies_or_hangs_costs_its_cells_alone(
    desk: Path, trouble: Callable, fault: str, reason: str
) -> None:
    trouble(fault)
    arguments = ["--set", "engine.trouble.ghost=false", "--set", "measure.modes=['batch']"]
    timeout = ["--set", "measure.timeout_s=5"] if fault == "hang" else []
    assert main(["run", "small.toml", *arguments, *timeout]) == 1
    rows = {result.cell: result for result in read_results(only_run(desk))}
    ok = {cell for cell, row in rows.items() if row.status == "ok"}
    assert ok == {"colour/exact/build-1t", "colour/exact/corrected/batch-1t"}
    assert reason in rows["colour/trouble/no_ghost/build-1t"].reason
    assert "while searching" in rows["colour/trouble/no_ghost/corrected/batch-1t"].reason


def test_failure_in_a_second_process_keeps_what_the_first_measured(desk: Path, trouble: Callable) -> None:
    trouble("raise later")
    arguments = ["run", "small.toml", "--set", "engine.trouble.ghost=false", "-k", "trouble and batch", "--run-id", "r"]
    assert main(arguments) == 1
    (row,) = read_results(only_run(desk))
    assert (row.status, row.reason) == ("failed", "RuntimeError: out of luck")
    assert isinstance(row, QueryResult)
    assert len(row.times_s) == 1
    assert len(row.recall_at_k) == 10
    trouble("none")
    assert main([*arguments[:-2], "--resume", "r"]) == 0  # it is measured anew, in all its processes
    (row,) = read_results(only_run(desk))
    assert (row.status, row.processes) == ("ok", 2)
    assert not (only_run(desk) / "failures").exists()  # its traceback is not true any more


def test_answers_that_change_from_process_to_process_are_told(desk: Path, trouble: Callable) -> None:
    trouble("waver")
    arguments = ["--set", "engine.trouble.ghost=false", "--set", "measure.processes=3"]
    assert main(["run", "small.toml", *arguments, "-k", "trouble and batch"]) == 0
    (row,) = read_results(only_run(desk))
    assert isinstance(row, QueryResult)
    assert row.unstable_frac == 1


def test_recall_is_that_of_the_answers_given_under_the_clock(desk: Path, trouble: Callable) -> None:
    trouble("lazy")
    assert main(["run", "small.toml", "--set", "engine.trouble.ghost=false", "-k", "trouble and corrected"]) == 0
    for row in read_results(only_run(desk)):
        assert isinstance(row, QueryResult)
        assert set(row.recall_at_k) == {0.0}
        assert row.shorter_than_k_frac == row.self_missed_frac == 1


def test_index_that_is_slow_to_build_is_built_in_one_process_for_all_its_cells(desk: Path, trouble: Callable) -> None:
    trouble("slow build")
    arguments = ["--set", "engine.trouble.ghost=false", "--set", "measure.slow_build_s=0.01"]
    assert main(["run", "small.toml", *arguments, "-k", "trouble"]) == 0
    build, single, batch = read_results(only_run(desk))
    assert isinstance(build, BuildResult)
    assert [len(process) for process in build.build_s] == [1]
    assert isinstance(single, QueryResult)
    assert isinstance(batch, QueryResult)
    assert len(single.times_s) == len(batch.times_s) == 1
    builders = (desk / "builds").read_text(encoding="utf-8").split()
    assert len(builders) == 1  # its first build is timed, answers every cell and has its memory read
    assert build.memory["vector_bytes"] == build.memory["disk_bytes"] == 40 * 6 * 4
    assert build.memory["size_bytes"] == 0
    assert (desk / "prepared").read_text(encoding="utf-8") == "6 1\n"  # once, before the first of its cells
    assert single.chosen == batch.chosen == {"probes": 18}
    assert single.prepare_s == batch.prepare_s != []


def test_what_an_engine_chose_before_the_clock_is_told_with_its_seconds(desk: Path, trouble: Callable) -> None:
    trouble("nothing")
    assert main(["run", "small.toml", "--set", "engine.trouble.ghost=false", "-k", "trouble"]) == 0
    for row in read_results(only_run(desk)):
        if isinstance(row, QueryResult):
            assert row.chosen == {"probes": 18}
            assert len(row.prepare_s) == row.processes == 2
    assert (desk / "prepared").read_text(encoding="utf-8") == "6 1\n" * 4  # never for the build cell


def test_preparation_that_fails_is_a_failed_row_of_its_query_cells(desk: Path, trouble: Callable) -> None:
    trouble("promise too much")
    assert main(["run", "small.toml", "--set", "engine.trouble.ghost=false", "-k", "trouble"]) == 1
    build, *asked = read_results(only_run(desk))
    assert build.status == "ok"
    assert [(row.status, row.reason) for row in asked] == [("failed", "a recall of 0.9 is out of reach.")] * 2


def test_kept_process_that_dies_between_cells_is_made_anew(
    desk: Path, trouble: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    trouble("slow build")
    begin = Worker.begin

    def die_first(worker: Worker) -> None:
        os.kill(worker.pid, signal.SIGKILL)
        monkeypatch.setattr(Worker, "begin", begin)
        begin(worker)

    monkeypatch.setattr(Worker, "begin", die_first)
    arguments = ["--set", "engine.trouble.ghost=false", "--set", "measure.slow_build_s=0.01"]
    assert main(["run", "small.toml", *arguments, "-k", "trouble"]) == 0
    assert {result.status for result in read_results(only_run(desk))} == {"ok"}


def test_stages_are_told_once_however_many_passes_there_are(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    second = SUITE.replace(
        "[engine.exact]", '[backbone.again]\nmodel = "colour"\npreprocess = "native"\n[engine.exact]'
    )
    (desk / "small.toml").write_text(second, encoding="utf-8")
    assert main(["run", "small.toml", "-k", "batch"]) == 0
    said = capsys.readouterr().err
    assert said.count("features colour:") == said.count("space again:") == 1
    assert not next(note for note in read_run(only_run(desk)).stage_notes if note.stage == "tiles").reused


def test_stop_at_the_first_failure(desk: Path, trouble: Callable) -> None:
    trouble("raise")
    suite = (desk / "small.toml").read_text(encoding="utf-8").replace("[engine.exact]", "[engine.trouble]")
    (desk / "small.toml").write_text(suite, encoding="utf-8")
    assert main(["run", "small.toml", "-x"]) == 1
    assert len(read_results(only_run(desk))) == 1  # the build, whose first query fails


def test_interruption_keeps_what_is_measured_and_resume_does_the_rest(
    desk: Path, trouble: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    trouble("interrupt")
    arguments = ["run", "small.toml", "--set", "engine.trouble.ghost=false"]
    assert main([*arguments, "--run-id", "r"]) == 130
    folder = only_run(desk)
    kept = {result.cell: result for result in read_results(folder)}
    assert len(kept) == EXACT_CELLS
    assert read_run(folder).status == "interrupted"
    assert not list(folder.glob("cells/*.started"))
    said = capsys.readouterr().err
    assert "--resume r" in said
    assert "Traceback" not in said

    trouble("none")
    assert main([*arguments, "--resume"]) == 0
    rows = {result.cell: result for result in read_results(folder)}
    assert len(rows) == 2 * EXACT_CELLS
    assert {row.processes for row in rows.values()} == {2}
    for cell, before in kept.items():
        after = rows[cell]
        first = dataclasses.replace(after, **{name: getattr(after, name)[:1] for name in after.PER_PROCESS})
        assert first == before  # what the first process measured stays as it was
    assert f"{len(kept)} of {2 * len(rows)} measurements are done already" in capsys.readouterr().err
    assert (folder / "benchmark-2.json").is_file()
    assert not any(note.reused for note in read_run(folder).stage_notes)  # this run made them, before it was cut off
    assert main([*arguments, "--resume", "r"]) == 0  # nothing left to do


def test_damaged_row_is_measured_again_on_resume(desk: Path) -> None:
    assert main(["run", "small.toml", "--run-id", "r"]) == 0
    path = result_path(only_run(desk), "colour/exact/corrected/batch-1t")
    path.write_text("{", encoding="utf-8")
    assert main(["run", "small.toml", "--resume"]) == 0
    assert len(read_results(only_run(desk))) == EXACT_CELLS


def test_cell_in_which_a_process_died_gets_a_failed_row_once(desk: Path) -> None:
    assert main(["run", "small.toml", "-k", "single", "--run-id", "r"]) == 0
    folder = only_run(desk)
    died = "colour/exact/corrected/batch-1t"
    result_path(folder, died).with_suffix(".started").touch()
    assert main(["run", "small.toml", "--resume", "-k", "build"]) == 1
    (row,) = (result for result in read_results(folder) if result.cell == died)
    assert row.status == "failed"
    assert "the process died" in row.reason
    assert main(["run", "small.toml", "--resume"]) == 0


def test_resume_of_another_suite_or_run_is_refused(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "small.toml", "-k", "build", "--run-id", "r"]) == 0
    assert main(["run", "small.toml", "--resume", "--set", "queries.k=6"]) == 2
    assert "changed: queries.k" in capsys.readouterr().err
    assert main(["run", "small.toml", "--resume", "other"]) == 2
    assert "Runs there: r" in capsys.readouterr().err
    assert main(["run", "small.toml", "--run-id", "r"]) == 2
    assert "a run of that name is there" in capsys.readouterr().err


def test_resume_after_the_corpus_has_changed_is_refused(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "small.toml", "-k", "build", "--run-id", "r"]) == 0
    before = [path.read_bytes() for path in (only_run(desk) / "cells").iterdir()]
    Image.new("RGB", (16, 16), (1, 2, 3)).save(desk / "pictures" / "field" / "00.png")
    assert main(["run", "small.toml", "--resume"]) == 2
    assert "pictures: has changed since" in capsys.readouterr().err
    assert [path.read_bytes() for path in (only_run(desk) / "cells").iterdir()] == before


def test_failed_row_that_cannot_be_kept_ends_the_run_with_a_message(
    desk: Path, trouble: Callable, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise artifacts.disk_error(Path("a row"), OSError(28, "No space left on device"))

    trouble("raise")
    monkeypatch.setattr(Session, "keep_failure", full)
    assert main(["run", "small.toml", "--set", "engine.trouble.ghost=false", "-k", "trouble"]) == 2
    said = capsys.readouterr().err
    assert "a row: cannot be written" in said
    assert "INTERNALERROR" not in said
    assert "Traceback" not in said


def test_cache_that_is_gone_ends_the_run_once(
    desk: Path, trouble: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    trouble("lose the cache")
    arguments = ["run", "small.toml", "--set", "engine.trouble.ghost=false", "--set", "measure.modes=['batch']"]
    assert main([*arguments, "--run-id", "r"]) == 2
    assert "is gone from the cache. Put it back, or run again with --resume" in capsys.readouterr().err
    assert len(read_results(only_run(desk))) == 2  # those of exact search, measured before
    trouble("none")
    assert main([*arguments, "--resume"]) == 0


def test_resume_on_another_machine_is_refused(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "small.toml", "-k", "build", "--run-id", "r"]) == 0
    path = only_run(desk) / "run.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    record["machine"]["cpu"]["model"] = "Another one"
    path.write_text(json.dumps(record), encoding="utf-8")
    assert main(["run", "small.toml", "--resume"]) == 2
    assert "Another one | A processor" in capsys.readouterr().err


def test_resume_without_an_earlier_run_starts_one(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "small.toml", "-k", "build", "--resume"]) == 0
    assert "a new one starts" in capsys.readouterr().err


def test_engine_that_cannot_run_here_is_a_skipped_row(desk: Path, trouble: Callable) -> None:
    trouble("none", "needs a quantum computer")
    assert main(["run", "small.toml", "--set", "engine.trouble.ghost=false"]) == 0
    skipped = [result for result in read_results(only_run(desk)) if result.status == "skipped"]
    assert len(skipped) == EXACT_CELLS
    assert {result.reason for result in skipped} == {"needs a quantum computer"}


def test_keyword_that_matches_nothing_is_refused(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "small.toml", "-k", "nothing"]) == 2
    assert "matches none of the 3 cells" in capsys.readouterr().err


def test_corpus_that_turns_out_too_small_is_told_after_tiling_all_at_once(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(desk / "pictures" / "water")
    (desk / "small.toml").write_text(SUITE + NETWORK, encoding="utf-8")
    overrides = ["queries.k=30", "judge.label_depth=25", "engine.falconn.hash_bits=9", "backbone.micro.train.batch=21"]
    assert main(["run", "small.toml", *(part for text in overrides for part in ("--set", text))]) == 2
    said = capsys.readouterr().err
    for finding in ("k = 30", "hash_bits = 9", "batch = 21"):
        assert finding in said
    assert not list((desk / ".ris_cache").glob("checkpoint-*"))


def test_full_disk_while_writing_a_row_ends_the_run_with_a_message(
    desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = np.savez_compressed

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:

        def fill_up(*arguments: Any, **arrays: Any) -> None:
            original(*arguments, **arrays)
            patch.setattr(artifacts.os, "fsync", full)

        patch.setattr(np, "savez_compressed", fill_up)
        assert main(["run", "small.toml", "--run-id", "r"]) == 2
    said = capsys.readouterr().err
    assert "No space left on device" in said
    assert "finished work is kept" in said
    assert "Traceback" not in said
    assert main(["run", "small.toml", "--resume", "r"]) == 0
    assert len(read_results(only_run(desk))) == EXACT_CELLS


def test_report_replaces_tables_of_cells_that_have_changed(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["run", "small.toml", "--run-id", "r"]) == 0
    folder = only_run(desk)
    (folder / "tables").mkdir()
    (folder / "tables" / "runtimes.csv").write_text("stale", encoding="utf-8")
    assert main(["report", str(folder)]) == 0
    assert not (folder / "tables" / "runtimes.csv").exists()  # the report, not drawn here, makes it from the cells
    shutil.rmtree(folder / "cells")
    (folder / "tables" / "runtimes.csv").write_text("published", encoding="utf-8")
    assert main(["report", str(folder)]) == 0
    assert (folder / "tables" / "runtimes.csv").exists()


def test_plain_pytest_collects_and_measures_the_same_cells(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [bench_cells.__file__, "-c", "/dev/null", "-q", "-p", "no:cacheprovider", "--suite", "small.toml"]
    assert pytest.main([*arguments, "--collect-only"]) == 0
    assert "test_query[colour/exact/corrected/single-1t/process-1]" in capsys.readouterr().out
    assert not (desk / "reports").exists()
    assert pytest.main([*arguments, "-k", "build or batch", "--set", "queries.k=4"]) == 0
    results = read_results(only_run(desk))
    assert [result.cell for result in results] == ["colour/exact/build-1t", "colour/exact/corrected/batch-1t"]
    assert read_run(only_run(desk)).suite["queries"]["k"] == 4
    assert pytest.main([*arguments, "--set", "queries.x=4"]) == 4  # pytest's status for a usage error
    assert "unknown key 'x'" in capsys.readouterr().err


def test_cells_side_by_side_are_refused(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Xdist:
        """What pytest-xdist tells its workers by."""

        @pytest.hookimpl(tryfirst=True)
        def pytest_configure(self, config: pytest.Config) -> None:
            config.workerinput = {}  # type: ignore[attr-defined]

    arguments = [bench_cells.__file__, "-c", "/dev/null", "-q", "-p", "no:cacheprovider", "--suite", "small.toml"]
    assert pytest.main(arguments, plugins=[Xdist()]) == pytest.ExitCode.USAGE_ERROR
    assert "spoil each other's times" in capsys.readouterr().err


def test_run_leaves_the_users_pytest_settings_alone(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (desk / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\n", encoding="utf-8")
    monkeypatch.setenv("PYTEST_ADDOPTS", "--no-such-option")
    assert main(["run", "small.toml", "-k", "build"]) == 0
    assert not (desk / ".pytest_cache").exists()


@pytest.mark.parametrize("name", ["../x", "a/b", "/x", ".x", "..", "two\nlines"])
def test_run_id_that_would_lead_out_of_its_folder_is_refused(
    desk: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    before = sorted(desk.rglob("*"))
    assert main(["run", "small.toml", "--run-id", name]) == 2
    assert "--run-id" in capsys.readouterr().err
    assert sorted(desk.rglob("*")) == before
