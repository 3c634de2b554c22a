"""Trouble within a run: numbers that are none, memory that is full, clocks that jump, readers and terminals that go."""

import functools
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.reliability.disk import attempt
from tests.reliability.kills import finish, prepare, told_to_end
from tests.reliability.launcher import PATIENCE_S, ROOT, launch
from tests.reliability.scenario import RECOVERED, REFUSED, Outcome, Scenario, expect
from tests.reliability.strike import GROUP
from tests.reliability.tiny import CACHE, lay_out, reference, run_arguments

_STEPS = 18  # of the tiny training
_TRAINING, _EXTRACTION, _TIMING = r"\.checkpoint-", r"\.features-", "cells/"
_PLACES = {  # functions of a run, with what is made before them, and how often they are called at least
    "tiling": ("ris_core.tiling.strips:TileReader", "_read_stretch", "", 1),
    "training": ("ris_core.training.loop:TrainingLoop", "train_step", _TRAINING, _STEPS),
    "extraction": ("ris_core.backbone:Backbone", "forward", _EXTRACTION, 8),
    "the_space": ("ris_core.space", "_blocks", r"\.space-", 2),
    "the_truth": ("ris_core.engines.torch_vectors", "nearest_rows", r"\.truth-", 1),
}


def loss_of_no_number(folder: Path, rng: np.random.Generator) -> Outcome:
    """A weight is NaN from a random step on: no state or checkpoint with it is left, and training can go on."""
    undisturbed = reference().folder
    prepare(folder, undisturbed, _TRAINING)
    run = launch(run_arguments(folder), folder, meddling=["loss_of_no_number", int(rng.integers(1, _STEPS + 1))])
    expect(run.wait() == 1, f"ends otherwise: {run.said()[-500:]}")  # cells of other backbones are measured
    said = run.said()
    is_told = "training diverged" in said and "in epoch" in said and "Lower base_lr" in said
    expect(is_told and "Traceback" not in said, f"says {said[-800:]}")
    expect(len(list((folder / CACHE).glob("checkpoint-*"))) == 0, "a checkpoint of a training that diverged")
    for state in (folder / CACHE).rglob("*training.pt*"):
        # weights_only: the program's own file, of plain tensors
        expect(is_finite(torch.load(state, weights_only=True)), "NaN in the state that is kept")
    finish(folder, undisturbed)
    return Outcome(RECOVERED)


def is_finite(found: Any) -> bool:
    """Whether no number in a container, however deep, is NaN or infinite."""
    if isinstance(found, torch.Tensor):
        return bool(found.isfinite().all())
    if isinstance(found, Mapping):
        return all(map(is_finite, found.values()))
    if isinstance(found, list | tuple):
        return all(map(is_finite, found))
    return not isinstance(found, float) or bool(np.isfinite(found))


def features_of_no_number(folder: Path, rng: np.random.Generator) -> Outcome:
    """A random batch is described by NaN: nothing of it is kept."""
    undisturbed = reference().folder
    prepare(folder, undisturbed, _EXTRACTION)
    run = launch(run_arguments(folder), folder, meddling=["features_of_no_number", int(rng.integers(1, 33))])
    expect(run.wait() == 1, f"ends otherwise: {run.said()[-500:]}")
    expect("NaN or infinity, first for tile" in run.said(), f"says {run.said()[-500:]}")
    finish(folder, undisturbed)
    return Outcome(RECOVERED)


def memory_full(folder: Path, rng: np.random.Generator, kind: str) -> Outcome:
    """Memory, of the device or of Python, is too small at a random call of a random stage."""
    undisturbed = reference().folder
    owner, method, made, calls = _PLACES[str(rng.choice(list(_PLACES)))]
    prepare(folder, undisturbed, made)
    run = launch(run_arguments(folder), folder, meddling=[kind, owner, method, int(rng.integers(1, calls + 1))])
    status = run.wait()
    expect(status in (0, 1, 2), f"{method}: ends with {status}: {run.said()[-500:]}")
    expect("INTERNALERROR" not in run.said(), f"{method}: {run.said()[-800:]}")
    finish(folder, undisturbed)
    return Outcome(RECOVERED)


def little_memory(folder: Path, rng: np.random.Generator) -> Outcome:
    """Harness and workers may take but a random amount of memory more."""
    undisturbed = reference().folder
    lay_out(folder)
    run = launch(run_arguments(folder), folder, meddling=["little_memory", int(rng.integers(2**20, 2**30))])
    status = run.wait()
    run.wait_until_nobody_is_left()
    expect(status in (0, 1, 2), f"ends with {status}: {run.said()[-500:]}")
    finish(folder, undisturbed)
    return Outcome(RECOVERED)


def meddled(folder: Path, rng: np.random.Generator, meddling: Sequence[Any]) -> Outcome:
    """A run that must do all its work in spite of what is done to it, and its result be the same."""
    undisturbed = reference().folder
    lay_out(folder)
    expect(attempt(folder, *meddling), "gives up")
    finish(folder, undisturbed)
    return Outcome(RECOVERED)


