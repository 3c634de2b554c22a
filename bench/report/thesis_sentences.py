"""What the thesis left open: what its slip cost, how far from exact its search is, which of its differences stand."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from bench.figures.style import count, read_cells, read_rows
from bench.report.comparison import largest_difference, tally
from bench.report.finding import Finding
from bench.scores.inference import ALPHA
from bench.tables.cost_table import PUBLISHED_KIND
from bench.tables.difference_table import NOT_SHOWN

_HARD = "hard"
_PRECISION = "precision"
_NOTHING_LOST = "none loses precision by its index"


def slip_results(comparisons: pd.DataFrame) -> Iterator[Finding]:
    """What the published query slip costs in recall and in precision, over the settings that were asked in both ways.

    Args:
        comparisons: The rows of ``differences`` about it.
    """
    if comparisons.empty:
        return
    judged = comparisons["score"] == _PRECISION
    parts = {"recall": comparisons[~judged], "precision over all judged queries": comparisons[judged]}
    told = [
        f"{name} is {tally(part)} settings, {part['mean_first'].mean():.2f} on average instead of "
        f"{part['mean_second'].mean():.2f}"
        for name, part in parts.items()
        if len(part)
    ]
    largest = [f"of {name.split()[0]} {largest_difference(part)}" for name, part in parts.items() if len(part)]
    yield Finding(
        "The published query slip",
        f"With corrected queries instead of raw ones, as published, {', and '.join(told)}. The largest differences "
        f"are {', and '.join(largest)}.",
    )


def distance_results(tables: Path, backbone: str) -> Iterator[Finding]:
    """Whether model or index loses the neighbours: on one backbone in FALCONN's setting of highest recall.

    Where a suite has no FALCONN, the approximate setting of highest recall stands in.

    Args:
        tables: Folder of the run's tables.
        backbone: Whose features the reader should look at.
    """
    losses, cells = read_rows(tables, "exact_or_lsh"), read_cells(tables)
    here = losses[losses["backbone"] == backbone] if len(losses) else losses
    if here.empty or cells.empty:
        return
    asked = cells[cells["cell"].isin(here["cell"])]
    own = asked[asked["kind"] == PUBLISHED_KIND] if (asked["kind"] == PUBLISHED_KIND).any() else asked
    best = own.sort_values("recall", ascending=False, kind="stable").iloc[0]
    shown = here[here["cell"] == best["cell"]]
    steps = "; ".join(_step_words(row) for _, row in shown.iterrows())
    settings = f"Of all {count(losses['cell'].nunique())} settings"
    worst = losses.sort_values("lost_by_index", ascending=False, kind="stable").iloc[0]
    most = f"{worst['setting']} on {worst['backbone']} loses most by its index"
    told = f"{most}, {_interval(worst, 'index')} of {worst['stratum']} precision"
    yield Finding(
        "Model or index",
        f"Precision of random answers, of {shown['setting'].iloc[0]} (recall {best['recall']:.3f}) and of exact search "
        f"on {backbone} features: {steps}. {settings}, {told if worst['lost_by_index'] > 0 else _NOTHING_LOST}. "
        "Each interval is as if it were the only one.",
    )


def published_results(tables: Path) -> Iterator[Finding]:
    """Which of the thesis' own differences stand, and what its smallest one on hard queries amounts to."""
    published = read_rows(tables, "published_differences")
    if published.empty:
        return
    standing = published[published["verdict"] != NOT_SHOWN]
    pairs = [f"{row['first']} against {row['second']} on {row['stratum']} queries" for _, row in standing.iterrows()]
    named = f" ({', '.join(pairs)})" if pairs else ""
    stand = {0: "none stands", 1: "one stands"}.get(len(standing), f"{count(len(standing))} stand")
    text = (
        f"Of the {count(len(published))} differences between its four models, by its own counts, "
        f"{stand} after correction{named}; {count((published['p'] < ALPHA).sum())} would if each were tested alone"
    )
    hard = published[published["stratum"] == _HARD]
    row = hard.iloc[int(hard["difference"].abs().argmin())]
    judged = row["n"] * row["depth"]
    apart, least, likely = (
        100 * abs(row[name]) for name in ("difference", "least_difference", "detectable_difference")
    )
    yield Finding(
        "The thesis' own differences",
        f"{text}. On hard queries {row['first']} and {row['second']} are {apart:.1f} points apart: "
        f"{count(round(apart / 100 * judged))} of {count(judged)} judged tiles. Even tested alone, {count(row['n'])} "
        f"queries can show no difference below {least:.1f} points, and at the spread of these two would show one of "
        f"{likely:.1f} in four of five cases.",
    )


def _step_words(row: pd.Series) -> str:
    return (
        f"{row['stratum']}@{row['depth']} (n = {count(row['queries'])}) {row['random']:.2f}, {row['lsh']:.2f} and "
        f"{row['exact']:.2f} of {row['ceiling']:.2f} possible: the model loses {_interval(row, 'model')}, the index "
        f"{_interval(row, 'index')}"
    )


def _interval(row: pd.Series, who: str) -> str:
    mean, low, high = row[f"lost_by_{who}"], row[f"{who}_ci_low"], row[f"{who}_ci_high"]
    return f"{mean:z.2f}" if pd.isna(low) else f"{mean:z.2f} [{low:z.2f}, {high:z.2f}]"
