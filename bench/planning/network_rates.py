"""What a backbone's training and its features cost, measured by a few steps and a few batches of the real ones."""

import dataclasses
import json
import math
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.measuring.process_memory import read_memory, reset_peak
from bench.planning.corpus_sample import repeated
from bench.planning.growth_law import Law
from bench.stages.base import Cut
from bench.stages.extraction import extract_timed
from bench.suites.suite import BackboneEntry
from ris_core.backbone import COLOUR, RANDOM, BackboneSpec, build_backbone
from ris_core.device import choose_bf16, choose_device
from ris_core.feature_batches import plan_extraction
from ris_core.preprocess import PREPROCESSING, WHOLE
from ris_core.records import Tiles
from ris_core.training.dino_training import train_dino
from ris_core.training.flops import count_flops, peak_flops, training_flops
from ris_core.training.label_recipe import LabelRecipe
from ris_core.training.label_training import train_with_labels
from ris_core.training.recipe import DinoRecipe
from ris_core.training.result import MODEL

_PATIENCE_S = 6.0  # that one training, or one extraction, may take by a first guess
_LIKELY_MFU = 0.3  # of that guess: less than networks of any size reach
_STEPS = 3  # of an epoch; the first epoch warms up, the second is timed
_MOST_BATCHES = 8
_QUICK_TILES = 1024  # of a backbone without a network


@dataclasses.dataclass(frozen=True)
class TrainingRate:
    """One step of a training.

    Attributes:
        setup_s: Seconds before the first step and after the last.
        step_s: Seconds of a step with the recipe's own batch.
        batch: Tiles of the steps that were measured; the recipe's, unless these would take too long.
        peak_bytes: Most memory with the recipe's batch; where a smaller one was measured, its growth scaled by it.
        weights_bytes: Of the file of weights that it leaves.
    """

    setup_s: float
    step_s: float
    batch: int
    peak_bytes: int | None
    weights_bytes: int


@dataclasses.dataclass(frozen=True)
class ExtractionRate:
    """Seconds by tiles, and the most memory meanwhile."""

    seconds: Law
    peak_bytes: int | None


def measure_training(entry: BackboneEntry, tiles: Tiles, scratch: Path) -> TrainingRate:
    """Seconds and memory of a training's steps, on some tiles of its corpus.

    Raises:
        RisError: As `train_dino` and `train_with_labels`.
    """
    recipe = entry.recipe
    assert recipe is not None
    spec = _unread(entry.spec.as_trained())
    batch = _affordable_batch(spec, recipe)
    part = repeated(tiles, batch * _STEPS)
    before, knows_peak = read_memory().rss_bytes, reset_peak()
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        start = time.perf_counter()
        _train(spec, _shortened(recipe, batch), part, Path(folder))
        seconds = time.perf_counter() - start
        log = [json.loads(line) for line in (Path(folder) / "log.txt").read_text(encoding="utf-8").splitlines()]
        weights_bytes = (Path(folder) / MODEL).stat().st_size
    peak = read_memory().peak_rss_bytes if knows_peak else None
    share = recipe.batch / batch
    scaled = None if peak is None else round(before + (peak - before) * share)
    setup_s = seconds - sum(float(line["epoch_s"]) for line in log)
    return TrainingRate(setup_s, recipe.batch / float(log[-1]["images_per_s"]), batch, scaled, weights_bytes)


def _shortened(recipe: Any, batch: int) -> Any:
    """The recipe for two epochs of equal cost: nothing is warmed up or frozen at the start."""
    short: dict[str, Any] = {"epochs": 2, "warmup_epochs": 0, "batch": batch}
    if isinstance(recipe, DinoRecipe):
        short |= {"warmup_teacher_epochs": 0, "freeze_last_layer_epochs": 0}
    return dataclasses.replace(recipe, **short)


def _train(spec: BackboneSpec, recipe: Any, tiles: Tiles, folder: Path) -> None:
    if isinstance(recipe, LabelRecipe):
        train_with_labels(tiles, np.resize(["a", "a", "b", "b"], len(tiles)), spec, recipe, folder)
    else:
        train_dino(tiles, spec, recipe, folder)


def _affordable_batch(spec: BackboneSpec, recipe: DinoRecipe | LabelRecipe) -> int:
    """The recipe's batch, or as large an even part of it as two short epochs can afford."""
    if not isinstance(recipe, DinoRecipe):
        return recipe.batch
    device = choose_device("auto")
    seconds = training_flops(spec, recipe) / (_LIKELY_MFU * peak_flops(device, choose_bf16("auto", device)))
    most = int(_PATIENCE_S / (2 * _STEPS * seconds)) // 2 * 2
    return min(recipe.batch, max(2, most))


def measure_extraction(entry: BackboneEntry, cut: Cut, n: int, scratch: Path) -> ExtractionRate:
    """Seconds and memory of the features of some tiles of a corpus.

    Args:
        entry: The backbone; its weights are drawn, for they change no time.
        cut: A sample of the corpus.
        n: Tiles of the whole corpus: no more are described.
        scratch: Folder for what is written.

    Raises:
        RisError: As `extract_timed`.
    """
    spec, options = _unread(entry.spec), entry.extract
    is_whole = spec.preprocess == WHOLE
    most = len(cut.tiles) if is_whole else n
    plan = plan_extraction(dataclasses.replace(options, compile="off"), most)
    many = min(most, _affordable_tiles(spec, cut.tiles.size_px, plan.batch))
    few = min(plan.batch, many)
    points: dict[float, float] = {}
    peaks: list[float | None] = []
    for count in (few, few, many):  # the first one warms up
        tiles = cut.tiles[:count] if is_whole else repeated(cut.tiles, count)
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            start = time.perf_counter()
            notes = extract_timed(dataclasses.replace(cut, tiles=tiles), spec, Path(folder), options)
            points[count] = time.perf_counter() - start
        peaks.append(notes["extract_peak_mb"])
    known = [peak for peak in peaks if peak is not None]
    law = Law(tuple(points), tuple(points.values()), is_linear=True)
    return ExtractionRate(law, round(max(known) * 1e6) if known else None)


def _affordable_tiles(spec: BackboneSpec, size_px: int, batch: int) -> int:
    """So many whole batches as can be described in the time that there is, at least one."""
    if spec.model == COLOUR:
        return _QUICK_TILES
    with torch.device("meta"):
        backbone = build_backbone(spec)
    device = choose_device("auto")
    rate = _LIKELY_MFU * peak_flops(device, choose_bf16("auto", device))
    seconds = count_flops(backbone, PREPROCESSING[spec.preprocess].input_px(size_px)) / rate
    return batch * min(_MOST_BATCHES, max(1, math.floor(_PATIENCE_S / (batch * seconds))))


def _unread(spec: BackboneSpec) -> BackboneSpec:
    """The network with weights that are drawn: nothing is read or fetched."""
    return dataclasses.replace(spec, weights=RANDOM)
