import dataclasses

import numpy as np
import pandas as pd
import pytest

from bench.queries.query_facts import COLUMNS
from bench.results import FAILED, QueryResult
from bench.tables.difficulty_table import (
    DataFacts,
    difficulty_page,
    difficulty_table,
    geometry_table,
    hygiene_page,
    hygiene_table,
    leakage_page,
    leakage_table,
    lid_page,
    lid_table,
)
from bench.tables.table import read_table, typed, write_table
from bench.tables.table_schemas import CAPTIONS


def facts(lid: list[float], labels: str = "", strata: tuple[str, ...] = ()) -> pd.DataFrame:
    timed = {"query_id": range(len(lid)), "set": "timed", "stratum": "", "lid": lid, "tied": False,
             "relative_contrast": [10 / value for value in lid], "label": list(labels) or ""}  # fmt: skip
    judged = {"query_id": range(len(strata)), "set": "judged", "stratum": strata, "label": "", "lid": 7.0,
              "relative_contrast": 2.0, "tied": True}  # fmt: skip
    tables = [pd.DataFrame(timed), *([pd.DataFrame(judged)] if strata else [])]
    return pd.concat(tables, ignore_index=True).assign(kth_distance=1.0)[list(COLUMNS)]


def cell(**changes: object) -> QueryResult:
    fields = {"cell": "tiny/falconn/x/corrected/single-1t", "backbone": "tiny", "engine": "falconn", "kind": "falconn",
              "params": {"tables": 5}, "query_params": {}, "space": "corrected", "mode": "single", "threads": 1,
              "k": 10}  # fmt: skip
    return QueryResult(**{**fields, **changes})


LID = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
SCORED = {
    "recall_at_k": [1.0, 0.9, 0.8, 0.7, 0.6, 0.5],
    "recall_ids_at_k": [1.0, 0.9, 0.8, 0.7, 0.6, 0.3],
    "times_s": [[0.001, 0.002, 0.003, 0.004, 0.005, 0.006], [0.001, 0.002, 0.003, 0.006, 0.007, 0.008]],
}


def group_of(table: pd.DataFrame, kind: str, name: str) -> pd.Series:
    return table[(table["kind"] == kind) & (table["group"] == name)].iloc[0]


def test_thirds_by_hand() -> None:
    table = difficulty_table([cell(**SCORED)], DataFacts({"tiny": facts(LID)}))
    high = group_of(table, "lid", "high")
    assert (high["queries"], high["low"], high["high"]) == (2, 5, 6)
    assert high["recall"] == pytest.approx(0.55)
    assert high["recall_ids"] == pytest.approx(0.45)
    assert high["query_ms_median"] == pytest.approx(6.5)  # of 5 and 6, of 7 and 8
    contrast = group_of(table, "relative_contrast", "low")  # near 1 is hard: the same queries
    assert contrast["recall"] == pytest.approx(0.55)
    assert table["kind"].tolist() == ["lid"] * 3 + ["relative_contrast"] * 3


def test_labels_and_strata_stay_apart_from_geometry() -> None:
    known = facts(LID, "aabbbb", ("easy", "hard", "easy"))
    judged = {"judged_recall": [0.9, 0.1, 0.7], "judged_times_s": [[0.001, 0.01, 0.003]]}
    table = difficulty_table([cell(**SCORED, **judged)], DataFacts({"tiny": known}))
    assert group_of(table, "label", "a")["recall"] == pytest.approx(0.95)
    assert group_of(table, "label", "b")["queries"] == 4
    easy = group_of(table, "stratum", "easy")
    assert (easy["queries"], easy["recall"]) == (2, pytest.approx(0.8))
    assert easy["query_ms_median"] == pytest.approx(2)
    assert np.isnan(easy["recall_ids"])
    assert set(table.loc[table["kind"] == "stratum", "group"]) == {"easy", "hard"}


def test_queries_without_an_estimate_are_in_no_third() -> None:
    lid = [1.0, np.nan, 3.0, 4.0, 5.0, 6.0]
    table = difficulty_table([cell(**SCORED)], DataFacts({"tiny": facts(lid)}))
    assert table.loc[table["kind"] == "lid", "queries"].sum() == 5
    bins = lid_table([cell(**SCORED)], DataFacts({"tiny": facts(lid)}))
    assert bins["queries"].tolist() == [5]
    assert bins["recall"].tolist() == [pytest.approx(0.72)]


def test_equal_values_stay_in_one_third() -> None:
    table = difficulty_table([cell(**SCORED)], DataFacts({"tiny": facts([2.0] * 6)}))
    assert table.loc[table["kind"] == "lid", ["group", "queries"]].to_numpy().tolist() == [["low", 6]]


def test_cells_that_failed_or_asked_raw_or_in_a_batch_are_left_out() -> None:
    cells = [
        cell(**SCORED),
        cell(cell="threads", threads=2, **SCORED),
        cell(cell="batch", mode="batch", **SCORED),
        cell(cell="raw", space="as_published", **SCORED),
        cell(cell="failed", status=FAILED),
        cell(cell="unknown", backbone="other", **SCORED),
    ]
    data = DataFacts({"tiny": facts(LID)})
    assert set(difficulty_table(cells, data)["cell"]) == {cells[0].cell, "threads"}
    assert set(lid_table(cells, data)["cell"]) == {cells[0].cell}


def test_batch_alone_has_recall_and_no_time() -> None:
    batch = cell(mode="batch", **{**SCORED, "times_s": [[0.5, 0.6]]})
    table = difficulty_table([batch, dataclasses.replace(batch, cell="again")], DataFacts({"tiny": facts(LID)}))
    assert set(table["cell"]) == {batch.cell}
    assert table["query_ms_median"].isna().all()


