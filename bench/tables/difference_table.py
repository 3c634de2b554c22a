"""Which differences the data carry: paired comparisons between the variants of one run, on the same queries.

A family is everything that was tested to answer one question; its p values are adjusted together (Holm).

- ``backbones``: precision at depth of every two backbones under exact search with corrected queries, on each stratum
  and on all judged queries. Which features serve whom?
- ``query slip``: recall at k of every setting with corrected queries against raw ones, and precision at depth of all
  judged queries. What does the slip cost?
- ``approximation``: precision at depth of every approximate setting against exact search, corrected, on all judged
  queries. What does approximate search cost?

`published_differences` asks the same of the thesis' models, whose counts of every query are published.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.judging.judgments import STRATA
from bench.results import OK, QueryResult
from bench.scores.inference import ALPHA, holm, paired_permutation_test
from bench.scores.power import detectable_difference, least_difference
from bench.scores.score import bootstrap_interval
from bench.tables.precision_table import distinct_searchers, setting_of
from bench.tables.published import MODELS, published_precision
from bench.tables.table_schemas import SCHEMAS

BACKBONES, SLIP, APPROXIMATION = "backbones", "query slip", "approximation"
HIGHER, LOWER, NOT_SHOWN = "higher", "lower", "no difference shown"
ALL, TIMED = "all", "timed"  # in the column `stratum`: all judged queries, the timed queries
EXACT, CORRECTED, AS_PUBLISHED = "exact", "corrected", "as_published"


def difference_table(queries: Sequence[QueryResult], depths: Mapping[str, int]) -> pd.DataFrame:
    """``differences``: one row a comparison; the first is ``higher``, ``lower``, or no difference is shown.

    A difference is called where the adjusted p value is below 0.05. Mean difference and 95 % bootstrap interval
    are over the queries that both answered. Two columns say what so few queries could show at all, see
    `bench.scores.power`.

    Args:
        queries: Query cells of one run, in the suite's order; failed ones are left out.
        depths: For each stratum, how deep its answers are judged.
    """
    families = (_backbone_pairs(queries, depths), _slip_pairs(queries, depths), _approximation_pairs(queries, depths))
    rows = [row for family in families for row in _adjusted(list(family))]
    return pd.DataFrame(rows, columns=list(SCHEMAS["differences"]))


def published_differences(depths: Mapping[str, int]) -> pd.DataFrame:
    """``published_differences``: every two of the thesis' models on its own queries, by its published counts.

    Rows and tests are those of the family ``backbones``; the counts are hits of LSH with raw queries, judged by hand.

    Args:
        depths: For each stratum of the run, how deep its answers are judged; the table is empty where the thesis
            judged none so.
    """
    counts = published_precision()
    judged = set(zip(counts["stratum"], counts["depth"], strict=True)) & set(depths.items())
    strata = {ALL: counts, **{stratum: counts[counts["stratum"] == stratum] for stratum in STRATA}} if judged else {}
    rows = [
        {"depth": part["depth"].max() if part["depth"].nunique() == 1 else None, "first": first, "second": second}
        | _row({"stratum": stratum}, part[first].to_numpy(), part[second].to_numpy(), part["depth"].max())
        for stratum, part in strata.items()
        if len(part)
        for first, second in itertools.combinations(MODELS, 2)
    ]
    return pd.DataFrame(_adjusted(rows), columns=list(SCHEMAS["published_differences"]))


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
            "could be shown": [_power_words(row) for row in rows],
        }
    )


def published_differences_page(differences: pd.DataFrame) -> pd.DataFrame:
    """The same of the thesis' models, in hits of a hundred, as it gives its averages."""
    rows = [row for _, row in differences.iterrows()]
    return pd.DataFrame(
        {
            "queries": [f"{row['n']} {row['stratum']}" for row in rows],
            "first": differences["first"],
            "second": differences["second"],
            "means, %": [f"{100 * row['mean_first']:.1f}, {100 * row['mean_second']:.1f}" for row in rows],
            "difference, points": [_difference_words(row, 100, 1) for row in rows],
            "p": differences["p"],
            "adjusted p": differences["p_holm"],
            "first is": differences["verdict"],
            "could be shown, points": [_power_words(row, 100, 1) for row in rows],
        }
    )


