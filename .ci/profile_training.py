"""Where the time of a training step goes: the profile of a backbone of suites/gpu.toml, not compiled and compiled.

    python .ci/profile_training.py BACKBONE DEVICE FOLDER [--set KEY=VALUE ...]

Writes `profile_BACKBONE_eager.csv` and `profile_BACKBONE_compiled.csv`, one line an operation, and adds a line to
`steps.csv` for each: milliseconds a step (median and least of six blocks of five), images a second, MFU, share of
augmentation, memory. On the CPU, where compiling takes minutes, only the first. Tiles are noise: the step costs what it
costs on any.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.profiler import ProfilerActivity, profile, record_function

from bench.suites.suite import BackboneEntry
from bench.suites.suite_file import find_suite, read_suite
from ris_core.device import choose_device
from ris_core.tile_batches import TileBatches
from ris_core.training import loop as training_loop
from ris_core.training.loop import TrainingLoop
from ris_core.training.options import TrainOptions
from ris_core.training.schedules import make_schedules
from ris_core.training.state import TrainingState

WARM_STEPS, BLOCK_STEPS, BLOCKS = 5, 5, 6
AUGMENTATION = "augmentation"


def main() -> None:
    """Profile one backbone."""
    parser = argparse.ArgumentParser()
    parser.add_argument("backbone")
    parser.add_argument("device")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--set", action="append", default=[])
    asked = parser.parse_args()
    suite, device = read_suite(find_suite("gpu"), asked.set), choose_device(asked.device)
    _name_augmentation()
    for name, compiling in (("eager", "off"), ("compiled", "on")):
        if compiling == "off" or device.type == "cuda":
            options = TrainOptions(device=asked.device, compile=compiling)
            loop = _loop(suite.backbone(asked.backbone), options, suite.corpus.tile_px)
            measured = _measure(loop, asked.folder / f"profile_{asked.backbone}_{name}.csv")
            facts = {"backbone": asked.backbone, "networks": name, **measured}
            path = asked.folder / "steps.csv"
            pd.DataFrame([facts]).to_csv(path, mode="a", header=not path.exists(), index=False)


def _name_augmentation() -> None:
    """Let the profile show the crops as one operation."""
    make_crops = training_loop.make_crops

    def named(*arguments: object) -> object:
        with record_function(AUGMENTATION):
            return make_crops(*arguments)

    training_loop.make_crops = named


def _loop(entry: BackboneEntry, options: TrainOptions, size_px: int) -> TrainingLoop:
    recipe = entry.recipe
    if recipe is None:
        sys.exit(f"{entry.name} has no recipe")
    tiles = np.random.default_rng(0).integers(0, 256, (2 * recipe.batch, size_px, size_px, 3), dtype=np.uint8)
    rows = np.tile(np.arange(len(tiles)), WARM_STEPS + BLOCK_STEPS * (BLOCKS + 1))
    state = TrainingState.start("", entry.spec, recipe, choose_device(options.device))
    batches = TileBatches(tiles, rows, recipe.batch, 0)
    return TrainingLoop(batches, recipe, state, make_schedules(recipe, batches.steps), Path(), options)


def _measure(loop: TrainingLoop, path: Path) -> dict[str, float]:
    batches = loop.batches.read(0, 0, loop.device)
    _time(loop, batches, WARM_STEPS)
    seconds = [_time(loop, batches, BLOCK_STEPS) for _ in range(BLOCKS)]
    on_gpu = loop.device.type == "cuda"
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * on_gpu
    with profile(activities=activities) as profiled:
        _time(loop, batches, BLOCK_STEPS)
    total = "device_time_total" if on_gpu else "cpu_time_total"
    rows = [(e.key, e.count, getattr(e, f"self_{total}"), getattr(e, total)) for e in profiled.key_averages()]
    table = pd.DataFrame(rows, columns=["operation", "calls", "self_us", "total_us"])
    table.sort_values("self_us", ascending=False).to_csv(path, index=False)
    own = table[table["operation"] == AUGMENTATION]["total_us"]
    rate = loop.recipe.batch / float(np.median(seconds))
    return {
        "median_ms": float(np.median(seconds)) * 1e3,
        "least_ms": min(seconds) * 1e3,
        "images_per_s": rate,
        "mfu": loop.utilisation(rate),
        "augmentation_frac": float(own.max()) / table["self_us"].sum(),
        "peak_device_bytes": torch.cuda.max_memory_allocated() if on_gpu else 0,
    }


def _time(loop: TrainingLoop, batches: Iterator[torch.Tensor], steps: int) -> float:
    """Seconds a step, the reading of its tiles included; the device is waited for after the last."""
    start = time.perf_counter()
    for _ in range(steps):
        loop.train_step(next(batches))
        loop.state.step += 1
    if loop.device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / steps


if __name__ == "__main__":
    main()
