"""Runs in a loop for as long as one likes, in one process, which must not grow by them: one that ends cannot leak."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.reliability.launcher import ROOT
from tests.reliability.scenario import RECOVERED, Outcome, Scenario, expect
from tests.reliability.soak_loop import Reading

MINUTES = 30.0
_WARM_RUNS = 4  # libraries are imported, pools are filled
_MIB = 2**20
_GROWTH_MIB = 0.5  # a run: what would cost a gigabyte in 2,000 runs; the allocator moves by less


def soak(folder: Path, rng: np.random.Generator, minutes: float = MINUTES) -> Outcome:
    """The loop, in a process and with a folder of temporary files of its own, and what it grew by."""
    own = folder / "temporary"
    own.mkdir()
    command = [sys.executable, "-m", "tests.reliability.soak_loop", str(folder), str(minutes), str(2 * _WARM_RUNS)]
    with (folder / "log.txt").open("wb") as log:
        environment = {**os.environ, "TMPDIR": str(own)}
        done = subprocess.run(command, cwd=ROOT, env=environment, stdout=log, stderr=log, check=False)
    said = (folder / "log.txt").read_text(encoding="utf-8", errors="replace")
    expect(done.returncode == 0, f"the loop ends with status {done.returncode}: {said[-1000:]}")
    lines = (folder / "readings.jsonl").read_text(encoding="utf-8").splitlines()
    return judge([Reading(**json.loads(line)) for line in lines])


def judge(readings: list[Reading]) -> Outcome:
    """Whether a process grew after its first runs.

    Raises:
        Failure: If memory grew by more than the allocator moves, or anything else grew at all.
    """
    warm = readings[_WARM_RUNS:]
    half = len(warm) // 2
    for name in ("handles", "threads", "processes", "shared", "temporary", "cache_files"):
        first, last = (max(getattr(reading, name) for reading in part) for part in (warm[:half], warm[half:]))
        expect(last <= first, f"{name} grew from {first} to {last} in {len(warm)} runs")
    sizes = {reading.cache_bytes for reading in warm}
    expect(max(sizes) - min(sizes) < _MIB, f"the cache grew from {min(sizes)} to {max(sizes)} bytes")
    before, after = (np.median([r.memory_mib for r in part]) for part in (warm[:half], warm[half:]))
    expect(after - before <= _GROWTH_MIB * half, f"memory grew from {before:.0f} to {after:.0f} MiB in {half} runs")
    return Outcome(RECOVERED, f"{len(readings)} runs; memory {before:.0f} MiB, then {after:.0f} MiB")


SCENARIOS = (
    Scenario(
        "soak",
        "soak",
        "Whole runs one after the other in one process, half of them with an empty cache, as long as `--minutes` says.",
        "Memory, file handles, threads, processes, `/dev/shm`, temporary files and cache do not grow.",
        soak,
        tries=1,
        tries_in_tests=0,
    ),
)
