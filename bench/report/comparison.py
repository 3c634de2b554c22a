"""Rows of the table ``differences`` in words: a difference with its interval, its queries and its adjusted p."""

import numpy as np
import pandas as pd

from bench.figures.style import count
from bench.scores.inference import ALPHA
from bench.tables.difference_table import HIGHER, LOWER, NOT_SHOWN

_MINUS = "\N{MINUS SIGN}"


def evidence(comparison: pd.Series) -> str:
    """What a row of ``differences`` rests on: ``+0.12 [+0.05, +0.19], n = 40, adjusted p = 0.003``."""
    low, high = float(comparison["ci_low"]), float(comparison["ci_high"])
    nearest = 0.0 if low * high <= 0 else min(abs(low), abs(high))
    # An interval that leaves out zero must not read as if it touched it.
    digits = next((d for d in (2, 3) if round(nearest, d) > 0), 4) if nearest > 0 else 2
    mean = signed(comparison["difference"], digits)
    interval = "" if np.isnan(low) else f" [{signed(low, digits)}, {signed(high, digits)}]"
    return f"{mean}{interval}, n = {count(comparison['n'])}, adjusted {p_words(comparison['p_holm'])}"


def p_words(p: float) -> str:
    """``p = 0.012``, ``p < 0.001``; a p below 0.05 never reads as if it were not."""
    if p < 0.001:
        return "p < 0.001"
    if p < ALPHA <= round(p, 3):
        return f"p < {ALPHA:g}"
    return f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def signed(value: float, digits: int = 2) -> str:
    """A difference with its sign; none where it rounds to zero."""
    text = f"{abs(value):.{digits}f}"
    return text if float(text) == 0 else f"{'+' if value > 0 else _MINUS}{text}"


def tally(comparisons: pd.DataFrame) -> str:
    """How often the first is higher, lower, or not shown to differ: ``higher in 3, not shown to differ in 1 of 4``."""
    counts = comparisons["verdict"].value_counts()
    words = {HIGHER: "higher", LOWER: "lower", NOT_SHOWN: "not shown to differ"}
    parts = [f"{word} in {count(counts[verdict])}" for verdict, word in words.items() if verdict in counts]
    return f"{', '.join(parts)} of {count(len(comparisons))}"


def largest_difference(comparisons: pd.DataFrame) -> str:
    """The largest difference, called or not: its evidence, after how many comparisons, and where it was found."""
    row = comparisons.sort_values("difference", key=np.abs, ascending=False, kind="stable").iloc[0]
    called = "" if row["verdict"] != NOT_SHOWN else ", which is not shown to be one"
    return (
        f"{evidence(row)} after {count(row['comparisons'])} comparisons ({row['backbone']}, {row['setting']}){called}"
    )


def could_show(comparison: pd.Series) -> str:
    """How large a difference must be for so few queries to show it: what "not shown" may hide."""
    least, likely = comparison["least_difference"], comparison["detectable_difference"]
    if pd.isna(least) or pd.isna(likely):
        return "so few queries can show none"
    return f"so many queries would show one of {max(least, likely):#.2g} in four of five cases, if tested alone"
