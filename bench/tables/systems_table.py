"""Whole systems side by side: what each finds, what it keeps, and what a user waits for."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.judging.judgments import STRATA, Judgments
from bench.results import OK, BuildResult, QueryResult, RegionResult, RerankResult, Result
from bench.scores.inference import ALPHA, holm, median_time, nested_interval, paired_permutation_test
from bench.scores.score import bootstrap_interval
from bench.tables.paired_scores import NOT_SHOWN, joined
from bench.tables.precision_table import stratum_column
from bench.tables.table_schemas import SCHEMAS
from ris_core.engines import ENGINES

ALL = "all"
HIGHER, LOWER = "higher", "lower"
LABELS, TILES, NOTHING, PRETRAINED = "labels", "tiles", "nothing", "other images"  # what taught a network
_PARTS = ("backbone", "engine", "rerank", "regions")
_Judged = QueryResult | RerankResult | RegionResult


def systems_table(
    suite: Mapping[str, Any], results: Sequence[Result], judgments: Judgments | None, models: pd.DataFrame
) -> pd.DataFrame:
    """``systems``: one row a system and stratum, and one over all queries where there are several strata.

    Differences are to the first system of the suite, paired by query; all of them are one family (Holm). Times are
    those of the judged queries, asked one by one: the search, with re-ranking or the merging of what regions found; and
    before it the description of the query's picture, of regions as it was measured, else a tile's share of extraction.

    Args:
        suite: The suite as `bench.suites.suite.Suite.to_json` has it.
        results: All cells of the run.
        judgments: What they were judged by.
        models: The table ``models``.
    """
    depths = (
        {} if judgments is None else dict(zip(judgments.queries["stratum"], judgments.queries["depth"], strict=True))
    )
    rows: list[dict[str, Any]] = []
    first: _Judged | None = None
    for system in suite.get("systems", []):
        found = _found(system, results)
        first = found if first is None and found is not None and found.status == OK else first
        names = {"system": system["name"], **{key: system[key] for key in ("title", *_PARTS)}}
        entry = next(entry for entry in suite["backbones"] if entry["name"] == system["backbone"])
        costs = names | {"taught_by": _teacher(entry)} | _costs(found, results, models)
        rows += [costs | {"depth": depths.get(row.get("stratum"))} | row for row in _scores(found, first)]
    for row, p in zip(rows, holm([row.get("p", np.nan) for row in rows]), strict=True):
        row["p_holm"] = p
        verdict = NOT_SHOWN if p >= ALPHA else HIGHER if row.get("difference", 0) > 0 else LOWER
        row["verdict"] = "" if np.isnan(p) else verdict
    return pd.DataFrame(rows, columns=list(SCHEMAS["systems"]))


def systems_page(table: pd.DataFrame) -> pd.DataFrame:
    """A row a system: ``0.61 [0.55, 0.67]`` under each stratum, a sign where it is told apart from the first system."""
    strata = table.loc[~table["stratum"].isin(["", ALL]), ["stratum", "depth", "queries"]].drop_duplicates("stratum")
    page = []
    for _, part in table.groupby("system", sort=False):
        whole, by_stratum = part.iloc[0], part.set_index("stratum")
        page.append(
            {"system": whole["title"], "taught by": whole["taught_by"]}
            | {_heading(row): _score_words(by_stratum, row["stratum"]) for row in strata.to_dict("records")}
            | {
                "mAP": whole["mean_average_precision"],
                "memory MiB": whole["memory_bytes"] / 2**20 if not pd.isna(whole["memory_bytes"]) else None,
                "training s": whole["train_s"],
                "describe a tile ms": whole["describe_ms"],
                "search ms": whole["query_ms_median"],
                "picture to answer ms": whole["answer_ms"],
                "not measured because": whole["reason"],
            }
        )
    shown = pd.DataFrame(page)
    return shown if (table["reason"] != "").any() else shown.drop(columns="not measured because")


def _heading(row: Mapping[Any, Any]) -> str:
    return f"{stratum_column(row['stratum'], row['depth'])}, n = {row['queries']}"


def _score_words(by_stratum: pd.DataFrame, stratum: str) -> str:
    if stratum not in by_stratum.index:
        return ""
    row = by_stratum.loc[stratum]
    sign = {HIGHER: " ↑", LOWER: " ↓"}.get(str(row["verdict"]), "")
    return f"{row['precision']:.2f} [{row['ci_low']:.2f}, {row['ci_high']:.2f}]{sign}"


def _found(system: Mapping[str, str], results: Sequence[Result]) -> _Judged | None:
    """The cell that measured a system: corrected queries, asked one by one; of several threads the first."""
    for result in results:
        if isinstance(result, QueryResult) and not system["rerank"] and not system["regions"]:
            is_it = (result.space, result.mode) == ("corrected", "single")
        elif isinstance(result, RerankResult):
            is_it = result.rerank == system["rerank"]
        else:
            is_it = isinstance(result, RegionResult) and result.regions == system["regions"]
        if is_it and isinstance(result, _Judged) and _names(result) == (system["backbone"], system["engine"]):
            return result
    return None


def _names(result: _Judged) -> tuple[str, str]:
    return result.backbone, result.engine


def _teacher(entry: Mapping[str, Any]) -> str:
    """What a backbone, or its space, has learned from."""
    recipe, weights = entry["recipe"], entry["spec"]["weights"]
    if (recipe or {}).get("method") or entry.get("space", {}).get("whitening") == "learned":
        return LABELS
    if recipe is not None:
        return TILES
    return NOTHING if weights == "random" else PRETRAINED


def _costs(found: _Judged | None, results: Sequence[Result], models: pd.DataFrame) -> dict[str, Any]:
    """Bytes and times of a system; empty but for the reason where its cell was not measured."""
    if found is None or found.status != OK:
        return {
            "cell": "" if found is None else found.cell,
            "reason": "no such cell" if found is None else found.reason,
        }
    model = models[models["backbone"] == found.backbone].iloc[0]
    index = (found.backbone, found.engine, found.params)
    builds = [r for r in results if isinstance(r, BuildResult) and (r.backbone, r.engine, r.params) == index]
    index_bytes = builds[0].size_bytes if builds else None
    is_reranked = isinstance(found, RerankResult)  # by the vectors, also where the index answers without them
    vector_bytes = 4 * found.n * found.d * (ENGINES[found.kind].keeps_vectors or is_reranked)
    rerank_bytes = (found.size_bytes or 0) if isinstance(found, RerankResult) else 0
    describe_ms = 1000 / model["tiles_per_s"] if model["tiles_per_s"] else None
    asked, searched = _times_ms(found)
    low, high = nested_interval(searched)
    describe_query_ms = describe_ms if asked is None else median_time(asked)
    median_ms = median_time(searched)
    return {
        "cell": found.cell,
        "n": found.n,
        "index_bytes": index_bytes,
        "vector_bytes": vector_bytes,
        "rerank_bytes": rerank_bytes,
        "memory_bytes": None if index_bytes is None else index_bytes + vector_bytes + rerank_bytes,
        "describe_ms": describe_ms,
        "train_s": model["train_s"],
        "query_ms_median": median_ms,
        "query_ms_ci_low": low,
        "query_ms_ci_high": high,
        "describe_query_ms": describe_query_ms,
        "answer_ms": None if describe_query_ms is None else median_ms + describe_query_ms,
    }


def _times_ms(found: _Judged) -> tuple[list[np.ndarray] | None, list[np.ndarray]]:
    """For each process the ms of describing each judged query, None where no region is, and of answering it."""
    if isinstance(found, RegionResult):
        asked = [np.add(found.find_s, process) * 1000 for process in found.describe_s]
        both = zip(found.search_s, found.merge_s, strict=True)
        return asked, [np.add(search, merge) * 1000 for search, merge in both]
    times = found.judged_times_s if isinstance(found, QueryResult) else found.times_s
    return None, [np.asarray(process) * 1000 for process in times]


def _scores(found: _Judged | None, first: _Judged | None) -> Iterator[dict[str, Any]]:
    """Scores of each stratum, all of them first, and what sets them apart from the first system's."""
    strata = [] if found is None else [stratum for stratum in STRATA if stratum in found.precision]
    if found is None or not strata:
        yield {}
        return
    for stratum in strata if len(strata) == 1 else [ALL, *strata]:
        members = strata if stratum == ALL else [stratum]
        precision = joined(found.precision, members)
        row = {"stratum": stratum, "queries": len(precision)} | _mean("precision", precision, ("ci_low", "ci_high"))
        average = joined(found.average_precision, members)
        row |= _mean("mean_average_precision", average, ("map_ci_low", "map_ci_high"))
        if first is not None and first is not found:
            differences = precision - joined(first.precision, members)
            row |= _mean("difference", differences, ("difference_ci_low", "difference_ci_high"))
            row["p"] = paired_permutation_test(differences[np.isfinite(differences)])
        yield row


def _mean(name: str, scores: np.ndarray, ends: tuple[str, str]) -> dict[str, float]:
    """The mean of the scores that there are, with its interval; nothing where there is none."""
    known = scores[np.isfinite(scores)]
    return {name: known.mean(), **dict(zip(ends, bootstrap_interval(known), strict=True))} if len(known) else {}
