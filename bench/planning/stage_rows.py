"""The stages of a suite as rows of the bill: tiles, trainings, features, spaces, truths, and checks of the data."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench.planning.artifact_bytes import array_bytes, features_bytes, npy_bytes, space_bytes, tiles_bytes, truth_bytes
from bench.planning.corpus_sample import CorpusSample
from bench.planning.growth_law import NOTHING, Law, Seconds, exponent_at
from bench.planning.lookup import Found
from bench.planning.network_rates import ExtractionRate, TrainingRate
from bench.planning.stage_cost import StageCost
from bench.planning.suite_counts import Counts
from bench.planning.vector_sample import SampleBase
from bench.queries import hygiene
from bench.stages import knn_probe
from bench.stages.flow import truth_depth
from bench.suites.suite import LANDMARKS, SCENE, SYNTHETIC, VECTORS, BackboneEntry, Suite
from ris_core.artifacts import read_manifest

_BLOCKS_BYTES = 3 * 2**26  # that fitting and applying a space hold beside what they make
_ROW_BYTES = 600  # of one tile in the table while it is cut: numbers, names, and a polygon


@dataclasses.dataclass(frozen=True, eq=False)
class Rates:
    """What was measured for the stages.

    Attributes:
        process_bytes: What the process holds before it does anything, libraries included.
        corpus: Of a corpus of imagery.
        trainings: By backbone, of those that train, unless their weights are in the cache.
        extractions: By backbone, of those that describe tiles, unless their features are in the cache.
        bases: Small bases of each width, ascending in size.
    """

    process_bytes: int
    corpus: CorpusSample | None
    trainings: Mapping[str, TrainingRate]
    extractions: Mapping[str, ExtractionRate]
    bases: Mapping[int, Sequence[SampleBase]]


@dataclasses.dataclass(frozen=True, eq=False)
class StageBill:
    """Writes the rows of the stages."""

    suite: Suite
    counts: Counts
    found: Found
    rates: Rates

    def rows(self) -> Iterator[StageCost]:
        """All stages, in the order of a run."""
        yield from self._source()
        if self.rates.corpus is not None:
            yield self._tiles(self.rates.corpus)
            if self.suite.engines:
                yield self._copies(self.rates.corpus)
        for entry in self.suite.backbones if self.suite.engines else ():
            if entry.recipe is not None:
                yield self._training(entry)
            if (
                not self.suite.corpus.is_vectors or entry is self.suite.backbones[0]
            ):  # all sizes share a file's features
                yield self._features(entry)
            yield from self._searched(entry)

    def width(self, entry: BackboneEntry) -> int:
        """Dimensions in the space of a backbone."""
        d = self.counts.widths[entry.name]
        return d if entry.space.whiten is None else entry.space.whiten

    def _source(self) -> Iterator[StageCost]:
        """What an embedded corpus is made of."""
        corpus, sample = self.suite.corpus, self.rates.corpus
        if corpus.source in (SCENE, LANDMARKS) and sample is not None and sample.scene is not None:
            pixels = corpus.scene_px**2
            cost = StageCost(
                "scene", "", pixels, seconds=sample.scene.at(pixels), note="n are pixels; its files are packed"
            )
            yield self._known(cost, "scene", "")
            if corpus.source == LANDMARKS:
                yield self._known(
                    StageCost("landmarks", "", self.counts.tiles, False, note="not forecast"), "landmarks", ""
                )
        if corpus.source == SYNTHETIC:
            law = corpus.synthetic
            disk = npy_bytes((law.n, law.d), "<f4") + npy_bytes((law.queries, law.d), "<f4")
            seconds = self._base_law(law.d, "vectors").at(law.n)
            yield self._known(
                StageCost("vectors", "", law.n, seconds=seconds, disk_bytes=disk, exponent=1.0), "vectors", ""
            )

    def _tiles(self, sample: CorpusSample) -> StageCost:
        counts = self.counts
        cost = StageCost(
            "tiles",
            "",
            counts.tiles,
            counts.is_exact,
            sample.tiles.at(counts.tiles),
            tiles_bytes(counts.tiles, counts.size_px),
            self.rates.process_bytes + _ROW_BYTES * counts.tiles,
            exponent_at(sample.tiles.at, counts.tiles),
            is_spread=True,
            note=counts.note,
        )
        return self._known(cost, "tiles", "")

    def _copies(self, sample: CorpusSample) -> StageCost:
        """Copies among the tiles, and judgments, which no artifact keeps."""
        examined = min(self.counts.tiles, hygiene.MOST_TILES, hygiene.MOST_BYTES // (3 * self.counts.size_px**2))
        return StageCost("checks", "tiles", examined, self.counts.is_exact, sample.checks.at(examined), exponent=1.0)

    def _training(self, entry: BackboneEntry) -> StageCost:
        counts, rate, recipe = self.counts, self.rates.trainings.get(entry.name), entry.recipe
        assert recipe is not None
        cost = StageCost("checkpoint", entry.name, counts.trained, counts.is_exact)
        if rate is not None:
            steps = recipe.epochs * (counts.trained // recipe.batch)
            seconds = Law((1, 2), (rate.setup_s + rate.step_s, rate.setup_s + 2 * rate.step_s), is_linear=True).at(
                steps
            )
            seconds += self._probing(entry, recipe.epochs)
            part = "" if rate.batch == recipe.batch else f"; steps measured with {rate.batch} tiles, memory scaled"
            cost = dataclasses.replace(
                cost,
                seconds=seconds,
                disk_bytes=rate.weights_bytes,
                memory_bytes=rate.peak_bytes,
                exponent=1.0,
                note=f"{recipe.epochs} epochs of {counts.trained // recipe.batch:,} steps{part}",
            )
        return self._known(cost, "checkpoint", entry.name)

    def _probing(self, entry: BackboneEntry, epochs: int) -> Seconds:
        """k-NN while it trains: at the start, every so many epochs, and at the end."""
        every, rate = self.suite.judge.knn_every, self.rates.extractions.get(entry.name)
        labelled = any(base.scorer.judgments is not None for bases in self.rates.bases.values() for base in bases)
        if not every or rate is None or not labelled:
            return NOTHING
        asked = min(self.counts.tiles, 2 * knn_probe.MOST_TILES)
        return rate.seconds.at(asked).times(1 + epochs // every + (epochs % every > 0))

    def _features(self, entry: BackboneEntry) -> StageCost:
        counts, n, d = self.counts, self.counts.tiles, self.counts.widths[entry.name]
        disk = features_bytes(n, d)
        cost = StageCost("features", entry.name, n, counts.is_exact, disk_bytes=disk, is_spread=True)
        peak: int | None = self.rates.process_bytes + 24 * n
        rate, law = self.rates.extractions.get(entry.name), None
        if entry.spec.model == VECTORS:
            law = self._base_law(d, "features")
        elif rate is not None:
            law, peak = rate.seconds, rate.peak_bytes
        if law is not None:
            cost = dataclasses.replace(cost, seconds=law.at(n), memory_bytes=peak, exponent=exponent_at(law.at, n))
        return self._known(cost, "features", entry.name)

    def _searched(self, entry: BackboneEntry) -> Iterator[StageCost]:
        """Space, truth, and checks of one backbone's vectors."""
        counts, d, wide = self.counts, self.counts.widths[entry.name], self.width(entry)
        n, queries = counts.of(entry), self.suite.queries
        copied = 0 if n == counts.tiles else 4 * n * d
        process = self.rates.process_bytes
        depth = truth_depth(n, queries, has_own=not counts.asked)
        plans = {
            "space": (n, space_bytes(n, d, entry.space, wide), process + copied + 4 * n * wide + _BLOCKS_BYTES),
            "truth": (n, truth_bytes(queries.count, depth), process + 4 * n * wide),
            "checks": (n, 0, process + 4 * n * wide + 300 * n),
        }
        for stage, (size, disk, memory) in plans.items():
            law = self._base_law(d, stage)
            cost = StageCost(
                stage, entry.name, size, counts.is_exact, law.at(size), disk, memory, exponent_at(law.at, size)
            )
            spread = dataclasses.replace(cost, is_spread=stage == "truth")
            yield spread if stage == "checks" else self._known(spread, stage, entry.name)

    def _base_law(self, d: int, stage: str) -> Law:
        """Seconds of a stage that the small bases went through."""
        bases = self.rates.bases[d]
        return Law(tuple(base.n for base in bases), tuple(base.seconds[stage] for base in bases), is_linear=True)

    def _known(self, cost: StageCost, stage: str, name: str) -> StageCost:
        """The row; of what is in the cache as it is there, at no cost."""
        note = self.found.notes.get((stage, name))
        if note is not None:
            disk = array_bytes(read_manifest(Path(note.folder))["files"])
            return dataclasses.replace(
                cost, seconds=NOTHING, disk_bytes=disk, memory_bytes=None, exponent=None, is_cached=True, note=""
            )
        if f"{stage} {name}".strip() in self.found.unfinished:
            words = "an earlier run began it, and it goes on where that ended; this is the cost from the beginning"
            return dataclasses.replace(cost, note="; ".join(filter(None, (cost.note, words))))
        return cost
