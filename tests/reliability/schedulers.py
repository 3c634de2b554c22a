"""Runs whose stages workers compute: equal to those of one process, and nobody left when they are told to end."""

import contextlib
import functools
import importlib.util
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bench.results import read_run
from tests.reliability.kills import finish
from tests.reliability.launcher import PATIENCE_S, launch
from tests.reliability.scenario import RECOVERED, Failure, Outcome, Scenario, expect
from tests.reliability.strike import GROUP, SELF, Strike
from tests.reliability.tiny import check_equal, lay_out, reference, run_arguments, run_folder

_LOCAL = ("--cluster", "local:2")
_SHARED_STAGES = {"tiles", "features", "truth"}
_SHARED = r"\.(tiles|features|truth)-"  # what the harness writes of them
_OPERATIONS = 20
_INTERRUPTED = 130


def interrupted(folder: Path, rng: np.random.Generator, number: int, target: str) -> Outcome:
    """A run on a local cluster that is told to end in a shared stage, and gone on with."""
    undisturbed = _reference()
    lay_out(folder)
    strike = Strike(_SHARED, int(rng.integers(1, _OPERATIONS)), 0.0, number, target)
    run = launch(run_arguments(folder, *_LOCAL), folder, strike)
    status = run.wait()
    expect(status == _INTERRUPTED, f"ends with status {status}: {run.said()[-1000:]}")
    run.wait_until_nobody_is_left()
    expect("interrupted; everything measured is kept" in run.said(), f"does not say so: {run.said()[-500:]}")
    expect("Traceback" not in run.said(), f"ends with a traceback: {run.said()[-1000:]}")
    finish(folder, undisturbed, extra=_LOCAL)
    _check_record(folder, {"kind": "local", "workers": 2, "machines": 1})
    return Outcome(RECOVERED)


def on_a_scheduler(folder: Path, rng: np.random.Generator) -> Outcome:
    """A run on a scheduler with two workers in another folder, one of which measures."""
    undisturbed = _reference()
    lay_out(folder)
    with _scheduler() as address:
        run = launch(run_arguments(folder, "--cluster", address), folder)
        status = run.wait()
        expect(status == 0, f"ends with status {status}: {run.said()[-1000:]}")
        run.wait_until_nobody_is_left()
    expect("timed on   clock, alone there" in run.said(), f"measures elsewhere: {run.said()[-1000:]}")
    check_equal(folder, undisturbed)
    _check_record(folder, {"kind": "scheduler", "workers": 2, "machines": 1})
    return Outcome(RECOVERED)


def two_on_a_scheduler(folder: Path, rng: np.random.Generator) -> Outcome:
    """Two runs on one scheduler, with caches of their own: one measures after the other."""
    undisturbed = _reference()
    folders = [folder / name for name in ("one", "two")]
    for each in folders:
        each.mkdir()
        lay_out(each)
    with _scheduler() as address:
        runs = [launch(run_arguments(each, "--cluster", address), each) for each in folders]
        ends = [run.wait() for run in runs]
        for run, status in zip(runs, ends, strict=True):
            expect(status == 0, f"ends with status {status}: {run.said()[-1000:]}")
            run.wait_until_nobody_is_left()
    spans = []
    for each in folders:
        check_equal(each, undisturbed)
        written = [path.stat().st_mtime for path in (run_folder(each) / "cells").glob("*.json")]
        spans.append((min(written), max(written)))
    (_, end), (start, _) = sorted(spans)
    expect(end < start, f"cells of both are measured at once, {end - start:.1f} s long")
    return Outcome(RECOVERED)


def _reference() -> Path:
    """The run without a cluster."""
    if importlib.util.find_spec("distributed") is None:
        pytest.skip("dask.distributed is an optional extra")
    return reference().folder


def _check_record(folder: Path, cluster: dict[str, object]) -> None:
    """What the run says of its cluster, in which no machine is named."""
    record = read_run(run_folder(folder))
    expect(record.cluster == cluster, f"says of its cluster: {record.cluster}")
    shared = {note.stage for note in record.stage_notes if note.notes.get("workers") == 2}
    expect(shared == _SHARED_STAGES, f"says that workers computed {shared}")
    named = [path.name for path in run_folder(folder).rglob("*.json") if "127.0.0.1" in path.read_text("utf-8")]
    expect(not named, f"names a machine in {named}")


@contextlib.contextmanager
def _scheduler() -> Iterator[str]:
    """Address of a scheduler with two workers, started as by hand in a folder of their own."""
    with tempfile.TemporaryDirectory(prefix="ris-elsewhere-") as elsewhere, contextlib.ExitStack() as ending:
        note = Path(elsewhere) / "scheduler.json"

        def start(program: str, *arguments: str) -> None:
            command = [sys.executable, "-m", f"distributed.cli.dask_{program}", *arguments, "--no-dashboard"]
            log = ending.enter_context((Path(elsewhere) / f"{len(list(Path(elsewhere).iterdir()))}.log").open("w"))
            process = subprocess.Popen(command, cwd=elsewhere, stdout=log, stderr=log)
            ending.callback(process.wait)
            ending.callback(process.kill)

        local = ("--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0")
        start("scheduler", *local, "--scheduler-file", str(note))
        address = _address(note)
        start("worker", address, "--nthreads", "1", "--no-nanny", "--name", "another")
        start("worker", address, "--nthreads", "1", "--no-nanny", "--name", "clock", "--resources", "ris_timed=1")
        _await_workers(address)
        yield address


def _address(note: Path) -> str:
    """What the scheduler notes of itself, once it is there."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError):  # not there yet, or half written
            return str(json.loads(note.read_text(encoding="utf-8"))["address"])
        time.sleep(0.1)
    raise Failure("no scheduler starts")


def _await_workers(address: str) -> None:
    import distributed

    with distributed.Client(address, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=PATIENCE_S)


SCENARIOS = (
    Scenario(
        "scheduler_by_hand",
        "determinism",
        "`run --cluster tcp://...`, a scheduler with two workers that were started elsewhere; one of them measures.",
        "Tables, artifacts and files are those of a run in one process; nothing names a machine.",
        on_a_scheduler,
        tries=5,
        tries_in_tests=0,  # the better part of a minute
    ),
    Scenario(
        "two_on_a_scheduler",
        "together",
        "Two runs begun together on one scheduler with one worker that measures.",
        "The cells of one are measured after those of the other; both are as undisturbed.",
        two_on_a_scheduler,
        tries=5,
        tries_in_tests=0,  # as the one above, twice
    ),
    *(
        Scenario(
            f"local_cluster_{name}_{target}",
            "kills",
            f"`run --cluster local:2`; {name.upper()} to {whom} in the middle of a shared stage; `--resume`.",
            "It ends with status 130 and leaves no process; then all is as by a run in one process.",
            functools.partial(interrupted, number=number, target=target),
            tries=5,
            tries_in_tests=int(number == signal.SIGINT),
        )
        for name, number, target, whom in (
            ("sigint", signal.SIGINT, GROUP, "all its processes"),
            ("sigterm", signal.SIGTERM, SELF, "the harness"),
        )
    ),
)
