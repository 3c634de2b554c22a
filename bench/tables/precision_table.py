"""Precision of nearest neighbours: each query, averages by stratum, and the page that people read."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from bench.judging.judgments import STRATA, Judgments
from bench.results import OK, QueryResult
from bench.scores.score import bootstrap_interval
from bench.tables.published import MODELS, add_published, published_precision, published_table
from bench.tables.table_schemas import SCHEMAS

RANDOM, CEILING = "random", "ceiling"  # engines that are none
SEARCHER = ["backbone", "engine", "cell", "space"]


def precision_table(results: Sequence[QueryResult], judgments: Judgments | None) -> pd.DataFrame:
    """``nn_precision``: one row for each judged query and searcher.

    Single and batch mode and any number of threads give the same answers, so of such cells the first one stands for
    all. Two searchers need no run: ``random``, whose precision is what random answers reach on average,
    relevant / (n - 1), and ``ceiling``, the best that any answer could reach, min(relevant, depth) / depth.

    Args:
        results: Query cells, in the suite's order; failed ones are left out.
        judgments: What the cells were judged by.
    """
    columns = list(SCHEMAS["nn_precision"])
    if judgments is None or not len(judgments) or not judgments.is_decided:
        return pd.DataFrame(columns=columns)
    parts = [
        _searched(judgments, {"engine": RANDOM}, judgments.chance),
        _searched(judgments, {"engine": CEILING}, judgments.ceiling),
    ]
    for result in distinct_searchers(results):
        names = {name: getattr(result, name) for name in SEARCHER}
        precision, mean_precision = (
            _of_queries(judgments, by_stratum) for by_stratum in (result.precision, result.average_precision)
        )
        parts.append(_searched(judgments, names, precision).assign(average_precision=mean_precision))
    table = pd.concat(parts, ignore_index=True).reindex(columns=columns)
    return table.dropna(subset="precision").reset_index(drop=True)


def _of_queries(judgments: Judgments, by_stratum: Mapping[str, Sequence[float | None]]) -> np.ndarray:
    """(q,) one score a judged query, NaN where there is none."""
    scores = np.full(len(judgments), np.nan)
    for stratum, values in by_stratum.items():
        scores[(judgments.queries["stratum"] == stratum).to_numpy()] = np.asarray(values, np.float64)
    return scores


def distinct_searchers(results: Sequence[QueryResult]) -> list[QueryResult]:
    """The first good, judged cell of each backbone, index, query parameters and space."""
    return first_of_searchers([result for result in results if result.status == OK and result.precision])


def first_of_searchers(results: Sequence[QueryResult]) -> list[QueryResult]:
    """The first cell of each backbone, index, query parameters and space."""
    firsts: dict[str, QueryResult] = {}
    for result in results:
        key = repr((result.backbone, result.engine, sorted(result.params.items()), result.query_params, result.space))
        firsts.setdefault(key, result)
    return list(firsts.values())


def precision_averages(precision: pd.DataFrame) -> pd.DataFrame:
    """``nn_precision_averages``: mean over the queries of a stratum with its 95 % bootstrap interval.

    Args:
        precision: The table ``nn_precision``.
    """
    rows = []
    for key, part in precision.groupby(["stratum", "depth", *SEARCHER], sort=False):
        means = part["average_precision"].astype("float64")
        scores = [(score.mean(), *bootstrap_interval(score.to_numpy())) for score in (part["precision"], means)]
        rows.append((*key, len(part), *scores[0], *scores[1]))
    columns = ["stratum", "depth", *SEARCHER, "queries", "precision", "ci_low", "ci_high"]
    columns += ["mean_average_precision", "map_ci_low", "map_ci_high"]
    published = published_precision().groupby(["stratum", "depth"], as_index=False)[list(MODELS)].mean()
    averages = add_published(pd.DataFrame(rows, columns=columns), published, ["stratum", "depth"])
    return averages[list(SCHEMAS["nn_precision_averages"])]


def averages_page(averages: pd.DataFrame) -> pd.DataFrame:
    """The averages as people read them: a row a searcher, a column a stratum, ``0.82 [0.74, 0.89]`` in the cells.

    The backbones stand together under each search, corrected queries before those as published. The thesis' models
    stand below where its strata were measured, with intervals from its published counts.
    """
    if averages.empty:
        return pd.DataFrame()
    scores = ["engine", "precision", "ci_low", "ci_high"]
    table = averages.assign(
        column=[
            stratum_column(stratum, depth)
            for stratum, depth in zip(averages["stratum"], averages["depth"], strict=True)
        ],
        score=[
            f"{mean:.2f}" if engine in (RANDOM, CEILING) else _score(mean, low, high)
            for engine, mean, low, high in averages[scores].itertuples(index=False, name=None)
        ],
        order=averages["stratum"].map(STRATA.index),
    )
    strata = table.sort_values("order")["column"].drop_duplicates().tolist()
    searchers = table[SEARCHER].drop_duplicates()
    page = []
    for backbone, engine, cell, space in searchers.itertuples(index=False, name=None):
        own = table[(table[SEARCHER] == [backbone, engine, cell, space]).all(axis=1)].set_index("column")["score"]
        page.append([setting_of(cell, backbone, engine), space, backbone or "any", *(own.get(c, "") for c in strata)])
    searches, spaces = ([row[column] for row in page] for column in (0, 1))
    page.sort(key=lambda row: (row[1] == "", spaces.index(row[1]), searches.index(row[0])))
    page += thesis_rows(strata)
    counts = table.groupby("column")["queries"].first()
    counted = [f"{column}, n = {counts[column]}" for column in strata]
    return pd.DataFrame(page, columns=["search", "queries", "backbone", *counted])


def precision_page(precision: pd.DataFrame) -> pd.DataFrame:
    """Hits of each query as people read them: a row a query, a column a backbone searched exactly.

    Where a suite has no exact engine, its first setting stands in. Below the queries of a difficulty stand their mean
    in percent, and the thesis' queries with the hits of its models.
    """
    searched = precision[~precision["engine"].isin([RANDOM, CEILING])]
    if searched.empty:
        return pd.DataFrame()
    engine = "exact" if (searched["engine"] == "exact").any() else searched["engine"].iloc[0]
    shown = searched[(searched["engine"] == engine) & (searched["space"] == searched["space"].iloc[0])]
    shown = shown.drop_duplicates(["stratum", "query_id", "backbone"])
    keys = ["stratum", "depth", "query_id", "concept", "relevant_in_corpus"]
    page = shown.pivot_table(index=keys, columns="backbone", values="found", sort=False)
    page["at most"] = precision[precision["engine"] == CEILING].set_index(keys)["found"]
    page["by chance"] = precision[precision["engine"] == RANDOM].set_index(keys)["found"]
    page = page.reset_index().rename(columns={"query_id": "query", "relevant_in_corpus": "relevant"})
    page.columns.name = None
    strata = sorted(set(zip(page["stratum"], page["depth"], strict=True)), key=lambda key: STRATA.index(key[0]))
    thesis = published_table("nn_precision_counts").rename(columns={"difficulty": "stratum", "description": "concept"})
    parts = [
        _with_mean(table[(table[["stratum", "depth"]] == list(stratum)).all(axis=1)], source)
        for stratum in strata
        for source, table in (("this run", page), ("the thesis", thesis))
    ]
    shown = pd.concat(parts, ignore_index=True)
    if set(shown["queries of"]) == {"this run"}:
        shown = shown.drop(columns="queries of")
    own, bounds = list(page.columns[:-2]), list(page.columns[-2:])
    columns = [name for name in dict.fromkeys(["queries of", *own, *MODELS, *bounds]) if name in shown]
    return shown[columns].astype(object).fillna("")


def _with_mean(counts: pd.DataFrame, source: str) -> pd.DataFrame:
    """Counts of one stratum, as texts, and their mean in percent below; nothing of nothing."""
    if counts.empty:
        return counts
    about = ["stratum", "depth", "query", "concept", "relevant"]
    found = counts[[name for name in counts if name not in about]]
    means = {name: f"{100 * found[name].mean() / counts['depth'].iloc[0]:.1f} %" for name in found}
    texts = found.apply(lambda column: column.map(("{:.1f}" if column.name == "by chance" else "{:.0f}").format))
    known = counts[[name for name in about if name in counts]].assign(query=counts["query"].astype(str))  # an id
    last = {"stratum": counts["stratum"].iloc[0], "depth": counts["depth"].iloc[0], "query": f"mean of {len(counts)}"}
    whole = pd.concat([known.join(texts), pd.DataFrame([last | means])], ignore_index=True)
    return whole.assign(**{"queries of": source})


def setting_of(cell: str, backbone: str, engine: str) -> str:
    """Engine and setting that a cell's id names, without backbone, space, mode and threads."""
    parts = cell.split("/")
    middle = parts[1:-2] if parts[0] == backbone and len(parts) > 3 else []
    return " ".join(middle) or engine


