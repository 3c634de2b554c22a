"""Runs killed at a moment of one stage, and gone on with until they are done."""

import dataclasses
import functools
import re
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.reliability.launcher import Launched, launch
from tests.reliability.scenario import RECOVERED, Outcome, Scenario, expect
from tests.reliability.strike import GROUP, OTHER, SELF, Strike
from tests.reliability.tiny import CACHE, Journal, check_equal, lay_out, reference, run_arguments, run_folder

_KINDS = ("tiles", "checkpoint", "features", "space", "truth")  # of artifacts, in the order of the flow
_STAGES = {  # paths that a run writes meanwhile
    "tiling": r"\.tiles-",
    "training": r"\.checkpoint-",
    "extraction": r"\.features-",
    "fitting_the_space": r"\.space-",
    "exact_search": r"\.truth-",
    "timing_builds": r"cells/.*build",
    "timing_queries": r"cells/.*(single|batch)",
    "reranking": r"cells/.*rerank",
}
_ANYWHERE, _REPORT = "", r"/(tables|figures)|index\.html"
_AGAIN = 0.3  # share of the tries in which the run that goes on is killed too, wherever it is
_INTERRUPTED = 130


def killed(folder: Path, rng: np.random.Generator, pattern: str = _ANYWHERE, draws: bool = False) -> Outcome:
    """A run killed while it writes what a pattern names, gone on with, perhaps killed again, and gone on with."""
    undisturbed = reference(draws).folder
    prepare(folder, undisturbed, pattern)
    go_on(folder, draw_strike(pattern, rng, draws, signal.SIGKILL, str(rng.choice([SELF, GROUP]))), draws)
    if rng.random() < _AGAIN:
        go_on(folder, draw_strike(_ANYWHERE, rng, draws, signal.SIGKILL, GROUP), draws)
    finish(folder, undisturbed, draws)
    return Outcome(RECOVERED)


def told_to_end(folder: Path, rng: np.random.Generator, number: int, target: str) -> Outcome:
    """A run that gets SIGINT or SIGTERM anywhere: it says so and how to go on, and is gone on with."""
    undisturbed = reference().folder
    lay_out(folder)
    run = go_on(folder, draw_strike(_ANYWHERE, rng, False, number, target))
    is_told = "interrupted" in run.said() and "Traceback" not in run.said()
    expect(is_told or "report: " in run.said(), f"ends without a word: {run.said()[-500:]}")
    finish(folder, undisturbed)
    return Outcome(RECOVERED)


def worker_killed(folder: Path, rng: np.random.Generator) -> Outcome:
    """A process that a run has started is killed while cells are measured: the run goes on by itself."""
    undisturbed = reference().folder
    prepare(folder, undisturbed, _STAGES["timing_builds"])
    strike = draw_strike("cells/", rng, False, signal.SIGKILL, OTHER)
    run = go_on(folder, strike)
    expect("report: " in run.said(), f"a run does not outlive a worker: {run.said()[-500:]}")
    finish(folder, undisturbed)
    return Outcome(RECOVERED)


def draw_strike(pattern: str, rng: np.random.Generator, draws: bool, number: int, target: str) -> Strike:
    """A strike of that signal at one of the undisturbed run's operations, or after it."""
    return dataclasses.replace(strike_at(reference(draws).journal, pattern, rng), signal=number, target=target)


def strike_at(journal: Journal, pattern: str, rng: np.random.Generator) -> Strike:
    """A strike at one of the operations of a journal that a pattern names, or at a moment between it and the next."""
    places = [place for place, (_, path) in enumerate(journal) if re.search(pattern, path)]
    chosen = int(rng.integers(len(places)))
    here, after = places[chosen], min(places[chosen] + 1, len(journal) - 1)
    gap_s = journal[after][0] - journal[here][0]
    return Strike(pattern, chosen + 1, gap_s * rng.random() if rng.random() < 0.5 else 0.0)


def prepare(folder: Path, undisturbed: Path, pattern: str) -> None:
    """The tiny suite, and what an undisturbed run would have made before the stage that a pattern names."""
    lay_out(folder)
    if pattern == _ANYWHERE:
        return
    begun = [kind for kind in _KINDS if re.search(pattern, f".{kind}-")]
    before = _KINDS[: _KINDS.index(begun[0])] if begun else _KINDS
    for kind in before:
        for artifact in (undisturbed / CACHE).glob(f"{kind}-*"):
            shutil.copytree(artifact, folder / CACHE / artifact.name)
    if pattern == _REPORT:
        shutil.copytree(run_folder(undisturbed), run_folder(folder))


def go_on(folder: Path, strike: Strike | None = None, draws: bool = False) -> Launched:
    """The run begun, or gone on with, until it ends or a strike ends it; nobody is left of it then."""
    run = launch(run_arguments(folder), folder, strike, draws=draws)
    run.wait()
    run.wait_until_nobody_is_left()
    return run


def finish(folder: Path, undisturbed: Path, draws: bool = False, extra: Sequence[str] = ()) -> None:
    """The run gone on with to its end, with extra arguments, and held against the undisturbed one."""
    run = launch(run_arguments(folder, *extra), folder, draws=draws)
    status = run.wait()
    expect(status == 0, f"a run that goes on ends with status {status}: {run.said()[-1000:]}")
    run.wait_until_nobody_is_left()
    expect("waiting for another run" not in run.said(), "a lock was left that blocks")
    expect("damaged" not in run.said(), f"a half artifact was left: {run.said()}")
    check_equal(folder, undisturbed)


SCENARIOS = (
    *(
        Scenario(
            f"killed_while_{stage}",
            "kills",
            f"SIGKILL, to the harness or all its processes, at a moment of {stage.replace('_', ' ')}; `--resume`.",
            "Tables, artifacts and files are those of an undisturbed run.",
            functools.partial(killed, pattern=pattern),
            tries=25,
            tries_in_tests=0,
        )
        for stage, pattern in _STAGES.items()
    ),
    Scenario(
        "killed_while_reporting",
        "kills",
        "SIGKILL while tables, figures and page are written; `--resume`.",
        "Tables, figures and page are those of an undisturbed run.",
        functools.partial(killed, pattern=_REPORT, draws=True),
        tries=5,
        tries_in_tests=0,
    ),
    Scenario(
        "killed_anywhere",
        "kills",
        "SIGKILL at a random moment of a run, in three of ten tries once more in the run that goes on; `--resume`.",
        "Tables, artifacts and files are those of an undisturbed run.",
        killed,
        tries=50,
    ),
    Scenario(
        "worker_killed",
        "kills",
        "SIGKILL to a process that measures, at a random moment of the cells; `--resume`.",
        "The run goes on with a failed row, which the next attempt replaces.",
        worker_killed,
        tries=25,
        tries_in_tests=0,
    ),
    *(
        Scenario(
            f"{name}_{target}",
            "kills",
            f"{name.upper()} to {whom} at a random moment of a run; `--resume`.",
            "It says how to go on, ends with status 130, and leaves no process.",
            functools.partial(told_to_end, number=number, target=target),
            tries=15,
            tries_in_tests=0,
        )
        for name, number in (("sigint", signal.SIGINT), ("sigterm", signal.SIGTERM))
        for target, whom in ((SELF, "the harness"), (GROUP, "all its processes"))
    ),
)
