import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.scores.collision import cross_polytope_exponent, hyperplane_exponent
from bench.tables.growth_table import growth_page, growth_points, growth_table, theory_exponent
from bench.tables.table import read_table, typed
from bench.tables.table_schemas import SCHEMAS

SIZES = (1000, 4000)


def settings(*cells: dict[str, Any]) -> pd.DataFrame:
    """Single queries of one engine at two sizes; four times as many vectors take twice as long."""
    same = {"engine": "lsh", "kind": "lsh", "family": "", "space": "corrected", "mode": "single", "threads": 1, "k": 10,
            "status": "ok", "build_s": 5.0, "size_bytes": 100}  # fmt: skip
    rows = [
        {**same, **cell, "backbone": f"net-n{n}", "n": n, "query_ms_median": cell["ms"] * (n / 1000) ** 0.5}
        for n in SIZES
        for cell in cells
    ]
    table = pd.DataFrame(rows).reindex(columns=list(SCHEMAS["lsh_parameters"]))
    return typed(table, "lsh_parameters", "")


def points_of(table: pd.DataFrame, **options: Any) -> pd.DataFrame:
    return typed(growth_points(table, **options), "growth_points", "")


def growth_of(table: pd.DataFrame, **known: Any) -> pd.DataFrame:
    geometry = pd.DataFrame(known.get("geometry", []), columns=["backbone", "set", "near_distance", "far_distance"])
    return typed(growth_table(points_of(table), table, geometry, known.get("unit_length", {})), "growth", "")


LOW = {"recall": 0.8, "ms": 1.0, "setting": "probes=1", "build_s": 1.0, "size_bytes": 10}
HIGH = {"recall": 1.0, "ms": 4.0, "setting": "probes=9", "build_s": 3.0, "size_bytes": 30}


def test_cost_between_two_settings_is_their_geometric_mean() -> None:
    points = points_of(settings(LOW, HIGH)).set_index(["metric", "n"])
    assert points.loc[("single_ms", 1000), "cost"] == pytest.approx(2.0)
    assert points.loc[("single_ms", 4000), "cost"] == pytest.approx(4.0)
    assert points.loc[("single_ms", 1000), ["how", "settings"]].tolist() == ["interpolated", "probes=1 | probes=9"]
    for metric, cost in (("build_s", 3.0), ("size_bytes", 30)):  # of the one that reaches the recall
        assert points.loc[(metric, 1000), ["cost", "how", "settings"]].tolist() == [cost, "setting", "probes=9"]


def test_choosing_counts_as_building() -> None:
    points = points_of(settings(LOW, {**HIGH, "prepare_s": 0.5})).set_index(["metric", "n"])
    assert points.loc[("build_s", 1000), "cost"] == 3.5
    assert points.loc[("single_ms", 1000), "cost"] == pytest.approx(2.0)


def test_size_that_an_engine_never_answered_counts_among_the_sizes() -> None:
    table = settings(HIGH, {**HIGH, "engine": "tree", "kind": "tree"})
    both = pd.concat([table, table[table["engine"] == "lsh"].assign(backbone="net-n9000", n=9000)], ignore_index=True)
    both = both.drop(index=1)  # the tree at 1,000
    growth = growth_of(pd.concat([both, table[table["engine"] == "tree"].assign(backbone="net-n2000", n=2000)]))
    growth = growth.set_index(["variant", "metric"])
    assert growth.loc[("tree", "single_ms"), ["points", "sizes"]].tolist() == [2, 4]
    assert growth.loc[("lsh", "single_ms"), ["points", "sizes"]].tolist() == [3, 4]


def test_exponent_by_hand() -> None:
    growth = growth_of(settings(LOW, HIGH)).set_index("metric")
    assert growth.loc["single_ms", "exponent"] == pytest.approx(0.5)
    assert growth.loc["single_ms", "factor"] == pytest.approx(2 / math.sqrt(1000))
    assert growth.loc["build_s", "exponent"] == pytest.approx(0)
    assert growth.loc["single_ms", ["points", "sizes", "n_low", "n_high", "floors"]].tolist() == [2, 2, 1000, 4000, 0]
    assert np.isnan(growth.loc["single_ms", "stderr"])


def test_setting_that_asks_for_the_recall_counts_as_it_is() -> None:
    chosen = {"recall": 0.903, "ms": 1.5, "setting": "recall=0.9"}
    points = points_of(settings(LOW, HIGH, chosen)).set_index(["metric", "n"])
    assert points.loc[("single_ms", 1000), ["cost", "how", "settings"]].tolist() == [1.5, "setting", "recall=0.9"]


def test_recall_not_reached_is_no_point_and_a_floor_is_counted() -> None:
    assert growth_of(settings(LOW)).empty
    points = points_of(settings(LOW))
    assert set(points["how"]) == {"not reached"}
    assert points["cost"].isna().all()
    growth = growth_of(settings(HIGH)).set_index("metric")
    assert growth.loc["single_ms", "floors"] == 2


def test_batches_and_single_queries_are_lines_apart_and_build_follows_single_queries() -> None:
    batch = {**HIGH, "mode": "batch", "ms": 0.5, "build_s": 77.0}
    points = points_of(settings(LOW, HIGH, batch)).set_index(["metric", "n"])
    assert points.loc[("batch_ms", 1000), "cost"] == 0.5
    assert points.loc[("build_s", 1000), "cost"] == 3.0


