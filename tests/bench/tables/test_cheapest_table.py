import numpy as np
import pandas as pd
import pytest

from bench.tables.cheapest_table import cheapest_page, cheapest_table, floored, time_verdict
from bench.tables.table import typed
from bench.tables.table_schemas import SCHEMAS

Row = tuple[str, float, float, str, str]


def settings(*rows: Row, mode: str = "single", engine: str = "lsh", kind: str = "lsh") -> pd.DataFrame:
    records = [
        {"cell": f"tiny/{engine}/{name}/corrected/{mode}-1t", "backbone": "tiny", "engine": engine, "kind": kind,
         "n": 99, "threads": 1, "mode": mode, "k": 10, "recall": recall, "query_ms_median": ms,
         "query_ms_ci_low": ms * 0.9, "query_ms_ci_high": ms * 1.1, "space": space, "status": status,
         "setting": name, "chosen": "", "build_s": 2.0, "size_bytes": 2**20}
        for name, recall, ms, space, status in rows
    ]  # fmt: skip
    return typed(pd.DataFrame(records, columns=list(SCHEMAS["lsh_parameters"])), "lsh_parameters", "")


def cheapest(*parts: pd.DataFrame) -> pd.DataFrame:
    return typed(cheapest_table(pd.concat(parts, ignore_index=True)), "cheapest_settings", "here")


ROWS: tuple[Row, ...] = (
    ("slow", 0.99, 3.0, "corrected", "ok"),
    ("fast", 0.92, 1.0, "corrected", "ok"),
    ("poor", 0.6, 2.0, "corrected", "ok"),  # slower and worse than another: never chosen
    ("raw", 1.0, 0.1, "as_published", "ok"),
    ("dead", 1.0, 0.1, "corrected", "failed"),
)
EXACT = settings(("", 1.0, 1.5, "corrected", "ok"), mode="batch", engine="flat", kind="exact")


def test_fastest_setting_that_reaches_each_recall_is_found_by_hand() -> None:
    table = cheapest(settings(*ROWS))
    chosen = dict(zip(table["recall_target"], table["setting"], strict=True))
    assert chosen == {0.5: "fast", 0.8: "fast", 0.9: "fast", 0.95: "slow", 0.99: "slow"}
    assert set(table["settings"]) == {3}
    assert set(table["best_recall"]) == {0.99}


def test_target_that_no_setting_reaches_has_no_cell() -> None:
    table = cheapest(settings(("a", 0.8996, 1.0, "corrected", "ok")))
    assert table["cell"].tolist()[-3:] == ["", "", ""]
    page = cheapest_page(table)
    assert page.columns.tolist() == ["recall", "engine", "alone, ms", "setting alone", "build s", "index MiB"]
    assert page["alone, ms"].tolist() == [1.0, 1.0, *["not reached (best 0.899)"] * 3]
    assert page["index MiB"].tolist()[:2] == [1.0, 1.0]
    assert page["index MiB"].isna().tolist()[2:] == [True] * 3


def test_index_that_was_not_measured_has_neither_time_nor_size() -> None:
    rows = settings(*ROWS[:2]).assign(build_s=np.nan, size_bytes=pd.NA)
    page = cheapest_page(cheapest(typed(rows, "lsh_parameters", "")))
    assert page.columns.tolist() == ["recall", "engine", "alone, ms", "setting alone"]


def test_choosing_counts_as_building_and_processes_are_told() -> None:
    rows = settings(ROWS[0], ROWS[1]).assign(prepare_s=[0.5, np.nan], processes=[1, 3])
    table = cheapest(typed(rows, "lsh_parameters", ""))
    assert table["build_s"].tolist() == [2.0] * 5  # apart in the table
    page = cheapest_page(table)
    assert page["build s"].tolist() == [2.0, 2.0, 2.0, 2.5, 2.5]
    assert page["processes"].tolist() == [3, 3, 3, 1, 1]


def test_recall_a_rounding_below_a_target_reaches_it() -> None:
    below = 0.9 - 1e-12
    assert cheapest(settings(("a", below, 1.0, "corrected", "ok")))["cell"].tolist()[2] != ""


