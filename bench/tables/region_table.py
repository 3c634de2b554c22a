"""What queries by regions gain over whole pictures, and what they cost by number of crops."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
import pandas as pd

from bench.judging.judgments import STRATA, Judgments
from bench.results import OK, RegionResult
from bench.scores.inference import median_time, nested_interval
from bench.tables.names import setting_words
from bench.tables.paired_scores import SCORES, call, compare, ends, joined, pairs, spans
from bench.tables.table_schemas import SCHEMAS

ALL, WHOLE = "all", "whole"
_NAMES = ("cell", "backbone", "engine", "regions", "source", "status", "reason")
_STEPS = ("find", "describe", "search", "merge")


def region_table(results: Sequence[RegionResult], judgments: Judgments | None) -> pd.DataFrame:
    """``regions``: one row a region cell and stratum, and one over all queries where there are several strata.

    Differences are paired: the same queries asked of the same index by their whole pictures alone. All differences
    of one score are one family, whose p values are adjusted together (Holm).

    Args:
        results: Region cells of one run; failed ones have a row with their reason.
        judgments: What they were judged by.
    """
    strata = np.empty(0, str) if judgments is None else judgments.queries["stratum"].to_numpy(str)
    whole = {_index(result): result for result in results if result.regions == WHOLE and result.status == OK}
    rows = [row for result in results for row in _rows(result, whole.get(_index(result)), strata)]
    call(rows)
    return pd.DataFrame(rows, columns=list(SCHEMAS["regions"]))


def region_times_table(results: Sequence[RegionResult], notes: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """``region_times``: one row an index, source of regions and number of crops, with the corpus' own description.

    Args:
        results: Region cells of one run; times of failed ones are left out.
        notes: For each backbone what its stages noted, as `bench.tables.run_tables.backbone_notes` has it.
    """
    groups: dict[tuple[str, str, str, str], list[RegionResult]] = {}
    for result in (result for result in results if result.status == OK):
        setting = setting_words(result.cell, {**result.params, **result.query_params})
        groups.setdefault((result.backbone, result.engine, setting, result.source), []).append(result)
    rows = []
    for names, members in groups.items():
        noted, first = notes.get(names[0], {}), members[0]
        about = dict(zip(("backbone", "engine", "setting", "source"), names, strict=True)) | {
            "n": first.n,
            "corpus_s": noted.get("extract_s"),
            "tiles_per_s": noted.get("tiles_per_s"),
            "descriptor_bytes": first.descriptor_bytes,
        }
        for crops in sorted({number for result in members for number in result.crops}):
            chosen = [(result, np.flatnonzero(np.asarray(result.crops) == crops)) for result in members]
            rows.append(about | {"crops": crops, "queries": sum(len(part) for _, part in chosen)} | _timed(chosen))
    return pd.DataFrame(rows, columns=list(SCHEMAS["region_times"]))


def regions_page(table: pd.DataFrame) -> pd.DataFrame:
    """``regions`` as people read it: ``0.61 [0.55, 0.67]``, differences with their sign."""
    page = pd.DataFrame(
        {
            "backbone": table["backbone"],
            "index": pairs(table, "engine", "setting"),
            "regions": pairs(table, "regions", "parameters"),
            "queries": pairs(table, "queries", "stratum"),
            "crops": table["crops"],
            "precision": spans(table, "precision"),
            "difference": spans(table, "precision_difference", sign="+"),
            "precision is": table["precision_verdict"],
            "average precision": spans(table, "average_precision"),
            "its difference": spans(table, "average_precision_difference", sign="+"),
            "average precision is": table["average_precision_verdict"],
            "query (ms)": table["query_ms"],
            "not measured because": table["reason"],
        }
    )
    return page if (table["reason"] != "").any() else page.drop(columns="not measured because")


def region_times_page(table: pd.DataFrame) -> pd.DataFrame:
    """``region_times`` as people read it."""
    return pd.DataFrame(
        {
            "backbone": table["backbone"],
            "index": pairs(table, "engine", "setting"),
            "corpus (s)": table["corpus_s"],
            "tiles/s": table["tiles_per_s"],
            "descriptors (MB)": table["descriptor_bytes"].astype("float64") / 1e6,
            "regions": table["source"],
            "crops": table["crops"],
            "queries": table["queries"],
            **{f"{step} (ms)": table[f"{step}_ms"] for step in _STEPS},
            "query (ms)": spans(table, "query_ms"),
        }
    )


def _index(result: RegionResult) -> str:
    """What makes one index asked in one way."""
    params = sorted(result.params.items()), sorted(result.query_params.items())
    return repr((result.backbone, result.engine, params))


def _rows(result: RegionResult, whole: RegionResult | None, stratum_of: np.ndarray) -> Iterator[dict[str, Any]]:
    """A row for each stratum of a cell, with p values of its own; ``stratum_of`` each judged query."""
    regions = result.cell.split("/")[-2].removeprefix(f"regions-{result.regions}").strip("-")
    names = {name: getattr(result, name) for name in _NAMES} | {
        "setting": setting_words(result.cell, {**result.params, **result.query_params}),
        "parameters": region_words(regions, result.region_params),
        "merge": result.region_params.get("merge"),
        "n": result.n or None,
        "processes": result.processes or None,
    }
    if result.status != OK:
        yield names
        return
    strata = [stratum for stratum in STRATA if stratum in result.precision]
    for stratum in strata if len(strata) == 1 else [ALL, *strata]:
        members = strata if stratum == ALL else [stratum]
        places = np.flatnonzero(np.isin(stratum_of, members))
        crops = np.asarray(result.crops)[places]
        row = names | {"stratum": stratum, "queries": len(places), "crops": crops.mean()}
        for score in SCORES:  # queries without any region are those that they are held against
            row |= _scored(score, result, whole if crops.any() else None, members)
        yield row | _timed([(result, places)])


def _scored(score: str, result: RegionResult, whole: RegionResult | None, strata: Sequence[str]) -> dict[str, Any]:
    """One score; held against whole pictures unless it is theirs."""
    own = joined(getattr(result, score), strata)
    found = compare(score, own, own if whole is None else joined(getattr(whole, score), strata), WHOLE)
    if whole is None or result is whole:
        return {name: value for name, value in found.items() if "_difference" not in name and not name.endswith("_p")}
    return found


def _timed(chosen: Sequence[tuple[RegionResult, np.ndarray]]) -> dict[str, Any]:
    """Median times of some queries of some cells, by step and altogether."""
    times: dict[str, list[np.ndarray]] = {f"{step}_ms": [] for step in (*_STEPS, "query")}
    for result, places in chosen:
        find_s = [result.find_s] * len(result.describe_s)
        lists = (find_s, result.describe_s, result.search_s, result.merge_s, result.times_s)
        for name, processes in zip(times, lists, strict=True):
            times[name] += [np.asarray(process)[places] * 1000 for process in processes if len(places)]
    medians = {name: median_time(processes) for name, processes in times.items()}
    return medians | ends("query_ms", nested_interval(times["query_ms"]))


def region_words(label: str, params: Mapping[str, Any]) -> str:
    """The parameters that a cell's suite names, by the label in its id: ``merge=min sizes=0.5, 0.25``."""
    told = {  # of a path its last name: tables are published
        key: ", ".join(map(str, value)) if isinstance(value, list | tuple) else PurePath(str(value)).name
        for key, value in params.items()
        if (f"-{value}-" in f"-{label}-" if key == "merge" else f"-{key}" in f"-{label}")
    }
    return " ".join(f"{key}={text}" for key, text in told.items())
