from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.comparing.verdict import BETTER, CELL, NOISY, SAME, THRESHOLDS, WORSE, Verdict, judge_cell
from bench.results import BuildResult, QueryResult, RegionResult, RerankResult, Result
from bench.scores.inference import nested_interval, ratio_interval

INDEX = {"cell": "c", "backbone": "tiny", "engine": "falconn", "kind": "falconn", "params": {}, "threads": 1}
ASKED = {**INDEX, "query_params": {}, "space": "corrected", "k": 10}
STEADY = [[1.00, 1.01, 0.99], [1.01, 1.00, 1.02]]


def build(**changes: object) -> BuildResult:
    return BuildResult(**{**INDEX, "build_s": STEADY, "size_bytes": 1000, **changes})


def query(**changes: object) -> QueryResult:
    return QueryResult(**{**ASKED, "mode": "single", "q": 4, "times_s": [[1e-3] * 4] * 2, **changes})


def judge(before: object, now: object, **thresholds: float) -> dict[str, Verdict]:
    verdicts = judge_cell("c", before, now, {**THRESHOLDS, **thresholds})
    return {verdict.metric: verdict for verdict in verdicts}


def times(factor: float) -> list[list[float]]:
    return [[factor * seconds for seconds in process] for process in STEADY]


@pytest.mark.parametrize(
    ("factor", "state"), [(1.2, SAME), (1.25, SAME), (1.35, WORSE), (0.85, SAME), (0.8, SAME), (0.7, BETTER)]
)
def test_build_time_counts_where_its_interval_lies_beyond_the_threshold(factor: float, state: str) -> None:
    found = judge(build(), build(build_s=times(factor)))["build"]
    assert found.state == state
    assert found.change == pytest.approx(factor)
    assert (found.base, found.run) == pytest.approx((1.005, 1.005 * factor))
    assert found.low <= found.change <= found.high


def test_ratio_beyond_the_threshold_does_not_count_where_processes_disagree() -> None:
    """Twice as slow by its median; but one process was as fast as before."""
    uneven = [[1.0, 1.0, 1.0], [3.0, 3.0, 3.0]]
    found = judge(build(), build(build_s=uneven))["build"]
    assert found.change == pytest.approx(2 / 1.005)
    assert found.low < 1.05
    assert found.state == SAME


def test_builds_of_microseconds_are_no_regression() -> None:
    fast, slow = ([[scale * seconds for seconds in process] for process in STEADY] for scale in (1e-5, 9e-4))
    assert judge(build(build_s=fast), build(build_s=slow))["build"].state == SAME
    slower = [[2e-3 for _ in process] for process in STEADY]
    assert judge(build(build_s=fast), build(build_s=slower))["build"].state == WORSE


def test_query_times_are_milliseconds_a_query() -> None:
    single = judge(query(), query())["time"]
    batch = query(mode="batch", times_s=[[0.02, 0.04, 0.03]])
    assert (single.base, single.run) == pytest.approx((1, 1))
    assert judge(batch, batch)["time"].base == pytest.approx(30 / 4)


def test_hard_queries_do_not_blur_the_ratio_of_the_same_queries() -> None:
    """All queries are an eighth slower; they differ among themselves by orders of magnitude."""
    seconds = np.random.default_rng(0).lognormal(-7, 2, 50)
    before = query(q=50, times_s=[seconds.tolist()] * 2)
    now = query(q=50, times_s=[(1.125 * seconds).tolist()] * 2)
    found = judge(before, now)["time"]
    assert (found.low, found.high) == pytest.approx((1.125, 1.125))
    assert found.state == WORSE
    batches = judge(as_rounds(before), as_rounds(now))["time"]
    assert batches.low < 1 < 1.2 < batches.high
    assert batches.state == SAME


def as_rounds(result: QueryResult) -> QueryResult:
    """The same times, as if they were rounds."""
    return query(q=result.q, mode="batch", times_s=result.times_s)


