"""Run folders of other people: records, cells, tables and answers damaged, read by every command that reads runs."""

import contextlib
import io
import json
import shutil
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image

from bench.__main__ import BAD_INPUT, main
from bench.figures.thesis import THESIS
from bench.running import run_suite
from ris_core.errors import RisError
from tests.reliability.bad_arrays import odd_array
from tests.reliability.fuzzing import Target, as_scenarios
from tests.reliability.mutations import Rng, chosen, damaged_bytes, damaged_text, damaged_value

_SUITE = """
[corpus]
source = "pictures"
tile_px = 16
[backbone.colour]
model = "colour"
preprocess = "native"
[engine.exact]
[engine.kdtree]
query.eps = [0.0, 0.5]
[queries]
count = 8
k = 5
[judge]
easy_depth = 3
[measure]
rounds = 1
processes = 1
modes = ["single"]
"""
_PARTS = (
    "run.json",
    "run.json",
    "run.json",
    "cells",
    "cells",
    "tables",
    "hits",
    "judgments",
    "indexed_ids.npy",
    "data",
)


def _small_run(folder: Path) -> Path:
    """A run over pictures of three classes."""
    rng = np.random.default_rng(0)
    for label, colour in (("field", (80, 140, 60)), ("water", (40, 60, 150)), ("wood", (30, 80, 40))):
        (folder / "pictures" / label).mkdir(parents=True)
        for i in range(12):
            pixels = np.clip(rng.normal(colour, 25, (16, 16, 3)), 1, 254).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "pictures" / label / f"{i:02}.png")
    (folder / "small.toml").write_text(_SUITE, encoding="utf-8")
    whole = folder / "reports" / "small" / "whole"
    with contextlib.chdir(folder), mock.patch.object(run_suite, "write_report", lambda at: at / "index.html"):
        status = main(["run", "small.toml", "--run-id", "whole", "--cache", "cache"])
    if status:
        raise LookupError(f"the run ended with status {status}")
    return whole


def damaged_run(whole: Path, case: Path, rng: Rng) -> Path:
    """A copy of a run's folder, of which one file is damaged."""
    run = case / "damaged"
    shutil.copytree(whole, run)
    part = chosen(rng, _PARTS)
    files = sorted(path for path in run.rglob("*") if path.is_file() and part in path.relative_to(run).parts)
    path = chosen(rng, files or sorted(run.rglob("*.json")))
    if rng.random() < 0.05:
        path.unlink()
        return run
    content = path.read_bytes()
    if path.suffix == ".json" and rng.random() < 0.85:
        content = json.dumps(damaged_value(rng, json.loads(content))).encode("utf-8", "surrogatepass")
    elif path.suffix == ".csv" and rng.random() < 0.85:
        content = damaged_text(rng, content.decode()).encode("utf-8", "surrogatepass")
    elif path.suffix in (".npy", ".npz") and rng.random() < 0.5:
        content = odd_array(rng, content, path.suffix == ".npz")
    else:
        content = damaged_bytes(rng, content)
    path.write_bytes(content)
    return run


def command_of(rng: Rng, run: Path, whole: Path) -> list[str]:
    """Some command that reads a run."""
    figure = ["figure", str(run), chosen(rng, list(THESIS))]
    commands: tuple[list[str], ...] = (
        ["report", str(run)],
        figure,
        [*figure, "--tile", "random"],
        ["compare", str(whole), str(run)],
        ["compare", str(run), str(whole), "--scores-only"],
        ["compare", str(whole), str(run), "--gate"],
        ["rank", str(run), "--out", "ranked", "--recall", "0.5"],
        ["publish", str(run), "published"],
        ["export", str(run), "exported"],
        ["pool", str(run), "--out", "pooled"],
    )
    return list(commands[int(rng.choice(len(commands), p=_SHARES))])


_SHARES = np.array([1, 3, 3, 3, 3, 3, 3, 1, 3, 3]) / 26  # drawing all figures takes seconds


def asked(command: list[str]) -> None:
    """Run a command as a user would; bad input becomes the error that it printed.

    Raises:
        RisError: If the command calls its input bad.
    """
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        status = main(command)
    if status == BAD_INPUT:
        raise RisError(said.getvalue())


def _ask_of_damaged(whole: Path, case: Path, rng: Rng) -> None:
    asked(command_of(rng, damaged_run(whole, case, rng), whole))


TARGETS = (
    Target(
        "damaged_runs",
        "A file of a run's folder is damaged or holds other values; read by report, figure, compare, rank, publish, "
        "export or pool.",
        _small_run,
        _ask_of_damaged,
        tries=3000,
        tries_in_tests=0,
        options=("--cache", "--tile"),
    ),
)
SCENARIOS = as_scenarios(__name__, TARGETS)
