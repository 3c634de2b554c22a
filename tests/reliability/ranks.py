"""A training on several processes that loses one of them."""

import functools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from tests.reliability.launcher import PATIENCE_S
from tests.reliability.scenario import RECOVERED, Failure, Outcome, Scenario, expect
from tests.reliability.tiny import CACHE, lay_out

_TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
_EPOCHS = 40  # some seconds
_TRAIN = ("-m", "bench", "train", "tiny.toml", "--set", f"backbone.trained.train.epochs={_EPOCHS}", "--device", "cpu")
_WEIGHTS = f"{CACHE}/checkpoint-*/model.safetensors"


def rank_killed(folder: Path, rng: np.random.Generator) -> Outcome:
    """One of two processes that train together is killed; the same command trains on."""
    weights, training_s = _undisturbed()
    lay_out(folder)
    run = _start(folder)
    _await_training(run, folder)
    time.sleep(training_s * rng.random())
    ranks = _ranks(run)
    if ranks:  # else they had just ended
        ranks[int(rng.integers(len(ranks)))].kill()
    status = _end(run)
    _, alive = psutil.wait_procs(ranks, timeout=PATIENCE_S / 5)
    expect(not alive, "a process outlives the one that was killed")
    expect(status != 0 or bool(list(folder.glob(_WEIGHTS))), "says that it has trained, but has not")
    again = _start(folder)
    status = _end(again)
    expect(status == 0, f"given again it ends with status {status}: {_said(folder)[-1000:]}")
    (found,) = folder.glob(_WEIGHTS)
    expect(found.read_bytes() == weights, "other weights than undisturbed")
    return Outcome(RECOVERED)


@functools.cache
def _undisturbed() -> tuple[bytes, float]:
    """Weights of a training that nothing disturbed, and seconds from its first step to its end."""
    with tempfile.TemporaryDirectory(prefix="ris-ranks-") as kept:
        folder = lay_out(Path(kept))
        run = _start(folder)
        _await_training(run, folder)
        start = time.monotonic()
        while run.poll() is None and not list(folder.glob(_WEIGHTS)):
            time.sleep(0.02)
        training_s = time.monotonic() - start
        status = _end(run)
        expect(status == 0, f"an undisturbed training ends with status {status}: {_said(folder)[-1000:]}")
        (path,) = folder.glob(_WEIGHTS)
        return path.read_bytes(), training_s


def _start(folder: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (folder / "log.txt").open("wb") as log:
        return subprocess.Popen([*_TORCHRUN, *_TRAIN], cwd=folder, env=environment, stdout=log, stderr=log)


def _ranks(run: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The processes that train."""
    return psutil.Process(run.pid).children() if run.poll() is None else []


def _await_training(run: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not list(folder.glob(f"{CACHE}/.checkpoint-*")):
        if run.poll() is not None or time.monotonic() > deadline:
            run.kill()
            raise Failure(f"no training begins: {_said(folder)[-1000:]}")
        time.sleep(0.02)


def _end(run: subprocess.Popen[bytes]) -> int:
    try:
        return run.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        run.kill()
        raise Failure("hangs when one of its processes is gone") from None


def _said(folder: Path) -> str:
    return (folder / "log.txt").read_text(encoding="utf-8", errors="replace")


SCENARIOS = (
    Scenario(
        "rank_killed",
        "kills",
        "SIGKILL to one of two processes that `torchrun` trains with; the command again.",
        "The other ends, too; then it goes on where it was, to the weights of an undisturbed training, bit by bit.",
        rank_killed,
        tries=10,
        tries_in_tests=0,  # half a minute
    ),
)
