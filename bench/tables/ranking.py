"""Engines ranked over data sets: who answers single queries fastest, recall being good enough."""

import math
from string import ascii_lowercase
from typing import Any

import numpy as np
import pandas as pd

from bench.scores.growth import ROUNDING
from bench.scores.inference import critical_difference
from bench.tables.names import largest_sizes
from bench.tables.precision_table import setting_of
from bench.tables.table_schemas import SCHEMAS

RECALL_TARGET = 0.9
_FACTS = ["threads", "n", "q", "k"]


def ranking_table(settings: pd.DataFrame, recall_target: float = RECALL_TARGET) -> pd.DataFrame:
    """``ranking``: one row for each data set and engine; empty for fewer than two engines.

    A data set is one backbone's features, of a corpus measured at several sizes the largest. An engine is a table of
    the suite; its score is the median time of single, corrected queries, with the fewest threads measured, in its
    fastest setting of mean recall ``recall_target`` or more. Without such a setting it is ranked last. Only engines
    that were measured on every data set take part. A data set on which every cell failed says nothing and is left out.

    Args:
        settings: The table ``lsh_parameters``; its column ``backbone`` names the data sets.
        recall_target: In [0, 1].
    """
    columns = list(SCHEMAS["ranking"])
    single = largest_sizes(settings[(settings["mode"] == "single") & (settings["space"] == "corrected")])
    single = single[single.groupby("backbone")["n"].transform("count") > 0]  # failed cells have no n
    single = single[single["threads"] == single.groupby("backbone")["threads"].transform("min")]
    data_sets = single["backbone"].drop_duplicates().tolist()
    everywhere = single.groupby("engine", sort=False)["backbone"].nunique() == len(data_sets)
    engines = [str(engine) for engine in everywhere[everywhere].index]
    if len(engines) < 2:
        return pd.DataFrame(columns=columns)
    rows = []
    for data_set in data_sets:
        for engine in engines:
            own = single[(single["backbone"] == data_set) & (single["engine"] == engine)]
            rows.append({"data_set": data_set, "engine": engine, **_fastest(own, recall_target)})
    table = pd.DataFrame(rows).assign(recall_target=recall_target, data_sets=len(data_sets))
    return _with_ranks(table)[columns]


def ranking_page(ranking: pd.DataFrame) -> pd.DataFrame:
    """The ranking as people read it: a row a data set, a column an engine with time, rank and setting, best first."""
    if ranking.empty:
        return pd.DataFrame()
    page = ranking.assign(words=[_cell_words(row) for _, row in ranking.iterrows()])
    page = page.pivot(index="data_set", columns="engine", values="words")
    page = page.loc[ranking["data_set"].drop_duplicates(), ranking["engine"].drop_duplicates()]
    engines = ranking.drop_duplicates("engine").set_index("engine")
    page.loc["average rank"] = engines["average_rank"].map("{:.2f}".format)
    page.loc["group"] = engines["groups"]
    page.columns.name = None
    return page.rename_axis("data set").reset_index()


def _fastest(own: pd.DataFrame, recall_target: float) -> dict[str, Any]:
    """The fastest good enough setting of one engine on one data set, or the reason why there is none."""
    good = own[(own["status"] == "ok") & (own["recall"] >= recall_target - ROUNDING) & own["query_ms_median"].notna()]
    facts: dict[str, Any] = {name: own[name].max() for name in _FACTS}
    if good.empty:
        best = own["recall"].max()
        found = "every setting failed" if pd.isna(best) else f"no setting has recall {recall_target:g}; best {best:.3f}"
        return {**facts, "cell": "", "recall": np.nan, "query_ms": np.nan, "reason": found}
    row = good.sort_values("query_ms_median", kind="stable").iloc[0]
    return {**facts, "cell": row["cell"], "recall": row["recall"], "query_ms": row["query_ms_median"], "reason": ""}


def _with_ranks(table: pd.DataFrame) -> pd.DataFrame:
    """The table with ranks, best engine first within each data set."""
    scores = table.pivot(index="data_set", columns="engine", values="query_ms").fillna(np.inf)
    found = critical_difference(scores.map(math.log))  # ratios of times compare across data sets, differences do not
    ranks = scores.rank(axis=1).stack()
    letters = {
        engine: "".join(letter for letter, group in zip(ascii_lowercase, found.groups, strict=False) if engine in group)
        for engine in scores
    }
    order = {engine: place for place, engine in enumerate(found.average_ranks.index)}
    return table.assign(
        rank=[ranks[key] for key in zip(table["data_set"], table["engine"], strict=True)],
        average_rank=table["engine"].map(found.average_ranks),
        groups=table["engine"].map(letters),
        friedman_p=found.friedman_p,
        smallest_p=found.smallest_p,
    ).sort_values("engine", key=lambda engines: engines.map(order), kind="stable")


def _cell_words(row: pd.Series) -> str:
    rank = f"(rank {row['rank']:g})"
    if pd.isna(row["query_ms"]):
        return f"{row['reason']} {rank}"
    cell, engine = str(row["cell"]), str(row["engine"])
    setting = setting_of(cell, cell.partition("/")[0], engine).removeprefix(engine)
    ms = f"{row['query_ms']:,.0f}" if row["query_ms"] >= 100 else f"{row['query_ms']:#.3g}"
    return f"{ms} ms {rank}{setting}"
