"""One cell measured: a fresh process builds the index and asks it; what it answers is scored when the clock is off.

Every measurement has a process of its own. Only an index that takes long to build (``MeasureSpec.slow_build_s``) is
kept with its process, for the cells that query it.
"""

import contextlib
import dataclasses
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from bench.measured_cells.scoring import Scorer
from bench.measured_cells.whole_rankings import score_whole_rankings
from bench.measuring.clock import ONCE, SINGLE, Asking, Rounds
from bench.measuring.null_engine import NullParams, build_null
from bench.measuring.other_load import CellLoad
from bench.measuring.remote import WorkerError
from bench.measuring.worker import IndexOrder, RawVectors, Worker
from bench.results import BuildResult, QueryResult
from bench.stages.base import Asked, Base
from bench.suites.cells import BuildCell, IndexKey, QueryCell
from bench.suites.suite import AS_PUBLISHED, MeasureSpec
from ris_core.engines import ENGINES
from ris_core.engines.contract import EngineKind
from ris_core.records import Hits


@dataclasses.dataclass(frozen=True, eq=False)
class Judged:
    """Answers to the judged queries: the hits, and (j, depth) bool which of them are relevant."""

    hits: Hits
    relevant: np.ndarray


@dataclasses.dataclass(eq=False)
class Measurer:
    """Measures cells, one at a time; close it at the end.

    Attributes:
        spec: What the clock does.
        kept: The index that was slow to build, and its process.
    """

    spec: MeasureSpec
    kept: tuple[IndexKey, Worker] | None = None

    def close(self) -> None:
        """End the process that is kept."""
        if self.kept is not None:
            self.kept[1].close()
            self.kept = None

    def measure_build(self, cell: BuildCell, scorer: Scorer, *, first: bool) -> BuildResult:
        """Time an index' builds in one process; the first time, read its memory: of quick builds in one more.

        Raises:
            WorkerError: If a process raised an error, died, or took too long.
        """
        self.close()
        base, kind, params = scorer.base, ENGINES[cell.index.kind], cell.index.build.params
        order = index_order(base, kind, params, cell.threads)
        raw = RawVectors(base.features_folder / "features.npy", base.rows, base.space_folder)
        query = Asking(base.timed.corrected[:1], scorer.depth, kind.query_params(), cell.threads)
        load = CellLoad()
        with contextlib.ExitStack() as ending:
            worker = ending.enter_context(Worker(dataclasses.replace(order, raw=raw), self.spec.timeout_s))
            built = worker.build(self._rounds, query)
            load.add(worker.used_cpu_s())
            if built.slow:
                self.kept = cell.index, worker
                ending.pop_all()
        n, d = base.corrected.values.shape
        memory: dict[str, int | None] = {}
        if first:
            memory = {"theoretical_bytes": kind.theoretical_bytes(n, d, params)}
            memory["disk_bytes"] = n * base.raw.values[0].nbytes
            memory |= built.memory or self._read_memory(order, query, load)
        return BuildResult(
            **cell.named(),
            n=n,
            d=d,
            derived=built.derived,
            build_s=[built.build_s],
            load_s=[built.load_s],
            transform_s=[built.transform_s],
            ready_s=[built.ready_s],
            size_bytes=built.size_bytes,
            memory=memory,
            other_load_fracs=[load.read()],
            slow_build=built.slow,
            threads_seen=built.threads_seen,
        )

    def _read_memory(self, order: IndexOrder, query: Asking, load: CellLoad) -> dict[str, int | None]:
        """What building an index adds to a process of its own; nothing where that one dies, for times are kept."""
        with contextlib.suppress(WorkerError), Worker(order, self.spec.timeout_s) as worker:
            memory = worker.memory(query)
            load.add(worker.used_cpu_s())
            return memory
        return {}

    def measure_query(self, cell: QueryCell, scorer: Scorer, *, first: bool) -> tuple[QueryResult, Judged | None]:
        """Time a way of asking in one process and check its answers; the first time, judge them too.

        Raises:
            WorkerError: If the process raised an error, died, or took too long.
        """
        base, judged = scorer.base, scorer.judged
        scores: dict[str, Any] = {}
        judgment, load = None, CellLoad()
        with self._worker(cell, base) as worker:
            asking = _asking(cell, base.timed, scorer.depth)
            prepared = worker.prepare(asking)
            timed = worker.ask(asking, cell.mode, self._rounds)
            if judged is not None and cell.mode == SINGLE:
                asked = worker.ask(_asking(cell, judged, scorer.judged_recall_depth), cell.mode, self._rounds)
                scores["judged_times_s"] = [asked.times_s]
                scores["judged_recall"] = scorer.score_judged_recall(asked.rows)
            scores |= scorer.score_timed(timed.rows)  # of later processes too: what is impossible is refused
            if first:
                untimed, judgment = _untimed(cell, scorer, worker)
                scores |= untimed
            load.add(worker.used_cpu_s())
        n, d = base.corrected.values.shape
        result = QueryResult(
            **cell.named(),
            k=scorer.k,
            n=n,
            d=d,
            q=len(base.timed),
            times_s=[timed.times_s],
            chosen=prepared.chosen,
            prepare_s=[prepared.seconds],
            answer_digests=[[zlib.crc32(row.tobytes()) for row in timed.rows]],
            other_load_fracs=[load.read()],
            slow_build=self.kept is not None,
            threads_seen=timed.threads_seen,
            **scores,
        )
        return result, judgment

    def measure_overhead(self, cell: QueryCell, scorer: Scorer) -> list[list[float]]:
        """For each process the seconds that an engine that does nothing takes, asked as the cell asks its own."""
        timed, order = scorer.base.timed, index_order(scorer.base, None, NullParams(), cell.threads)
        asking = Asking(timed.corrected, scorer.depth, NullParams(), cell.threads)
        times_s = []
        for _ in range(self.spec.processes):
            with Worker(order, self.spec.timeout_s) as worker:
                times_s.append(worker.ask(asking, cell.mode, self._rounds).times_s)
        return times_s

    @contextlib.contextmanager
    def _worker(self, cell: QueryCell, base: Base) -> Iterator[Worker]:
        """A process that holds the cell's index: a fresh one, or the one that is kept."""
        worker = self._kept_worker(cell.index)
        if worker is None:
            order = index_order(base, ENGINES[cell.index.kind], cell.index.build.params, max(self.spec.threads))
            worker = Worker(order, self.spec.timeout_s)
        try:
            if self.kept is None and worker.build(ONCE).build_s[0] > self.spec.slow_build_s:
                self.kept = cell.index, worker
            yield worker
        except BaseException:  # it may be dead, or still at work
            worker.close()
            self.kept = None
            raise
        if self.kept is None:
            worker.close()

    def _kept_worker(self, index: IndexKey) -> Worker | None:
        """The process that is kept for this index, if it lives; a process kept for another one ends."""
        if self.kept is not None and self.kept[0] == index:
            with contextlib.suppress(WorkerError):  # it died since the cell before: a fresh one builds anew
                self.kept[1].begin()
                return self.kept[1]
        self.close()
        return None

    @property
    def _rounds(self) -> Rounds:
        spec = self.spec
        return Rounds(spec.rounds, spec.slow_build_s, spec.slow_rounds, spec.warmup)


