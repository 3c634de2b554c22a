"""What building and asking one kind of index costs, measured in the processes that a run measures it in."""

import contextlib
import dataclasses
import time
from collections.abc import Mapping, Sequence

import numpy as np

from bench.measured_cells.measure import Measurer, index_order
from bench.measuring.clock import BATCH, ONCE, SINGLE, Asking
from bench.measuring.remote import WorkerError
from bench.measuring.worker import Worker
from bench.planning.growth_law import Law, Seconds, summed
from bench.planning.vector_sample import GROWTH, SMALLEST, SampleBase
from bench.suites.cells import BuildCell, IndexKey, QueryCell
from bench.suites.suite import MeasureSpec, ParamSet
from ris_core.engines import ENGINES

_PROBED = 16  # queries that are asked alone
_PATIENCE_S = 2.0  # an index whose measurement took longer is not measured at a larger size
_SIZES = 3  # at most, and
_LARGEST = 2**18  # vectors, where parameters forbid fewer
_EXACT = "exact"


@dataclasses.dataclass(frozen=True)
class AskedRate:
    """One way of asking: seconds of choosing, of one query alone, and of one batch of all queries."""

    choose: Law
    single: Law
    batch: Law


@dataclasses.dataclass(frozen=True)
class IndexRate:
    """One index: seconds of its build, and of each of its ways of asking."""

    build: Law
    asked: Mapping[ParamSet, AskedRate]


@dataclasses.dataclass(frozen=True)
class HarnessRate:
    """What the harness adds to a cell, by numbers in the base (vectors times dimensions): processes, reading, scoring.

    Attributes:
        build: Of a build cell in its first process, with that which reads its memory.
        build_again: In each further one.
        query: Of a query cell in its first process, with judging.
        query_again: In each further one.
    """

    build: Law
    build_again: Law
    query: Law
    query_again: Law


def probe_sizes(n: int, fewest: int) -> list[int]:
    """Sizes to measure an index at: no more than there are vectors, no fewer than its parameters allow."""
    first = min(n, max(SMALLEST, fewest))
    return [size for size in (first * GROWTH**step for step in range(_SIZES)) if size <= n] or [n]


def fewest_vectors(index: IndexKey, queries: Sequence[ParamSet], n: int, d: int) -> int | None:
    """The smallest power of two, from `SMALLEST` on, for which the parameters are possible; None: beyond reach."""
    size = SMALLEST
    while size <= min(n, _LARGEST):
        if not any(point.params.faults(size, d) for point in (index.build, *queries)):
            return size
        size *= 2
    return n if n <= _LARGEST else None


def measure_index(
    index: IndexKey, queries: Sequence[ParamSet], bases: Sequence[SampleBase], spec: MeasureSpec, threads: int
) -> IndexRate | None:
    """Seconds of an index over bases of rising sizes; larger ones are left out where a smaller one took long.

    None where its process dies, or takes longer than a cell may.
    """
    kind = ENGINES[index.kind]
    builds: dict[float, float] = {}
    asked: dict[ParamSet, dict[float, tuple[float, float, float]]] = {query: {} for query in queries}
    with contextlib.suppress(WorkerError):
        for sample in bases:
            start, base, k = time.perf_counter(), sample.base, sample.scorer.depth
            order = index_order(base, kind, index.build.params, threads)
            with Worker(order, spec.timeout_s) as worker:
                builds[sample.n] = worker.build(ONCE).build_s[0]
                for query in queries:
                    asked[query][sample.n] = _ask(worker, base.timed.corrected, k, query, threads)
            if time.perf_counter() - start > _PATIENCE_S:
                break
    if not builds or not all(asked.values()):
        return None
    rates = {
        query: AskedRate(*(_law({n: s[i] for n, s in by_n.items()}, index) for i in range(3)))
        for query, by_n in asked.items()
    }
    return IndexRate(_law(builds, index), rates)


