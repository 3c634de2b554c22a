"""What re-ranking gains and costs: each re-ranker beside the very answers that it put into a new order."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.judging.judgments import STRATA, Judgments
from bench.results import OK, RerankResult
from bench.scores.inference import median_time, nested_interval
from bench.tables.names import setting_words
from bench.tables.paired_scores import SCORES, call, compare, ends, joined, pairs, spans
from bench.tables.table_schemas import SCHEMAS

ALL = "all"
_NAMES = ("cell", "backbone", "engine", "rerank", "rerank_kind", "status", "reason")


def reranking_table(reranks: Sequence[RerankResult], judgments: Judgments | None) -> pd.DataFrame:
    """``reranking``: one row a re-ranking cell and stratum, and one over all queries where there are several strata.

    Differences are paired: the same queries, the same answers of the same index, before and after. All differences of
    one score are one family, whose p values are adjusted together (Holm).

    Args:
        reranks: Re-ranking cells of one run; failed ones have a row with their reason.
        judgments: What they were judged by.
    """
    strata = np.empty(0, str) if judgments is None else judgments.queries["stratum"].to_numpy(str)
    rows = [row for result in reranks for row in _rows(result, strata)]
    call(rows)
    return pd.DataFrame(rows, columns=list(SCHEMAS["reranking"]))


def reranking_page(table: pd.DataFrame) -> pd.DataFrame:
    """The same as people read it: ``0.61 [0.55, 0.67]``, differences with their sign."""
    page = pd.DataFrame(
        {
            "backbone": table["backbone"],
            "index": pairs(table, "engine", "setting"),
            "re-ranker": pairs(table, "rerank", "parameters"),
            "queries": pairs(table, "queries", "stratum"),
            "precision": spans(table, "precision"),
            "difference": spans(table, "precision_difference", sign="+"),
            "precision is": table["precision_verdict"],
            "average precision": spans(table, "average_precision"),
            "its difference": spans(table, "average_precision_difference", sign="+"),
            "average precision is": table["average_precision_verdict"],
            "search (ms)": table["search_ms"],
            "re-ranking (ms)": table["rerank_ms"],
            "offline (s)": table["offline_s"],
            "offline (MB)": table["size_bytes"].astype("float64") / 1e6,
            "not measured because": table["reason"],
        }
    )
    return page if (table["reason"] != "").any() else page.drop(columns="not measured because")


def _rows(result: RerankResult, stratum_of: np.ndarray) -> Iterator[dict[str, Any]]:
    """A row for each stratum of a cell, with p values of its own; ``stratum_of`` each judged query."""
    reranker = result.cell.split("/")[-2].removeprefix(f"rerank-{result.rerank}").strip("-")
    names = {name: getattr(result, name) for name in _NAMES} | {
        "setting": setting_words(result.cell, {**result.params, **result.query_params}),
        "parameters": setting_words(f"//{reranker}//", result.rerank_params),
        "top": result.rerank_params["top"],
        "n": result.n or None,
        "size_bytes": result.size_bytes,
        "processes": result.processes or None,
    }
    if result.status != OK:
        yield names
        return
    strata = [stratum for stratum in STRATA if stratum in result.precision]
    for stratum in strata if len(strata) == 1 else [ALL, *strata]:
        members = strata if stratum == ALL else [stratum]
        yield names | {"stratum": stratum} | _scored(result, members) | _timed(result, np.isin(stratum_of, members))


def _scored(result: RerankResult, strata: Sequence[str]) -> dict[str, Any]:
    """Both scores after and before, and the difference, over the queries that have them."""
    found: dict[str, Any] = {"queries": sum(len(result.precision[stratum]) for stratum in strata)}
    for score in SCORES:
        after, before = (joined(getattr(result, name), strata) for name in (score, f"{score}_before"))
        found |= compare(score, after, before, "before")
    return found


def _timed(result: RerankResult, members: np.ndarray) -> dict[str, Any]:
    """Median times of those queries, and of what was made offline."""
    search, rerank = (
        [np.asarray(process)[members] * 1000 for process in times] for times in (result.search_s, result.rerank_s)
    )
    offline = float(np.median(result.offline_s))
    times = {"search_ms": median_time(search), "rerank_ms": median_time(rerank), "offline_s": offline}
    return times | ends("rerank_ms", nested_interval(rerank))
