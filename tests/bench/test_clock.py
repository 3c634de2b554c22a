import dataclasses
import gc
from typing import Any

import numpy as np
import pytest

from bench.clock import Asking, time_builds, time_queries
from bench.suite import BATCH, SINGLE, MeasureSpec
from ris_core.engines import ENGINES

BASE = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
EXACT = ENGINES["exact"]
SPEC = MeasureSpec(rounds=3, warmup=2)


class Listener:
    """An engine that keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.collecting: list[bool] = []

    def search(self, queries: np.ndarray, k: int, query: Any, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
        self.asked.append(len(queries))
        self.collecting.append(gc.isenabled())
        rows = np.repeat(np.rint(queries[:, :1]).astype(np.int64), k, axis=1)
        return rows, np.zeros(rows.shape, np.float32)


def asking(engine: Any, q: int = 5) -> Asking:
    return Asking(engine, np.arange(q, dtype=np.float32)[:, None], 2, EXACT.query_params(), 1)


@pytest.mark.benchmark(disable_gc=True)
def test_single_mode_times_each_query_once_after_the_warm_up(benchmark: Any) -> None:
    listener = Listener()
    timed = time_queries(benchmark, asking(listener), SINGLE, SPEC)
    assert listener.asked == [1] * (2 + 5)
    assert len(timed.times_s) == 5
    assert timed.rows[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert not any(listener.collecting)


def test_batch_mode_asks_all_queries_each_round(benchmark: Any) -> None:
    listener = Listener()
    timed = time_queries(benchmark, asking(listener), BATCH, SPEC)
    assert listener.asked == [5] * (2 + 3)
    assert len(timed.times_s) == 3
    assert timed.rows.shape == (5, 2)
    assert min(timed.times_s) > 0


@pytest.mark.parametrize(("slow_build_s", "rounds"), [(1e9, 3), (0.0, 1)])
def test_slow_builds_are_repeated_less(benchmark: Any, slow_build_s: float, rounds: int) -> None:
    built = []

    def build(base: np.ndarray, params: Any, threads: int) -> Any:
        built.append(threads)
        return EXACT.build(base, params, threads)

    kind = dataclasses.replace(EXACT, build=build)
    spec = dataclasses.replace(SPEC, slow_build_s=slow_build_s)
    timed = time_builds(benchmark, kind, BASE, EXACT.build_params(), 1, spec)
    assert len(timed.times_s) == rounds
    assert built == [1] * (2 + rounds)
    assert timed.engine.search(BASE[:1], 1, EXACT.query_params())[0].tolist() == [[0]]


def test_interrupted_measurement_is_marked(benchmark: Any) -> None:
    def interrupt(base: np.ndarray, params: Any, threads: int) -> Any:
        raise KeyboardInterrupt

    spec = dataclasses.replace(SPEC, warmup=0)
    with pytest.raises(KeyboardInterrupt):
        time_builds(benchmark, dataclasses.replace(EXACT, build=interrupt), BASE, None, 1, spec)
    assert benchmark.has_error
