"""Precision by judgments that people made by hand, some answers perhaps unjudged: each query, and averages by stratum.

Where answers are unjudged a precision has no one value: it lies between two bounds, and beside them stand the precision
of what was judged, bpref, and the judged share.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.judging.judgments import STRATA
from bench.judging.pool import Searcher
from bench.scores.score import bootstrap_interval
from bench.scores.unjudged import bpref, condensed_precision, judged_at_k, precision_bounds
from bench.tables.precision_table import SEARCHER, setting_of, stratum_column, thesis_rows
from bench.tables.published import MODELS, add_published, published_precision
from ris_core.records import Hits

_SEARCHER = ["run", *SEARCHER]
_MEANS = ["judged_frac", "precision_at_least", "precision_at_most", "condensed_precision", "bpref"]
_QUERY = ["stratum", "depth", "query_id", "concept"]


def hand_table(searchers: Sequence[Searcher], merged: pd.DataFrame) -> pd.DataFrame:
    """``hand_precision``: one row for each query and searcher.

    Args:
        searchers: What was asked, in the order of their runs.
        merged: One judgment for each concept and tile, as `bench.judging.votes.merge_votes` returns them.

    Returns:
        The query (``stratum``, ``depth``, ``query_id``, ``concept``), the searcher (``run``, ``backbone``, ``engine``,
        ``cell``, ``space``), ``found`` relevant and ``unjudged`` answers at the depth, the columns of
        `bench.scores.unjudged`, and ``relevant_known``, the tiles judged relevant in all.
    """
    return pd.concat([_of_searcher(searcher, merged) for searcher in searchers], ignore_index=True)


def _of_searcher(searcher: Searcher, merged: pd.DataFrame) -> pd.DataFrame:
    grades, (relevant, wrong) = searcher.grades(merged), searcher.totals(merged)
    own, depths = searcher.topics["query_id"].to_numpy(np.int64), searcher.topics["depth"].to_numpy(np.int64)
    scores = pd.DataFrame(index=searcher.topics.index, columns=_MEANS, dtype=np.float64)
    for depth in np.unique(depths):
        at = np.flatnonzero(depths == depth)
        part = Hits(searcher.hits.ids[at], searcher.hits.distances[at]), grades[at], int(depth)
        low, high = precision_bounds(*part, own[at])
        preferred = bpref(*part[:2], (relevant[at], wrong[at]), int(depth), own[at])
        scores.iloc[at] = np.stack(
            [judged_at_k(*part, own[at]), low, high, condensed_precision(*part, own[at]), preferred], axis=1
        )
    counts = (scores[["precision_at_least", "precision_at_most"]].to_numpy() * depths[:, None]).round().astype(np.int64)
    rows = searcher.topics[_QUERY].assign(**{name: searcher.names[name] for name in _SEARCHER})
    rows = rows.assign(found=counts[:, 0], unjudged=counts[:, 1] - counts[:, 0])
    return pd.concat([rows, scores], axis=1).assign(relevant_known=relevant)


def hand_averages(table: pd.DataFrame) -> pd.DataFrame:
    """``hand_precision_averages``: means over the queries of a stratum, the thesis' own averages beside them.

    ``ci_low`` and ``ci_high`` are the bootstrap interval of ``condensed_precision``, over queries with a judged answer.

    Args:
        table: As `hand_table` returns it.
    """
    rows = []
    for key, part in table.groupby(["stratum", "depth", *_SEARCHER], sort=False):
        interval = bootstrap_interval(part["condensed_precision"].to_numpy())
        rows.append((*key, len(part), *part[_MEANS].mean(), *interval))
    columns = ["stratum", "depth", *_SEARCHER, "queries", *_MEANS, "ci_low", "ci_high"]
    published = published_precision().groupby(["stratum", "depth"], as_index=False)[list(MODELS)].mean()
    return add_published(pd.DataFrame(rows, columns=columns), published, ["stratum", "depth"])


def hand_averages_page(averages: pd.DataFrame) -> pd.DataFrame:
    """The averages as people read them: a row a searcher, a column a stratum.

    ``0.82 [0.74, 0.89]`` where all was judged, ``0.66 (0.62 to 0.70), 92 % judged`` where not. The number of queries
    stands in the heading, or where searchers differ in each cell.
    """
    table = averages.assign(
        column=[stratum_column(*row) for row in averages[["stratum", "depth"]].itertuples(index=False, name=None)],
        score=[_score(row) for row in averages.to_dict("records")],
        order=averages["stratum"].map(STRATA.index),
    ).sort_values("order", kind="stable")
    counts = table.groupby("column", sort=False)["queries"].unique()
    differs = table["column"].map(counts.map(len)) > 1
    table["score"] = table["score"].mask(differs, table["score"] + ", n = " + table["queries"].astype(str))
    page = table.pivot_table(index=_SEARCHER, columns="column", values="score", aggfunc="first", sort=False)
    page = page.reindex(columns=counts.index).fillna("").reset_index()
    searches = [setting_of(*names) for names in page[["cell", "backbone", "engine"]].itertuples(index=False, name=None)]
    page = page.assign(search=searches)[["search", "space", "backbone", *counts.index, "run"]]
    thesis = [[*row, "thesis"] for row in thesis_rows(list(counts.index))]
    page = pd.concat([page, pd.DataFrame(thesis, columns=page.columns)], ignore_index=True)
    headings = {column: f"{column}, n = {queries[0]}" for column, queries in counts.items() if len(queries) == 1}
    return page.rename(columns={**headings, "space": "queries"})


def hand_page(table: pd.DataFrame) -> pd.DataFrame:
    """Hits of each query as people read them: a row a query, a column a backbone searched exactly.

    ``60 to 64``: four more answers are unjudged. Where a run has no exact engine, the first setting of each backbone
    stands in.
    """
    is_exact = table["engine"] == "exact"
    has_exact = is_exact.groupby(table["run"]).transform("any")
    shown = table[is_exact | ~has_exact].drop_duplicates([*_QUERY, "run", "backbone"])
    several = shown["run"].nunique() > 1
    shown = shown.assign(
        column=shown["backbone"] + " (" + shown["run"] + ")" if several else shown["backbone"],
        words=[_count(*row) for row in shown[["found", "unjudged"]].itertuples(index=False, name=None)],
    )
    page = shown.pivot_table(index=_QUERY, columns="column", values="words", aggfunc="first", sort=False).fillna("")
    page = page.reset_index().rename(columns={"query_id": "query"})
    page.columns.name = None
    order = page["stratum"].map(STRATA.index)
    page = page.assign(query=page["query"].astype(str), order=order).sort_values("order", kind="stable")
    return page.drop(columns="order").reset_index(drop=True)


def _score(row: Mapping[Any, Any]) -> str:
    score, judged = row["condensed_precision"], row["judged_frac"]
    if np.isnan(score):
        return "none judged"
    if judged < 1:
        bounds = f"{row['precision_at_least']:.2f} to {row['precision_at_most']:.2f}"
        return f"{score:.2f} ({bounds}), {int(100 * judged)} % judged"
    low, high = row["ci_low"], row["ci_high"]
    return f"{score:.2f} [{low:.2f}, {high:.2f}]" if low < high else f"{score:.2f}"


def _count(found: int, unjudged: int) -> str:
    return f"{found} to {found + unjudged}" if unjudged else str(found)
