"""What became of a cell between two runs: each metric worse, better or the same, by its threshold.

Scores are compared exactly: seeds are fixed, so one tree gives one answer. Times count by the interval of their ratio.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

import numpy as np

from bench.measuring.other_load import is_noisy
from bench.results import OK, BuildResult, PaceResult, QueryResult, RegionResult, RerankResult, Result
from bench.scores.inference import median_time, ratio_interval
from bench.suites.suite import SINGLE

WORSE, BETTER, SAME, NOISY = "worse", "better", "same", "noisy"
SCORES, TIMES, CELL = ("recall", "precision"), ("time", "build", "pace"), "cell"
THRESHOLDS: dict[str, float] = {
    "recall": 0.0,  # mean over the timed queries; a difference
    "precision": 0.0,  # mean over the judged queries of a stratum; a difference
    "time": 0.10,  # of a query; relative, as all below
    "build": 0.25,  # a handful of rounds, most of which is allocating memory
    "pace": 0.10,  # time of a tile in a throughput cell
    "size": 0.0,  # bytes of the index, of what a re-ranker keeps, or of the corpus' features
    "memory": 0.10,  # what an untimed process measured
}
"""What each metric may lose before it is worse."""

SLACK: dict[str, float] = {"build": 0.001, "memory": 2**20}
"""Seconds and bytes that are no difference: microseconds cost nobody anything, allocators take memory in pieces."""

_ROUNDING = 1e-9  # means of equal shares differ in their last bits
_MEMORY = {"growth": "anon_growth_bytes", "peak": "peak_rss_bytes"}


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What became of one metric of one cell.

    Attributes:
        cell: The cell's id.
        metric: A key of `THRESHOLDS`, the stratum or the kind of memory behind it; `CELL` where one run alone has it.
        base: Its value before: mean score, median milliseconds a query, median seconds of a build, or bytes.
        run: Its value now.
        change: The difference of scores; the ratio of other values, now to before.
        low: Lower bound of the change's 95 % interval; the change itself for all but times.
        high: Upper bound.
        threshold: What the metric may lose.
        state: `WORSE`, `BETTER`, `SAME`, or `NOISY`: slower or faster, which other work may have caused.
        note: What else there is to say, such as why the cell failed.
    """

    cell: str
    metric: str
    base: float = math.nan
    run: float = math.nan
    change: float = math.nan
    low: float = math.nan
    high: float = math.nan
    threshold: float = math.nan
    state: str = SAME
    note: str = ""

    @property
    def kind(self) -> str:
        """The metric without its stratum or kind of memory."""
        return self.metric.partition(" ")[0]


def is_measured(result: Result | None) -> TypeGuard[Result]:
    """Whether there is a result, and it did not fail."""
    return result is not None and result.status == OK


def judge_cell(
    cell: str, before: Result | None, now: Result | None, thresholds: Mapping[str, float], *, scores_only: bool = False
) -> Iterator[Verdict]:
    """A verdict on each metric that a cell had before.

    A score is worse when it falls by more than its threshold; a time, when the whole 95 % interval of the ratio lies
    above 1 + threshold; bytes, when the ratio does. Builds must differ by more than 1 ms besides, memory by more than
    1 MiB. Better is the mirror image. A slower time does not count where other work took too much of the cores now, a
    faster one where it did before. A cell, or a metric of it, that is not measured any more is worse.

    Args:
        cell: Its id.
        before: Its earlier result.
        now: Its result.
        thresholds: What each metric may lose.
        scores_only: Judge recall and precision alone.
    """
    values, news = _metrics(before, scores_only), _metrics(now, scores_only)
    if values and not is_measured(now):
        yield Verdict(cell, CELL, state=WORSE, note=_why_not(now))
        return
    if news and not is_measured(before):
        yield Verdict(cell, CELL, state=BETTER, note=f"before: {_why_not(before)}")
    paired = isinstance(now, RerankResult | RegionResult) or (isinstance(now, QueryResult) and now.mode == SINGLE)
    for metric, value in values.items():
        verdict = Verdict(cell, metric)
        verdict = dataclasses.replace(verdict, threshold=thresholds[verdict.kind])
        if metric in news:
            yield _excused(_judged(verdict, value, news[metric], paired), before, now)
        else:
            yield dataclasses.replace(verdict, state=WORSE, note="not measured")


def _why_not(result: Result | None) -> str:
    return "not measured" if result is None else f"{result.status}: {result.reason}"


def _metrics(result: Result | None, scores_only: bool) -> dict[str, Any]:
    """What a cell measured: for scores a value a query, for times a list a process, else bytes."""
    if not is_measured(result):
        return {}
    if isinstance(result, BuildResult):
        memory = {f"memory {kind}": result.memory.get(name) for kind, name in _MEMORY.items()}
        found: dict[str, Any] = {"build": result.build_s, "size": result.size_bytes, **memory}
    elif isinstance(result, PaceResult):
        found = {"pace": [[seconds * 1000 / result.n for seconds in process] for process in result.times_s]}
    else:
        in_batches = isinstance(result, QueryResult) and result.mode != SINGLE
        factor = 1000 / result.q if in_batches else 1000
        times = [[seconds * factor for seconds in process] for process in result.times_s]
        precision = {f"precision {stratum}": values for stratum, values in result.precision.items()}
        found = {"time": times, **_beside_precision(result), **precision}
    kept = {metric: value for metric, value in found.items() if value not in (None, [])}
    return {metric: value for metric, value in kept.items() if not scores_only or metric.startswith(SCORES)}


def _beside_precision(result: QueryResult | RerankResult | RegionResult) -> dict[str, Any]:
    """What a cell that is judged measured besides: recall of an index, bytes of what a re-ranker or regions need."""
    if isinstance(result, QueryResult):
        return {"recall": result.recall_at_k}
    return {"size": result.size_bytes if isinstance(result, RerankResult) else result.descriptor_bytes}


def _judged(verdict: Verdict, base: Any, run: Any, paired: bool) -> Verdict:
    """The verdict with its numbers."""
    threshold = verdict.threshold
    if verdict.kind in SCORES:
        base, run = float(np.mean(base)), float(np.mean(run))
        low = high = change = run - base
        worse, better = change < -threshold - _ROUNDING, change > threshold + _ROUNDING
    elif verdict.kind in TIMES:
        change, low, high = ratio_interval(base, run, paired=paired)
        base, run = median_time(base), median_time(run)
        worse, better = low > 1 + threshold, high < 1 / (1 + threshold)
    else:
        low = high = change = run / base if base else 1.0 if run == base else math.inf
        worse, better = change > 1 + threshold, change < 1 / (1 + threshold)
    counts = abs(run - base) > SLACK.get(verdict.kind, 0)
    state = SAME if not counts else WORSE if worse else BETTER if better else SAME
    return dataclasses.replace(verdict, base=base, run=run, change=change, low=low, high=high, state=state)


def _excused(verdict: Verdict, before: Result | None, now: Result | None) -> Verdict:
    """The verdict, or `NOISY` if other work may have lengthened the longer of two times."""
    longer, when = (now, "now") if verdict.state == WORSE else (before, "before")
    frac = None if longer is None else longer.other_load_frac
    if verdict.kind not in TIMES or verdict.state == SAME or not is_noisy(frac):
        return verdict
    return dataclasses.replace(verdict, state=NOISY, note=f"other work took {frac:.0%} of the cores {when}")
