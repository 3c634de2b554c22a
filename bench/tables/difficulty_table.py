"""Scores and times by difficulty, the geometry of the queries, the state of the data, and what spatial leakage adds.

Three kinds of difficulty stay apart: the strata of the judgments (what a person would call hard), the label of a query,
and geometry (local intrinsic dimension, relative contrast), which knows no picture.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.judging.judgments import JUDGED, STRATA, TIMED
from bench.results import OK, QueryResult
from bench.scores.inference import median_time
from bench.scores.score import bootstrap_interval
from bench.tables.precision_table import setting_of
from bench.tables.table_schemas import SCHEMAS

STRATUM, LABEL, LID, CONTRAST = "stratum", "label", "lid", "relative_contrast"
THIRDS = ("low", "middle", "high")
SELF = "self"
_SINGLE, _CORRECTED = "single", "corrected"
_MOST_BINS, _BIN_QUERIES = 8, 12  # a mean of fewer queries is mostly noise
_MOST_LABELS = 8  # columns of the page


@dataclasses.dataclass(frozen=True, eq=False)
class DataFacts:
    """What a run knows of its data besides scores and times.

    Attributes:
        queries: For each backbone its `bench.queries.query_facts.query_facts`.
        hygiene: Findings of `bench.queries.hygiene`.
        distractors: Searched tiles that were put in to distract.
    """

    queries: Mapping[str, pd.DataFrame] = dataclasses.field(default_factory=dict)
    hygiene: Sequence[Mapping[str, Any]] = ()
    distractors: int = 0


NOTHING_KNOWN = DataFacts()


def difficulty_table(queries: Sequence[QueryResult], data: DataFacts) -> pd.DataFrame:
    """``recall_by_difficulty``: recall and query time of each corrected query cell on each group of queries.

    Strata are those of the judged queries; labels and thirds of geometry are those of the timed ones.
    """
    rows = []
    for result in _timed_singly(queries):
        facts = data.queries.get(result.backbone)
        if result.space == _CORRECTED and facts is not None:
            rows += [
                {**_names(result), **group, **_scores(scored, members)}
                for scored in _scored_sets(result, facts)
                for group, members in _groups(scored.facts)
            ]
    return _table("recall_by_difficulty", rows)


def lid_table(queries: Sequence[QueryResult], data: DataFacts) -> pd.DataFrame:
    """``recall_over_lid``: mean recall of each corrected query cell in bins of LID with as many timed queries each."""
    rows = []
    for result in _distinct(queries):
        facts = data.queries.get(result.backbone)
        if result.space != _CORRECTED or facts is None or not result.recall_at_k:
            continue
        lid = facts.loc[facts["set"] == TIMED, "lid"].to_numpy(np.float64)
        recall = np.asarray(result.recall_at_k)
        ascending = np.argsort(lid, kind="stable")[: int(np.isfinite(lid).sum())]  # NaN comes last
        bins = min(_MOST_BINS, max(1, len(ascending) // _BIN_QUERIES))
        for number, members in enumerate(np.array_split(ascending, bins) if len(ascending) else []):
            place = {"bin": number, "lid_low": lid[members].min(), "lid_high": lid[members].max()}
            rows.append({**_names(result), **place, "lid_mean": lid[members].mean(), **_mean(recall[members])})
    return _table("recall_over_lid", rows, mean="recall")


def geometry_table(queries: Sequence[QueryResult], data: DataFacts) -> pd.DataFrame:
    """``query_geometry``: how LID and relative contrast are spread over the queries of each backbone and set."""
    ks = {result.backbone: result.k for result in queries}
    rows = []
    for backbone, facts in data.queries.items():
        for name in (TIMED, JUDGED):
            here = facts[facts["set"] == name]
            if len(here):
                names = {"backbone": backbone, "set": name, "k": ks.get(backbone), "queries": len(here)}
                spread = _quartiles(here[LID], "lid") | _quartiles(here[CONTRAST], "relative_contrast")
                known = {"lid_missing": int(here[LID].isna().sum()), "lid_mean": here[LID].mean()}
                near, far = here["kth_distance"], here["kth_distance"] * here[CONTRAST]
                distances = {"near_distance": near.mean(), "far_distance": far.mean()}
                rows.append({**names, **known, **spread, "tied_frac": here["tied"].mean(), **distances})
    return _table("query_geometry", rows)


def hygiene_table(data: DataFacts) -> pd.DataFrame:
    """``data_hygiene``: the findings, one a row."""
    return _table("data_hygiene", list(data.hygiene))


def leakage_table(queries: Sequence[QueryResult], depths: Mapping[str, int]) -> pd.DataFrame:
    """``spatial_leakage``: each score with its own tile alone left out, and with all tiles that show the same ground.

    Queries for which an exclusion leaves no score (fewer than k tiles left) are missing on both sides of a difference.

    Args:
        queries: Query cells.
        depths: For each stratum, the depth of its judgments.
    """
    rows = []
    for result in _distinct(queries):
        scores: dict[str, tuple[Sequence[float], Mapping[str, Sequence[float | None]]]] = {
            f"recall@{result.k}": (result.recall_at_k, result.recall_by_exclusion)
        }
        for stratum in (name for name in STRATA if name in result.precision):
            lists = {how: found.get(stratum, []) for how, found in result.precision_by_exclusion.items()}
            depth = f"@{depths[stratum]}" if stratum in depths else ""  # unknown without the run's judgments
            scores[f"precision {stratum}{depth}"] = (result.precision[stratum], lists)
        for score, (own, excluded) in scores.items():
            rows += [{**_names(result), "score": score, **row} for row in _leaks(own, excluded)]
    return _table("spatial_leakage", rows)


def difficulty_page(table: pd.DataFrame) -> pd.DataFrame:
    """``recall_by_difficulty`` as people read it: a row a cell, a column a group, ``0.93 · 0.105`` (recall, ms) in it.

    More than a few labels stand in the CSV alone.
    """
    if table.loc[table["kind"] == LABEL, "group"].nunique() > _MOST_LABELS:
        table = table[table["kind"] != LABEL]
    kinds = table["kind"].map({LID: "LID", CONTRAST: "contrast"}).fillna(table["kind"])
    scores = zip(table["recall"], table["query_ms_median"], strict=True)
    words = [f"{recall:.2f}" + ("" if pd.isna(ms) else f" · {ms:#.3g}") for recall, ms in scores]
    return _by_cell(table, kinds + " " + table["group"], words)


def lid_page(table: pd.DataFrame) -> pd.DataFrame:
    """``recall_over_lid`` as people read it: a row a cell, recall in the columns, from the bin of lowest LID on."""
    return _by_cell(table, [f"bin {number + 1}" for number in table["bin"]], [f"{r:.2f}" for r in table["recall"]])


def leakage_page(table: pd.DataFrame) -> pd.DataFrame:
    """``spatial_leakage`` as people read it."""
    return pd.DataFrame(
        {
            "backbone": table["backbone"],
            "setting": _settings(table),
            "space": table["space"],
            "score": table["score"],
            "left out": table["exclude"],
            "queries": table["queries"],
            "mean": _scores_words(table, "mean"),
            "against self": _scores_words(table, "difference", sign="+"),
        }
    )


def hygiene_page(table: pd.DataFrame) -> pd.DataFrame:
    """``data_hygiene`` as people read it."""
    return table[["about", "backbone", "count", "of", "groups", "consequence"]].rename(columns={"about": "finding"})


@dataclasses.dataclass(frozen=True, eq=False)
class _Scored:
    """One set of queries with what one cell scored on them; empty arrays where nothing was recorded."""

    facts: pd.DataFrame
    recall: np.ndarray
    recall_ids: np.ndarray
    times_s: np.ndarray  # (processes, queries)


def _timed_singly(queries: Sequence[QueryResult]) -> list[QueryResult]:
    """The good cells whose queries have times of their own, any number of threads; without any, distinct searchers."""
    single = [result for result in queries if result.status == OK and result.mode == _SINGLE]
    return single or _distinct(queries)


def _distinct(queries: Sequence[QueryResult]) -> list[QueryResult]:
    """The first good cell of each index, way of asking and space; modes and threads share its scores."""
    firsts: dict[str, QueryResult] = {}
    for result in queries:
        if result.status == OK:
            firsts.setdefault(_searcher(result), result)
    return list(firsts.values())


def _searcher(result: QueryResult) -> str:
    params = sorted(result.params.items()), sorted(result.query_params.items())
    return repr((result.backbone, result.engine, params, result.space))


def _names(result: QueryResult) -> dict[str, Any]:
    return {name: getattr(result, name) for name in ("cell", "backbone", "engine", "space", "mode", "threads", "k")}


def _scored_sets(result: QueryResult, facts: pd.DataFrame) -> Iterator[_Scored]:
    single = result.mode == _SINGLE
    sets: tuple[tuple[str, Sequence[float], Sequence[float], Sequence[Sequence[float]]], ...] = (
        (TIMED, result.recall_at_k, result.recall_ids_at_k, result.times_s if single else []),
        (JUDGED, result.judged_recall, [], result.judged_times_s),
    )
    for name, recall, recall_ids, times_s in sets:
        if len(recall):
            here = facts[facts["set"] == name].reset_index(drop=True)
            yield _Scored(here, *(np.asarray(values, np.float64) for values in (recall, recall_ids, times_s)))


def _groups(facts: pd.DataFrame) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """Groups of the queries of one set, and the positions of their members."""
    if (facts["set"] == JUDGED).all():
        for stratum in STRATA:
            yield {"kind": STRATUM, "group": stratum}, np.flatnonzero(facts["stratum"] == stratum)
        return
    for label in sorted(set(facts["label"]) - {""}):
        yield {"kind": LABEL, "group": label}, np.flatnonzero(facts["label"] == label)
    for kind in (LID, CONTRAST):
        values = facts[kind].to_numpy(np.float64)
        known = np.flatnonzero(np.isfinite(values))
        if len(known):
            third = np.searchsorted(np.quantile(values[known], [1 / 3, 2 / 3]), values[known], side="left")
            for number, word in enumerate(THIRDS):
                members = known[third == number]
                if len(members):
                    span = {"low": values[members].min(), "high": values[members].max()}
                    yield {"kind": kind, "group": word, **span}, members


def _scores(scored: _Scored, members: np.ndarray) -> dict[str, Any]:
    if not len(members):
        return {"queries": 0}
    row = _mean(scored.recall[members])
    row["recall"] = row.pop("mean")
    if scored.recall_ids.size:
        row["recall_ids"] = scored.recall_ids[members].mean()
    if scored.times_s.size:
        row["query_ms_median"] = median_time([process[members] for process in scored.times_s]) * 1000
    return row


def _leaks(own: Sequence[float], excluded: Mapping[str, Sequence[float | None]]) -> Iterator[dict[str, Any]]:
    """One row for the score as it is and one for each exclusion; none where nothing else was excluded."""
    others = {how: np.asarray(values, np.float64) for how, values in excluded.items() if len(values)}
    if not others:
        return
    base = np.asarray(own, np.float64)
    yield {"exclude": SELF, **_mean(base)}
    for how, values in others.items():
        both = np.isfinite(values)
        if not both.any():
            continue
        change = _mean(values[both] - base[both])
        difference = {"difference": change["mean"]} | {
            f"difference_{end}": change[end] for end in ("ci_low", "ci_high")
        }
        yield {"exclude": how, **_mean(values[both]), **difference}


def _mean(values: np.ndarray) -> dict[str, Any]:
    low, high = bootstrap_interval(values)
    return {"queries": len(values), "mean": float(np.mean(values)), "ci_low": low, "ci_high": high}


def _quartiles(values: pd.Series, name: str) -> dict[str, float]:
    known = values.dropna()
    cuts = np.quantile(known, [0.25, 0.5, 0.75]) if len(known) else [np.nan] * 3
    return dict(zip((f"{name}_q1", f"{name}_median", f"{name}_q3"), cuts, strict=True))


def _table(name: str, rows: Sequence[Mapping[str, Any]], **renamed: str) -> pd.DataFrame:
    """Rows under the columns of a schema; members of no group are left out."""
    table = pd.DataFrame([row for row in rows if row.get("queries") != 0]).rename(columns=renamed)
    return table.reindex(columns=list(SCHEMAS[name]))


def _settings(table: pd.DataFrame) -> list[str]:
    cells = zip(table["cell"], table["backbone"], table["engine"], strict=True)
    return [setting_of(cell, backbone, engine) for cell, backbone, engine in cells]


def _by_cell(table: pd.DataFrame, columns: Sequence[str] | pd.Series, words: Sequence[str]) -> pd.DataFrame:
    """A row a cell with its backbone and setting, the words under their columns; both in order of appearance."""
    page = pd.DataFrame({"cell": table["cell"].to_numpy(), "column": list(columns), "words": words})
    order = list(dict.fromkeys(page["column"]))
    wide = page.pivot(index="cell", columns="column", values="words").reindex(columns=order).fillna("")
    cells = table.drop_duplicates("cell")
    names = pd.DataFrame({"cell": cells["cell"], "backbone": cells["backbone"], "setting": _settings(cells)})
    if cells["threads"].nunique() > 1:
        names["threads"] = cells["threads"]
    return names.merge(wide, left_on="cell", right_index=True).drop(columns="cell").reset_index(drop=True)


def _scores_words(table: pd.DataFrame, name: str, sign: str = "") -> list[str]:
    """``0.82 [0.74, 0.89]`` for each row; without an interval where there is none, empty without a value."""
    low, high = ("ci_low", "ci_high") if f"{name}_ci_low" not in table else (f"{name}_ci_low", f"{name}_ci_high")
    words = []
    for mean, bottom, top in table[[name, low, high]].astype("float64").itertuples(index=False, name=None):
        interval = "" if np.isnan(bottom) else f" [{bottom:{sign}.3f}, {top:{sign}.3f}]"
        words.append("" if np.isnan(mean) else f"{mean:{sign}.3f}{interval}")
    return words