def few_handles(folder: Path, rng: np.random.Generator) -> Outcome:
    """A run that may have but a few open files."""
    undisturbed = reference().folder
    lay_out(folder)
    done = attempt(folder, "few_handles", int(rng.integers(12, 65)))
    finish(folder, undisturbed)
    return Outcome(RECOVERED if done else REFUSED)


def bare_environment(folder: Path, rng: np.random.Generator, changes: Mapping[str, str | None]) -> Outcome:
    """A run that is started where variables are missing or odd."""
    undisturbed = reference(draws=True).folder
    lay_out(folder)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **changes}
    kept = {name: value for name, value in environment.items() if value is not None}
    done = start([sys.executable, "-m", "bench", *run_arguments(folder)], folder, kept)
    is_clean = "Traceback" not in done.stdout
    expect(done.returncode == 0 and is_clean, f"status {done.returncode}: {done.stdout[-800:]}")
    finish(folder, undisturbed, draws=True)
    return Outcome(RECOVERED)


def no_shared_memory(folder: Path, rng: np.random.Generator) -> Outcome:
    """A run where /dev/shm cannot be written."""
    if os.geteuid() != 0:
        pytest.skip("hiding /dev/shm needs root")
    undisturbed = reference(draws=True).folder
    lay_out(folder)
    hide = 'mount -t tmpfs -o ro tmpfs /dev/shm && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", hide, "sh", sys.executable, "-m", "bench", *run_arguments(folder)]
    done = start(command, folder, {**os.environ, "PYTHONPATH": str(ROOT)})
    expect(done.returncode == 0, f"status {done.returncode}: {done.stdout[-800:]}")
    finish(folder, undisturbed, draws=True)
    return Outcome(RECOVERED)


def start(command: list[str], folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """A command from its very start, with what it says on either stream."""
    return subprocess.run(
        command,
        cwd=folder,
        env=dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=PATIENCE_S,
        check=False,
    )


def _scenario(name: str, fault: str, expected: str, once: Any, tries: int, tries_in_tests: int = 0) -> Scenario:
    return Scenario(name, "trouble", fault, expected, once, tries, tries_in_tests)


_SAME = "The run does all its work, and its tables are those of an undisturbed run."
_THEN = "then `--resume` ends with the tables of an undisturbed run."
SCENARIOS = (
    _scenario(
        "loss_of_no_number",
        "A weight becomes NaN before a random step of DINO's training.",
        "The cells of that backbone fail, by name of epoch and remedy; the state on disk is that before; " + _THEN,
        loss_of_no_number,
        20,
    ),
    _scenario(
        "features_of_no_number",
        "A backbone describes a random batch by NaN.",
        "Its cells fail, by name of the tile; " + _THEN,
        features_of_no_number,
        15,
    ),
    *(
        _scenario(
            kind,
            f"{words} at a random call of a random stage: {', '.join(_PLACES)}.",
            "A message that says what to lower, or failed cells; " + _THEN,
            functools.partial(memory_full, kind=kind),
            25,
        )
        for kind, words in (
            ("memory_of_the_device_full", "PyTorch's error for a GPU's full memory is raised"),
            ("memory_full", "MemoryError is raised"),
        )
    ),
    _scenario(
        "little_memory",
        "The address space of all processes is limited to a random size (RLIMIT_AS).",
        "A message or failed cells; " + _THEN,
        little_memory,
        20,
    ),
    _scenario(
        "few_handles",
        "A process may have 12 to 64 open files (RLIMIT_NOFILE).",
        "All is done, or exit status 2 and a message; " + _THEN,
        few_handles,
        15,
    ),
    *(
        _scenario(name, fault, _SAME, functools.partial(meddled, meddling=meddling), 5)
        for name, fault, meddling in (
            (
                "clock_set_back",
                "Each look at the time of day is an hour before the last.",
                ["clock_that_jumps", -3600.0],
            ),
            ("clock_set_on", "Each look at the time of day is an hour after the last.", ["clock_that_jumps", 3600.0]),
            ("nobody_reads", "Who read standard output and error is gone (`| head`).", ["deaf_streams"]),
            ("closed_streams", "All three standard streams are closed.", ["no_streams"]),
        )
    ),
    _scenario(
        "terminal_closed",
        "SIGHUP, to all processes, at a random moment.",
        "Exit status 130 and how to go on; " + _THEN,
        functools.partial(told_to_end, number=signal.SIGHUP, target=GROUP),
        15,
    ),
    *(
        _scenario(name, fault, _SAME, functools.partial(bare_environment, changes=changes), 2)
        for name, fault, changes in (
            (
                "no_utf8",
                "A locale without UTF-8 (LC_ALL=C, PYTHONUTF8=0, PYTHONCOERCECLOCALE=0).",
                {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
            ),
            ("no_home", "HOME is not set, or a folder that is not there.", {"HOME": "/nonexistent"}),
        )
    ),
    _scenario("no_shared_memory", "/dev/shm is read-only.", _SAME, no_shared_memory, 2),
)
