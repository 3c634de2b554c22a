"""An index and a re-ranker over it in a process of their own: what one query takes to search and to re-rank."""

import dataclasses
import importlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.measuring.clock import Asking, collection_off, synchronize
from bench.measuring.remote import Remote
from bench.measuring.threads import limited_threads
from bench.measuring.worker import Bench, IndexOrder
from ris_core.local_sets import LocalSets
from ris_core.records import PADDING_ID
from ris_core.rerank.contract import Asked, Reranker, Searched, TilePixels, check_reranked


@dataclasses.dataclass(frozen=True, eq=False)
class RerankOrder:
    """What a worker builds.

    Attributes:
        index: The index.
        query: The engine's query parameters, for every search.
        build: The re-ranker's `ris_core.rerank.contract.RerankKind.build`.
        searches: Whether it may answer other rows than it is given.
        params: Its parameters.
        pixels: ``pixels.npy`` of the corpus; None where it has none.
        places: (n,) positions of the indexed tiles in that file.
        local: Folder of the local descriptors of the same tiles as the pixels; None where the kind needs none.
        libraries: See `ris_core.rerank.contract.RerankKind`.
    """

    index: IndexOrder
    query: Any
    build: Callable[[Searched, Any], Reranker]
    searches: bool
    params: Any
    pixels: Path | None
    places: np.ndarray
    local: Path | None = None
    libraries: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class RerankAsking:
    """What is asked.

    Attributes:
        asking: The queries, and how many answers of the index each one gets.
        rows: (q,) their own rows in the index, which are no answers; -1 for queries that are not indexed.
        places: (q,) positions of their pictures in the order's pixels.
    """

    asking: Asking
    rows: np.ndarray
    places: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Offline:
    """What was made before any query.

    Attributes:
        build_s: Seconds of the index' build.
        offline_s: Seconds of the re-ranker's offline part.
    """

    build_s: float
    offline_s: float


@dataclasses.dataclass(frozen=True, eq=False)
class Reranked:
    """Answers before and after, and what they took.

    Attributes:
        before: (q, k) int64 rows of the index, the queries' own left out, padded with -1.
        after: (q, at least k) the same with the first ones in their new order; rows may stand in them twice, the first
            mention counts.
        search_s: (q,) seconds of the index' search.
        rerank_s: (q,) seconds of the re-ranking.
        size_bytes: Bytes of what the re-ranker keeps by now: some keep what they find out about answers.
        threads_seen: Pools and their threads while the clock ran.
    """

    before: np.ndarray
    after: np.ndarray
    search_s: list[float]
    rerank_s: list[float]
    size_bytes: int
    threads_seen: dict[str, int]


