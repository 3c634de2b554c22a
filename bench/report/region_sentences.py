"""What queries by regions gained, in sentences that the tables ``regions`` and ``region_times`` carry."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from bench.figures.style import milliseconds, read_rows
from bench.report.comparison import p_words, signed
from bench.report.finding import Finding
from bench.tables.paired_scores import GAINS, LOSES
from bench.tables.region_table import ALL, WHOLE


def region_results(tables: Path) -> list[Finding]:
    """For each backbone and stratum the regions of highest precision beside whole pictures, and what they cost."""
    rows = read_rows(tables, "regions")
    if rows.empty:
        return []
    rows = rows[rows["status"] == "ok"]
    tested = rows.dropna(subset=["precision_difference"])
    return [
        finding
        for (backbone, stratum), part in tested.groupby(["backbone", "stratum"], sort=False)
        if stratum != ALL
        for finding in _stratum(part, rows[(rows["backbone"] == backbone) & (rows["regions"] == WHOLE)], len(tested))
    ]


def _stratum(rows: pd.DataFrame, whole: pd.DataFrame, comparisons: int) -> Iterator[Finding]:
    best = rows.sort_values("precision_difference", ascending=False, kind="stable").iloc[0]
    low, high = best["precision_difference_ci_low"], best["precision_difference_ci_high"]
    change = f"{signed(best['precision_difference'], 3)} [{signed(low, 3)}, {signed(high, 3)}]"
    shown = {GAINS: "a gain", LOSES: "a loss"}.get(str(best["precision_verdict"]), "not shown to be a difference")
    counts = {verdict: int((rows["precision_verdict"] == verdict).sum()) for verdict in (GAINS, LOSES)}
    alone = whole.loc[whole["stratum"] == best["stratum"], "query_ms"].median()
    several = len(rows) > 1
    chosen = f", of {len(rows)} settings the one of highest gain" if several else ""
    others = f" Of these settings {counts[GAINS]} gain and {counts[LOSES]} lose." if several else ""
    named = f"{best['regions']} ({best['parameters']})" if best["parameters"] else best["regions"]
    yield Finding(
        f"Regions, {best['stratum']} queries",
        f"On {best['backbone']}, {named}{chosen}: precision {best['precision']:.3f} against "
        f"{best['precision_whole']:.3f} by whole pictures, {change}, n = {best['queries']:.0f}, adjusted "
        f"{p_words(best['precision_p_holm'])} after {comparisons} comparisons, {shown}.{others} A query takes "
        f"{milliseconds(best['query_ms'])} with {best['crops']:.3g} crops, {milliseconds(alone)} without.",
    )
