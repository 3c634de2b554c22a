"""The same suite again: which numbers are the same to the bit, and how far the others lie apart."""

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from tests.reliability.launcher import launch
from tests.reliability.scenario import RECOVERED, Outcome, Scenario, expect
from tests.reliability.tiny import CACHE, check_equal, lay_out, reference, run_arguments

_LEAST, _MOST = 1e-5, 1e-2  # how far apart features may lie, relative to the largest: of random, of trained weights


def same_again(folder: Path, rng: np.random.Generator) -> Outcome:
    """The suite run again with an empty cache: equal to the bit."""
    undisturbed = reference().folder
    lay_out(folder)
    _run(folder, threads=1)
    check_equal(folder, undisturbed)
    return Outcome(RECOVERED, "bit for bit: tiles, weights, features, neighbours, scores")


def other_threads(folder: Path, rng: np.random.Generator) -> Outcome:
    """The suite run by more threads, with an empty cache: equal tiles, features as near as sums in another order."""
    undisturbed, threads = reference().folder, int(rng.integers(2, 5))
    lay_out(folder)
    _run(folder, threads)
    for name in ("pixels.npy", "tiles.parquet"):
        mine, theirs = (_artifacts(each, "tiles")[0] / name for each in (folder, undisturbed))
        expect(mine.read_bytes() == theirs.read_bytes(), f"other tiles by {threads} threads: {name}")
    distances = [
        _distance(np.load(mine / "features.npy"), np.load(theirs / "features.npy"))
        for mine, theirs in zip(_artifacts(folder, "features"), _artifacts(undisturbed, "features"), strict=True)
    ]
    weights = [load_file(_artifacts(each, "checkpoint")[0] / "model.safetensors") for each in (folder, undisturbed)]
    apart = max(_distance(weights[0][name], weights[1][name]) for name in weights[1])
    expect(min(distances) <= _LEAST, f"features of random weights lie {min(distances):.1g} apart")
    expect(max(distances) <= _MOST, f"features of trained weights lie {max(distances):.1g} apart")
    shown = f"features of random weights {min(distances):.1g}, of trained ones {max(distances):.1g}"
    return Outcome(RECOVERED, f"apart with {threads} threads, of the largest: trained weights {apart:.1g}, {shown}")


def _run(folder: Path, threads: int) -> None:
    run = launch(run_arguments(folder), folder, meddling=("torch_threads", threads))
    expect(run.wait() == 0, f"a run fails: {run.said()[-1000:]}")
    run.wait_until_nobody_is_left()


def _artifacts(folder: Path, kind: str) -> list[Path]:
    """Artifacts of a kind by name: their keys do not depend on threads."""
    return sorted((folder / CACHE).glob(f"{kind}-*"))


def _distance(mine: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.abs(mine - theirs).max() / np.abs(theirs).max())


SCENARIOS = (
    Scenario(
        "same_again",
        "determinism",
        "The same suite on the same machine, with an empty cache.",
        "Tiles, weights, features, neighbours and scores are equal to the bit.",
        same_again,
        tries=5,
        tries_in_tests=0,
    ),
    Scenario(
        "other_threads",
        "determinism",
        "The same suite by two to four threads in place of one, with an empty cache.",
        "Tiles are equal to the bit, features nearly.",
        other_threads,
        tries=5,
        tries_in_tests=0,
    ),
)