def index_order(base: Base, kind: EngineKind | None, params: Any, threads: int) -> IndexOrder:
    """What a worker needs to build an index over the base; the null engine for no kind."""
    build = build_null if kind is None else kind.build
    return IndexOrder(build, params, threads, base.space_folder / "features.npy")


def _untimed(cell: QueryCell, scorer: Scorer, worker: Worker) -> tuple[dict[str, Any], Judged | None]:
    """Fields of a result, and judged answers, that need questions of their own."""
    n, base, judged = len(scorer.base.corrected), scorer.base, scorer.judged
    examined = worker.candidates(_asking(cell, base.timed, scorer.depth))
    scores: dict[str, Any] = {"candidates_mean": None if examined is None else float(np.mean(examined))}
    judgment = None
    if judged is not None:
        rows = worker.answer(_asking(cell, judged, min(n, scorer.judged_depth)))
        found, hits, relevant = scorer.judge(rows)
        scores, judgment = {**scores, **found, **scorer.votes(hits)}, Judged(hits, relevant)
    scores["revisited"] = score_whole_rankings(scorer, lambda some, k: worker.answer(_asking(cell, some, k)))
    recalls, precisions = {}, {}
    for how, excluded in scorer.excluded.items():
        more = excluded.truth.k - scorer.k
        timed_rows = worker.answer(_asking(cell, base.timed, min(n, scorer.depth + more)))
        judged_rows = None
        if judged is not None:
            judged_rows = worker.answer(_asking(cell, judged, min(n, scorer.judged_depth + excluded.judged_extra)))
        recalls[how], precisions[how] = scorer.score_without(how, timed_rows, judged_rows)
    return {**scores, "recall_by_exclusion": recalls, "precision_by_exclusion": precisions}, judgment


def _asking(cell: QueryCell, asked: Asked, k: int) -> Asking:
    """The queries as this cell hands them to its index."""
    queries = asked.raw if cell.space == AS_PUBLISHED else asked.corrected
    return Asking(np.ascontiguousarray(queries), k, cell.query.params, cell.threads)
