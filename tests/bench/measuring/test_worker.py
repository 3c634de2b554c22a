import dataclasses
import importlib
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from bench.measuring import worker as worker_module
from bench.measuring.clock import SINGLE, Asking, Rounds
from bench.measuring.null_engine import NullParams, build_null
from bench.measuring.remote import WorkerError, death_words
from bench.measuring.worker import IndexOrder, RawVectors, Worker
from ris_core.engines import ENGINES
from ris_core.engines.exact import Exact, ExactParams, ExactQuery, FaissVectors, build_exact
from ris_core.records import Features
from ris_core.space import fit_space

VALUES = np.random.default_rng(0).normal(3, 1, (300, 8)).astype(np.float32)
ROWS = np.arange(0, 300, 2)


@pytest.fixture
def order(tmp_path: Path) -> IndexOrder:
    features = Features(VALUES, np.arange(300))
    features.save(tmp_path)
    space = fit_space(features[ROWS])
    space.save(tmp_path)
    np.save(tmp_path / "corrected.npy", space.apply(features[ROWS]).values)
    return IndexOrder(build_exact, ExactParams(), 1, tmp_path / "corrected.npy")


def with_raw(order: IndexOrder) -> IndexOrder:
    folder = order.vectors.parent
    return dataclasses.replace(order, raw=RawVectors(folder / "features.npy", ROWS, folder))


def queries(rows: np.ndarray) -> np.ndarray:
    features = Features(VALUES, np.arange(300))
    return fit_space(features[ROWS]).apply(features[rows]).values


def test_index_holds_the_ordered_rows_in_their_space(order: IndexOrder) -> None:
    with Worker(with_raw(order), 60) as worker:
        built = worker.build(Rounds(rounds=3), Asking(queries(ROWS[:1]), 5, ExactQuery(), 1))
        answered = worker.ask(Asking(queries(ROWS[:20]), 1, ExactQuery(), 1), SINGLE, Rounds(rounds=3))
        answer = worker.answer(Asking(queries(ROWS), 1, ExactQuery(), 1))
        assert worker.used_cpu_s() > 0
    assert len(built.build_s) == 3
    assert not built.slow
    assert min(built.load_s, built.transform_s, built.ready_s) > 0
    assert answered.rows[:, 0].tolist() == list(range(20))
    assert len(answered.times_s) == 20
    assert answer[:, 0].tolist() == list(range(150))


def test_vectors_read_in_their_space_are_those_that_a_user_brings_there(order: IndexOrder) -> None:
    asking, answers = Asking(queries(ROWS[:20]), 150, ExactQuery(), 1), []
    for each in (order, with_raw(order)):
        with Worker(each, 60) as worker:
            built = worker.build(Rounds(rounds=1))
            answers.append(worker.answer(asking).tolist())
            assert np.isnan([built.load_s, built.transform_s]).tolist() == [each is order] * 2
    assert answers[0] == answers[1]


