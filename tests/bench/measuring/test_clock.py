import gc
import sys
import types
from typing import Any

import numpy as np
import pytest

from bench.measuring.clock import BATCH, SINGLE, Asking, Rounds, synchronize, time_builds, time_queries

ROUNDS = Rounds(rounds=3, warmup=2)


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


def asking(q: int = 5) -> Asking:
    return Asking(np.arange(q, dtype=np.float32)[:, None], 2, None, 1)


def test_single_mode_times_each_query_once_after_the_warm_up() -> None:
    listener: Any = Listener()
    rows, times_s = time_queries(listener, asking(), SINGLE, ROUNDS)
    assert listener.asked == [1] * (2 + 5)
    assert len(times_s) == 5
    assert rows[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert listener.collecting[2:] == [False] * 5
    assert gc.isenabled()


def test_batch_mode_asks_all_queries_each_round() -> None:
    listener: Any = Listener()
    rows, times_s = time_queries(listener, asking(), BATCH, ROUNDS)
    assert listener.asked == [5] * (2 + 3)
    assert len(times_s) == 3
    assert rows.shape == (5, 2)
    assert min(times_s) > 0


@pytest.mark.parametrize(("slow_build_s", "rounds", "builds"), [(1e9, 3, 2 + 3), (0.0, 2, 2)])
def test_slow_builds_are_repeated_less_and_none_is_for_nothing(slow_build_s: float, rounds: int, builds: int) -> None:
    built: list[Any] = []

    def build() -> Any:
        built.append(Listener())
        return built[-1]

    wanted = Rounds(rounds=3, slow_build_s=slow_build_s, slow_rounds=2, warmup=2)
    engine, times_s, slow = time_builds(build, wanted)
    assert len(times_s) == rounds
    assert slow == (slow_build_s == 0)
    assert len(built) == builds
    assert engine is built[-1]


def test_untimed_builds_are_not_among_the_times(monkeypatch: pytest.MonkeyPatch) -> None:
    now_ns, seconds = 0, iter([9, 8, 1, 2, 3])

    def build() -> Any:
        nonlocal now_ns
        now_ns += next(seconds) * 10**9
        return Listener()

    monkeypatch.setattr("bench.measuring.clock.time.perf_counter_ns", lambda: now_ns)
    assert time_builds(build, ROUNDS)[1:] == (pytest.approx([1, 2, 3]), False)


def test_the_clock_reads_what_the_call_takes_and_not_what_stands_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    now_ns = 0

    def read() -> int:
        return now_ns

    class Sleeper(Listener):
        def search(self, queries: np.ndarray, *rest: Any) -> tuple[np.ndarray, np.ndarray]:
            nonlocal now_ns
            now_ns += 1_000_000 * len(queries)
            return super().search(queries, *rest)

    def collect() -> int:
        nonlocal now_ns
        now_ns += 10**9
        return 0

    monkeypatch.setattr("bench.measuring.clock.time.perf_counter_ns", read)
    monkeypatch.setattr("bench.measuring.clock.gc.collect", collect)
    sleeper: Any = Sleeper()
    assert time_queries(sleeper, asking(), SINGLE, ROUNDS)[1] == pytest.approx([0.001] * 5)
    assert time_queries(sleeper, asking(), BATCH, ROUNDS)[1] == pytest.approx([0.005] * 3)


def test_answers_count_as_they_were_when_the_clock_stopped() -> None:
    class Forger(Listener):
        """Answers every call by one buffer, which the next call overwrites."""

        def __init__(self) -> None:
            super().__init__()
            self.buffer = np.zeros((1, 2), np.int64)

        def search(self, *arguments: Any) -> tuple[np.ndarray, np.ndarray]:
            self.buffer[:] = len(self.asked)
            return self.buffer, super().search(*arguments)[1]

    forger: Any = Forger()
    rows, _ = time_queries(forger, asking(), SINGLE, Rounds(warmup=0))
    assert rows.tolist() == [[i, i] for i in range(5)]


@pytest.mark.parametrize("mode", [SINGLE, BATCH])
def test_an_engine_cannot_change_its_queries(mode: str) -> None:
    class Vandal(Listener):
        def search(self, queries: np.ndarray, *rest: Any) -> tuple[np.ndarray, np.ndarray]:
            queries[:] = 0
            return super().search(queries, *rest)

    vandal: Any = Vandal()
    with pytest.raises(ValueError, match="read-only"):
        time_queries(vandal, asking(), mode, ROUNDS)


def test_a_gpu_is_waited_for_on_both_sides_of_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    cuda = types.SimpleNamespace(is_initialized=lambda: True, synchronize=lambda: events.append("synchronize"))
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(cuda=cuda))

    class Loud(Listener):
        def search(self, *arguments: Any) -> tuple[np.ndarray, np.ndarray]:
            events.append("search")
            return super().search(*arguments)

    loud: Any = Loud()
    time_queries(loud, asking(1), SINGLE, Rounds(warmup=0))
    assert events == ["synchronize", "search", "synchronize"]
    cuda.is_initialized = lambda: False
    synchronize()
    assert len(events) == 3
