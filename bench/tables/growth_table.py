"""How the cost of one recall grows with the number of vectors, and what theory says of it.

A run takes part when one corpus was measured at several sizes. What a recall costs at one size is read off the engine's
own front (`bench.scores.growth.cost_at_recall`); build time, choosing included, and memory are those of the setting
above.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.scores.collision import cross_polytope_exponent, hyperplane_exponent
from bench.scores.growth import BETWEEN, FLOOR, SETTING, AtRecall, cost_at_recall, fit_power_law
from bench.tables.building import with_choosing
from bench.tables.names import EXACT, corpora, variant_of
from bench.tables.table_schemas import SCHEMAS

GROWTH_RECALL = 0.9
METRICS = ("single_ms", "batch_ms", "build_s", "size_bytes")
_LINE = ["corpus", "variant", "metric", "threads", "k", "recall_target"]
_SCANS = {EXACT: "every vector is compared", "faiss_lsh": "every code is compared"}
_GRAPHS = ("hnswlib", "faiss_hnsw", "usearch")
_FALCONN = "falconn"  # hashes whole vectors, as theory supposes
_COLLISIONS = {"cross_polytope": cross_polytope_exponent, "hyperplane": hyperplane_exponent}


def growth_points(settings: pd.DataFrame, recall_target: float = GROWTH_RECALL) -> pd.DataFrame:
    """``growth_points``: what the recall costs each engine at each size; empty for runs of one size.

    Args:
        settings: The table ``lsh_parameters``. Corrected queries with the fewest threads measured count.
        recall_target: In [0, 1].
    """
    columns = list(SCHEMAS["growth_points"])
    cells = settings[(settings["status"] == "ok") & (settings["space"] == "corrected")]
    cells = cells[cells["threads"] == cells["threads"].min()]
    cells = with_choosing(cells).assign(corpus=corpora(cells), variant=_variants(cells))
    several = cells.groupby("corpus")["n"].nunique()
    cells = cells[cells["corpus"].isin(several[several > 1].index)]
    rows: list[dict[str, Any]] = []
    for (corpus, variant, n), part in cells.groupby(["corpus", "variant", "n"], sort=False):
        first = part.iloc[0]
        names = {"corpus": corpus, "variant": variant, "threads": first["threads"], "k": first["k"], "n": n}
        rows += [{**names, "recall_target": recall_target, **point} for point in _points(part, recall_target)]
    return pd.DataFrame(rows, columns=columns)


def growth_table(
    points: pd.DataFrame, settings: pd.DataFrame, geometry: pd.DataFrame, unit_length: Mapping[str, bool]
) -> pd.DataFrame:
    """``growth``: a power law of each engine and metric, fitted to the sizes, and the theory's exponent beside it.

    Args:
        points: The table ``growth_points``.
        settings: The table ``lsh_parameters``, which knows each engine's kind, family and parameters.
        geometry: The table ``query_geometry``: near and far distances. Those at the largest size count.
        unit_length: For each backbone, whether its vectors were scaled to length 1, as theory of hashing supposes.
    """
    engines = {str(variant): own for variant, own in settings.groupby(np.array(_variants(settings), object))}
    measured = points.groupby("corpus")["n"].nunique()
    rows = []
    for line, part in points.groupby(_LINE, sort=False):
        names = dict(zip(_LINE, line, strict=True))
        law = fit_power_law(part["n"].to_numpy(), part["cost"].to_numpy(np.float64))
        if law is None:
            continue
        used = part[part["cost"] > 0]
        spread = {"n_low": used["n"].min(), "n_high": used["n"].max(), "sizes": measured[str(names["corpus"])]}
        row = {**names, **spread, **vars(law), "floors": (used["how"] == FLOOR).sum()}
        if names["metric"] in METRICS[:2]:
            near_far = _near_far(str(names["corpus"]), settings, geometry, unit_length)
            row["theory"], row["theory_from"] = theory_exponent(engines[str(names["variant"])], near_far)
        rows.append(row)
    return pd.DataFrame(rows, columns=list(SCHEMAS["growth"]))


def theory_exponent(own: pd.DataFrame, near_far: tuple[float, float]) -> tuple[float, str]:
    """The exponent of n in the time of a query that theory gives an engine, and where it comes from.

    Args:
        own: The engine's rows of ``lsh_parameters``, all of one kind and family.
        near_far: Distance to the k-th neighbour and to a random vector, of unit vectors; NaN where unknown.

    Returns:
        NaN where there is no such theory, or the distances are not known; and no words, or why there is none.

    Source:
        Hashing: `bench.scores.collision`. Graphs: Malkov and Yashunin 2018, arXiv:1603.09320, section 4.2, whose
        argument for O(log n) supposes exact Delaunay graphs. Scans: by definition.
    """
    kind, family = str(own["kind"].iloc[0]), str(own["family"].fillna("").iloc[0])
    if kind in _SCANS:
        return 1.0, _SCANS[kind]
    if kind in _GRAPHS:
        return 0.0, "logarithmic (Malkov and Yashunin 2018)"
    if family not in _COLLISIONS:
        return math.nan, ""
    if kind != _FALCONN and not own["other_params"].map(_hashes_whole_vectors).all():
        return math.nan, "none: hashes leading principal coordinates"
    rho = _COLLISIONS[family](*near_far)
    near, far = near_far
    words = f"rho of {family.replace('_', '-')} hashing, distances {near:.2f} and {far:.2f}"
    return rho, words if rho > 0 else ""


def growth_page(growth: pd.DataFrame) -> pd.DataFrame:
    """The exponents as people read them: a row an engine and metric, ``0.52 ± 0.03``."""
    return pd.DataFrame(
        {
            "corpus": growth["corpus"],
            "engine": growth["variant"],
            "cost": growth["metric"].map(METRIC_WORDS),
            "exponent of n": growth["exponent"].map("{:.2f}".format),
            "standard error": growth["stderr"].map("{:.2f}".format).replace("nan", ""),
            "95 % interval": [
                "" if pd.isna(low) else f"{low:.2f} to {high:.2f}"
                for low, high in zip(growth["ci_low"], growth["ci_high"], strict=True)
            ],
            "sizes": [f"{points} of {of}" for points, of in zip(growth["points"], growth["sizes"], strict=True)],
            "above the recall": growth["floors"],
            "from n": growth["n_low"],
            "to n": growth["n_high"],
            "theory": growth["theory"].map("{:.2f}".format).replace("nan", ""),
            "theory from": growth["theory_from"],
        }
    )


METRIC_WORDS = {
    "single_ms": "single query",
    "batch_ms": "query in a batch",
    "build_s": "build",
    "size_bytes": "memory",
}


def _hashes_whole_vectors(other_params: str) -> bool:
    """Whether collisions depend on the distances that theory speaks of; leading coordinates have others."""
    return "hash_dimension=0" in other_params.split("; ")


def _variants(cells: pd.DataFrame) -> list[str]:
    names = zip(cells["engine"], cells["kind"], cells["family"].fillna(""), strict=True)
    return [variant_of(*name) for name in names]


def _points(part: pd.DataFrame, target: float) -> Iterator[dict[str, Any]]:
    """The cost of the recall in each metric, for one engine at one size; exact search builds nothing."""
    found: dict[str, tuple[AtRecall, pd.DataFrame]] = {}
    for mode in ("single", "batch"):
        asked = part[(part["mode"] == mode) & part["query_ms_median"].notna() & part["recall"].notna()]
        if len(asked):
            found[f"{mode}_ms"] = (
                cost_at_recall(asked["recall"].to_numpy(), asked["query_ms_median"].to_numpy(), target),
                asked,
            )
    for metric, (at, asked) in found.items():
        yield {"metric": metric, "cost": at.cost, **_how(at, asked)}
    for metric in ("build_s", "size_bytes") if found and part["kind"].iloc[0] != EXACT else ():
        at, asked = next(iter(found.values()))
        # Nobody builds half an index: of two settings, the one that reaches the recall.
        upper = AtRecall(math.nan, SETTING if at.how == BETWEEN else at.how, at.rows[-1:])
        cost = asked.iloc[upper.rows[0]][metric] if upper.rows else math.nan
        yield {"metric": metric, "cost": math.nan if pd.isna(cost) else float(cost), **_how(upper, asked)}


def _how(at: AtRecall, asked: pd.DataFrame) -> dict[str, str]:
    words: Sequence[str] = [asked.iloc[row]["setting"] or "defaults" for row in at.rows]
    return {"how": at.how, "settings": " | ".join(words)}


def _near_far(
    corpus: str, settings: pd.DataFrame, geometry: pd.DataFrame, unit_length: Mapping[str, bool]
) -> tuple[float, float]:
    """Near and far distance at the largest size; NaN where they are not known or no distances of unit vectors."""
    own = settings[corpora(settings) == corpus].dropna(subset="n")
    largest = str(own.sort_values("n")["backbone"].iloc[-1])
    here = geometry[(geometry["backbone"] == largest) & (geometry["set"] == "timed")]
    if here.empty or not unit_length.get(largest):
        return math.nan, math.nan
    return float(here["near_distance"].iloc[0]), float(here["far_distance"].iloc[0])
