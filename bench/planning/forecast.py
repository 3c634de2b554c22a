"""The bill of a suite: what is in the cache, how much there is to do, a minute of measuring, and the rows."""

import dataclasses
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import psutil

from bench.machine import fingerprint, is_busy
from bench.measuring.process_memory import read_memory
from bench.planning.cell_rows import CellBill, other_cells
from bench.planning.corpus_sample import CorpusSample, sample_corpus
from bench.planning.growth_law import Seconds, summed
from bench.planning.index_rates import (
    IndexRate,
    fewest_vectors,
    measure_harness,
    measure_index,
    probe_sizes,
)
from bench.planning.lookup import Found, find_artifacts
from bench.planning.network_rates import ExtractionRate, TrainingRate, measure_extraction, measure_training
from bench.planning.process_rates import report_cost, start_cost
from bench.planning.stage_cost import StageCost
from bench.planning.stage_rows import Rates, StageBill
from bench.planning.suite_counts import Counts, count_suite
from bench.planning.vector_sample import SampleBase, sample_base, sample_labels
from bench.suites.cells import IndexKey
from bench.suites.suite import EngineGrid, Suite, takes
from ris_core.backbone import RANDOM
from ris_core.engines import ENGINES

_GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Forecast:
    """What a run of a suite will cost.

    Attributes:
        rows: A row a stage.
        measured_s: Seconds that measuring took.
        was_busy: Whether others computed on this machine before it began.
        warnings: What will not do: disk or memory, a sentence each.
    """

    rows: tuple[StageCost, ...]
    measured_s: float
    was_busy: bool
    warnings: tuple[str, ...]

    @property
    def total(self) -> Seconds:
        """All that can be forecast, on one process."""
        return summed([row.seconds for row in self.rows if row.seconds is not None])

    def on_workers(self, workers: int) -> Seconds:
        """The same where so many workers share what can be shared, and each is as fast as this machine."""
        known = [(row, row.seconds) for row in self.rows if row.seconds is not None]
        return summed([seconds.times(1 / workers if row.is_spread else 1) for row, seconds in known])

    @property
    def disk_bytes(self) -> int:
        """Of the arrays that are yet to be written."""
        return sum(row.disk_bytes for row in self.rows if not row.is_cached)


@dataclasses.dataclass(frozen=True, eq=False)
class _Planner:
    """Measures what the rows need: each width, network and index once."""

    suite: Suite
    scratch: Path
    tell: Callable[[str], None]

    def corpus(self) -> CorpusSample | None:
        """A few tiles, cut; None for a corpus of vectors."""
        if self.suite.corpus.is_vectors:
            return None
        self.tell("cutting a few tiles")
        return sample_corpus(self.suite.corpus, self.scratch)

    def rates(self, counts: Counts, corpus: CorpusSample | None, found: Found) -> Rates:
        """Of all stages that are yet to be done."""
        process_bytes = read_memory().rss_bytes
        entries = self.suite.backbones if self.suite.engines else ()
        labels = None if corpus is None else sample_labels(corpus.cut)
        bases = {
            d: self._bases(d, counts, labels) for d in dict.fromkeys(counts.widths[entry.name] for entry in entries)
        }
        if corpus is None:
            return Rates(process_bytes, None, {}, {}, bases)
        trainings: dict[str, TrainingRate] = {}
        extractions: dict[str, ExtractionRate] = {}
        alike: dict[str, ExtractionRate] = {}
        for entry in entries:
            if entry.recipe is not None and ("checkpoint", entry.name) not in found.notes:
                self.tell(f"a few steps of the training of {entry.name}")
                trainings[entry.name] = measure_training(entry, corpus.cut.tiles, self.scratch)
            if ("features", entry.name) in found.notes:
                continue
            network = repr((dataclasses.replace(entry.spec, weights=RANDOM, seed=0), entry.extract))
            if network not in alike:
                self.tell(f"a few batches of features of {entry.name}")
                alike[network] = measure_extraction(entry, corpus.cut, counts.tiles, self.scratch)
            extractions[entry.name] = alike[network]
        return Rates(process_bytes, corpus, trainings, extractions, bases)

    def _bases(self, d: int, counts: Counts, labels: np.ndarray | None) -> list[SampleBase]:
        """Small bases of one width: as many sizes as an index is measured at."""
        self.tell(f"space, truth and checks of a few vectors of {d} dimensions")
        return [self._base(d, n, labels) for n in probe_sizes(counts.indexed, 0)]

    def _base(self, d: int, n: int, labels: np.ndarray | None) -> SampleBase:
        return sample_base(self.suite, d, n, labels, self.scratch)

    def indexes(self, counts: Counts, rates: Rates, widths: Mapping[str, int]) -> dict[IndexKey, IndexRate | None]:
        """Each index of the suite; those of one engine over vectors of one width are measured once."""
        found: dict[IndexKey, IndexRate | None] = {}
        alike: dict[tuple[object, ...], IndexRate | None] = {}
        for entry in self.suite.backbones:
            for grid in (grid for grid in self.suite.engines if takes(grid.backbones, entry)):
                for build in grid.builds:
                    index = IndexKey(entry.name, grid.name, grid.kind, build)
                    key = grid.name, build, widths[entry.name], counts.of(entry)
                    if key not in alike:
                        self.tell(f"building and asking {index.words()}")
                        alike[key] = self._index(index, grid, counts.of(entry), rates.bases[counts.widths[entry.name]])
                    found[index] = alike[key]
        return found

    def _index(self, index: IndexKey, grid: EngineGrid, n: int, bases: Sequence[SampleBase]) -> IndexRate | None:
        if ENGINES[index.kind].unavailable() is not None:
            return None
        d = bases[0].base.corrected.values.shape[1]
        fewest = fewest_vectors(index, grid.queries, n, d)
        if fewest is None:
            return None
        fitting = [base for base in bases if fewest <= base.n <= n]
        if not fitting:
            raw = bases[0].base.raw.values.shape[1]
            fitting = [self._base(raw, fewest, None)]
        return measure_index(index, grid.queries, fitting, self.suite.measure, min(self.suite.measure.threads))


