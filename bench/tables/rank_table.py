"""Engines ranked on one corpus for each recall: by single queries, batches, build time and memory."""

import math
from typing import Any

import pandas as pd

from bench.tables.building import with_choosing
from bench.tables.table_schemas import SCHEMAS

# What is ranked, and the column of its ranks.
CRITERIA = {
    "single_ms": "single_rank",
    "batch_ms": "batch_rank",
    "build_s": "build_rank",
    "size_bytes": "memory_rank",
}
_TIMES, _COSTS = ["single_ms", "batch_ms"], ["build_s", "size_bytes"]
_GROUP = ["backbone", "threads", "n", "k", "recall_target"]


def rank_table(cheapest: pd.DataFrame) -> pd.DataFrame:
    """``engine_ranks``: one row a corpus, number of threads, recall and engine; empty for fewer than two engines.

    Args:
        cheapest: The table ``cheapest_settings``. Build time, choosing included, and memory are those of the setting
            that answers single queries fastest; of that for batches where the suite asks no single ones.

    Returns:
        Ranks from 1, equal values sharing their mean rank, engines that do not reach the recall the mean of the last
        ones. Who reaches it and was not measured has no rank by that cost. ``mean_rank`` is over the criteria that
        were measured.
    """
    rows = [_costs(part) for _, part in with_choosing(cheapest).groupby([*_GROUP, "variant"], sort=False)]
    table = pd.DataFrame(rows, columns=list(SCHEMAS["engine_ranks"]))
    if table["variant"].nunique() < 2:
        return table.iloc[:0]
    reached = table[_TIMES].notna().any(axis=1)
    for cost, rank in CRITERIA.items():
        known = table[table[cost].notna() | ~reached] if cost in _COSTS else table
        if known[cost].notna().any():
            table[rank] = known.groupby(_GROUP)[cost].rank(na_option="bottom")
    table["mean_rank"] = table[list(CRITERIA.values())].astype("float64").mean(axis=1)
    return table


def ranks_page(ranks: pd.DataFrame) -> pd.DataFrame:
    """The ranks as people read them: a row a recall and engine, best mean rank first."""
    place = ranks["backbone"].map(list(dict.fromkeys(ranks["backbone"])).index)
    ordered = ranks.assign(place=place).sort_values(["place", "threads", "recall_target", "mean_rank"], kind="stable")
    page = pd.DataFrame(
        {
            "backbone": ordered["backbone"],
            "threads": ordered["threads"],
            "recall": ordered["recall_target"].map("{:g}".format),
            "engine": ordered["variant"],
            **{
                words: ["" if pd.isna(rank) else f"{rank:g}" for rank in ordered[name]]
                for name, words in (
                    ("single_rank", "alone"),
                    ("batch_rank", "in a batch"),
                    ("build_rank", "build"),
                    ("memory_rank", "memory"),
                )
                if ordered[name].notna().any()
            },
            "mean rank": ordered["mean_rank"].map("{:.2f}".format),
        }
    )
    return page.drop(columns=[name for name in ("backbone", "threads") if page[name].nunique() == 1])


def _costs(part: pd.DataFrame) -> dict[str, Any]:
    """What one engine costs at one recall, in all ways of asking."""
    first = part.iloc[0]
    ways = {row["mode"]: row for _, row in part.iterrows()}
    times = {f"{mode}_ms": row["query_ms_median"] for mode, row in ways.items()}
    setting = ways.get("single", first)
    names = {name: first[name] for name in [*_GROUP, "variant"]}
    costs = times | {name: setting[name] for name in _COSTS}
    return names | {name: math.nan if pd.isna(cost) else float(cost) for name, cost in costs.items()}
