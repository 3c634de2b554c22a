"""One re-ranking cell measured: a fresh process searches and re-ranks; both orders are scored when the clock is off.

The index is built anew for every such cell, in each of its processes, also where its build is slow: such a cell is
measured in one process alone.
"""

import zlib
from pathlib import Path

import numpy as np

from bench.measured_cells.measure import Judged, index_order
from bench.measured_cells.scoring import Scorer
from bench.measured_cells.whole_rankings import score_whole_rankings
from bench.measuring.clock import Asking
from bench.measuring.other_load import CellLoad
from bench.measuring.rerank_worker import RerankAsking, RerankOrder, RerankWorker
from bench.results import RerankResult
from bench.suites.cells import RerankCell
from bench.suites.suite import MeasureSpec
from ris_core.engines import ENGINES
from ris_core.errors import SearchError
from ris_core.rerank import RERANKERS


def measure_rerank(
    cell: RerankCell, scorer: Scorer, spec: MeasureSpec, pixels: Path | None, local: Path | None = None
) -> tuple[RerankResult, Judged]:
    """Search and re-rank the judged queries in one process, and score both orders.

    Args:
        cell: The cell.
        scorer: What the answers are held against.
        spec: What the clock does.
        pixels: ``pixels.npy`` of the corpus' tiles; None where it has none.
        local: Folder of their local descriptors; None where the kind needs none.

    Raises:
        SearchError: If nothing is judged.
        WorkerError: If the process raised an error, died, or took too long, or the re-ranker lost or invented answers.
    """
    base, judged, judgments = scorer.base, scorer.judged, scorer.judgments
    if judged is None or judgments is None or not judgments.is_decided:
        raise SearchError("re-ranking is measured on judged queries, and there are none. Remove [rerank], or judge.")
    index, kind, params, load = cell.index, RERANKERS[cell.kind], cell.point.params, CellLoad()
    order = RerankOrder(
        index_order(base, ENGINES[index.kind], index.build.params, cell.threads),
        cell.query.params, kind.build, kind.searches, params, pixels, base.rows, local, kind.libraries,
    )  # fmt: skip
    n, d = base.corrected.values.shape
    k = min(n, max(params.top, scorer.judged_depth))
    asking = Asking(np.ascontiguousarray(judged.corrected), k, cell.query.params, cell.threads)
    places = _places(base.raw.ids, judgments.queries["query_id"].to_numpy(np.int64))
    with RerankWorker(order, spec.timeout_s) as worker:
        made = worker.offline(k)
        found = worker.rerank(RerankAsking(asking, judged.rows, places), spec.warmup)
        revisited = score_whole_rankings(
            scorer,
            lambda some, length: worker.answer(Asking(some.corrected, length, cell.query.params, cell.threads)),
            found.after,
        )
        load.add(worker.used_cpu_s())
    before, _, _ = scorer.judge(found.before)
    after, hits, relevant = scorer.judge(found.after)
    result = RerankResult(
        **cell.named(),
        n=n,
        d=d,
        q=len(judged),
        offline_s=[made.offline_s],
        size_bytes=found.size_bytes,
        search_s=[found.search_s],
        rerank_s=[found.rerank_s],
        precision=after["precision"],
        average_precision=after["average_precision"],
        precision_before=before["precision"],
        average_precision_before=before["average_precision"],
        revisited=revisited,
        answer_digests=[[zlib.crc32(row.tobytes()) for row in found.after]],
        other_load_fracs=[load.read()],
        slow_build=max(made.build_s, made.offline_s) > spec.slow_build_s,
        threads_seen=found.threads_seen,
    )
    return result, Judged(hits, relevant)


def _places(ids: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """(q,) positions of ids that are among (n,) others."""
    order = np.argsort(ids, kind="stable")
    return order[np.searchsorted(ids, wanted, sorter=order)]