def test_families_of_one_engine_are_variants_apart() -> None:
    rows = settings(ROWS[0], ROWS[1]).assign(family=["hyperplane", "cross_polytope"])
    table = cheapest(rows)
    assert list(dict.fromkeys(table["variant"])) == ["lsh hyperplane", "lsh cross-polytope"]
    assert set(table["settings"]) == {1}


def test_times_stand_against_exact_search_in_batches() -> None:
    """Exact search takes 1.5 ms: the setting of 1 ms is 1.5 times as fast, that of 3 ms half as fast."""
    table = cheapest(settings(*ROWS[:3]), settings(*ROWS[:3], mode="batch"), EXACT)
    own = table[(table["variant"] == "lsh") & (table["mode"] == "batch")]
    assert own["times_as_fast"].tolist() == [1.5, 1.5, 1.5, 0.5, 0.5]
    assert own["against_exact_batch"].tolist() == ["faster"] * 3 + ["slower"] * 2
    exact = table[table["variant"] == "exact"]
    assert set(exact["against_exact_batch"]) == {""}
    page = cheapest_page(table).set_index(["recall", "engine"])
    assert page.loc[("0.9", "lsh"), "against exact in batches"] == "1.50 times as fast"
    assert page.loc[("0.99", "lsh"), "against exact in batches"] == "slower: takes 2.00 times as long"
    assert page.loc[("0.9", "exact"), "in a batch, ms"] == 1.5
    assert np.isnan(page.loc[("0.9", "exact"), "alone, ms"])


def test_run_without_exact_batches_compares_with_none() -> None:
    table = cheapest(settings(*ROWS))
    assert table["times_as_fast"].isna().all()
    assert "against exact in batches" not in cheapest_page(table)


def test_each_way_of_asking_has_its_own_setting_and_the_page_joins_them() -> None:
    batch = settings(("slow", 0.99, 0.2, "corrected", "ok"), ("fast", 0.92, 0.4, "corrected", "ok"), mode="batch")
    page = cheapest_page(cheapest(settings(*ROWS), batch))
    row = page[page["recall"] == "0.9"].iloc[0]
    assert (row["alone, ms"], row["setting alone"]) == (1.0, "fast")
    assert (row["in a batch, ms"], row["setting in a batch"]) == (0.2, "slow")


def test_page_is_fastest_first_within_a_recall_and_says_what_was_chosen() -> None:
    other = settings(("ef=5", 0.93, 0.5, "corrected", "ok"), engine="graph", kind="graph").assign(chosen="probes=7")
    page = cheapest_page(cheapest(settings(*ROWS), other))
    assert page.loc[page["recall"] == "0.9", "engine"].tolist() == ["graph", "lsh"]
    assert page.loc[page["recall"] == "0.95", "engine"].tolist() == ["lsh", "graph"]  # not reached comes last
    assert page["setting alone"].tolist()[0] == "ef=5 → probes=7"


def test_sizes_stand_in_the_order_of_the_suite() -> None:
    sizes = [settings(*ROWS[:2]).assign(backbone=f"net-n{n}", n=n) for n in (4000, 16000)]
    assert list(dict.fromkeys(cheapest_page(cheapest(*sizes))["backbone"])) == ["net-n4000", "net-n16000"]


@pytest.mark.parametrize(
    ("low_high", "verdict"),
    [((1.2, 1.4), "faster"), ((1.2, 1.6), "no difference shown"), ((2.6, 3.0), "slower"),
     ((np.nan, np.nan), "no difference shown")],
)  # fmt: skip
def test_verdict_needs_intervals_apart(low_high: tuple[float, float], verdict: str) -> None:
    other = {"query_ms_ci_low": 1.5, "query_ms_ci_high": 2.5}
    assert time_verdict(dict(zip(other, low_high, strict=True)), other) == verdict


@pytest.mark.parametrize(("recall", "words"), [(0.8999, "0.899"), (0.9, "0.900"), (1.0, "1.000"), (0.29, "0.290")])
def test_recall_is_never_rounded_up(recall: float, words: str) -> None:
    assert floored(recall) == words
