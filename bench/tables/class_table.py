"""Accuracy by class: which labels' queries find their own among the neighbours, and what that takes."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bench.judging.judgments import LABEL, Judgments
from bench.results import QueryResult
from bench.scores.inference import median_time
from bench.scores.score import bootstrap_interval
from bench.suites.suite import CORRECTED, SINGLE
from bench.tables.precision_table import distinct_searchers, setting_of
from bench.tables.table_schemas import SCHEMAS

ALL = "all"  # in the place of a class: every judged query


def class_table(results: Sequence[QueryResult], judgments: Judgments | None) -> pd.DataFrame:
    """``class_accuracy``: for each searcher with corrected queries a row for each class, and one for all of them.

    Args:
        results: Query cells, in the suite's order.
        judgments: What the cells were judged by; only queries that were judged by labels count.
    """
    columns = list(SCHEMAS["class_accuracy"])
    if judgments is None or not (judgments.queries["stratum"] == LABEL).any():
        return pd.DataFrame(columns=columns)
    times = {_searcher(r): r.judged_times_s for r in results if r.mode == SINGLE and r.threads == 1}
    rows = []
    for result in distinct_searchers([r for r in results if r.space == CORRECTED]):
        queries = _scored(result, judgments, times.get(_searcher(result), []))
        names = {"backbone": result.backbone, "engine": result.engine, "cell": result.cell}
        parts = [(ALL, queries), *((str(name), part) for name, part in queries.groupby("concept", sort=True))]
        rows += [{**names, "class": name, **_summary(part)} for name, part in parts]
    return pd.DataFrame(rows, columns=columns)


def _searcher(result: QueryResult) -> str:
    return repr((result.backbone, result.engine, sorted(result.params.items()), result.query_params, result.space))


def _scored(result: QueryResult, judgments: Judgments, times_s: Sequence[Sequence[float]]) -> pd.DataFrame:
    """A row for each query that labels judge: its class, its scores, and its time in each process."""
    places = np.flatnonzero(judgments.queries["stratum"] == LABEL)
    queries = judgments.queries.iloc[places][["concept", "depth"]].reset_index(drop=True)
    votes: Sequence[float] = result.vote_right or [np.nan] * len(queries)
    known = {f"process {i}": np.asarray(seconds)[places] for i, seconds in enumerate(times_s)}
    return queries.assign(accuracy=result.precision[LABEL], vote=np.asarray(votes, np.float64), **known)


def _summary(queries: pd.DataFrame) -> dict[str, float | int]:
    times_s = [queries[name].tolist() for name in queries if str(name).startswith("process ")]
    row: dict[str, float | int] = {"queries": len(queries), "depth": int(queries["depth"].iloc[0])}
    for score, name in (("accuracy", "accuracy"), ("vote", "vote_accuracy")):
        low, high = bootstrap_interval(queries[score].to_numpy())
        prefix = "" if score == "accuracy" else "vote_"
        row |= {name: queries[score].mean(), f"{prefix}ci_low": low, f"{prefix}ci_high": high}
    return {**row, "query_ms_median": 1000 * median_time(times_s) if times_s else np.nan}


def classes_page(table: pd.DataFrame) -> pd.DataFrame:
    """``class_accuracy`` as people read it: a row a searcher, a column a class, behind the scores of all classes."""
    if table.empty:
        return pd.DataFrame()
    rows = []
    for (backbone, engine, cell), part in table.groupby(["backbone", "engine", "cell"], sort=False):
        whole = part[part["class"] == ALL].iloc[0]
        classes = part[part["class"] != ALL].set_index("class")["accuracy"]
        rows.append(
            {
                "backbone": backbone,
                "search": setting_of(str(cell), str(backbone), str(engine)),
                f"accuracy@{whole['depth']}": _interval(whole["accuracy"], whole["ci_low"], whole["ci_high"]),
                "majority vote": _interval(whole["vote_accuracy"], whole["vote_ci_low"], whole["vote_ci_high"]),
                "query ms": whole["query_ms_median"],
                **{str(name): f"{value:.2f}" for name, value in classes.items()},
            }
        )
    return pd.DataFrame(rows)


def _interval(value: float, low: float, high: float) -> str:
    if np.isnan(value):
        return ""
    return f"{value:.3f}" if np.isnan(low) else f"{value:.3f} [{low:.3f}, {high:.3f}]"
