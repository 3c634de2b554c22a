"""An index in a process of its own, which reads its vectors itself, builds and answers."""

import dataclasses
import gc
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.measuring.clock import ONCE, SINGLE, Asking, Rounds, time_builds, time_queries
from bench.measuring.process_memory import MemoryReading, read_memory, reset_peak
from bench.measuring.remote import Remote
from bench.measuring.threads import limited_threads
from ris_core.engines.contract import Engine
from ris_core.records import Features
from ris_core.space import Space

_ANSWERS_AT_ONCE = 2**22  # rows that an engine is asked for in one call off the clock


@dataclasses.dataclass(frozen=True, eq=False)
class RawVectors:
    """Vectors before they are brought into their space.

    Attributes:
        features: The raw features' ``features.npy``.
        rows: (n,) rows of that file which are indexed.
        space: Folder of the fitted space.
    """

    features: Path
    rows: np.ndarray
    space: Path


@dataclasses.dataclass(frozen=True, eq=False)
class IndexOrder:
    """What a worker builds.

    Attributes:
        build: A module-level function, as `ris_core.engines.contract.EngineKind.build`.
        params: The build parameters.
        threads: Threads to build with.
        vectors: The ``features.npy`` of what is indexed, in the index' space.
        raw: Where the same comes from, for a worker that is to tell what reading and correcting it costs.
    """

    build: Callable[[np.ndarray, Any, int], Engine]
    params: Any
    threads: int
    vectors: Path
    raw: RawVectors | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Built:
    """What building took in one process.

    Attributes:
        build_s: Seconds of each round.
        load_s: Seconds to read the raw vectors; NaN where the order names none.
        transform_s: Seconds to bring them into the space; NaN likewise.
        ready_s: Seconds of the first query of the last index.
        slow: Whether builds are slow, see `bench.suites.suite.MeasureSpec`.
        size_bytes: The index' own bytes.
        derived: What the engine derived from its parameters.
        threads_seen: Pools and their threads while the clock ran.
        memory: Of slow builds what `Bench.memory` tells, read after the last of them, for it would take one more build
            elsewhere; else None.
    """

    build_s: list[float]
    load_s: float
    transform_s: float
    ready_s: float
    slow: bool
    size_bytes: int
    derived: dict[str, Any]
    threads_seen: dict[str, int]
    memory: dict[str, int | None] | None


@dataclasses.dataclass(frozen=True, eq=False)
class Prepared:
    """What an engine did before it was asked.

    Attributes:
        chosen: What it chose; empty where nothing.
        seconds: How long that took.
    """

    chosen: dict[str, int | float]
    seconds: float


@dataclasses.dataclass(frozen=True, eq=False)
class Answered:
    """What asking took in one process.

    Attributes:
        rows: (q, k) int64 rows of the base, as the engine gave them.
        times_s: Seconds; one a query in single mode, one a pass over all queries in batch mode.
        threads_seen: Pools and their threads while the clock ran.
    """

    rows: np.ndarray
    times_s: list[float]
    threads_seen: dict[str, int]


