"""The cheapest setting of each engine that reaches a recall: neither time nor recall says much without the other."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from bench.tables.precision_table import setting_of
from bench.tables.table_schemas import SCHEMAS

RECALL_TARGETS = (0.5, 0.8, 0.9, 0.95, 0.99)
_GROUP = ["backbone", "mode", "threads", "engine", "n", "k"]
_KEPT = [
    "cell", "recall", "recall_ci_low", "recall_ci_high", "query_ms_median", "query_ms_ci_low", "query_ms_ci_high",
    "queries_per_s", "build_s", "size_bytes",
]  # fmt: skip


def cheapest_table(settings: pd.DataFrame) -> pd.DataFrame:
    """``cheapest_settings``: for each engine and way of asking, the fastest setting of at least each recall.

    Args:
        settings: The table ``lsh_parameters``; corrected queries count.

    Returns:
        One row a target, without cell where no measured setting reaches it. ``settings`` says among how many was
        chosen: the fastest of many noisy times is a little too fast.
    """
    measured = settings[(settings["status"] == "ok") & (settings["space"] == "corrected")]
    rows = []
    for group, part in measured.groupby(_GROUP, sort=False):
        for target in RECALL_TARGETS:
            good = part[part["recall"] >= target].sort_values("query_ms_median", kind="stable")
            best = good.iloc[0][_KEPT].to_dict() if len(good) else {}
            rows.append(
                {**dict(zip(_GROUP, group, strict=True)), "recall_target": target, "settings": len(part)} | best
            )
    return pd.DataFrame(rows, columns=list(SCHEMAS["cheapest_settings"]))


def cheapest_page(cheapest: pd.DataFrame) -> pd.DataFrame:
    """The table as people read it: a row an engine and way of asking, a column a recall.

    Of a setting only what tells it from the engine's others is named: ``hyperplane probes_per_table5: 0.0549 ms``.
    """
    named = cheapest[cheapest["cell"] != ""]
    shared = {str(engine): _shared_words(part) for engine, part in named.groupby("engine")}
    words = [
        _words(row, shared[row["engine"]]) if row["cell"] else "not reached" for row in cheapest.to_dict("records")
    ]
    keys = ["backbone", "mode", *["threads"] * (cheapest["threads"].nunique() > 1), "engine"]
    table = cheapest.assign(words=words, column=[f"recall {target:g}" for target in cheapest["recall_target"]])
    page = table.pivot_table(index=keys, columns="column", values="words", aggfunc="first", sort=False).reset_index()
    page.columns.name = None
    return page


def _words(row: Mapping[Any, Any], shared: set[str]) -> str:
    own = " ".join(word for word in _setting_words(row) if word not in shared)
    return f"{own}: {row['query_ms_median']:#.3g} ms" if own else f"{row['query_ms_median']:#.3g} ms"


def _shared_words(part: pd.DataFrame) -> set[str]:
    """The words that all of an engine's settings have in common."""
    return set.intersection(*(set(_setting_words(row)) for row in part.to_dict("records")))


def _setting_words(row: Mapping[Any, Any]) -> list[str]:
    return setting_of(row["cell"], row["backbone"], row["engine"]).replace("-", " ").split()