@pytest.mark.parametrize(
    ("scores", "threshold", "state"),
    [
        ([1.0, 0.5], 0.0, SAME),
        ([1.0, 0.5 - 1e-12], 0.0, SAME),  # rounding
        ([1.0, 0.49], 0.0, WORSE),
        ([0.5, 1.0], 0.0, SAME),  # the mean counts
        ([1.0, 0.51], 0.0, BETTER),
        ([1.0, 0.49], 0.01, SAME),  # 0.75 to 0.745
        ([1.0, 0.47], 0.01, WORSE),
        ([1.0, 0.53], 0.01, BETTER),
    ],
)
def test_scores_are_exact_up_to_their_threshold(scores: list[float], threshold: float, state: str) -> None:
    before = query(recall_at_k=[1.0, 0.5], precision={"easy": [1.0, 0.5]})
    found = judge(before, query(recall_at_k=scores, precision={"easy": scores}), recall=threshold, precision=threshold)
    assert (found["recall"].state, found["precision easy"].state) == (state, state)
    assert found["recall"].change == pytest.approx(sum(scores) / 2 - 0.75)
    assert found["recall"].threshold == threshold


@pytest.mark.parametrize(("size", "state"), [(1000, SAME), (1001, WORSE), (999, BETTER), (0, BETTER)])
def test_size_is_exact(size: int, state: str) -> None:
    assert judge(build(), build(size_bytes=size))["size"].state == state


def test_what_was_nothing_may_not_grow() -> None:
    assert judge(build(size_bytes=0), build(size_bytes=0))["size"].state == SAME
    assert judge(build(size_bytes=0), build(size_bytes=1))["size"].state == WORSE


def test_memory_counts_from_a_mebibyte_and_a_tenth() -> None:
    mib = 2**20

    def growth(before: float, now: float) -> str:
        held = [build(memory={"anon_growth_bytes": int(mib * size), "vector_bytes": 1}) for size in (before, now)]
        found = judge(*held)
        assert "memory peak" not in found
        return found["memory growth"].state

    assert growth(1, 1.9) == SAME
    assert growth(1, 2.1) == WORSE
    assert growth(100, 109) == SAME
    assert growth(100, 111) == WORSE
    assert growth(100, 89) == BETTER


@pytest.mark.parametrize(
    ("now", "note"),
    [
        (None, "not measured"),
        (build(status="failed", reason="no room"), "failed: no room"),
        (build(status="skipped", reason="no GPU"), "skipped: no GPU"),
    ],
)
def test_cell_that_is_not_measured_any_more_is_worse(now: object, note: str) -> None:
    found = judge(build(), now)
    assert list(found) == [CELL]
    assert (found[CELL].state, found[CELL].note) == (WORSE, note)


def test_cell_that_failed_before_cannot_become_worse() -> None:
    failed = build(status="failed", reason="no room")
    assert judge(failed, failed) == judge(failed, None) == judge(None, failed) == {}
    assert judge(failed, build())[CELL].state == BETTER
    assert judge(None, build())[CELL].state == BETTER


def test_metric_that_is_not_measured_any_more_is_worse() -> None:
    found = judge(query(recall_at_k=[1.0], precision={"easy": [1.0]}), query(recall_at_k=[1.0]))
    assert (found["precision easy"].state, found["precision easy"].note) == (WORSE, "not measured")
    assert found["recall"].state == SAME


@pytest.mark.parametrize(
    ("factor", "before", "now", "state"),
    [
        (2.0, 0.0, 0.3, NOISY),  # what slows a run makes it look slow
        (2.0, 0.3, 0.0, WORSE),  # but does not hide that it is slow
        (2.0, 0.0, 0.1, WORSE),
        (2.0, None, None, WORSE),
        (0.5, 0.3, 0.0, NOISY),
        (0.5, 0.0, 0.3, BETTER),
        (1.0, 0.3, 0.3, SAME),
    ],
)
def test_other_work_excuses_the_longer_time_alone(
    factor: float, before: float | None, now: float | None, state: str
) -> None:
    found = judge(build(other_load_fracs=[before]), build(build_s=times(factor), other_load_fracs=[now]))["build"]
    assert found.state == state
    assert ("other work took 30% of the cores" in found.note) == (state == NOISY)


