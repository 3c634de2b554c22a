"""The A/A test: one tree measured several times. What differs between such runs is no change of the program."""

import dataclasses
import datetime
import itertools
import string
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from tabulate import tabulate

from bench.comparing.gate import gate_runs
from bench.comparing.verdict import BETTER, NOISY, SLACK, THRESHOLDS, TIMES, WORSE
from bench.figures.ratios import draw_ratios
from bench.figures.style import save_figure
from bench.results import RUN
from bench.running.run_suite import CELL_FAILED, INTERRUPTED, OK, RunOptions, run_suite
from bench.suites.suite_file import find_suite
from bench.tables.table import write_table
from ris_core.artifacts import disk_error
from ris_core.errors import SuiteError

LIMIT_FRAC = 0.05  # of the cells may differ between runs of one tree: as many as 95 % intervals let go astray
REPORT, TABLE, FIGURE = "README.md", "repeat", "time_ratios"
_DIFFERENT = (WORSE, BETTER)


def repeat_suite(options: RunOptions, times: int) -> int:
    """Measure a suite several times and gate each run by the one before.

    The runs follow one another, each from its first cell to its last. That is how a gate meets them: its two runs are
    minutes or days apart. Measured alternately, cell by cell, two runs would share the machine's mood, and agree
    better than a gate ever sees.

    Args:
        options: As for one run; the runs are named ``<run id>-a``, ``<run id>-b`` and so forth.
        times: Number of runs, at least 2.

    Returns:
        0; or 1 if more than `LIMIT_FRAC` of the cells differ, or a cell failed; or 130 if it was interrupted.

    Raises:
        SuiteError: If a run is to be resumed, the number of runs is impossible, or a run has one of the names.
        RisError: As `bench.running.run_suite.run_suite`.
    """
    if options.resume is not None or not 2 <= times <= len(string.ascii_lowercase):
        raise SuiteError(
            f"--repeat {times}: measures 2 to {len(string.ascii_lowercase)} new runs, and none goes on with an old "
            "one. Leave out --resume, or give another number."
        )
    name = options.run_id or datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    reports = options.reports / find_suite(options.suite).stem
    folders = [reports / f"{name}-{letter}" for letter in string.ascii_lowercase[:times]]
    taken = [str(folder) for folder in folders if (folder / RUN).exists()]
    if taken:
        raise SuiteError(f"{', '.join(taken)}: runs of these names are there. Choose another --run-id.")
    worst = OK
    for folder in folders:
        code = run_suite(dataclasses.replace(options, run_id=folder.name))
        if code == INTERRUPTED:
            return code
        worst = max(worst, code)
    text, share = report_repeats(folders, reports / f"{name}-repeat")
    sys.stdout.write(text)
    return CELL_FAILED if share > LIMIT_FRAC else worst


def report_repeats(runs: Sequence[Path], folder: Path) -> tuple[str, float]:
    """Gate each run by the one before, and write report, table and figure into ``folder``.

    Args:
        runs: Folders of runs of one tree, in the order in which they were measured.
        folder: Made if it is not there.

    Returns:
        The report as Markdown, and the share of cells that differ, in [0, 1].

    Raises:
        ComparabilityError: If the runs cannot be gated by each other.
        ArtifactError: If a folder is no run, or the disk cannot take the report.
    """
    gates = [gate_runs(base, run) for base, run in itertools.pairwise(runs)]
    verdicts = pd.concat([gate.table() for gate in gates], ignore_index=True)
    share = _different_cells(verdicts)
    text = "\n".join([*_lines(verdicts, share), "", *(gate.markdown() for gate in gates)])
    try:
        write_table(verdicts, folder, TABLE, "Every metric of every cell, one run of a tree against another.")
        (folder / REPORT).write_text(text, encoding="utf-8")
        figure = draw_ratios(folder / f"{TABLE}.csv")
        if figure is not None:
            save_figure(figure, folder / FIGURE)
    except OSError as error:
        raise disk_error(folder, error) from error
    return text, share


def _lines(verdicts: pd.DataFrame, share: float) -> list[str]:
    """What a reader of an A/A test asks: do the runs agree, and which thresholds does this machine allow?"""
    runs = list(dict.fromkeys([*verdicts["base_run"], *verdicts["other_run"]]))
    cells = len(verdicts[["other_run", "cell"]].drop_duplicates())
    kinds = verdicts["metric"].str.partition(" ")[0]
    groups = [(kind, verdicts[kinds == kind]) for kind in dict.fromkeys(kinds)]
    rows = [_row(kind, part) for kind, part in groups]
    return [
        f"# A/A test {'passed' if share <= LIMIT_FRAC else 'failed'}: {', '.join(runs)}",
        "",
        f"{share * cells:.0f} of {cells} cells ({share:.1%}) differ between runs of one tree; the limit is "
        f"{LIMIT_FRAC:.0%}. A cell differs where one of its metrics does, in either direction.",
        "",
        tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True),
    ]


def _row(kind: str, verdicts: pd.DataFrame) -> dict[str, str]:
    """Counts of one metric; for times also the least thresholds under which few, and none, of them would differ."""
    row = {
        "metric": kind,
        "compared": str(len(verdicts)),
        "differ": str(verdicts["state"].isin(_DIFFERENT).sum()),
        "not counted": str((verdicts["state"] == NOISY).sum()),
        "threshold": f"{THRESHOLDS.get(kind, 0):g}",
    }
    if kind in TIMES:
        counts = (verdicts["run"] - verdicts["base"]).abs() > SLACK.get(kind, 0)
        off = np.maximum(verdicts["low"], 1 / verdicts["high"]) - 1  # of the whole interval from 1
        few, none = np.quantile(np.where(counts, off, 0).clip(0), [1 - LIMIT_FRAC, 1])
        row |= {f"{LIMIT_FRAC:.0%} differ at": f"{few:.2f}", "none differs at": f"{none:.2f}"}
    return row


def _different_cells(verdicts: pd.DataFrame) -> float:
    """Share of the cells, each pair of runs counted, of which a metric differs."""
    differs = verdicts["state"].isin(_DIFFERENT)
    return float(differs.groupby([verdicts["other_run"], verdicts["cell"]]).any().mean())