def forecast_suite(suite: Suite, cache: Path, tell: Callable[[str], None] = lambda _: None) -> Forecast:
    """What a run of a suite will cost with this cache, on this machine.

    Args:
        suite: The suite.
        cache: Folder of the artifacts; nothing is written there.
        tell: Told what is being measured.

    Raises:
        RisError: If the corpus cannot be read, or a stage would refuse it.
    """
    start, busy = time.perf_counter(), is_busy(fingerprint())
    tell("looking into the cache, and counting")
    found = find_artifacts(suite, cache)
    counts = count_suite(suite, found)
    with tempfile.TemporaryDirectory(prefix="plan-") as folder:
        planner = _Planner(suite, Path(folder), tell)
        corpus = planner.corpus()
        rates = planner.rates(counts, corpus, found)
        stages = StageBill(suite, counts, found, rates)
        rows = list(stages.rows())
        if suite.engines:
            widths = {entry.name: stages.width(entry) for entry in suite.backbones}
            indexes = planner.indexes(counts, rates, widths)
            tell("whole cells, for what the harness adds")
            widest = max(rates.bases, default=0)
            harness = measure_harness(rates.bases[widest], suite.measure)
            rows += CellBill(suite, counts, widths, _judged(suite, corpus), indexes, harness).rows()
        tell("a start, and a figure")
        rows = [start_cost(), *rows, *other_cells(suite), report_cost()]
    return Forecast(tuple(rows), time.perf_counter() - start, busy, tuple(_warnings(rows, cache)))


def _judged(suite: Suite, corpus: CorpusSample | None) -> int:
    """Queries that will be judged, about: of classes or labels where the sample has them."""
    if corpus is None or suite.corpus.sizes:
        return 0
    tiles, judge = corpus.cut.tiles, suite.judge
    if tiles.class_fractions is not None:
        return judge.easy + judge.medium + judge.hard
    return 0 if tiles.labels is None else judge.per_label * len(np.unique(tiles.labels))


def _warnings(rows: Sequence[StageCost], cache: Path) -> Iterator[str]:
    """What this machine has too little of."""
    place = next(folder for folder in (cache.absolute(), *cache.absolute().parents) if folder.exists())
    free, needed = shutil.disk_usage(place).free, sum(row.disk_bytes for row in rows if not row.is_cached)
    if needed > free:
        yield (
            f"the disk of {cache} has {free / _GIB:,.1f} GiB free, and {needed / _GIB:,.1f} GiB are needed. Choose "
            "another place with --cache, or store fewer or smaller tiles (corpus.sample, corpus.stored_px)."
        )
    memory = psutil.virtual_memory().total
    for row in rows:
        if not row.is_cached and (row.memory_bytes or 0) > memory:
            yield (
                f"{row.stage} {row.name}".strip() + f" needs {(row.memory_bytes or 0) / _GIB:,.1f} GiB of memory; this "
                f"machine has {memory / _GIB:,.1f}. Lower corpus.sample, or take a larger machine."
            )
