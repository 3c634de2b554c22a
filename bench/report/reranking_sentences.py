"""What re-ranking gained, in sentences that the table ``reranking`` carries."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from bench.figures.style import milliseconds, read_rows
from bench.report.comparison import p_words, signed
from bench.report.finding import Finding
from bench.tables.paired_scores import GAINS, LOSES
from bench.tables.reranking_table import ALL

_SCORE = "average_precision"


def reranking_results(tables: Path) -> list[Finding]:
    """For each backbone the re-ranking that gains most over all judged queries, and how many gain or lose."""
    rows = read_rows(tables, "reranking")
    if rows.empty:
        return []
    rows = rows[rows["status"] == "ok"].dropna(subset=[f"{_SCORE}_difference"])
    whole = rows[rows["stratum"] == ALL] if (rows["stratum"] == ALL).any() else rows
    return [finding for _, part in whole.groupby("backbone", sort=False) for finding in _backbone(part, len(rows))]


def _backbone(rows: pd.DataFrame, comparisons: int) -> Iterator[Finding]:
    best = rows.sort_values(f"{_SCORE}_difference", ascending=False, kind="stable").iloc[0]
    low, high = best[f"{_SCORE}_difference_ci_low"], best[f"{_SCORE}_difference_ci_high"]
    gain = f"{signed(best[f'{_SCORE}_difference'], 3)} [{signed(low, 3)}, {signed(high, 3)}]"
    shown = {GAINS: ", a gain", LOSES: ", a loss"}.get(
        str(best[f"{_SCORE}_verdict"]), ", which is not shown to be a difference"
    )
    counts = {verdict: int((rows[f"{_SCORE}_verdict"] == verdict).sum()) for verdict in (GAINS, LOSES)}
    several = len(rows) > 1
    chosen = f", of {len(rows)} settings of all re-rankers the one of highest gain," if several else ""
    others = f" Of these settings {counts[GAINS]} gain and {counts[LOSES]} lose." if several else ""
    yield Finding(
        "Re-ranking",
        f"On {best['backbone']}, {best['rerank']}{chosen} changes the average precision of {best['engine']} from "
        f"{best[f'{_SCORE}_before']:.3f} to {best[_SCORE]:.3f}, {gain}, n = {best['queries']:.0f}, adjusted "
        f"{p_words(best[f'{_SCORE}_p_holm'])} after {comparisons} comparisons{shown}; it adds "
        f"{milliseconds(best['rerank_ms'])} to a query.{others}",
    )