def test_bins_of_lid_hold_equally_many_queries_in_order() -> None:
    lid = np.random.default_rng(0).permutation(100).astype(float) + 1
    table = lid_table([cell(recall_at_k=(lid / 200).tolist())], DataFacts({"tiny": facts(lid.tolist())}))
    assert table["queries"].tolist() == [13] * 4 + [12] * 4
    assert table["lid_low"].tolist() == [1, 14, 27, 40, 53, 65, 77, 89]
    assert table["lid_high"].tolist() == [13, 26, 39, 52, 64, 76, 88, 100]
    assert table["recall"].to_numpy() == pytest.approx(table["lid_mean"].to_numpy() / 200)


def test_geometry_of_each_set_of_queries() -> None:
    known = facts([1.0, 2.0, 3.0, np.nan], strata=("easy", "hard"))
    table = geometry_table([cell()], DataFacts({"tiny": known})).set_index("set")
    timed = table.loc["timed"]
    assert (timed["k"], timed["queries"], timed["lid_missing"]) == (10, 4, 1)
    assert (timed["lid_mean"], timed["lid_q1"], timed["lid_median"], timed["lid_q3"]) == (2, 1.5, 2, 2.5)
    assert timed["tied_frac"] == 0
    assert table.loc["judged", "tied_frac"] == 1


def leaking() -> QueryResult:
    return cell(
        recall_at_k=[1.0, 0.5, 1.0, 0.5],
        recall_by_exclusion={"overlap": [0.9, 0.4, 0.9, None], "block": []},
        precision={"easy": [0.8, 0.6], "hard": [0.2]},
        precision_by_exclusion={"overlap": {"easy": [0.5, 0.5], "hard": [0.1]}},
    )


def test_leakage_by_hand() -> None:
    table = leakage_table([leaking(), cell(cell="again", mode="batch")], {"easy": 100, "hard": 20})
    assert table[["score", "exclude", "queries"]].to_numpy().tolist() == [
        ["recall@10", "self", 4], ["recall@10", "overlap", 3],
        ["precision easy@100", "self", 2], ["precision easy@100", "overlap", 2],
        ["precision hard@20", "self", 1], ["precision hard@20", "overlap", 1],
    ]  # fmt: skip
    assert table["mean"].tolist() == pytest.approx([0.75, 2.2 / 3, 0.7, 0.5, 0.2, 0.1])
    assert table["difference"].tolist() == pytest.approx([np.nan, -0.1, np.nan, -0.2, np.nan, -0.1], nan_ok=True)
    assert table["difference_ci_low"].tolist()[1] == pytest.approx(-0.1)
    assert table["difference_ci_low"].isna().tolist() == [True, False, True, False, True, True]


def test_no_exclusion_is_no_row() -> None:
    assert leakage_table([cell(**SCORED, precision={"easy": [0.5]})], {"easy": 100}).empty


def test_many_labels_stand_in_the_csv_alone() -> None:
    lid = [float(value) for value in range(1, 21)]
    scored = {"recall_at_k": [0.5] * 20}
    for labels, shown in (("abcdefgh" + "a" * 12, 8), ("abcdefghi" + "a" * 11, 0)):
        table = difficulty_table([cell(**scored)], DataFacts({"tiny": facts(lid, labels)}))
        assert (table["kind"] == "label").any()
        assert sum(column.startswith("label ") for column in difficulty_page(table)) == shown


def test_cells_of_several_threads_are_rows_apart() -> None:
    cells = [cell(**SCORED), cell(cell="tiny/falconn/x/corrected/single-2t", threads=2, **SCORED)]
    page = difficulty_page(difficulty_table(cells, DataFacts({"tiny": facts(LID)})))
    assert page["threads"].tolist() == [1, 2]


def test_pages_say_the_same_in_words(tmp_path) -> None:
    hygiene = [{"about": "tied queries", "backbone": "tiny", "count": 3, "of": 6, "frac": 0.5, "groups": None,
                "consequence": "Read recall."}]  # fmt: skip
    data = DataFacts({"tiny": facts(LID)}, hygiene)
    tables = {
        "recall_by_difficulty": difficulty_table([cell(**SCORED)], data),
        "spatial_leakage": leakage_table([leaking()], {"easy": 100, "hard": 20}),
        "data_hygiene": hygiene_table(data),
        "query_geometry": geometry_table([cell()], data),
        "recall_over_lid": lid_table([cell(**SCORED)], data),
    }
    for name, table in tables.items():
        write_table(table, tmp_path, name, CAPTIONS[name])
        pd.testing.assert_frame_equal(read_table(tmp_path / f"{name}.csv"), typed(table, name, ""), rtol=1e-9)
    page = difficulty_page(tables["recall_by_difficulty"])
    names = [f"{kind} {third}" for kind in ("LID", "contrast") for third in ("low", "middle", "high")]
    assert list(page) == ["backbone", "setting", *names]
    assert page.iloc[0].tolist()[:5] == ["tiny", "falconn x", "0.95 · 1.50", "0.75 · 4.00", "0.55 · 6.50"]
    bins = lid_page(tables["recall_over_lid"])
    assert bins.to_numpy().tolist() == [["tiny", "falconn x", "0.75"]]
    leaks = leakage_page(tables["spatial_leakage"])
    assert leaks["against self"].tolist()[:2] == ["", "-0.100 [-0.100, -0.100]"]
    assert hygiene_page(tables["data_hygiene"])["finding"].tolist() == ["tied queries"]
