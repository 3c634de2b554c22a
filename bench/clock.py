"""The clock: pytest-benchmark around an engine's own calls, everything else outside it."""

import contextlib
import dataclasses
import gc
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from pytest_benchmark.fixture import BenchmarkFixture

from bench.suite import SINGLE, MeasureSpec
from bench.threads import limited_threads
from ris_core.engines.contract import Engine, EngineKind


@dataclasses.dataclass(frozen=True, eq=False)
class TimedBuild:
    """An engine and what its builds took.

    Attributes:
        engine: The engine of the last round.
        times_s: Seconds of each round.
        threads_seen: Pools and their threads while the clock ran.
    """

    engine: Engine
    times_s: list[float]
    threads_seen: dict[str, int]


@dataclasses.dataclass(frozen=True, eq=False)
class TimedQueries:
    """An engine's answers and what they took.

    Attributes:
        rows: (q, k) int64 rows of the base, as the engine gave them.
        times_s: Seconds; one a query in single mode, one a pass over all queries in batch mode.
        threads_seen: Pools and their threads while the clock ran.
    """

    rows: np.ndarray
    times_s: list[float]
    threads_seen: dict[str, int]


@dataclasses.dataclass(frozen=True, eq=False)
class Asking:
    """What an engine is asked under the clock.

    Attributes:
        engine: The engine.
        queries: (q, d) float32, C-contiguous.
        k: Length of the answers, the queries' own tiles included.
        params: The engine's query parameters.
        threads: Threads that it may use.
    """

    engine: Engine
    queries: np.ndarray
    k: int
    params: Any
    threads: int

    def search(self, part: slice) -> np.ndarray:
        """Rows for some of the queries."""
        return self.engine.search(self.queries[part], self.k, self.params, self.threads)[0]


def time_builds(
    clock: BenchmarkFixture,
    kind: EngineKind,
    base: np.ndarray,
    params: Any,
    threads: int,
    spec: MeasureSpec,
) -> TimedBuild:
    """Build an index several times under the clock.

    The first, untimed build warms the caches and tells whether builds are slow.
    """
    engines: list[Engine] = []

    def build() -> None:
        engines.append(kind.build(base, params, threads))

    def clear() -> None:
        engines.clear()  # the index before is freed outside the clock

    gc.collect()
    with limited_threads(threads) as seen:
        start = time.perf_counter()
        for _ in range(spec.warmup):
            clear()
            build()
        slow = time.perf_counter() - start > spec.slow_build_s * max(1, spec.warmup)
        with _noted(clock):
            clock.pedantic(build, setup=clear, rounds=spec.slow_rounds if slow else spec.rounds, iterations=1)
    return TimedBuild(engines[-1], clock_times(clock), seen)


def time_queries(clock: BenchmarkFixture, asking: Asking, mode: str, spec: MeasureSpec) -> TimedQueries:
    """Ask all queries under the clock, one a call or all in one."""
    q = len(asking.queries)
    parts = [slice(i, i + 1) for i in range(q)] if mode == SINGLE else [slice(0, q)] * spec.rounds
    answers: list[np.ndarray] = []
    pending = iter([*([parts[0]] * spec.warmup), *parts])

    def search(part: slice) -> None:
        answers.append(asking.search(part))

    gc.collect()
    with limited_threads(asking.threads) as seen, _noted(clock):
        clock.pedantic(
            search,
            setup=lambda: ((next(pending),), {}),
            rounds=len(parts),
            warmup_rounds=spec.warmup,
            iterations=1,
        )
    timed = answers[spec.warmup :]
    return TimedQueries(np.concatenate(timed) if mode == SINGLE else timed[-1], clock_times(clock), seen)


@contextlib.contextmanager
def _noted(clock: BenchmarkFixture) -> Iterator[None]:
    """Mark a measurement that Ctrl-C cut off, so that pytest-benchmark does not look for its statistics."""
    is_whole = False
    try:
        yield
        is_whole = True
    finally:
        clock.has_error = clock.has_error or not is_whole


def clock_times(clock: BenchmarkFixture) -> list[float]:
    """Seconds of each timed round, in order."""
    stats: Any = clock.stats  # None before the first round
    return [float(seconds) for seconds in stats.stats.data]
