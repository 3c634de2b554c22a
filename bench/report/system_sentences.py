"""Which system to take, as far as the queries tell: each beside the first one of the suite."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from bench.figures.style import milliseconds, read_rows
from bench.report.finding import Finding
from bench.scores.inference import ALPHA
from bench.tables.paired_scores import NOT_SHOWN
from bench.tables.systems_table import ALL, HIGHER, LABELS, LOWER


def system_results(tables: Path) -> Iterator[Finding]:
    """For each stratum who is told apart from the first system, and who is not; then what an answer takes."""
    systems = read_rows(tables, "systems")
    systems = systems[systems["precision"].notna()] if len(systems) else systems
    if systems.empty or systems["system"].nunique() < 2:
        return
    first = systems.iloc[0]
    for stratum, part in systems[systems["stratum"] != ALL].groupby("stratum", sort=False):
        others = part[part["verdict"] != ""]
        if others.empty:
            continue
        told = [words for verdict in (HIGHER, LOWER, NOT_SHOWN) if (words := _verdict_words(others, verdict))]
        text = (
            f"On {others['queries'].iloc[0]} {stratum} queries, beside {first['title']} "
            f"({_mean(part, first['system'])}): {'; '.join(told)}. {others['p_holm'].notna().sum()} comparisons here, "
            f"p values adjusted for all (below {ALPHA:g} is told apart)."
        )
        yield Finding("Systems", text)
    yield Finding("Systems", _time_words(systems))


def _verdict_words(others: pd.DataFrame, verdict: str) -> str:
    rows = others[others["verdict"] == verdict].sort_values("precision", ascending=False)
    if rows.empty:
        return ""
    named = [
        f"{row.title} ({row.precision:.2f}{', saw labels' if row.taught_by == LABELS else ''})"
        for row in rows.itertuples()
    ]
    words = {HIGHER: "more precise", LOWER: "less precise", NOT_SHOWN: "not shown to differ"}
    return f"{words[verdict]}: {', '.join(named)}"


def _mean(part: pd.DataFrame, system: str) -> str:
    row = part[part["system"] == system].iloc[0]
    return f"{row['precision']:.2f} [{row['ci_low']:.2f}, {row['ci_high']:.2f}]"


def _time_words(systems: pd.DataFrame) -> str:
    """The quickest and the slowest from picture to answer."""
    known = systems.dropna(subset=["answer_ms"]).drop_duplicates("system").sort_values("answer_ms", kind="stable")
    quick, slow = known.iloc[0], known.iloc[-1]
    return (
        f"From a picture to its answer {quick['title']} takes {milliseconds(quick['answer_ms'])}, {slow['title']} "
        f"{milliseconds(slow['answer_ms'])}; the search alone {milliseconds(quick['query_ms_median'])} and "
        f"{milliseconds(slow['query_ms_median'])}."
    )
