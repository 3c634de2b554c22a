"""Rates of stages by several ways, and what each gains over the published one."""

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from bench.pace.work import PUBLISHED
from bench.results import OK, PaceResult
from bench.scores.inference import median_time, nested_interval, ratio_interval
from bench.tables.table_schemas import SCHEMAS

_NAMES = ("cell", "stage", "way", "backbone", "threads", "device", "precision", "status", "reason")
STAGE_WORDS = {"tiles": "tiling", "train": "training", "extract": "extraction"}


def throughput_table(paces: Sequence[PaceResult]) -> pd.DataFrame:
    """``throughput``: one row a cell, failed ones with their reason.

    Args:
        paces: Throughput cells. A ratio is to the published cell of the same stage, backbone and threads.
    """
    published = {_place(pace): pace for pace in paces if pace.way == PUBLISHED and pace.status == OK}
    rows = [_row(pace, published.get(_place(pace))) for pace in paces]
    return pd.DataFrame(rows, columns=list(SCHEMAS["throughput"]))


def throughput_page(table: pd.DataFrame) -> pd.DataFrame:
    """The rates as people read them: ``24.1 [23.5, 24.4]``, ``x 1.3 [1.2, 1.4]``."""
    columns = {
        "stage": table["stage"].map(STAGE_WORDS),
        "backbone": table["backbone"],
        "way": table["way"],
        "device": table["device"],
        "precision": table["precision"],
        "threads": table["threads"],
        "batch": table["batch"],
        "tiles/s": _spans(table, "tiles_per_s", "ci"),
        "times the published rate": _spans(table, "times_as_fast", "times_ci"),
        "preparation": _percents(table["prepare_frac"]),
        "GFLOP/tile": table["flops_per_tile"].astype("float64") / 1e9,
        "MFU": _percents(table["mfu"]),
        "peak memory (MB)": table["peak_rss_bytes"].astype("float64") / 1e6,
        "on the GPU (MB)": table["peak_device_bytes"].astype("float64") / 1e6,
        "not measured because": table["reason"],
    }
    page = pd.DataFrame(columns)
    return page[[name for name in page if page[name].replace("", None).notna().any()]]


def _place(pace: PaceResult) -> tuple[str, str, int]:
    return pace.stage, pace.backbone, pace.threads


def _row(pace: PaceResult, published: PaceResult | None) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(pace, name) for name in _NAMES}
    if pace.status != OK:
        return row
    seconds = _seconds_a_tile(pace)
    median, (low, high) = median_time(seconds), nested_interval(seconds)
    row |= {"n": pace.n, "batch": pace.batch or None, "workers": pace.workers, "processes": pace.processes}
    row |= {"rounds": sum(map(len, pace.times_s)), "other_load_frac": pace.other_load_frac}
    row |= {"tiles_per_s": 1 / median, "ci_low": 1 / high, "ci_high": 1 / low}
    if published is not None and published is not pace:
        row |= _ratio(seconds, _seconds_a_tile(published))
    elif published is pace:
        row["times_as_fast"] = 1.0
    if pace.flops_per_tile is not None:
        row |= {"flops_per_tile": pace.flops_per_tile, "prepare_frac": _prepare_frac(pace)}
        row["mfu"] = pace.flops_per_tile / median / _median(pace.peak_flops)
    row |= {name: _greatest(getattr(pace, name)) for name in ("peak_rss_bytes", "peak_device_bytes")}
    return row


def _ratio(seconds: list[list[float]], published: list[list[float]]) -> dict[str, float]:
    """How many times as fast, with an interval where neither side was timed but once."""
    ratio, low, high = ratio_interval(seconds, published)
    if min(sum(map(len, side)) for side in (seconds, published)) < 2:
        return {"times_as_fast": ratio}
    return {"times_as_fast": ratio, "times_ci_low": low, "times_ci_high": high}


def _seconds_a_tile(pace: PaceResult) -> list[list[float]]:
    return [[seconds / pace.n for seconds in process] for process in pace.times_s]


def _prepare_frac(pace: PaceResult) -> float:
    """Median over the processes of the share in each of them: what slows a process slows both."""
    pairs = zip(pace.prepare_s, pace.times_s, strict=True)
    return statistics.median(alone / statistics.median(times) for alone, times in pairs if alone is not None)


def _median(values: Iterable[float | None]) -> float:
    return statistics.median(value for value in values if value is not None)


def _greatest(values: Iterable[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)


def _spans(table: pd.DataFrame, middle: str, bounds: str) -> list[str]:
    """A value with its interval, where it has one."""
    columns = zip(table[middle], table[f"{bounds}_low"], table[f"{bounds}_high"], strict=True)
    return [
        "" if pd.isna(value) else f"{value:.3g}" if pd.isna(low) else f"{value:.3g} [{low:.3g}, {high:.3g}]"
        for value, low, high in columns
    ]


def _percents(fracs: pd.Series) -> list[str]:
    return ["" if pd.isna(frac) else f"{frac:.0%}" if frac >= 0.1 else f"{frac:.1%}" for frac in fracs]
