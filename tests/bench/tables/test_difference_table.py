from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.results import QueryResult
from bench.scores.inference import holm, paired_permutation_test
from bench.scores.power import detectable_difference
from bench.scores.score import bootstrap_interval
from bench.tables.difference_table import (
    difference_table,
    differences_page,
    published_differences,
    published_differences_page,
)
from bench.tables.table import typed
from bench.tables.table_schemas import SCHEMAS

EASY = [0.9, 0.8, 1.0, 0.7, 0.9, 0.8, 0.9, 1.0, 0.9, 0.8]
HARD = [0.1, 0.3, 0.0, 0.2]
DEPTHS = {"easy": 100, "hard": 20, "label": 20}


def query(backbone: str, engine: str, setting: str = "", **changes: Any) -> QueryResult:
    space, mode = changes.get("space", "corrected"), changes.get("mode", "single")
    fields = {
        "cell": "/".join(part for part in (backbone, engine, setting, space, f"{mode}-1t") if part),
        "backbone": backbone, "engine": engine, "kind": engine, "params": {}, "query_params": {"probes": setting},
        "space": space, "mode": mode, "threads": 1, "k": 10, "precision": {"easy": EASY, "hard": HARD},
    }  # fmt: skip
    return QueryResult(**{**fields, **changes})


def lowered(values: list[float], by: float) -> list[float]:
    return [value - by for value in values]


def table_of(queries: list[QueryResult]) -> pd.DataFrame:
    return typed(difference_table(queries, DEPTHS), "differences", "")


def test_one_comparison_by_hand() -> None:
    worse = {"easy": [0.4, 0.7, 0.8], "hard": [0.2]}
    table = table_of([
        query("tiny", "exact", precision={"easy": [0.5, 0.9, 0.8], "hard": [0.3]}),
        query("mini", "exact", precision=worse),
    ])  # fmt: skip
    whole = table.set_index("stratum").loc["all"]
    assert whole[["family", "score", "first", "second", "n"]].tolist() == ["backbones", "precision", "tiny", "mini", 4]
    assert whole[["mean_first", "mean_second", "difference"]].tolist() == pytest.approx([0.625, 0.525, 0.1])
    assert whole["p"] == 2 / 8  # the zero turns no sign; 0.1, 0.2, 0.1 have 8 ways
    # p of all, easy and hard: 0.25, 0.5 and 1, of which the smallest counts three times, the next twice.
    assert table["p"].tolist() == [0.25, 0.5, 1.0]
    assert table["p_holm"].tolist() == [0.75, 1.0, 1.0]
    assert set(table["comparisons"]) == {3}
    assert set(table["verdict"]) == {"no difference shown"}


def test_backbones_are_compared_in_pairs_on_each_stratum_and_on_all() -> None:
    table = table_of([query(name, "exact") for name in ("tiny", "small", "colour")])
    assert table[["stratum", "first", "second"]].to_numpy().tolist() == [
        [stratum, *pair]
        for stratum in ("all", "easy", "hard")
        for pair in (("tiny", "small"), ("tiny", "colour"), ("small", "colour"))
    ]
    assert table["n"].tolist() == [14] * 3 + [10] * 3 + [4] * 3
    assert set(table["comparisons"]) == {9}


def test_one_stratum_is_not_tested_twice() -> None:
    table = table_of([query(name, "exact", precision={"label": EASY}) for name in ("tiny", "small")])
    assert table["stratum"].tolist() == ["label"]


def test_verdict_says_what_the_first_is_and_follows_the_adjusted_p() -> None:
    better, worse = query("tiny", "exact"), query("mini", "exact", precision={"easy": lowered(EASY, 0.3), "hard": HARD})
    for pair, verdict in (([better, worse], "higher"), ([worse, better], "lower")):
        rows = table_of(pair).set_index("stratum")
        assert rows["verdict"].to_dict() == {"all": verdict, "easy": verdict, "hard": "no difference shown"}
    assert rows.loc["easy", "p"] == 2 / 2**10


