"""Runs side by side: on one cache, in one folder, and readers of a run that is under way."""

import re
import shutil
import signal
import time
from pathlib import Path

import numpy as np

from tests.reliability.kills import draw_strike, prepare
from tests.reliability.launcher import Launched, launch
from tests.reliability.scenario import RECOVERED, REFUSED, Outcome, Scenario, expect
from tests.reliability.strike import GROUP
from tests.reliability.tiny import CACHE, check_equal, lay_out, reference, run_arguments, run_folder

_MADE, _REUSED = re.compile(r"^(\w+)\b.*, made in", re.MULTILINE), re.compile(r"^(\w+)\b.*, reused", re.MULTILINE)


def two_runs(folder: Path, rng: np.random.Generator) -> Outcome:
    """Two runs of one suite begun together, on one cache: each artifact is made once, and both runs are whole."""
    undisturbed = reference().folder
    lay_out(folder)
    runs = [_start(folder, name, rng) for name in ("one", "two")]
    _all_end_well(runs)
    made = [len(_MADE.findall(run.said())) for run in runs]
    reused = [len(_REUSED.findall(run.said())) for run in runs]
    artifacts = len(list((undisturbed / CACHE).glob("*/manifest.json")))
    expect(sum(made) == artifacts == sum(reused), f"{made} artifacts made, {reused} reused, of {artifacts}")
    for name in ("one", "two"):
        check_equal(folder, undisturbed, name)
    return Outcome(RECOVERED)


def one_killed(folder: Path, rng: np.random.Generator) -> Outcome:
    """Of two runs on one cache one is killed, wherever it is: the other goes on, and so does the killed one later."""
    undisturbed = reference().folder
    lay_out(folder)
    doomed = launch(
        ["run", "tiny.toml", "--run-id", "one"],
        folder,
        draw_strike("", rng, False, signal.SIGKILL, GROUP),
        "one",
    )
    other = _start(folder, "two", rng)
    doomed.wait()
    _all_end_well([other])
    begun = (run_folder(folder, "one") / "run.json").is_file()
    _all_end_well([launch(["run", "tiny.toml", "--resume" if begun else "--run-id", "one"], folder, log="one")])
    for name in ("one", "two"):
        check_equal(folder, undisturbed, name)
    return Outcome(RECOVERED)


def shared_artifacts(folder: Path, rng: np.random.Generator) -> Outcome:
    """Two suites that share tiles and a backbone, begun together: what they share is made once."""
    lay_out(folder)
    text = (folder / "tiny.toml").read_text(encoding="utf-8")
    (folder / "other.toml").write_text(text.replace("k = 8", "k = 6"), encoding="utf-8")
    runs = [_start(folder, name, rng, suite) for name, suite in (("one", "tiny"), ("two", "other"))]
    _all_end_well(runs)
    kinds = sorted(path.parent.name.partition("-")[0] for path in (folder / CACHE).glob("*/manifest.json"))
    expected = ["checkpoint", "features", "features", "space", "space", "tiles", *["truth"] * 4]
    expect(kinds == expected, f"artifacts: {', '.join(kinds)}")
    expect(sum(len(_MADE.findall(run.said())) for run in runs) == len(expected), "an artifact was made twice")
    return Outcome(RECOVERED)


def same_id(folder: Path, rng: np.random.Generator) -> Outcome:
    """Two runs begun under one id: one is measured, the other refused."""
    undisturbed = reference().folder
    lay_out(folder)
    arguments = run_arguments(folder)
    runs = [launch(arguments, folder, log=f"log{number}") for number in range(2)]
    ends = [run.wait() for run in runs]
    expect(sorted(ends) == [0, 2], f"they end with status {ends}")
    refused = runs[ends.index(2)].said()
    expect("a run of that name is there" in refused and "--resume" in refused, f"no clear refusal: {refused[-300:]}")
    check_equal(folder, undisturbed)
    return Outcome(REFUSED)


def resumed_while_running(folder: Path, rng: np.random.Generator) -> Outcome:
    """``--resume`` of a run that is under way: it waits, says so, and finds nothing left to measure."""
    undisturbed = reference().folder
    lay_out(folder)
    first = launch(run_arguments(folder), folder, log="first")
    _await(run_folder(folder) / "run.json", first)
    second = launch(run_arguments(folder), folder, log="second")
    _all_end_well([first, second])
    said = second.said()
    waited = "waiting for another run that is measuring" in said
    expect(waited or "measurements are done already" in said, f"it says nothing of the other: {said[-300:]}")
    check_equal(folder, undisturbed)
    return Outcome(RECOVERED)


def read_while_running(folder: Path, rng: np.random.Generator) -> Outcome:
    """``report`` twice at once, over and over, on a run that is under way: a report of what is there, or a refusal."""
    undisturbed = reference().folder
    prepare(folder, undisturbed, "cells/")
    run = launch(run_arguments(folder), folder, log="run")
    _await(run_folder(folder) / "run.json", run)
    where = str(run_folder(folder))
    readers = [launch(["report", where], folder, log=f"reader{number}") for number in range(2)]
    for reader in readers:
        expect(reader.wait() in (0, 2) and "Traceback" not in reader.said(), f"report: {reader.said()[-500:]}")
    _all_end_well([run])
    for name in ("figures", "tables", ".report.lock"):  # of the readers; the run itself draws none here
        path = run_folder(folder) / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    check_equal(folder, undisturbed)
    return Outcome(RECOVERED)


def _start(folder: Path, name: str, rng: np.random.Generator, suite: str = "tiny") -> Launched:
    time.sleep(rng.random() * 0.2)
    return launch(["run", f"{suite}.toml", "--run-id", name], folder, log=name)


def _await(path: Path, run: Launched) -> None:
    """Wait until a file of a run appears, or the run ends."""
    while not path.exists() and run.poll() is None:
        time.sleep(0.01)


def _all_end_well(runs: list[Launched]) -> None:
    for run in runs:
        status = run.wait()
        expect(status == 0, f"ends with status {status}: {run.said()[-1000:]}")
        run.wait_until_nobody_is_left()


SCENARIOS = tuple(
    Scenario(once.__name__, "together", fault, expected, once, tries=15, tries_in_tests=0)
    for once, fault, expected in (
        (
            two_runs,
            "Two runs of one suite begun together, on one cache.",
            "Each artifact is made once; tables and files of both are those of an undisturbed run.",
        ),
        (
            one_killed,
            "Two runs on one cache; one is killed at a random moment, holding a lock or waiting for one; `--resume`.",
            "The other goes on; both end as if undisturbed.",
        ),
        (
            shared_artifacts,
            "Two suites that share tiles, a trained backbone and features, begun together.",
            "What they share is made once.",
        ),
        (
            same_id,
            "Two runs begun together under one id.",
            "One is measured; the other is refused, and told of `--resume`.",
        ),
        (
            resumed_while_running,
            "`--resume` of a run that is under way.",
            "It says that it waits, and then finds nothing left to measure.",
        ),
        (
            read_while_running,
            "Two `report` at once on a run that is under way.",
            "A report of what is there; the run is that of an undisturbed one.",
        ),
    )
)
