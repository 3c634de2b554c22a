"""What a run found of rates, in sentences that its table carries."""

from collections.abc import Iterator, Mapping
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
        text = (
            f"{ours['tiles_per_s']:.3g} tiles/s{named} against {published['tiles_per_s']:.3g} of the "
            f"published way: {_verdict(ours)}"
        )
        for row in (row for way, row in ways.items() if way not in (OURS, PUBLISHED)):
            text += f"; {row['way']} {row['tiles_per_s']:.3g}"
        if not pd.isna(ours["mfu"]):
            text += (
                f". Preparing the input takes {percent(ours['prepare_frac'])} of the time (published: "
                f"{percent(published['prepare_frac'])}), the network runs at {percent(ours['mfu'])} of what a product "
                "of matrices reaches here"
            )
        on = "on the GPU" if ours["device"] == "cuda" else f"{threads} thread{'s' * (ours['threads'] > 1)}"
        yield Finding(f"{STAGE_WORDS[str(stage)].capitalize()} rate", f"{text} ({on}).")


def _verdict(row: Mapping[Any, Any]) -> str:
    """``1.3 times as fast [1.2, 1.4]``; no difference where the interval holds 1."""
    low, high = row["times_ci_low"], row["times_ci_high"]
    span = f"{row['times_as_fast']:.3g} times as fast [{low:.3g}, {high:.3g}]"
    return f"{span}, which shows no difference" if low <= 1 <= high else span
