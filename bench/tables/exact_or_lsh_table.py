"""How far from exact is LSH: whether the model loses a neighbour, its index, or a slip in asking it.

From the best possible answers down to those of the thesis there are three steps: exact search with the model's
features, LSH on the same features, and the same LSH asked with raw queries. What each loses is a paired difference on
the same queries.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.judging.judgments import STRATA, Judgments
from bench.results import QueryResult
from bench.scores.score import bootstrap_interval
from bench.tables.names import EXACT
from bench.tables.precision_table import distinct_searchers, setting_of
from bench.tables.published import MODELS, PUBLISHED_COLUMNS, add_published, published_precision
from bench.tables.table_schemas import SCHEMAS

_CORRECTED, _AS_PUBLISHED = "corrected", "as_published"
_SETTING = ("backbone", "engine", "params", "query_params")
_KEYS = ["stratum", "depth"]


def exact_or_lsh_table(results: Sequence[QueryResult], judgments: Judgments | None) -> pd.DataFrame:
    """``exact_or_lsh``: one row for each stratum and each approximate setting whose backbone was searched exactly too.

    Args:
        results: Query cells, in the suite's order; failed ones are left out.
        judgments: What the cells were judged by.
    """
    columns = list(SCHEMAS["exact_or_lsh"])
    if judgments is None or not judgments.is_decided:
        return pd.DataFrame(columns=columns)
    searchers = distinct_searchers(results)
    exact = {r.backbone: r for r in reversed(searchers) if r.kind == EXACT and r.space == _CORRECTED}
    raw = {_setting(result): result for result in searchers if result.space == _AS_PUBLISHED}
    rows = [
        _row(judgments, stratum, (exact[result.backbone], result, raw.get(_setting(result))))
        for stratum in STRATA
        for result in searchers
        if result.kind != EXACT and result.space == _CORRECTED and result.backbone in exact
        if stratum in result.precision
    ]
    published = published_precision().groupby(_KEYS, as_index=False)[list(MODELS)].mean()
    return add_published(pd.DataFrame(rows, columns=columns[: -len(MODELS)]), published, _KEYS)[columns]


def exact_or_lsh_page(table: pd.DataFrame) -> pd.DataFrame:
    """The table as people read it: the steps from random answers to the best possible, and what is lost at each.

    The thesis' models stand below each stratum that they were judged on.
    """
    page = []
    for (stratum, depth), part in table.groupby(_KEYS, sort=False):
        where = {"queries": f"{part['queries'].iloc[0]} {stratum}@{depth}"}
        page += [where | _page_row(row) for row in part.to_dict("records")]
        published = zip(MODELS, part[list(PUBLISHED_COLUMNS)].iloc[0], strict=True)
        page += [
            where | {"backbone": f"thesis {model}", "setting": "its LSH", "LSH, raw queries": f"{mean:.2f}"}
            for model, mean in published
            if not np.isnan(mean)
        ]
    shown = pd.DataFrame(page).fillna("")
    return shown[[name for name in shown if (shown[name] != "").any()]]


def _row(
    judgments: Judgments, stratum: str, found: tuple[QueryResult, QueryResult, QueryResult | None]
) -> dict[str, Any]:
    """One setting on one stratum, of exact search, of LSH, and of LSH with raw queries where it was asked so."""
    places = (judgments.queries["stratum"] == stratum).to_numpy()
    exact, lsh = (np.asarray(result.precision[stratum], np.float64) for result in found[:2] if result is not None)
    ceiling = judgments.ceiling[places]
    setting = found[1]
    row: dict[str, Any] = {name: getattr(setting, name) for name in ("backbone", "engine", "cell")}
    row |= {"stratum": stratum, "depth": judgments.queries["depth"][places].iloc[0], "queries": len(lsh)}
    row |= {"setting": setting_of(setting.cell, setting.backbone, setting.engine)}
    row |= {"random": judgments.chance[places].mean(), "ceiling": ceiling.mean()}
    row |= _mean("lsh", "lsh", lsh) | _mean("exact", "exact", exact)
    row |= _mean("lost_by_model", "model", ceiling - exact) | _mean("lost_by_index", "index", exact - lsh)
    if found[2] is None or stratum not in found[2].precision:
        return row
    raw = np.asarray(found[2].precision[stratum], np.float64)
    return row | {"as_published": raw.mean()} | _mean("lost_by_slip", "slip", lsh - raw)


def _mean(name: str, short: str, values: np.ndarray) -> dict[str, float]:
    low, high = bootstrap_interval(values)
    return {name: float(values.mean()), f"{short}_ci_low": low, f"{short}_ci_high": high}


def _setting(result: QueryResult) -> str:
    return repr([getattr(result, name) for name in _SETTING])


def _page_row(row: Mapping[Any, Any]) -> dict[str, str]:
    return {
        "backbone": row["backbone"],
        "setting": row["setting"],
        "random answers": f"{row['random']:.2f}",
        "LSH, raw queries": "" if np.isnan(row["as_published"]) else f"{row['as_published']:.2f}",
        "LSH": f"{row['lsh']:.2f}",
        "exact search": f"{row['exact']:.2f}",
        "best possible": f"{row['ceiling']:.2f}",
        "lost by the model": _loss(row, "model"),
        "by the index": _loss(row, "index"),
        "by the slip": _loss(row, "slip"),
    }


def _loss(row: Mapping[Any, Any], short: str) -> str:
    mean, low, high = row[f"lost_by_{short}"], row[f"{short}_ci_low"], row[f"{short}_ci_high"]
    if np.isnan(mean):
        return ""
    return f"{mean:z.2f}" if np.isnan(low) else f"{mean:z.2f} [{low:z.2f}, {high:z.2f}]"