def test_other_work_excuses_no_score_and_no_size() -> None:
    assert judge(build(), build(size_bytes=2000, other_load_fracs=[0.9]))["size"].state == WORSE
    found = judge(query(recall_at_k=[1.0]), query(recall_at_k=[0.9], other_load_fracs=[0.9]))
    assert found["recall"].state == WORSE


def reranked(factor: float = 1.0, **changes: object) -> RerankResult:
    times = {"search_s": [[1e-3 * factor] * 4] * 2, "rerank_s": [[2e-3 * factor] * 4] * 2, "size_bytes": 500}
    scores = {"precision": {"easy": [0.5] * 4}, "rerank": "r", "rerank_kind": "x", "rerank_params": {}}
    return RerankResult(**{**INDEX, "query_params": {}, "q": 4, **times, **scores, **changes})


def by_regions(factor: float = 1.0, **changes: object) -> RegionResult:
    times = {name: [[1e-3 * factor] * 4] * 2 for name in ("describe_s", "search_s", "merge_s")}
    scores = {"precision": {"easy": [0.5] * 4}, "regions": "w", "source": "windows", "region_params": {}}
    more = {"q": 4, "find_s": [0.0] * 4, "descriptor_bytes": 500}
    return RegionResult(**{**INDEX, "query_params": {}, **times, **scores, **more, **changes})


@pytest.mark.parametrize(("make", "size"), [(reranked, "size_bytes"), (by_regions, "descriptor_bytes")])
def test_reranking_and_regions_are_judged_by_times_bytes_and_precision(make: Callable[..., Result], size: str) -> None:
    found = judge(make(), make(1.3, **{size: 501, "precision": {"easy": [0.5, 0.5, 0.5, 0.4]}}))
    assert {metric: verdict.state for metric, verdict in found.items()} == dict.fromkeys(
        ["time", "size", "precision easy"], WORSE
    )
    assert (found["time"].base, found["time"].run) == pytest.approx((3, 3.9))  # ms a query, all its parts together
    assert (found["time"].low, found["time"].high) == pytest.approx((1.3, 1.3))  # of the same queries
    assert {verdict.state for verdict in judge(make(), make()).values()} == {SAME}


def test_scores_alone_leave_times_and_sizes_out() -> None:
    before = query(recall_at_k=[1.0], precision={"easy": [1.0]})
    slow = query(recall_at_k=[1.0], precision={"easy": [1.0]}, times_s=[[1.0] * 4])
    found = judge_cell("c", before, slow, THRESHOLDS, scores_only=True)
    assert [verdict.metric for verdict in found] == ["recall", "precision easy"]
    assert not list(judge_cell("c", build(), build(status="failed"), THRESHOLDS, scores_only=True))


def test_ratio_of_two_processes_reaches_to_their_extremes() -> None:
    """Each process is certain of itself; which one is drawn is a coin, so all four ratios occur."""
    assert ratio_interval([[1.0] * 5, [2.0] * 5], [[3.0] * 5, [6.0] * 5]) == pytest.approx((3.0, 1.5, 6.0))


def test_ratio_of_one_time_each_is_its_own_interval() -> None:
    assert ratio_interval([[2.0]], [[5.0]]) == (2.5, 2.5, 2.5)


def test_ratio_to_a_constant_has_the_interval_of_the_times() -> None:
    rounds = np.random.default_rng(1).lognormal(0, 0.2, (12, 20)).tolist()
    ratio, low, high = ratio_interval([[1.0]], rounds)
    assert (low, high) == pytest.approx(nested_interval(rounds), rel=0.02)
    assert low < ratio < high


@given(
    rounds=st.lists(st.lists(st.floats(0.5, 2), min_size=1, max_size=5), min_size=1, max_size=3),
    factor=st.floats(0.1, 10),
)
def test_ratio_scales_and_contains_itself(rounds: list[list[float]], factor: float) -> None:
    base = [[1.0, 1.1], [0.9, 1.0]]
    ratio, low, high = ratio_interval(base, rounds)
    scaled = ratio_interval(base, [[factor * seconds for seconds in process] for process in rounds])
    assert scaled == pytest.approx((factor * ratio, factor * low, factor * high))
    assert low <= ratio * (1 + 1e-9)
    assert high >= ratio * (1 - 1e-9)
