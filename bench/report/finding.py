"""One result of a run in words, and numbers as sentences write them."""

import dataclasses

import numpy as np
import pandas as pd

from bench.figures.style import milliseconds


@dataclasses.dataclass(frozen=True)
class Finding:
    """One result: what it is about, in a word or three, and the sentence."""

    about: str
    text: str


def percent(frac: float) -> str:
    """``12 %``, ``0.3 %``: whole percents, and one digit of less than one."""
    return f"{frac * 100:.0f} %" if frac >= 0.01 else f"{frac * 100:.1g} %"


def score_words(row: pd.Series, name: str) -> str:
    """A mean score with its interval, where it has one: ``0.82 [0.74, 0.89]``."""
    low, high = f"{name}_ci_low", f"{name}_ci_high"
    low, high = (low, high) if low in row else ("ci_low", "ci_high")
    return f"{row[name]:.2f}" if pd.isna(row[low]) else f"{row[name]:.2f} [{row[low]:.2f}, {row[high]:.2f}]"


def query_time(cell: pd.Series) -> str:
    """A median query time with its interval, where it has one: ``1.2 ms [1.1 ms, 1.3 ms]``."""
    median, low, high = (float(cell[f"query_ms_{name}"]) for name in ("median", "ci_low", "ci_high"))
    return (
        milliseconds(median) if np.isnan(low) else f"{milliseconds(median)} [{milliseconds(low)}, {milliseconds(high)}]"
    )


def build_time(cell: pd.Series) -> str:
    """The same of a build: ``3.1 s [3 s, 3.2 s]``."""
    median, low, high = (float(cell[name]) * 1000 for name in ("build_s", "build_s_ci_low", "build_s_ci_high"))
    return (
        milliseconds(median) if np.isnan(low) else f"{milliseconds(median)} [{milliseconds(low)}, {milliseconds(high)}]"
    )


def large_number(value: float) -> str:
    """Three digits of a number that nobody reads longer: ``950``, ``12,300``, ``1.23 million``."""
    if value >= 1e6:
        return f"{value / 1e6:,.3g} million"
    digits = max(0, len(f"{value:.0f}") - 3)
    return f"{round(value, -digits):,.0f}"