def _searched(judgments: Judgments, names: dict[str, str], precision: np.ndarray) -> pd.DataFrame:
    queries = judgments.queries
    rows = queries[["stratum", "depth", "query_id", "concept"]].assign(
        **{name: names.get(name, "") for name in SEARCHER}
    )
    # Random answers keep their fraction; counted ones lose the rounding of their division.
    found = precision * queries["depth"].to_numpy()
    found = found if names["engine"] == RANDOM else np.round(found)
    return rows.assign(found=found, precision=precision, relevant_in_corpus=queries["relevant"])


def thesis_rows(strata: list[str]) -> list[list[str]]:
    """The thesis' models, as rows of the page; none where the strata or depths are others."""
    published = published_precision()
    published["column"] = [
        stratum_column(*row) for row in published[["stratum", "depth"]].itertuples(index=False, name=None)
    ]
    groups = {str(column): part for column, part in published.groupby("column")}
    if not set(strata) & set(groups):
        return []
    rows = []
    for model in MODELS:
        scores = []
        for column in strata:
            values = groups[column][model].to_numpy(np.float64) if column in groups else np.zeros(0)
            scores.append(_score(values.mean(), *bootstrap_interval(values)) if len(values) else "")
        rows.append(["thesis' LSH, judged by hand", "as_published", model, *scores])
    return rows


def stratum_column(stratum: str, depth: int) -> str:
    """Heading of a stratum: ``easy@100``."""
    return f"{stratum}@{depth}"


def _score(mean: float, low: float, high: float) -> str:
    return f"{mean:.2f}" if not low < high else f"{mean:.2f} [{low:.2f}, {high:.2f}]"
