"""An index in a process of its own that answers several vectors at a time: a picture and its crops are one query."""

import dataclasses
import time

import numpy as np

from bench.measuring.clock import Asking, collection_off, synchronize
from bench.measuring.remote import Remote
from bench.measuring.threads import limited_threads
from bench.measuring.worker import Bench, IndexOrder


@dataclasses.dataclass(frozen=True, eq=False)
class Together:
    """What asking took in one process.

    Attributes:
        rows: (v, k) int64 rows of the base, as the engine gave them to all vectors.
        search_s: (q,) seconds of each query, all its vectors in one call.
        build_s: Seconds of the index' build.
        threads_seen: Pools and their threads while the clock ran.
    """

    rows: np.ndarray
    search_s: list[float]
    build_s: float
    threads_seen: dict[str, int]


class RegionBench(Bench):
    """What lives in the worker. Its method is what a `RegionWorker` can be asked."""

    def ask_together(self, asking: Asking, counts: list[int], warmup: int) -> Together:
        """Build the index, and ask one query after another under the clock; ``counts``: the vectors of each."""
        ends = np.cumsum(counts)
        parts = [asking.queries[end - count : end] for end, count in zip(ends, counts, strict=True)]
        with limited_threads(asking.threads) as seen:
            start = time.perf_counter()
            engine = self._made()
            engine.prepare(asking.k, asking.params, asking.threads)
            build_s = time.perf_counter() - start
            for _ in range(warmup):
                engine.search(parts[0], asking.k, asking.params, asking.threads)
            rows, search_s = [], []
            with collection_off():
                for part in parts:
                    synchronize()
                    start = time.perf_counter()
                    answer = engine.search(part, asking.k, asking.params, asking.threads)
                    synchronize()
                    search_s.append(time.perf_counter() - start)
                    rows.append(answer[0].copy())
        return Together(np.concatenate(rows), search_s, build_s, seen)


class RegionWorker(Remote):
    """A process with a `RegionBench` in it; close it when done.

    Args:
        order: The index.
        timeout_s: See `bench.measuring.remote.Remote`.
    """

    def __init__(self, order: IndexOrder, timeout_s: float) -> None:
        super().__init__(RegionBench, order, timeout_s, "reading its vectors")

    def ask_together(self, asking: Asking, counts: list[int], warmup: int) -> Together:
        """See `RegionBench.ask_together`."""
        return self.call("ask_together", "searching", asking, counts, warmup)
