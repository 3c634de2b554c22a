"""What re-ranking gains and costs: each re-ranker beside the very answers that it put into a new order."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.judging.judgments import STRATA, Judgments
from bench.results import OK, RerankResult
from bench.scores.inference import ALPHA, holm, median_time, nested_interval, paired_permutation_test
from bench.scores.score import bootstrap_interval
from bench.tables.names import setting_words
from bench.tables.table_schemas import SCHEMAS

ALL = "all"
GAINS, LOSES, NOT_SHOWN = "gains", "loses", "no difference shown"
_SCORES = ("precision", "average_precision")
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
    for score in _SCORES:
        for row, p in zip(rows, holm([row.get(f"{score}_p", np.nan) for row in rows]), strict=True):
            row[f"{score}_p_holm"] = p
            verdict = NOT_SHOWN if p >= ALPHA else GAINS if row.get(f"{score}_difference", 0) > 0 else LOSES
            row[f"{score}_verdict"] = "" if np.isnan(p) else verdict
    return pd.DataFrame(rows, columns=list(SCHEMAS["reranking"]))


def reranking_page(table: pd.DataFrame) -> pd.DataFrame:
    """The same as people read it: ``0.61 [0.55, 0.67]``, differences with their sign."""
    page = pd.DataFrame(
        {
            "backbone": table["backbone"],
            "index": _pairs(table, "engine", "setting"),
            "re-ranker": _pairs(table, "rerank", "parameters"),
            "queries": _pairs(table, "queries", "stratum"),
            "precision": _spans(table, "precision"),
            "difference": _spans(table, "precision_difference", sign="+"),
            "precision is": table["precision_verdict"],
            "average precision": _spans(table, "average_precision"),
            "its difference": _spans(table, "average_precision_difference", sign="+"),
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
    for score in _SCORES:
        after, before = (_joined(getattr(result, name), strata) for name in (score, f"{score}_before"))
        known = np.isfinite(after) & np.isfinite(before)
        if not known.any():
            continue
        differences = after[known] - before[known]
        found |= {score: after[known].mean(), f"{score}_before": before[known].mean()}
        found |= _ends(score, bootstrap_interval(after[known]))
        found |= {f"{score}_difference": differences.mean(), f"{score}_p": paired_permutation_test(differences)}
        found |= _ends(f"{score}_difference", bootstrap_interval(differences))
    return found


def _timed(result: RerankResult, members: np.ndarray) -> dict[str, Any]:
    """Median times of those queries, and of what was made offline."""
    search, rerank = (
        [np.asarray(process)[members] * 1000 for process in times] for times in (result.search_s, result.rerank_s)
    )
    offline = float(np.median(result.offline_s))
    times = {"search_ms": median_time(search), "rerank_ms": median_time(rerank), "offline_s": offline}
    return times | _ends("rerank_ms", nested_interval(rerank))


def _joined(scores: Mapping[str, Sequence[float | None]], strata: Sequence[str]) -> np.ndarray:
    return np.array([value for stratum in strata for value in scores[stratum]], np.float64)


def _ends(name: str, interval: tuple[float, float]) -> dict[str, float]:
    return dict(zip((f"{name}_ci_low", f"{name}_ci_high"), interval, strict=True))


def _pairs(table: pd.DataFrame, first: str, second: str) -> list[str]:
    """Two columns as one; empty where both are missing."""
    return [
        " ".join(str(part) for part in pair if not pd.isna(part)).strip()
        for pair in zip(table[first], table[second], strict=True)
    ]


def _spans(table: pd.DataFrame, name: str, sign: str = "") -> list[str]:
    columns = table[[name, f"{name}_ci_low", f"{name}_ci_high"]].astype("float64")
    return [
        "" if np.isnan(mean) else f"{mean:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"
        for mean, low, high in columns.itertuples(index=False, name=None)
    ]