class Bench:
    """What lives in the worker: the vectors, and an index over them. Its methods are what a `Worker` can be asked."""

    def __init__(self, order: IndexOrder) -> None:
        self._order = order
        self._load_s = self._transform_s = math.nan
        # Read, not mapped: in file pages of 4 KiB an engine that looks vectors up in the base, such as FALCONN, takes
        # a sixth longer than in memory of its own, which is where its user has them.
        self._base = np.load(order.vectors) if order.raw is None else self._correct(order.raw)
        self._base.setflags(write=False)  # an engine that changed its vectors would change what it is held against
        self._engine: Engine | None = None
        self._prepared: dict[tuple[int, Any], Prepared] = {}

    def _correct(self, order: RawVectors) -> np.ndarray:
        """The base from its raw vectors, as a user makes it, and what that takes."""
        start = time.perf_counter()
        raw = Features(np.ascontiguousarray(np.load(order.features, mmap_mode="r")[order.rows]), order.rows)
        loaded = time.perf_counter()
        values = Space.open(order.space).apply(raw).values
        self._load_s, self._transform_s = loaded - start, time.perf_counter() - loaded
        return values

    def build(self, rounds: Rounds, first: Asking | None) -> Built:
        """Build the index under the clock; ``first`` is the query of a fresh index."""
        start = _start_memory()
        with limited_threads(self._order.threads) as seen:
            self._engine, times_s, slow = time_builds(self._make, rounds)
            built = read_memory()
            ready_s = time_queries(self._engine, first, SINGLE, ONCE)[1][0] if first else math.nan
        memory = self._memory_since(start, built) if slow else None
        derived = dict(self._engine.derived())
        size_bytes = int(self._engine.size_bytes())
        return Built(times_s, self._load_s, self._transform_s, ready_s, slow, size_bytes, derived, seen, memory)

    def prepare(self, asking: Asking) -> Prepared:
        """Let the engine choose what it needs to; asked again, on any threads, it tells what it did the first time."""
        key = asking.k, asking.params
        engine = self._made()
        if key not in self._prepared:
            with limited_threads(asking.threads):
                start = time.perf_counter()
                chosen = dict(engine.prepare(*key, asking.threads))
                self._prepared[key] = Prepared(chosen, time.perf_counter() - start)
        return self._prepared[key]

    def ask(self, asking: Asking, mode: str, rounds: Rounds) -> Answered:
        """Ask the index under the clock."""
        with limited_threads(asking.threads) as seen:
            rows, times_s = time_queries(self._made(), asking, mode, rounds)
        return Answered(rows, times_s, seen)

    def answer(self, asking: Asking) -> np.ndarray:
        """(q, k) rows, off the clock; few queries at a time where k is large."""
        engine, queries, k = self._made(), asking.queries, asking.k
        step = max(1, _ANSWERS_AT_ONCE // k)
        parts = [queries[start : start + step] for start in range(0, len(queries), step)]
        with limited_threads(asking.threads):
            return np.concatenate([engine.search(part, k, asking.params, asking.threads)[0] for part in parts])

    def candidates(self, asking: Asking) -> np.ndarray | None:
        """(q,) rows examined for each query, off the clock."""
        return self._made().candidates(asking.queries, asking.k, asking.params)

    def memory(self, first: Asking) -> dict[str, int | None]:
        """What building an index and asking it adds to this process, which has done nothing else yet."""
        start = _start_memory()
        with limited_threads(self._order.threads):
            engine = self._made()
            built = read_memory()
            engine.search(first.queries, first.k, first.params, first.threads)
        return self._memory_since(start, built)

    def _memory_since(self, start: tuple[bool, MemoryReading], built: MemoryReading) -> dict[str, int | None]:
        """Columns of the table ``memory``, from readings before and after the build, and one now."""
        (can_reset, before), after = start, read_memory()
        known = before.anonymous_bytes is not None and built.anonymous_bytes is not None
        return {
            "peak_rss_bytes": after.peak_rss_bytes if can_reset else None,
            "start_rss_bytes": before.rss_bytes,
            "anon_growth_bytes": built.anonymous_bytes - before.anonymous_bytes if known else None,  # type: ignore[operator]
            "vector_bytes": self._base.nbytes,
            "size_bytes": int(self._made().size_bytes()),
        }

    def _make(self) -> Engine:
        return self._order.build(self._base, self._order.params, self._order.threads)

    def _made(self) -> Engine:
        if self._engine is None:
            self._engine = self._make()
        return self._engine


def _start_memory() -> tuple[bool, MemoryReading]:
    """Whether the peak could be reset, and what the process holds now that garbage is gone."""
    gc.collect()
    return reset_peak(), read_memory()


class Worker(Remote):
    """A process with a `Bench` in it; close it when done.

    Args:
        order: The index to build.
        timeout_s: See `bench.measuring.remote.Remote`.
    """

    def __init__(self, order: IndexOrder, timeout_s: float) -> None:
        super().__init__(Bench, order, timeout_s, "reading its vectors")

    def build(self, rounds: Rounds, first: Asking | None = None) -> Built:
        """See `Bench.build`; so for all methods below."""
        return self.call("build", "building", rounds, first)

    def prepare(self, asking: Asking) -> Prepared:
        """See `Bench.prepare`."""
        return self.call("prepare", "preparing its queries", asking)

    def ask(self, asking: Asking, mode: str, rounds: Rounds) -> Answered:
        """See `Bench.ask`."""
        return self.call("ask", "searching", asking, mode, rounds)

    def answer(self, asking: Asking) -> np.ndarray:
        """See `Bench.answer`."""
        return self.call("answer", "searching", asking)

    def candidates(self, asking: Asking) -> np.ndarray | None:
        """See `Bench.candidates`."""
        return self.call("candidates", "counting candidates", asking)

    def memory(self, first: Asking) -> dict[str, int | None]:
        """See `Bench.memory`."""
        return self.call("memory", "having its memory measured", first)
