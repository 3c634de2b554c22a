"""How the cost of a recall grows with the number of vectors, in sentences that the fitted exponents carry."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from bench.figures.style import count, read_rows
from bench.report.finding import Finding
from bench.tables.growth_table import METRIC_WORDS
from bench.tables.names import EXACT

LINEAR = 1.0  # exponent of an engine that looks at every vector


def growth_results(tables: Path) -> Iterator[Finding]:
    """For each corpus of several sizes and each metric but memory: the exponents, and which lie below linear growth."""
    growth = read_rows(tables, "growth")
    if growth.empty:
        return
    for (corpus, metric), part in growth[growth["metric"] != "size_bytes"].groupby(["corpus", "metric"], sort=False):
        first = part.iloc[0]
        ordered = part.sort_values("exponent", kind="stable")
        cost = {"build_s": "time to build"}.get(str(metric), f"time of a {METRIC_WORDS[str(metric)]}")
        text = (
            f"At a recall of {first['recall_target']:g}, from n = {count(part['n_low'].min())} to "
            f"{count(part['n_high'].max())} of {corpus}, the {cost} grows as n to the power of: "
            f"{'; '.join(_exponent_words(row) for _, row in ordered.iterrows())}."
        )
        yield Finding(f"Growth: {METRIC_WORDS[str(metric)]}", f"{text}{_slower_words(ordered)}")


def _exponent_words(row: pd.Series) -> str:
    """``hnswlib 0.12 [0.05, 0.19] (3 of 5 sizes; 2 above the recall; theory: 0.00)``."""
    words = f"{row['variant']} {row['exponent']:.2f}"
    words += "" if pd.isna(row["ci_low"]) else f" [{row['ci_low']:.2f}, {row['ci_high']:.2f}]"
    notes = [f"{row['points']} of {row['sizes']} sizes"] if row["points"] < row["sizes"] else []
    notes += [f"{row['floors']} above the recall"] if row["floors"] and row["variant"] != EXACT else []
    notes += [] if pd.isna(row["theory"]) else [f"theory: {row['theory']:.2f}"]
    return words + (f" ({'; '.join(notes)})" if notes else "")


def _slower_words(part: pd.DataFrame) -> str:
    """Whose growth is told from linear growth by its interval: of costs of the recall itself, at all sizes.

    A setting that exceeds the recall is another point of the trade-off at each size, and an engine that reaches it at
    some sizes alone leaves out its worst ones. Exact search cannot be asked for less.
    """
    if part["ci_low"].isna().all():
        return " Two sizes give no interval: nothing is called."
    sound = part[(part["points"] == part["sizes"]) & ((part["floors"] == 0) | (part["variant"] == EXACT))]
    told = sound.loc[sound["ci_high"] < LINEAR, "variant"].tolist()
    words = f" Slower than n: {', '.join(told)}." if told else " None is shown to grow slower than n."
    if len(sound) < len(part):
        words += " Nothing is called of engines that miss the recall at some sizes or exceed it."
    return words