def _backbone_pairs(queries: Sequence[QueryResult], depths: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    """Every two backbones, in the suite's order, on all judged queries and on each stratum."""
    exact = list(_exact(distinct_searchers(queries)).values())
    strata = [stratum for stratum in STRATA if exact and stratum in exact[0].precision]
    for stratum in strata if len(strata) == 1 else [ALL, *strata]:
        for first, second in itertools.combinations(exact, 2):
            about = {"family": BACKBONES, "score": "precision", "stratum": stratum, "cell": first.cell}
            names = {"first": first.backbone, "second": second.backbone}
            yield _row(about | names, _precision(first, stratum), _precision(second, stratum), _depth(first, depths))


def _slip_pairs(queries: Sequence[QueryResult], depths: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    """Every setting that was asked both ways; single or batch mode and threads give the same answers."""
    found = [result for result in queries if result.status == OK and result.recall_at_k]
    ways = {space: _firsts(result for result in found if result.space == space) for space in (CORRECTED, AS_PUBLISHED)}
    for setting, corrected in ways[CORRECTED].items():
        raw = ways[AS_PUBLISHED].get(setting)
        if raw is None:
            continue
        about = {"family": SLIP, **_setting(corrected), "first": CORRECTED, "second": AS_PUBLISHED}
        recall = {"score": f"recall@{corrected.k}", "stratum": TIMED}
        yield _row(about | recall, np.asarray(corrected.recall_at_k), np.asarray(raw.recall_at_k), corrected.k)
        if corrected.precision and raw.precision:
            precision = {"score": "precision", "stratum": _whole(corrected)}
            both = _precision(corrected, ALL), _precision(raw, ALL)
            yield _row(about | precision, *both, _depth(corrected, depths))


def _approximation_pairs(queries: Sequence[QueryResult], depths: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    """Every approximate setting beside exact search on the same backbone."""
    searchers = distinct_searchers(queries)
    exact = _exact(searchers)
    for result in searchers:
        if result.kind == EXACT or result.space != CORRECTED or result.backbone not in exact:
            continue
        about = {"family": APPROXIMATION, "score": "precision", "stratum": _whole(result), **_setting(result)}
        names = {"first": result.engine, "second": exact[result.backbone].engine}
        both = _precision(result, ALL), _precision(exact[result.backbone], ALL)
        yield _row(about | names, *both, _depth(result, depths))


def _exact(searchers: Iterable[QueryResult]) -> dict[str, QueryResult]:
    """Exact search with corrected queries on each backbone; the first engine where a suite has several such."""
    exact: dict[str, QueryResult] = {}
    for result in searchers:
        if result.kind == EXACT and result.space == CORRECTED:
            exact.setdefault(result.backbone, result)
    return exact


def _row(about: dict[str, Any], first: np.ndarray, second: np.ndarray, depth: int) -> dict[str, Any]:
    """One comparison, not yet adjusted; ``depth`` is that of the longest list, whose steps are the smallest."""
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
        "least_difference": least_difference(len(differences), depth),
        "detectable_difference": detectable_difference(differences),
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


def _depth(result: QueryResult, depths: Mapping[str, int]) -> int:
    """The greatest depth to which its answers were judged."""
    return max(depths[stratum] for stratum in result.precision)


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


def _difference_words(row: pd.Series, times: float = 1, digits: int = 3) -> str:
    mean, low, high = (f"{times * row[name]:+z.{digits}f}" for name in ("difference", "ci_low", "ci_high"))
    return mean if pd.isna(row["ci_low"]) else f"{mean} [{low}, {high}]"


def _power_words(row: pd.Series, times: float = 1, digits: int = 3) -> str:
    """What so many queries of this spread would show in four of five cases; never below what can be called at all."""
    if pd.isna(row["least_difference"]):
        return "none"
    likely = row["detectable_difference"]
    text = f"{times * max(row['least_difference'], 0 if pd.isna(likely) else likely):.{digits}f}"
    return text if float(text) > 0 else f"< {0.1**digits:.{digits}f}"