def test_more_comparisons_take_away_what_fewer_would_show() -> None:
    """p = 2 / 2^6 = 0.031 is enough for one question, and not for six."""
    six = [0.9, 0.8, 1.0, 0.7, 0.9, 0.8]
    exact = {name: query(name, "exact", precision={"label": lowered(six, by)}) for name, by in
             (("tiny", 0.0), ("small", 0.1), ("mini", 0.2), ("colour", 0.3))}  # fmt: skip
    assert table_of([exact["tiny"], exact["colour"]])["verdict"].tolist() == ["higher"]
    table = table_of(list(exact.values()))
    assert set(table["p"]) == {2 / 2**6}
    assert set(table["verdict"]) == {"no difference shown"}


def test_slip_is_paired_by_setting_on_the_timed_queries() -> None:
    rng = np.random.default_rng(0)
    recall = {name: (rng.integers(3, 11, 40) / 10).tolist() for name in ("1", "5")}
    queries = [
        query("tiny", "falconn", probes, space=space, mode=mode, precision={}, recall_at_k=lowered(values, slip))
        for probes, values in recall.items()
        for space, slip in (("corrected", 0.0), ("as_published", 0.25))
        for mode in ("single", "batch")
    ]
    table = table_of(queries)
    assert table["family"].tolist() == ["query slip"] * 2
    assert table["setting"].tolist() == ["falconn 1", "falconn 5"]
    assert set(table["score"]) == {"recall@10"}
    assert set(table["stratum"]) == {"timed"}
    assert table["cell"].tolist() == ["tiny/falconn/1/corrected/single-1t", "tiny/falconn/5/corrected/single-1t"]
    assert table["difference"].to_numpy() == pytest.approx([0.25, 0.25])
    assert table["verdict"].tolist() == ["higher", "higher"]


def test_slip_is_told_in_precision_too_where_both_ways_were_judged() -> None:
    recall = {"recall_at_k": EASY}
    raw = {"easy": lowered(EASY, 0.3), "hard": HARD}
    table = table_of([
        query("tiny", "falconn", "1", **recall),
        query("tiny", "falconn", "1", space="as_published", precision=raw, **recall),
    ])  # fmt: skip
    assert table[["score", "stratum", "n", "verdict"]].to_numpy().tolist() == [
        ["recall@10", "timed", 10, "no difference shown"],
        ["precision", "all", 14, "higher"],
    ]
    assert table["difference"].tolist() == pytest.approx([0, 10 * 0.3 / 14])
    assert (table["ci_low"] <= table["difference"]).all()
    assert set(table["comparisons"]) == {2}


def test_setting_asked_one_way_only_is_not_in_the_slips_family() -> None:
    one_way = query("tiny", "falconn", "1", recall_at_k=EASY, precision={})
    assert table_of([one_way]).empty


def test_approximation_is_compared_with_exact_search_on_the_same_backbone() -> None:
    found = lowered(EASY, 0.3)
    table = table_of([
        query("tiny", "exact"),
        query("tiny", "falconn", "1", precision={"easy": found, "hard": HARD}),
        query("tiny", "falconn", "5"),
        query("colour", "falconn", "1"),  # nothing exact to compare with
        query("tiny", "falconn", "1", space="as_published", precision={"easy": found, "hard": HARD}),
    ])  # fmt: skip
    assert table["family"].tolist() == ["approximation"] * 2
    assert table[["first", "second", "setting", "n"]].to_numpy().tolist() == [
        ["falconn", "exact", "falconn 1", 14], ["falconn", "exact", "falconn 5", 14],
    ]  # fmt: skip
    assert table["verdict"].tolist() == ["lower", "no difference shown"]


def test_each_family_is_adjusted_alone_and_whole() -> None:
    rng = np.random.default_rng(1)
    queries = []
    for backbone in ("tiny", "small", "colour"):
        for engine in ("exact", "falconn"):
            for space in ("corrected", "as_published"):
                precision = {"easy": rng.random(12).tolist(), "hard": rng.random(6).tolist()}
                recall = rng.random(30).tolist()
                queries.append(query(backbone, engine, space=space, precision=precision, recall_at_k=recall))
    table = table_of(queries)
    assert table.groupby("family", sort=False).size().to_dict() == {
        "backbones": 9,
        "query slip": 12,  # in recall and in precision
        "approximation": 3,
    }
    for _, family in table.groupby("family"):
        assert family["p_holm"].to_numpy() == pytest.approx(holm(family["p"].to_numpy(float)))
        assert set(family["comparisons"]) == {len(family)}


