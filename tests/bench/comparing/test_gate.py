import copy
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import main
from bench.comparing.gate import gate_runs, parse_thresholds
from bench.comparing.verdict import BETTER, NOISY, THRESHOLDS, WORSE
from bench.results import read_run
from ris_core.errors import ArtifactError, ComparabilityError

MakeRun = Callable[..., Path]
CELL_WITH_KNOWN_TIME = """
import os
import pytest
from bench.running.replay import enter_times, recorded_time

@pytest.mark.benchmark(timer=recorded_time)
def test_build(benchmark):
    enter_times(benchmark, {"cell": "a cell", "process": 1}, [float(os.environ["SECONDS"])] * 3)
"""


@pytest.fixture
def base(make_run: MakeRun) -> Path:
    return make_run("base")


def gate(base: Path, run: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    status = main(["compare", str(base), str(run), "--gate", *arguments])
    seen = capsys.readouterr()
    return status, seen.out + seen.err


def machine_of(folder: Path, **cpu: Any) -> dict[str, Any]:
    machine = copy.deepcopy(read_run(folder).machine)
    machine["cpu"].update(cpu)
    return machine


def test_second_run_of_one_tree_passes(base: Path, make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = gate(base, make_run("again"), capsys)
    assert status == 0
    assert text.startswith("# Gate passed: imaginary again against imaginary base\n")
    assert "Compared: 10 metrics of 3 cells: 0 worse, 0 better, 0 not counted, 10 within the thresholds." in text
    assert "Warning" not in text
    assert "Worse" not in text


def test_slower_run_fails_and_names_its_cells_first(
    base: Path, make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    status, text = gate(base, make_run("slow", slower=1.5), capsys)
    assert status == 1
    lines = text.splitlines()
    assert lines[0] == "# Gate failed: imaginary slow against imaginary base"
    assert lines[2] == "## Worse"
    (single,) = (line for line in lines if "tiny/falconn/single-1t" in line)
    metric, _, before, now, change, interval, allowed = (word.strip() for word in single.strip("|").split("|"))
    assert (metric, allowed) == ("time", "+10%")
    assert 1.4 < float(now.removesuffix(" ms")) / float(before.removesuffix(" ms")) < 1.6
    assert 45 < float(change.strip("+%")) < 55
    low, high = (float(bound.strip("+%")) for bound in interval.split(" to "))
    assert 40 < low < float(change.strip("+%")) < high < 60
    assert "3 worse, 0 better, 0 not counted, 7 within the thresholds." in text


def test_faster_run_passes_and_is_told(base: Path, make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = gate(base, make_run("fast", slower=0.5), capsys)
    assert status == 0
    assert "## Better" in text
    assert "0 worse, 3 better" in text


def test_lost_recall_fails_however_little(base: Path, make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run("lost", single={"recall_at_k": [0.8, 1.0] * 99 + [0.8, 0.9]})
    status, text = gate(base, run, capsys)
    assert status == 1
    assert "| recall   | tiny/falconn/single-1t | 0.9000   | 0.8995 | -0.0005  | 0         |" in text
    assert gate(base, run, capsys, "--threshold", "recall=0.001")[0] == 0


def test_threshold_decides(base: Path, make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run("slow", slower=1.5)
    assert gate(base, run, capsys, "--threshold", "time=0.6", "--threshold", "build=0.6")[0] == 0
    status, text = gate(base, run, capsys, "--threshold", "time=0.6")
    assert status == 1
    assert "1 worse" in text
    assert main(["compare", str(base), str(run), "--threshold", "time=0.6"]) == 1, "a threshold is for the gate"


def test_noisy_time_is_told_and_not_counted(base: Path, make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    noisy = {"other_load_fracs": [0.4]}
    status, text = gate(base, make_run("noisy", slower=2, build=noisy, single=noisy, batch=noisy), capsys)
    assert status == 0
    assert text.startswith("# Gate passed")
    assert "## Different, perhaps by other work: not counted" in text
    assert text.count("other work took 40% of the cores now") == 3
    assert "0 worse, 0 better, 3 not counted" in text
    assert "Warning: 3 of 3 cells were measured beside other work now (over 15% of the cores)" in text


def test_cells_that_failed_or_are_missing_fail(
    base: Path, make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run("broken", single={"status": "failed", "reason": "SIGSEGV"}, batch=None)
    status, text = gate(base, run, capsys)
    assert status == 1
    assert "| cell     | tiny/falconn/single-1t | failed: SIGSEGV |" in text
    assert "| cell     | tiny/falconn/batch-1t  | not measured    |" in text
    status, text = gate(run, base, capsys)
    assert status == 0
    assert "| cell     | tiny/falconn/single-1t | before: failed: SIGSEGV |" in text
    assert "0 worse, 2 better" in text


def test_cells_that_neither_run_measured_are_counted(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = gate(make_run("a", batch=None), make_run("b", batch={"status": "failed"}), capsys)
    assert status == 0
    assert "Warning: 1 of the suite's 3 cells were measured by neither run, such as tiny/falconn/batch-1t." in text


def test_harness_or_machine_that_changed_is_told(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [make_run(name, overhead={"single-1t": [[seconds] * 9] * 2}) for name, seconds in (("a", 1e-6), ("b", 2e-6))]
    assert "an engine that does nothing (single-1t) took 2.00 times as long as before" in gate(*runs, capsys)[1]
    assert "an engine that does nothing" not in gate(runs[0], runs[0], capsys)[1]
    assert "an engine that does nothing" not in gate(*runs, capsys, "--scores-only")[1]


def test_times_of_two_machines_are_not_gated(base: Path, make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run("elsewhere", slower=3, machine=machine_of(base, model="Abacus 4000", usable_cores=4))
    status, text = gate(base, run, capsys)
    assert status == 2
    assert "processor: Abacus 3000 | Abacus 4000" in text
    assert "usable logical cores: 2 | 4" in text
    status, text = gate(base, run, capsys, "--scores-only")
    assert status == 0
    assert "Compared: 4 metrics of 2 cells" in text
    assert "- Different machines: processor" in text


def test_other_tiles_are_not_gated(base: Path, make_run: MakeRun) -> None:
    corpus = {**read_run(base).corpus, "tiles_key": "xyz", "indexed": 3999}
    with pytest.raises(ComparabilityError, match=r"tiles indexed: 4000 \| 3999; key of the tiles: abc \| xyz"):
        gate_runs(base, make_run("other", corpus=corpus))


def test_other_suites_are_not_gated(base: Path, make_run: MakeRun) -> None:
    suite = copy.deepcopy(read_run(base).suite)
    suite["queries"]["k"] = 50
    suite["engines"] = [{"name": "exact"}]
    with pytest.raises(ComparabilityError, match=r"engines.falconn: .* \| none; queries.k: 100 \| 50\. Measure both"):
        gate_runs(base, make_run("other", suite=suite))


def test_other_words_and_places_are_the_same_suite(base: Path, make_run: MakeRun) -> None:
    suite = copy.deepcopy(read_run(base).suite)
    suite["about"] = {"title": "New title"}
    suite["corpus"]["source"] = "/another/checkout/scene"
    assert gate_runs(base, make_run("moved", suite=suite)).is_passed


def test_run_that_lost_all_its_cells_before_the_tiles_fails(base: Path, make_run: MakeRun) -> None:
    failed = {"status": "failed", "reason": "no memory"}
    found = gate_runs(base, make_run("lost", corpus={}, build=failed, single=failed, batch=failed))
    assert len(found.of(WORSE)) == 3


def test_base_without_a_measured_cell_gates_nothing(make_run: MakeRun) -> None:
    empty = make_run("empty", build=None, single=None, batch=None)
    with pytest.raises(ComparabilityError, match="has measured no cell, so there is nothing that"):
        gate_runs(empty, make_run("full"))
    builds = make_run("builds", single=None, batch=None)
    with pytest.raises(ComparabilityError, match="has measured no score"):
        gate_runs(builds, builds, scores_only=True)


def test_folder_that_is_no_run_is_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="Name the folder of a run"):
        gate_runs(base, tmp_path / "nothing")


def test_table_has_a_row_a_verdict(base: Path, make_run: MakeRun) -> None:
    found = gate_runs(base, make_run("slow", slower=1.5))
    table = found.table()
    assert len(table) == len(found.verdicts) == 10
    assert set(table["base_run"]) == {"base"}
    assert set(table["other_run"]) == {"slow"}
    assert (table["state"] == WORSE).sum() == len(found.of(WORSE)) == 3
    assert found.of(BETTER, NOISY) == []


def test_thresholds_take_the_place_of_the_defaults() -> None:
    assert parse_thresholds([]) == THRESHOLDS
    assert parse_thresholds(["time=0.3", "recall=0.01"]) == {**THRESHOLDS, "time": 0.3, "recall": 0.01}


@pytest.mark.parametrize("text", ["time=-1", "time=nan", "time=inf", "time=fast", "time", "recall=1", "precision=2"])
def test_impossible_threshold_is_refused(text: str) -> None:
    with pytest.raises(ComparabilityError, match=f"--threshold {text}: .* is no threshold; give {text.split('=')[0]} "):
        parse_thresholds([text])


def test_all_faults_of_thresholds_are_told(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = gate(base, base, capsys, "--threshold", "speed=1", "--threshold", "time=-1")
    assert status == 2
    assert "unknown metric 'speed'; known metrics: recall, precision, time, build, pace, size, memory." in text
    assert "--threshold time=-1" in text


def test_own_compare_of_pytest_benchmark_reads_our_files(tmp_path: Path) -> None:
    """``benchmark.json`` of two runs, written as a cell's is, by the tool's own command."""
    (tmp_path / "test_cells.py").write_text(CELL_WITH_KNOWN_TIME, encoding="utf-8")
    files = [tmp_path / name / "benchmark.json" for name in ("first", "second")]
    for file, seconds in zip(files, (1, 2), strict=True):
        file.parent.mkdir()
        alone = ["-c", os.devnull, "-p", "no:cacheprovider", "-p", "pytest_benchmark.plugin"]
        environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "SECONDS": str(seconds)}
        call("pytest", *alone, "--benchmark-json", str(file), "test_cells.py", cwd=tmp_path, env=environment)
    found = call("pytest_benchmark", "compare", *map(str, files), "--columns=median", "--group-by=name", cwd=tmp_path)
    assert "benchmark 'test_build': 2 tests" in found
    medians = re.findall(r"^test_build \(\d+_?\S*\) +(\S+)", found, re.MULTILINE)
    assert medians == ["1.0000", "2.0000"]


def call(module: str, *arguments: str, **options: Any) -> str:
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, **options).stdout