class RerankBench(Bench):
    """What lives in the worker. Its methods are what a `RerankWorker` can be asked."""

    def __init__(self, order: RerankOrder) -> None:
        super().__init__(order.index)
        self._rerank_order = order
        self._reranker: Reranker | None = None

    def offline(self, k: int) -> Offline:
        """Build the index, let it choose what lists of k need, and make the re-ranker's offline part."""
        order = self._rerank_order
        for library in order.libraries:
            importlib.import_module(library)
        with limited_threads(order.index.threads), collection_off():
            start = time.perf_counter()
            engine = self._made()
            engine.prepare(k, order.query, 1)
            built = time.perf_counter()
            pixels, local = _stored(order, order.places)
            self._reranker = order.build(Searched(self._base, self._search, pixels, local), order.params)
            synchronize()
            done = time.perf_counter()
        return Offline(built - start, done - built)

    def rerank(self, wanted: RerankAsking, warmup: int) -> Reranked:
        """Each query alone: search under the clock, then re-ranking under the clock; after ``warmup`` untimed ones."""
        assert self._reranker is not None
        order, queries = self._rerank_order, wanted.asking.queries
        stored = _stored(order, wanted.places)
        before, after, search_s, rerank_s = [], [], [], []
        with limited_threads(wanted.asking.threads) as seen:
            for number in [0] * warmup:
                self._one(wanted, number, stored)
            with collection_off():
                for number in range(len(queries)):
                    given, answered, seconds = self._one(wanted, number, stored)
                    head = given[:, : order.params.top]
                    check_reranked(head, answered, len(self._base), searches=order.searches)
                    before.append(given)
                    after.append(np.concatenate([answered, given[:, order.params.top :], given], axis=1))
                    search_s.append(seconds[0])
                    rerank_s.append(seconds[1])
        size_bytes = int(self._reranker.size_bytes())
        return Reranked(np.concatenate(before), np.concatenate(after), search_s, rerank_s, size_bytes, seen)

    def _one(
        self, wanted: RerankAsking, number: int, stored: tuple[TilePixels | None, LocalSets | None]
    ) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
        """(1, k) rows of one query, its first ones re-ranked, and the seconds of both."""
        assert self._reranker is not None
        order, asking, part = self._rerank_order, wanted.asking, slice(number, number + 1)
        query, own = asking.queries[part], wanted.rows[part]
        picture = None if stored[0] is None else stored[0][part]  # read before the clock runs
        local = None if stored[1] is None else stored[1][part]
        k = min(len(self._base), asking.k + int(own[0] >= 0))
        synchronize()
        start_ns = time.perf_counter_ns()
        rows, _ = self._made().search(query, k, order.query, asking.threads)
        synchronize()
        searched_ns = time.perf_counter_ns()
        given = others(rows, own, asking.k)
        head = given[:, : order.params.top].copy()  # a re-ranker that changed it would change what it is held against
        began_ns = time.perf_counter_ns()
        answered = self._reranker.rerank(Asked(query, own, picture, local), head)
        synchronize()
        ended_ns = time.perf_counter_ns()
        return given, answered, ((searched_ns - start_ns) * 1e-9, (ended_ns - began_ns) * 1e-9)

    def _search(self, vectors: np.ndarray, k: int, own: np.ndarray) -> np.ndarray:
        """What `ris_core.rerank.contract.Searched` can ask."""
        asked = np.ascontiguousarray(vectors, np.float32)
        most = min(len(self._base), k + int((own >= 0).any()))
        return others(self._made().search(asked, most, self._rerank_order.query, 1)[0], own, k)


def _stored(order: RerankOrder, places: np.ndarray) -> tuple[TilePixels | None, LocalSets | None]:
    """Pictures and local descriptors of the tiles at these places, where there are some."""
    pixels = None if order.pixels is None else TilePixels(order.pixels, places)
    return pixels, None if order.local is None else LocalSets(order.local, places)


def others(rows: np.ndarray, own: np.ndarray, k: int) -> np.ndarray:
    """(q, k) int64: the first k rows of each answer that are not the query's own, padded with -1.

    Args:
        rows: (q, any) int64, padded with -1.
        own: (q,) the row that goes; -1: none.
        k: Length of the lists.
    """
    good = (rows >= 0) & (rows != own[:, None])
    order = np.argsort(~good, axis=1, kind="stable")[:, :k]
    kept = np.take_along_axis(np.where(good, rows, PADDING_ID), order, axis=1).astype(np.int64)
    return np.pad(kept, ((0, 0), (0, k - kept.shape[1])), constant_values=PADDING_ID)


class RerankWorker(Remote):
    """A process with a `RerankBench` in it; close it when done.

    Args:
        order: The index, and the re-ranker over it.
        timeout_s: See `bench.measuring.remote.Remote`.
    """

    def __init__(self, order: RerankOrder, timeout_s: float) -> None:
        super().__init__(RerankBench, order, timeout_s, "reading its vectors")

    def offline(self, k: int) -> Offline:
        """See `RerankBench.offline`."""
        return self.call("offline", "building the index and the re-ranker's offline part", k)

    def rerank(self, wanted: RerankAsking, warmup: int) -> Reranked:
        """See `RerankBench.rerank`."""
        return self.call("rerank", "searching and re-ranking", wanted, warmup)

    def answer(self, asking: Asking) -> np.ndarray:
        """See `bench.measuring.worker.Bench.answer`."""
        return self.call("answer", "searching", asking)
