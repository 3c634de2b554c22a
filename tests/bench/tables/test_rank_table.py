from pathlib import Path

import pandas as pd
import pytest

from bench.tables.rank_table import CRITERIA, rank_table, ranks_page
from bench.tables.table import read_table, typed
from bench.tables.table_schemas import SCHEMAS


def cheapest(*rows: tuple[str, str, float | None, float | None, int | None], **same: float) -> pd.DataFrame:
    """Engine, mode, milliseconds (None: not reached), build seconds and bytes at one recall."""
    records = [
        {"backbone": "tiny", "mode": mode, "threads": 1, "engine": engine, "variant": engine, "n": 99, "k": 10,
         "recall_target": 0.9, "cell": "" if ms is None else engine, "query_ms_median": ms,
         "build_s": None if ms is None else build_s, "size_bytes": None if ms is None else size, **same}
        for engine, mode, ms, build_s, size in rows
    ]  # fmt: skip
    return typed(pd.DataFrame(records, columns=list(SCHEMAS["cheapest_settings"])), "cheapest_settings", "")


RANKS = rank_table(
    cheapest(
        ("exact", "single", 9.0, 0.0, 0),
        ("exact", "batch", 1.0, 0.0, 0),
        ("graph", "batch", 2.0, 60.0, 500),  # another index is the fastest in batches
        ("graph", "single", 1.0, 50.0, 400),
        ("lsh", "single", 2.0, 3.0, 400),
        ("lsh", "batch", 2.0, 3.0, 400),
        ("codes", "single", None, 1.0, 1),
        ("codes", "batch", None, 1.0, 1),
        ("tree", "single", None, 1.0, 1),
        ("tree", "batch", None, 1.0, 1),
    )
).set_index("variant")


def test_ranks_by_hand() -> None:
    """Graph and lsh are level in batches and memory; codes and tree share the ranks 4 and 5 throughout."""
    ranks = RANKS[list(CRITERIA.values())].loc[["exact", "graph", "lsh"]]
    assert ranks.to_numpy().tolist() == [[3, 1, 1, 1], [1, 2.5, 3, 2.5], [2, 2.5, 2, 2.5]]
    assert RANKS.loc[["codes", "tree"], list(CRITERIA.values())].to_numpy().tolist() == [[4.5] * 4] * 2
    assert RANKS["mean_rank"].to_dict() == {"exact": 1.5, "graph": 2.25, "lsh": 2.25, "codes": 4.5, "tree": 4.5}


def test_build_and_memory_are_those_of_the_setting_for_single_queries() -> None:
    assert RANKS.loc["graph", ["build_s", "size_bytes"]].tolist() == [50, 400]
    batches = rank_table(cheapest(("graph", "batch", 2.0, 60.0, 500), ("lsh", "batch", 1.0, 3.0, 400)))
    assert batches["build_s"].tolist() == [60, 3]
    assert batches["single_rank"].isna().all()
    assert batches["mean_rank"].tolist() == [2, 1]
    assert "alone" not in ranks_page(typed(batches, "engine_ranks", ""))


def test_choosing_counts_as_building() -> None:
    graph = cheapest(("graph", "single", 1.0, 5.0, 1))
    ours = cheapest(("lsh", "single", 1.0, 3.0, 1), prepare_s=2.5)
    ranks = rank_table(pd.concat([ours, graph], ignore_index=True))
    assert ranks["build_s"].tolist() == [5.5, 5.0]
    assert ranks["build_rank"].tolist() == [2, 1]


def test_build_that_was_not_measured_has_no_rank_and_takes_none_from_others() -> None:
    rows = [("graph", "single", 1.0, None, None), ("lsh", "single", 2.0, 3.0, 400), ("codes", "single", None, 1.0, 1)]
    ranks = rank_table(cheapest(*rows)).set_index("variant")
    for rank in ("build_rank", "memory_rank"):
        assert ranks[rank].fillna(0).to_dict() == {"graph": 0, "lsh": 1, "codes": 2}
    assert ranks["mean_rank"].to_dict() == {"graph": 1, "lsh": pytest.approx(4 / 3), "codes": pytest.approx(7 / 3)}
    page = ranks_page(typed(ranks.reset_index()[list(SCHEMAS["engine_ranks"])], "engine_ranks", ""))
    assert page.set_index("engine")["build"].to_dict() == {"graph": "", "lsh": "1", "codes": "2"}


def test_one_engine_has_no_rank() -> None:
    assert rank_table(cheapest(("graph", "single", 1.0, 1.0, 1))).empty
    assert rank_table(cheapest()).empty


def test_page_has_the_best_mean_rank_first(engine_tables: Path) -> None:
    ranks = read_table(engine_tables / "engine_ranks.csv")
    page = ranks_page(ranks)
    assert page.columns.tolist() == ["recall", "engine", "alone", "in a batch", "build", "memory", "mean rank"]
    at = page[page["recall"] == "0.9"]
    assert at["mean rank"].astype(float).is_monotonic_increasing
    assert at["engine"].tolist()[0] == "crosspolytope"


@pytest.mark.parametrize("rank", [*CRITERIA.values(), "mean_rank"])
def test_ranks_of_a_recall_sum_up_to_those_of_its_engines(engine_tables: Path, rank: str) -> None:
    ranks = read_table(engine_tables / "engine_ranks.csv")
    engines = ranks["variant"].nunique()
    sums = ranks.groupby("recall_target")[rank].sum()
    assert sums.tolist() == pytest.approx([engines * (engines + 1) / 2] * len(sums))