def _ask(worker: Worker, queries: np.ndarray, k: int, query: ParamSet, threads: int) -> tuple[float, float, float]:
    """Seconds of choosing, of one query alone, and of all in one call."""
    few, every = (Asking(np.ascontiguousarray(part), k, query.params, threads) for part in (queries[:_PROBED], queries))
    chosen = worker.prepare(every).seconds
    single = float(np.median(worker.ask(few, SINGLE, ONCE).times_s))
    return chosen, single, worker.ask(every, BATCH, ONCE).times_s[0]


def _law(by_n: Mapping[float, float], index: IndexKey) -> Law:
    return Law(tuple(by_n), tuple(by_n.values()), is_linear=index.kind == _EXACT)


def measure_harness(bases: Sequence[SampleBase], spec: MeasureSpec) -> HarnessRate:
    """What real cells of exact search take beside its own calls."""
    index = IndexKey("sample", _EXACT, _EXACT, ParamSet(ENGINES[_EXACT].build_params()))
    points: dict[str, dict[float, float]] = {"build": {}, "build_again": {}, "query": {}, "query_again": {}}
    once = dataclasses.replace(spec, rounds=1, warmup=0, threads=(1,), slow_build_s=spec.timeout_s)
    for sample in bases:
        size = float(sample.base.corrected.values.size)
        for first, ending in ((True, ""), (False, "_again")):
            measurer = Measurer(once)
            start = time.perf_counter()
            measurer.measure_build(BuildCell(index, 1), sample.scorer, first=first)
            points[f"build{ending}"][size] = time.perf_counter() - start
            start = time.perf_counter()
            cell = QueryCell(index, ParamSet(ENGINES[_EXACT].query_params()), "corrected", BATCH, 1)
            result, _ = measurer.measure_query(cell, sample.scorer, first=first)
            points[f"query{ending}"][size] = time.perf_counter() - start - sum(result.times_s[0])
    return HarnessRate(*(Law(tuple(by.keys()), tuple(by.values()), is_linear=True) for by in points.values()))


@dataclasses.dataclass(frozen=True)
class CellCosts:
    """What cells cost, by the rates of their index; see `bench.measured_cells.measure` for what a cell does.

    Attributes:
        rate: Of the index.
        harness: Of the harness.
        spec: The suite's clock.
        timed: Timed queries.
        judged: Judged queries.
        d: Dimensions.
        is_slow: Whether one process alone measures the index, for it takes over `slow_build_s` to build.
    """

    rate: IndexRate
    harness: HarnessRate
    spec: MeasureSpec
    timed: int
    judged: int
    d: int
    is_slow: bool

    def build(self, n: float) -> Seconds:
        """A build cell over n vectors in all its processes."""
        size, spec, build = n * self.d, self.spec, self.rate.build.at(n)
        if self.is_slow:
            return summed([self.harness.build_again.at(size), build.times(spec.slow_rounds)])
        again = spec.processes - 1
        return summed(
            [
                self.harness.build.at(size),
                self.harness.build_again.at(size).times(again),
                build.times(spec.processes * (spec.warmup + spec.rounds) + 1),
            ]
        )

    def query(self, cell: QueryCell, n: float) -> Seconds:
        """A query cell over n vectors; of an index that is slow to build it finds the process that built it."""
        size, spec, asked = n * self.d, self.spec, self.rate.asked[cell.query]
        processes = 1 if self.is_slow else spec.processes
        single, batch = asked.single.at(n), asked.batch.at(n)
        if cell.mode == SINGLE:
            timed = single.times(self.timed + self.judged + 2 * spec.warmup)
        else:
            timed = batch.times(spec.rounds + spec.warmup)
        each = [timed, asked.choose.at(n)] + ([] if self.is_slow else [self.rate.build.at(n)])
        untimed = batch.times(1 + self.judged / max(1, self.timed))  # candidates, and the judged ones' answers
        return summed(
            [
                self.harness.query.at(size),
                self.harness.query_again.at(size).times(processes - 1),
                summed(each).times(processes),
                untimed,
            ]
        )