def test_numbers_are_those_of_the_paired_differences() -> None:
    rng = np.random.default_rng(2)
    first, second = rng.random(25), rng.random(25)
    row = table_of([
        query("tiny", "exact", precision={"label": first.tolist()}),
        query("mini", "exact", precision={"label": second.tolist()}),
    ]).iloc[0]  # fmt: skip
    assert (row["ci_low"], row["ci_high"]) == pytest.approx(bootstrap_interval(first - second))
    assert row["p"] == paired_permutation_test(first - second)


def test_rows_say_what_so_few_queries_could_show() -> None:
    worse = {"easy": lowered(EASY, 0.3), "hard": [0.2, 0.1, 0.3, 0.2]}
    rows = table_of([query("tiny", "exact"), query("mini", "exact", precision=worse)]).set_index("stratum")
    assert rows["least_difference"].to_dict() == pytest.approx(
        {"all": 6 / 1400, "easy": 0.006, "hard": np.nan}, nan_ok=True
    )
    assert rows.loc["hard", "detectable_difference"] == detectable_difference(np.array(HARD) - worse["hard"])
    page = differences_page(rows.reset_index())["could be shown"]
    assert page.tolist()[1:] == ["0.006", "none"]  # equal differences have no spread: the least is what counts
    small = rows.reset_index().assign(least_difference=0.0001, detectable_difference=0.0002)
    assert set(differences_page(small)["could be shown"]) == {"< 0.001"}  # never nothing


def test_failed_cells_are_not_compared() -> None:
    failed = query("mini", "exact", status="failed", precision={"easy": EASY}, recall_at_k=[0.1] * 10)
    raw = query("tiny", "falconn", space="as_published", recall_at_k=[0.1] * 10, precision={}, status="failed")
    corrected = query("tiny", "falconn", recall_at_k=[0.9] * 10, precision={})
    assert table_of([query("tiny", "exact"), failed, corrected, raw]).empty


def test_page_names_queries_interval_both_ps_and_what_was_tested_with_it() -> None:
    table = table_of(
        [query("tiny", "exact"), query("mini", "exact", precision={"easy": lowered(EASY, 0.3), "hard": HARD})]
    )
    page = differences_page(table).iloc[1]
    assert page["queries"] == "10 easy"
    assert page["difference"] == "+0.300 [+0.300, +0.300]"
    assert page["comparisons"] == 3
    assert page["first is"] == "higher"
    assert differences_page(table)["queries"].iloc[0] == "all 14"


def test_nothing_measured_makes_no_comparison() -> None:
    assert list(difference_table([], {}).columns) == list(SCHEMAS["differences"])
    assert table_of([query("tiny", "exact")]).empty


def test_published_differences_are_those_of_the_published_counts() -> None:
    table = typed(published_differences({"hard": 20}), "published_differences", "")
    assert table.groupby("stratum", sort=False).size().to_dict() == {"all": 6, "easy": 6, "medium": 6, "hard": 6}
    hard = table[(table["stratum"] == "hard") & (table["first"] == "tiny") & (table["second"] == "small_pretrained")]
    (row,) = hard.to_dict("records")
    assert (row["n"], row["depth"], row["comparisons"]) == (10, 20, 24)
    assert (row["mean_first"], row["mean_second"], row["difference"]) == pytest.approx((0.095, 0.145, -0.05))
    # Three of the ten queries are tied, and in the other seven the first is lower: 2 of 128 ways.
    assert row["p"] == 2 / 2**7
    assert table["p_holm"].to_numpy() == pytest.approx(holm(table["p"].to_numpy(float)))
    assert set(table["verdict"]) == {"no difference shown"}
    page = published_differences_page(table).iloc[table.index.get_loc(hard.index[0])]
    assert page["means, %"] == "9.5, 14.5"
    assert page["difference, points"].startswith("-5.0 [-8.0, -2.5")
    assert page["could be shown, points"] == "4.7"


def test_published_differences_stay_away_from_what_the_thesis_did_not_judge() -> None:
    assert published_differences({}).empty
    assert published_differences({"label": 20, "hard": 10}).empty
