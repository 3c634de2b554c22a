"""One figure of a finished run, drawn to a file: ``python -m bench figure RUN NAME``."""

import dataclasses
import re
from pathlib import Path

from bench.figures import PICTURES
from bench.figures.style import ENDINGS, save_figure
from bench.figures.thesis import THESIS, FigureOptions, draw_named
from bench.finished.finished_run import FinishedRun
from bench.report import FIGURES
from ris_core.artifacts import disk_error
from ris_core.errors import ArtifactError, RisError, SuiteError

ALL = "all"


def draw_figure(run: FinishedRun, name: str, options: FigureOptions, out: Path | None = None) -> list[Path]:
    """Draw one of the thesis' figures.

    Args:
        run: The run.
        name: Key of `THESIS`.
        options: What it shows.
        out: File to write, of a format in `ENDINGS`; None: PNG and SVG under the figure's and the options' names in the
            run's folder of pictures, which a published run leaves behind.

    Raises:
        RisError: If the figure, an option or the ending is unknown, or the run or its cache lacks what it needs.
    """
    stem = run.folder / FIGURES / PICTURES / _stem(name, options) if out is None else out.with_suffix("")
    endings = ("png", "svg") if out is None else (out.suffix.removeprefix("."),)
    if endings[0] not in ENDINGS:
        raise SuiteError(f"--out {out}: its ending names the format; allowed: {', '.join(f'.{e}' for e in ENDINGS)}.")
    figure = draw_named(run, name, options)
    try:
        return save_figure(figure, stem, endings)
    except OSError as error:
        raise disk_error(stem, error) from error


def draw_all(run: FinishedRun, options: FigureOptions, out: Path | None = None) -> tuple[list[Path], list[str]]:
    """Draw every figure, by those of the options that it takes, into the folder ``out``; the files, and what failed.

    Raises:
        ArtifactError: If none can be drawn.
    """
    files, reasons = [], []
    for name, figure in THESIS.items():
        own = options.fitting(figure.takes)
        try:
            files += draw_figure(run, name, own, out and out / f"{_stem(name, own)}.png")
        except RisError as error:
            reasons.append(f"{name} was not drawn: {error}")
    if not files:
        raise ArtifactError("\n".join(reasons))
    return files, reasons


def _stem(name: str, options: FigureOptions) -> str:
    """A file name, without ending, that tells the options apart."""
    parts = [name]
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if value != field.default:
            words = "-".join(map(str, value)) if isinstance(value, tuple) else str(value)
            parts.append(f"{field.name}-{re.sub(r'[^A-Za-z0-9._=-]', '_', words)}")
    return "-".join(parts)
