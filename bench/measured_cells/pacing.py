"""One throughput cell measured: a fresh process does one stage in one way, warms up, and is timed."""

import dataclasses
import tempfile
from pathlib import Path

from bench.measuring.clock import Rounds
from bench.measuring.other_load import CellLoad
from bench.measuring.remote import Remote
from bench.pace.pacer import Paced, Pacer
from bench.pace.work import OURS, TILES, TRAIN, WorkOrder
from bench.results import PaceResult
from bench.stages.base import Cut
from bench.stages.flow import Cache, locate_corpus
from bench.suites.cells import PaceCell
from bench.suites.suite import Suite, ThroughputSpec
from ris_core.backbone import BackboneSpec
from ris_core.device import choose_device
from ris_core.training.recipe import DinoRecipe


def measure_pace(cell: PaceCell, suite: Suite, cut: Cut, cache: Cache, scratch: Path) -> PaceResult:
    """The rounds of a cell in one process.

    Args:
        cell: What is done.
        suite: The suite.
        cut: Its tiles.
        cache: Where its raster lies.
        scratch: Folder that has room for what a round writes.

    Raises:
        WorkerError: If the process raised an error, died, or took too long.
    """
    measure, load = suite.measure, CellLoad()
    with tempfile.TemporaryDirectory(dir=scratch, prefix="pace-") as folder:
        order = work_order(cell, suite, cut, cache, Path(folder))
        with Remote(Pacer, order, measure.timeout_s, has_children=True) as process:
            rounds = Rounds(rounds=measure.rounds, warmup=measure.warmup)
            paced: Paced = process.call("measure", "being timed", rounds)
            load.add(process.used_cpu_s())
    return PaceResult(
        **cell.named(),
        n=order.n,
        batch=order.batch,
        workers=order.workers,
        device=order.device,
        precision=paced.precision,
        times_s=[paced.times_s],
        prepare_s=[paced.prepare_s],
        flops_per_tile=paced.flops_per_tile,
        peak_flops=[paced.peak_flops],
        peak_rss_bytes=[paced.peak_rss_bytes],
        peak_device_bytes=[paced.peak_device_bytes],
        other_load_fracs=[load.read()],
        threads_seen=paced.threads_seen,
    )


def work_order(cell: PaceCell, suite: Suite, cut: Cut, cache: Cache, scratch: Path) -> WorkOrder:
    """What the process is told."""
    spec = suite.throughput or ThroughputSpec()
    entry = suite.backbone(cell.backbone) if cell.backbone else None
    raster, tile_spec, _ = locate_corpus(cache, suite.corpus)
    device = "cpu" if cell.stage == TILES else choose_device(spec.device).type
    n, batch = len(cut.tiles), 0
    recipe = entry.recipe if entry is not None and isinstance(entry.recipe, DinoRecipe) else None
    if cell.stage == TRAIN and recipe is not None:
        n, batch = spec.steps * recipe.batch, recipe.batch
    elif cell.stage != TILES:
        n, batch = spec.tiles, spec.batch
    loads_alone = cell.way == OURS or device == "cpu"
    return WorkOrder(
        stage=cell.stage,
        way=cell.way,
        raster=raster,
        tile_spec=dataclasses.replace(tile_spec, labels=None, classes=None),
        tiles=cut.folder,
        n=n,
        spec=BackboneSpec() if entry is None else entry.spec,
        recipe=recipe,
        batch=batch,
        workers=0 if loads_alone else spec.workers,
        device=device,
        threads=cell.threads,
        scratch=scratch,
    )
