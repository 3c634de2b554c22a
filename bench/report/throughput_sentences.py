"""What a run found of rates, in sentences that its table carries."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from bench.figures.style import read_rows
from bench.pace.work import OURS, PUBLISHED
from bench.report.finding import Finding, percent
from bench.tables.throughput_table import STAGE_WORDS


def throughput_results(tables: Path) -> list[Finding]:
    """One sentence for each stage and backbone that this project and the published way both did."""
    rates = read_rows(tables, "throughput")
    return [] if rates.empty else list(_stages(rates[rates["status"] == "ok"]))


def _stages(rates: pd.DataFrame) -> Iterator[Finding]:
    for (stage, backbone, threads), part in rates.groupby(["stage", "backbone", "threads"], sort=False):
        ways = {row["way"]: row for row in part.to_dict("records")}
        if OURS not in ways or PUBLISHED not in ways:
            continue
        ours, published = ways[OURS], ways[PUBLISHED]
        named = f" for {backbone}" if backbone else ""
        on = "on the GPU" if ours["device"] == "cuda" else f"{threads} thread{'s' * (ours['threads'] > 1)}"
        text = (
            f"{ours['tiles_per_s']:.3g} tiles/s{named} against {published['tiles_per_s']:.3g} of the published way "
            f"({on}): {_verdict(ours)}"
        )
        for row in (row for way, row in ways.items() if way not in (OURS, PUBLISHED)):
            text += f"; {row['way']} {row['tiles_per_s']:.3g}: {_verdict(row)}"
        text += "." + _shares(ours, published) + _one_process(ways.values())
        yield Finding(f"{STAGE_WORDS[str(stage)].capitalize()} rate", text)


def _verdict(row: Mapping[Any, Any]) -> str:
    """``1.3 times as fast [1.2, 1.4]``; no difference is called where the interval holds 1 or is missing."""
    low, high = row["times_ci_low"], row["times_ci_high"]
    if pd.isna(low):
        return f"{row['times_as_fast']:.3g} times as fast, timed too seldom for an interval"
    span = f"{row['times_as_fast']:.3g} times as fast [{low:.3g}, {high:.3g}]"
    return f"{span}, which shows no difference" if low <= 1 <= high else span


def _shares(ours: Mapping[Any, Any], published: Mapping[Any, Any]) -> str:
    """Where the time goes; nothing of a stage without a network."""
    if pd.isna(ours["mfu"]):
        return ""
    return (
        f" Preparing the input, done alone, takes {percent(ours['prepare_frac'])} of the whole's time (published: "
        f"{percent(published['prepare_frac'])}); the network runs at {percent(ours['mfu'])} of what a product of "
        f"matrices reaches here (published: {percent(published['mfu'])})."
    )


def _one_process(rows: Iterable[Mapping[Any, Any]]) -> str:
    """Which intervals lack what differs between processes."""
    names = [str(row["way"]) for row in rows if row["processes"] == 1]
    if not names:
        return ""
    return f" Measured in one process, whose interval tells nothing of others: {', '.join(names)}."
