"""Runs whose stages are computed by a cluster on this machine, whose workers or harness are killed meanwhile."""

import functools
import importlib.util
import signal
from pathlib import Path

import numpy as np
import pytest

from tests.reliability.kills import finish
from tests.reliability.launcher import launch
from tests.reliability.scenario import RECOVERED, Outcome, Scenario, expect
from tests.reliability.strike import GROUP, OTHER, SELF, Strike
from tests.reliability.tiny import check_equal, lay_out, reference, run_arguments

_CLUSTER = ("--cluster", "local:2")
_SHARED = r"\.(tiles|features|truth)-"  # what the harness writes of the stages that are spread
_OPERATIONS, _DELAY_S = 30, 1.0


def worker_killed(folder: Path, rng: np.random.Generator) -> Outcome:
    """The youngest process that the harness has started is killed: the run ends by itself, as if undisturbed."""
    undisturbed = _reference()
    lay_out(folder)
    run = launch(run_arguments(folder, *_CLUSTER), folder, _strike(rng, OTHER))
    status = run.wait()
    expect(status in (0, 1), f"a run does not outlive a worker, status {status}: {run.said()[-1000:]}")
    run.wait_until_nobody_is_left()
    if status:  # it was a process that measured, and a failed row says so
        finish(folder, undisturbed, extra=_CLUSTER)
    check_equal(folder, undisturbed)
    return Outcome(RECOVERED)


def run_killed(folder: Path, rng: np.random.Generator, target: str) -> Outcome:
    """The harness, or all processes, are killed: no worker outlives them, and the run is gone on with."""
    undisturbed = _reference()
    lay_out(folder)
    run = launch(run_arguments(folder, *_CLUSTER), folder, _strike(rng, target))
    run.wait()
    run.wait_until_nobody_is_left()
    finish(folder, undisturbed, extra=_CLUSTER)
    return Outcome(RECOVERED)


def _reference() -> Path:
    """The run that nothing disturbed, which had no cluster: what is made does not depend on who computes."""
    if importlib.util.find_spec("distributed") is None:
        pytest.skip("dask.distributed is an optional extra")
    return reference().folder


def _strike(rng: np.random.Generator, target: str) -> Strike:
    return Strike(_SHARED, int(rng.integers(1, _OPERATIONS)), _DELAY_S * rng.random(), signal.SIGKILL, target)


SCENARIOS = (
    Scenario(
        "cluster_worker_killed",
        "kills",
        "`run --cluster local:2`; SIGKILL to a worker in the middle of a shard of tiles, features or neighbours.",
        "Its shard is done again by another; tables and artifacts are those of an undisturbed run without a cluster.",
        worker_killed,
        tries=15,
        tries_in_tests=0,
    ),
    *(
        Scenario(
            f"cluster_run_killed_{target}",
            "kills",
            f"`run --cluster local:2`; SIGKILL to {whom} in the middle of a shard; `--resume`.",
            "No worker outlives the run; what was done is not done again, and all is as undisturbed.",
            functools.partial(run_killed, target=target),
            tries=10,
            tries_in_tests=0,
        )
        for target, whom in ((SELF, "the harness"), (GROUP, "all its processes"))
    ),
)
