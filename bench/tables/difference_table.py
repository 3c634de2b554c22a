"""Which differences the data carry: paired comparisons between the variants of one run, on the same queries.

A family is everything that was tested to answer one question; its p values are adjusted together (Holm).

- ``backbones``: precision at depth of every two backbones under exact search with corrected queries, on each stratum
  and on all judged queries. Which features serve whom?
- ``query slip``: recall at k of every setting with corrected queries against raw ones. What does the slip cost?
- ``approximation``: precision at depth of every approximate setting against exact search, corrected, on all judged
  queries. What does approximate search cost?
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.judging.judgments import STRATA
from bench.results import OK, QueryResult
from bench.scores.inference import ALPHA, holm, paired_permutation_test
from bench.scores.score import bootstrap_interval
from bench.tables.precision_table import distinct_searchers, setting_of
from bench.tables.table_schemas import SCHEMAS

BACKBONES, SLIP, APPROXIMATION = "backbones", "query slip", "approximation"
HIGHER, LOWER, NOT_SHOWN = "higher", "lower", "no difference shown"
ALL, TIMED = "all", "timed"  # in the column `stratum`: all judged queries, the timed queries
EXACT, CORRECTED, AS_PUBLISHED = "exact", "corrected", "as_published"


def difference_table(queries: Sequence[QueryResult]) -> pd.DataFrame:
    """``differences``: one row a comparison; the first is ``higher``, ``lower``, or no difference is shown.

    A difference is called where the adjusted p value is below 0.05. Mean difference and 95 % bootstrap interval
    are over the queries that both answered.

    Args:
        queries: Query cells of one run, in the suite's order; failed ones are left out.
    """
    families = (_backbone_pairs(queries), _slip_pairs(queries), _approximation_pairs(queries))
    rows = [row for family in families for row in _adjusted(list(family))]
    return pd.DataFrame(rows, columns=list(SCHEMAS["differences"]))


def differences_page(differences: pd.DataFrame) -> pd.DataFrame:
    """The comparisons as people read them."""
    rows = [row for _, row in differences.iterrows()]
    return pd.DataFrame(
        {
            "question": differences["family"],
            "score": differences["score"],
            "queries": [f"all {row['n']}" if row["stratum"] == ALL else f"{row['n']} {row['stratum']}" for row in rows],
            "backbone": differences["backbone"],
            "setting": differences["setting"],
            "first": differences["first"],
            "second": differences["second"],
            "means": [f"{row['mean_first']:.3f}, {row['mean_second']:.3f}" for row in rows],
            "difference": [_difference_words(row) for row in rows],
            "p": differences["p"],
            "adjusted p": differences["p_holm"],
            "comparisons": differences["comparisons"],
            "first is": differences["verdict"],
        }
    )


def _backbone_pairs(queries: Sequence[QueryResult]) -> Iterator[dict[str, Any]]:
    """Every two backbones, in the suite's order, on all judged queries and on each stratum."""
    exact = list(_exact(distinct_searchers(queries)).values())
    strata = [stratum for stratum in STRATA if exact and stratum in exact[0].precision]
    for stratum in strata if len(strata) == 1 else [ALL, *strata]:
        for first, second in itertools.combinations(exact, 2):
            about = {"family": BACKBONES, "score": "precision", "stratum": stratum, "cell": first.cell}
            names = {"first": first.backbone, "second": second.backbone}
            yield _row({**about, **names}, _precision(first, stratum), _precision(second, stratum))


def _slip_pairs(queries: Sequence[QueryResult]) -> Iterator[dict[str, Any]]:
    """Every setting that was asked both ways; single or batch mode and threads give the same answers."""
    found = [result for result in queries if result.status == OK and result.recall_at_k]
    ways = {space: _firsts(result for result in found if result.space == space) for space in (CORRECTED, AS_PUBLISHED)}
    for setting, corrected in ways[CORRECTED].items():
        raw = ways[AS_PUBLISHED].get(setting)
        if raw is not None:
            about = {"family": SLIP, "score": f"recall@{corrected.k}", "stratum": TIMED, **_setting(corrected)}
            names = {"first": CORRECTED, "second": AS_PUBLISHED}
            yield _row({**about, **names}, np.asarray(corrected.recall_at_k), np.asarray(raw.recall_at_k))


def _approximation_pairs(queries: Sequence[QueryResult]) -> Iterator[dict[str, Any]]:
    """Every approximate setting beside exact search on the same backbone."""
    searchers = distinct_searchers(queries)
    exact = _exact(searchers)
    for result in searchers:
        if result.kind == EXACT or result.space != CORRECTED or result.backbone not in exact:
            continue
        about = {"family": APPROXIMATION, "score": "precision", "stratum": _whole(result), **_setting(result)}
        names = {"first": result.engine, "second": exact[result.backbone].engine}
        yield _row({**about, **names}, _precision(result, ALL), _precision(exact[result.backbone], ALL))


def _exact(searchers: Iterable[QueryResult]) -> dict[str, QueryResult]:
    """Exact search with corrected queries on each backbone; the first engine where a suite has several such."""
    exact: dict[str, QueryResult] = {}
    for result in searchers:
        if result.kind == EXACT and result.space == CORRECTED:
            exact.setdefault(result.backbone, result)
    return exact


def _row(about: dict[str, Any], first: np.ndarray, second: np.ndarray) -> dict[str, Any]:
    """One comparison, not yet adjusted."""
    differences = first - second
    low, high = bootstrap_interval(differences)
    return {
        **about,
        "n": len(differences),
        "mean_first": first.mean(),
        "mean_second": second.mean(),
        "difference": differences.mean(),
        "ci_low": low,
        "ci_high": high,
        "p": paired_permutation_test(differences),
    }


def _adjusted(family: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The comparisons of a family with the p values that hold for all of them together, and what follows."""
    for row, p in zip(family, holm([row["p"] for row in family]), strict=True):
        verdict = NOT_SHOWN if p >= ALPHA else HIGHER if row["difference"] > 0 else LOWER
        yield {**row, "p_holm": p, "comparisons": len(family), "verdict": verdict}


def _precision(result: QueryResult, stratum: str) -> np.ndarray:
    """(q,) precision of each judged query of a stratum, or of all of them."""
    strata = [name for name in STRATA if name in result.precision] if stratum == ALL else [stratum]
    return np.concatenate([np.asarray(result.precision[name], dtype=np.float64) for name in strata])


def _whole(result: QueryResult) -> str:
    """The stratum of all judged queries: its own name where there is but one."""
    return next(iter(result.precision)) if len(result.precision) == 1 else ALL


def _setting(result: QueryResult) -> dict[str, str]:
    setting = setting_of(result.cell, result.backbone, result.engine)
    return {"backbone": result.backbone, "setting": setting, "cell": result.cell}


def _firsts(results: Iterable[QueryResult]) -> dict[str, QueryResult]:
    """The first cell of each setting, whichever way it was timed and its queries went in."""
    firsts: dict[str, QueryResult] = {}
    for result in results:
        setting = result.backbone, result.engine, sorted(result.params.items()), sorted(result.query_params.items())
        firsts.setdefault(repr(setting), result)
    return firsts


def _difference_words(row: pd.Series) -> str:
    interval = "" if pd.isna(row["ci_low"]) else f" [{row['ci_low']:+z.3f}, {row['ci_high']:+z.3f}]"
    return f"{row['difference']:+z.3f}{interval}"