def test_many_long_answers_are_asked_for_in_parts(order: IndexOrder, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Listener(Exact):
        def search(self, queries: np.ndarray, k: int, *rest: Any, **more: Any) -> tuple[np.ndarray, np.ndarray]:
            asked.append(len(queries))
            return super().search(queries, k, *rest, **more)

    bench = worker_module.Bench(
        dataclasses.replace(order, build=lambda base, params, threads: Listener(FaissVectors(base), 8))
    )
    monkeypatch.setattr(worker_module, "_ANSWERS_AT_ONCE", 100)
    rows = bench.answer(Asking(queries(ROWS[:50]), 5, ExactQuery(), 1))
    assert asked == [20, 20, 10]
    assert rows[:, 0].tolist() == list(range(50))


def test_preparation_is_done_once_for_each_way_of_asking(order: IndexOrder) -> None:
    calls = []

    class Chooser(Exact):
        def prepare(self, k: int, query: Any, threads: int = 1) -> dict[str, int | float]:
            calls.append((k, query, threads))
            return {"probes": 10 * k}

    bench = worker_module.Bench(
        dataclasses.replace(order, build=lambda base, params, threads: Chooser(FaissVectors(base), 8))
    )
    asked = ((3, 1), (3, 2), (4, 1))  # k and threads, for which the outcome is the same
    first, again, longer = (bench.prepare(Asking(queries(ROWS[:2]), k, ExactQuery(), n)) for k, n in asked)
    assert first is again
    assert (first.chosen, longer.chosen) == ({"probes": 30}, {"probes": 40})
    assert calls == [(3, ExactQuery(), 1), (4, ExactQuery(), 1)]
    assert first.seconds > 0


def test_candidates_are_counted_for_the_k_that_is_asked(order: IndexOrder) -> None:
    class Counter(Exact):
        def candidates(self, queries: np.ndarray, k: int, query: Any) -> np.ndarray:
            return np.full(len(queries), 10 * k)

    bench = worker_module.Bench(
        dataclasses.replace(order, build=lambda base, params, threads: Counter(FaissVectors(base), 8))
    )
    counts = bench.candidates(Asking(queries(ROWS[:2]), 7, ExactQuery(), 1))
    assert counts is not None
    assert counts.tolist() == [70, 70]


def test_memory_of_a_slow_build_is_read_where_it_was_built(order: IndexOrder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[1])
    engine = importlib.import_module("trouble_engine")
    changed = dataclasses.replace(with_raw(order), build=engine.build_hoarder)
    for slow_build_s in (0.0, 1e9):
        with Worker(changed, 60) as worker:
            built = worker.build(Rounds(rounds=1, slow_build_s=slow_build_s), Asking(queries(ROWS[:1]), 1, None, 1))
        assert built.slow == (slow_build_s == 0)
        assert (built.memory is None) != built.slow
        if built.memory is not None:
            assert built.memory["size_bytes"] == 2**25
            if built.memory["anon_growth_bytes"] is not None:  # Linux
                assert 0.9 < built.memory["anon_growth_bytes"] / 2**25 < 1.2


def test_every_worker_is_a_fresh_process_that_ends_with_its_cell(order: IndexOrder) -> None:
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    pids = set()
    for _ in range(2):
        with Worker(order, 60) as worker:
            pids |= {child.pid for child in psutil.Process().children(recursive=True)} - before
            assert worker.build(Rounds(rounds=1)).build_s
    assert len(pids) >= 2
    alive = {child.pid for child in psutil.Process().children(recursive=True)} - before
    assert len(alive) <= 2  # the fork server and its tracker, which stay


def test_workers_load_neither_torch_nor_pytest(order: IndexOrder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[1])
    engine = importlib.import_module("trouble_engine")
    changed = dataclasses.replace(order, build=engine.build_spy)
    with Worker(changed, 60) as worker:
        derived = worker.build(Rounds(rounds=1)).derived
    assert derived == {"torch": 0, "pytest": 0}
    assert "pytest" in sys.modules


@pytest.mark.parametrize("threads", [1, 2])
def test_every_pool_has_the_threads_of_the_cell_and_says_so(order: IndexOrder, threads: int) -> None:
    first = Asking(queries(ROWS[:20]), 1, ExactQuery(), threads)
    changed = dataclasses.replace(order, threads=threads)
    with Worker(changed, 60) as worker:
        built, answered = worker.build(Rounds(rounds=1)), worker.ask(first, SINGLE, Rounds())
    assert set(built.threads_seen.values()) == set(answered.threads_seen.values()) == {threads}


def test_memory_counts_the_index_and_not_the_vectors(order: IndexOrder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[1])
    engine = importlib.import_module("trouble_engine")
    with Worker(dataclasses.replace(order, build=engine.build_hoarder), 60) as worker:
        memory = worker.memory(Asking(queries(ROWS[:1]), 1, ExactQuery(), 1))
    assert memory["size_bytes"] == 2**25
    assert memory["vector_bytes"] == 150 * 8 * 4
    if memory["anon_growth_bytes"] is not None:  # Linux
        assert 0.9 < memory["anon_growth_bytes"] / 2**25 < 1.2
    if memory["peak_rss_bytes"] is not None:
        assert memory["start_rss_bytes"] + 2**25 < memory["peak_rss_bytes"] * 1.05


def test_error_in_a_worker_keeps_its_words_and_traceback(order: IndexOrder) -> None:
    with Worker(order, 60) as worker:
        with pytest.raises(WorkerError, match="k = 151; allowed is 1 to 150"):
            worker.answer(Asking(queries(ROWS[:1]), 151, ExactQuery(), 1))
        with pytest.raises(WorkerError, match="AttributeError: 'NoneType'") as caught:
            worker.answer(None)  # type: ignore[arg-type]
        assert "Traceback" in str(caught.value.__cause__)
        assert worker.answer(Asking(queries(ROWS[:1]), 1, ExactQuery(), 1)).tolist() == [[0]]  # it lives on


def test_vectors_that_are_not_there_end_the_process(order: IndexOrder) -> None:
    order.vectors.unlink()
    with pytest.raises(WorkerError, match="FileNotFoundError"):
        Worker(order, 60)


def test_worker_that_is_killed_says_how(order: IndexOrder) -> None:
    with Worker(order, 60) as worker:
        os.kill(worker.pid, 9)
        with pytest.raises(WorkerError, match=r"died of SIGKILL \(killed, mostly for want of memory\) while building"):
            worker.build(Rounds())


@pytest.mark.parametrize(
    ("exitcode", "words"),
    [(3, "exit status 3"), (-6, "SIGABRT (Aborted)"), (-200, "signal 200")],
)
def test_deaths_have_names(exitcode: int, words: str) -> None:
    assert death_words(exitcode) == words


def test_time_limit_begins_anew_with_each_cell(order: IndexOrder) -> None:
    with Worker(order, 3) as worker:
        worker.build(Rounds(rounds=1))
        time.sleep(0.05)
        worker.begin()
        assert worker.used_cpu_s() < 1
        assert worker.answer(Asking(queries(ROWS[:1]), 1, ExactQuery(), 1)).tolist() == [[0]]


def test_time_that_the_harness_takes_does_not_count(order: IndexOrder) -> None:
    with Worker(order, 60) as worker:
        worker._left_s = 1.0
        time.sleep(1.2)  # scoring, say
        assert worker.answer(Asking(queries(ROWS[:1]), 1, ExactQuery(), 1)).tolist() == [[0]]


def test_null_engine_answers_without_looking(order: IndexOrder) -> None:
    nothing = IndexOrder(build_null, NullParams(), 1, order.vectors)
    with Worker(nothing, 60) as worker:
        answered = worker.ask(Asking(queries(ROWS[:20]), 5, NullParams(), 1), SINGLE, Rounds())
    assert answered.rows.tolist() == [[0, 1, 2, 3, 4]] * 20
    null = build_null(VALUES, NullParams(), 1)
    first, _ = null.search(VALUES[:9], 4, NullParams())
    again, _ = null.search(VALUES[:9], 4, NullParams())
    assert np.shares_memory(first, again)
    assert ENGINES.keys() >= {"exact", "falconn"}
    assert "null" not in ENGINES
