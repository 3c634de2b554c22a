from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from bench.__main__ import main
from bench.comparing import repeat
from bench.comparing.gate import gate_runs
from bench.comparing.repeat import report_repeats
from bench.comparing.verdict import THRESHOLDS
from bench.figures.ratios import draw_ratios
from bench.running.run_suite import CELL_FAILED, INTERRUPTED, OK, RunOptions

MakeRun = Callable[..., Path]


def measure(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, codes: dict[str, int] | None = None, **slower: float):
    """Stands in for `run_suite`; the letters of the runs that are slower, or end in another way, are given."""
    asked = []

    def run_suite(options: RunOptions) -> int:
        asked.append(options.run_id)
        letter = options.run_id[-1]
        folder = make_run(options.run_id, slower=slower.get(letter, 1.0))
        target = options.reports / "demo" / options.run_id
        target.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(target)
        return (codes or {}).get(letter, OK)

    monkeypatch.setattr(repeat, "run_suite", run_suite)
    return asked


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures take longer than all the rest."""
    monkeypatch.setattr(repeat, "draw_ratios", lambda table: None)


def test_runs_of_one_tree_pass_and_leave_a_report(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = measure(make_run, monkeypatch)
    reports = tmp_path / "reports"
    assert main(["run", "demo", "--repeat", "2", "--reports", str(reports), "--run-id", "x"]) == 0
    assert asked == ["x-a", "x-b"]
    folder = reports / "demo" / "x-repeat"
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md", "repeat.csv", "repeat.md", "repeat.tex", "time_ratios.png", "time_ratios.svg",
    ]  # fmt: skip
    text = capsys.readouterr().out
    assert (folder / "README.md").read_text(encoding="utf-8") == text
    assert text.startswith("# A/A test passed: x-a, x-b\n")
    assert "0 of 3 cells (0.0%) differ between runs of one tree; the limit is 5%." in text
    assert "# Gate passed: imaginary x-b against imaginary x-a" in text


@pytest.mark.usefixtures("undrawn")
def test_more_than_a_twentieth_of_the_cells_fails(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measure(make_run, monkeypatch, b=0.5)
    assert main(["run", "demo", "--repeat", "3", "--reports", str(tmp_path), "--run-id", "x"]) == CELL_FAILED
    text = capsys.readouterr().out
    assert text.startswith("# A/A test failed: x-a, x-b, x-c\n")
    assert "6 of 6 cells (100.0%) differ" in text, "faster as well as slower"


@pytest.mark.usefixtures("undrawn")
def test_cell_that_failed_fails_the_whole(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    measure(make_run, monkeypatch, {"a": CELL_FAILED})
    assert main(["run", "demo", "--repeat", "2", "--reports", str(tmp_path / "reports")]) == CELL_FAILED


def test_interruption_ends_it(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = measure(make_run, monkeypatch, {"a": INTERRUPTED})
    assert main(["run", "demo", "--repeat", "3", "--reports", str(tmp_path), "--run-id", "x"]) == INTERRUPTED
    assert asked == ["x-a"]


@pytest.mark.parametrize("arguments", [["--repeat", "1"], ["--repeat", "27"], ["--repeat", "2", "--resume"]])
def test_impossible_repetition_is_refused(
    arguments: list[str], make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = measure(make_run, monkeypatch)
    assert main(["run", "demo", *arguments]) == 2
    assert f"{' '.join(arguments[:2])}: measures 2 to 26 new runs" in capsys.readouterr().err
    assert not asked


@pytest.mark.usefixtures("undrawn")
def test_taken_names_are_refused_before_anything_is_measured(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["run", "demo", "--repeat", "2", "--reports", str(tmp_path / "reports"), "--run-id", "x"]
    asked = measure(make_run, monkeypatch)
    assert main(arguments) == 0
    assert main(arguments) == 2
    assert "x-a, " in capsys.readouterr().err
    assert len(asked) == 2


def counts_of(text: str) -> dict[str, list[str]]:
    """The first table of a report: what stands behind each metric."""
    table = text.split("\n\n")[2].splitlines()[2:]
    rows = [[word.strip() for word in line.strip("|").split("|")] for line in table]
    return {metric: counts for metric, *counts in rows}


@pytest.mark.usefixtures("undrawn")
def test_counts_of_each_metric_and_the_threshold_that_would_do(make_run: MakeRun, tmp_path: Path) -> None:
    noisy = {"other_load_fracs": [0.5]}
    runs = [make_run("a"), make_run("b", slower=1.4, batch=noisy, single={"recall_at_k": [0.5] * 200})]
    text, share = report_repeats(runs, tmp_path / "out")
    assert share == pytest.approx(2 / 3), "a cell counts once, whatever differs of it"
    rows = counts_of(text)
    assert rows["recall"] == ["2", "1", "0", "0", "", ""]
    assert rows["precision"] == ["2", "0", "0", "0", "", ""]
    assert rows["time"][:4] == ["2", "1", "1", "0.1"]
    assert rows["build"][:4] == ["1", "1", "0", "0.25"]
    assert all(0.35 < float(least) < 0.41 for least in rows["build"][4:])
    assert rows["size"] == ["1", "0", "0", "0", "", ""]
    table = pd.read_csv(tmp_path / "out" / "repeat.csv")
    assert len(table) == 10
    assert set(table["state"]) == {"same", "worse", "noisy"}


@pytest.mark.usefixtures("undrawn")
def test_thresholds_that_would_do_pass_as_many_as_they_say(make_run: MakeRun, tmp_path: Path) -> None:
    runs = [make_run("a"), make_run("b", slower=1.4)]
    text, _ = report_repeats(runs, tmp_path / "out")
    least = float(counts_of(text)["time"][-1])
    assert gate_runs(*runs, {**THRESHOLDS, "build": 1, "time": least + 0.01}).is_passed
    assert not gate_runs(*runs, {**THRESHOLDS, "build": 1, "time": least - 0.01}).is_passed


@pytest.mark.usefixtures("undrawn")
def test_cell_of_one_run_alone_differs(make_run: MakeRun, tmp_path: Path) -> None:
    text, share = report_repeats([make_run("a"), make_run("b", batch=None)], tmp_path / "out")
    assert share == pytest.approx(1 / 3)
    assert counts_of(text)["cell"][:2] == ["1", "1"]


@pytest.mark.usefixtures("undrawn")
def test_figure_shows_each_time_once(make_run: MakeRun, tmp_path: Path) -> None:
    report_repeats([make_run("a"), make_run("b"), make_run("c", slower=1.5)], tmp_path / "out")
    figure = draw_ratios(tmp_path / "out" / "repeat.csv")
    assert figure is not None
    assert [len(ax.collections[1].get_offsets()) for ax in figure.axes] == [4, 2]
    words = " ".join(text.get_text().replace("\n", " ") for text in figure.texts)
    assert "Runs a and b, b and c: 6 times, 50% of the ratios in the grey band" in words
    ratios = figure.axes[0].collections[1].get_offsets()[:, 0]
    assert list(ratios) == sorted(ratios)
    assert list(ratios) == pytest.approx([1, 1, 1.5, 1.5], rel=0.05)


def test_figure_without_times_is_not_drawn(make_run: MakeRun, tmp_path: Path) -> None:
    untimed = {"build": {"build_s": []}, "single": {"times_s": []}, "batch": {"times_s": []}}
    report_repeats([make_run("a", **untimed), make_run("b", **untimed)], tmp_path / "out")
    assert sorted(path.suffix for path in (tmp_path / "out").iterdir()) == [".csv", ".md", ".md", ".tex"]