@pytest.mark.parametrize("change", [{"space": "as_published"}, {"status": "failed"}, {"threads": 2}])
def test_raw_failed_and_threaded_cells_do_not_count(change: dict[str, Any]) -> None:
    fast = {**HIGH, "ms": 0.001, **change}
    points = points_of(settings(LOW, HIGH, fast)).set_index(["metric", "n"])
    assert points.loc[("single_ms", 1000), "cost"] == pytest.approx(2.0)


def test_corpora_of_one_size_do_not_grow() -> None:
    one = settings(LOW, HIGH)
    assert points_of(one[one["n"] == 1000]).empty
    two = one.assign(backbone=one["backbone"].replace("net-n4000", "other-n4000"))
    assert points_of(two).empty


def test_exact_search_builds_nothing_that_grows() -> None:
    table = settings({**HIGH, "kind": "exact"})
    assert set(points_of(table)["metric"]) == {"single_ms"}
    growth = growth_of(table)
    assert growth["variant"].tolist() == ["exact"]
    assert growth["theory"].tolist() == [1.0]


DISTANCES = [
    {"backbone": "net-n1000", "set": "timed", "near_distance": 0.9, "far_distance": 1.3},
    {"backbone": "net-n4000", "set": "judged", "near_distance": 0.1, "far_distance": 1.3},
    {"backbone": "net-n4000", "set": "timed", "near_distance": 0.8, "far_distance": 1.4},
]


def test_theory_is_that_of_the_largest_size_on_the_unit_sphere() -> None:
    table = settings({**HIGH, "kind": "falconn", "family": "cross_polytope"})
    growth = growth_of(table, geometry=DISTANCES, unit_length={"net-n4000": True}).set_index("metric")
    assert growth.loc["single_ms", "theory"] == pytest.approx(cross_polytope_exponent(0.8, 1.4))
    assert growth.loc["single_ms", "theory_from"] == "rho of cross-polytope hashing, distances 0.80 and 1.40"
    assert np.isnan(growth.loc["build_s", "theory"])
    for unknown in ({"geometry": DISTANCES}, {"unit_length": {"net-n4000": True}}):
        assert growth_of(table, **unknown)["theory"].isna().all()


def test_cell_that_was_not_measured_is_not_the_largest_size() -> None:
    """It has no n, and comes first, on the smaller size."""
    table = settings({**HIGH, "kind": "falconn", "family": "cross_polytope"})
    table = pd.concat([table.head(1).assign(status="skipped", n=None), table], ignore_index=True)
    unit_length = {"net-n4000": True, "net-n1000": True}
    growth = growth_of(typed(table, "lsh_parameters", ""), geometry=DISTANCES, unit_length=unit_length)
    assert growth["theory"].iloc[0] == pytest.approx(cross_polytope_exponent(0.8, 1.4))


def theory(kind: str, family: str = "", *other_params: str) -> tuple[float, str]:
    rows = [{"kind": kind, "family": family, "other_params": params} for params in other_params or ("",)]
    return theory_exponent(pd.DataFrame(rows), (0.8, 1.4))


def test_theory_of_each_kind_of_engine() -> None:
    assert theory("falconn", "hyperplane")[0] == hyperplane_exponent(0.8, 1.4)
    assert theory("hnswlib") == (0.0, "logarithmic (Malkov and Yashunin 2018)")
    assert theory("faiss_lsh") == (1.0, "every code is compared")
    exponent, source = theory("kdtree")
    assert math.isnan(exponent)
    assert source == ""


def test_theory_of_hashing_is_for_whole_vectors() -> None:
    whole, leading = "rotations=1; hash_dimension=0; seed=1", "rotations=1; hash_dimension=16; seed=1"
    assert theory("crosspolytope", "cross_polytope", whole) == theory("falconn", "cross_polytope")
    for params in ((leading,), (whole, leading)):
        exponent, source = theory("crosspolytope", "cross_polytope", *params)
        assert math.isnan(exponent)
        assert source == "none: hashes leading principal coordinates"


def test_exponents_of_many_engines_are_what_made_their_times(growing_tables: Path) -> None:
    growth = read_table(growing_tables / "growth.csv").set_index(["variant", "metric"])
    for variant, metric, exponent in (
        ("falconn cross-polytope", "single_ms", 0.8), ("crosspolytope", "batch_ms", 0.4), ("hnswlib", "build_s", 1.15),
        ("faiss_ivf", "size_bytes", 1.0), ("exact", "single_ms", 1.0),
    ):  # fmt: skip
        row = growth.loc[(variant, metric)]
        assert row["exponent"] == pytest.approx(exponent, abs=0.02)
        assert row["points"] == 4
    assert "falconn hyperplane" not in growth.index.get_level_values(0)  # never reaches the recall


def test_page_of_exponents(growing_tables: Path) -> None:
    page = growth_page(read_table(growing_tables / "growth.csv"))
    row = page[(page["engine"] == "hnswlib") & (page["cost"] == "single query")].iloc[0]
    assert (row["exponent of n"], row["sizes"], row["theory"]) == ("0.10", "4 of 4", "0.00")
    assert row["above the recall"] == 4
    assert row["theory from"].startswith("logarithmic")
