"""What a run takes before its first stage, and after its last cell: its start, and the drawing of its report."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from bench.figures import FIGURES
from bench.figures.style import save_figure
from bench.planning.growth_law import Law, Seconds
from bench.planning.stage_cost import StageCost

_REAL = 20  # plain figures that one of a report takes with its tables: the demo's report, 82 s for 21 of 0.17 s
_SPREAD = 3.0  # suites differ so much: an empty figure is left out, intervals by resampling grow with the cells
_POINTS = 500


def start_cost() -> StageCost:
    """The row of the start: a fresh process that imports what a run imports."""
    start = time.perf_counter()
    script = "import bench.running.run_suite, bench.machine as m; m.fingerprint()"
    subprocess.run([sys.executable, "-c", script], check=True)
    seconds = time.perf_counter() - start
    return StageCost("start", "", 1, seconds=Law((1,), (seconds,)).at(1))


def report_cost() -> StageCost:
    """The row of the report: tables, figures and page."""
    figure = Figure()
    axes = figure.subplots(1, 2)
    for ax in axes:
        ax.plot(np.arange(_POINTS), np.sin(np.arange(_POINTS)), marker="o")
    with tempfile.TemporaryDirectory() as folder:
        save_figure(figure, Path(folder) / "warm")
        start = time.perf_counter()
        save_figure(figure, Path(folder) / "timed")
        seconds = (time.perf_counter() - start) * len(FIGURES) * _REAL
    words = "by a plain figure and the demo's report: others take a third to three times as long"
    return StageCost(
        "report", "", len(FIGURES), False, Seconds(seconds / _SPREAD, seconds, seconds * _SPREAD), note=words
    )
