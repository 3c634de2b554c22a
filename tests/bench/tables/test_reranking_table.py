"""The table ``reranking`` by hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.figures.reranking import draw_reranking
from bench.judging.judgments import QUERY_COLUMNS, Judgments
from bench.report.reranking_sentences import reranking_results
from bench.results import RerankResult
from bench.tables.reranking_table import reranking_page, reranking_table
from bench.tables.table import typed, write_table

STRATA = ["easy", "hard", "easy", "easy", "hard"]  # judgments may hold strata mixed
JUDGMENTS = Judgments(
    pd.DataFrame({name: STRATA if name == "stratum" else range(5) for name in QUERY_COLUMNS}), np.zeros((5, 9), bool)
)
NAMES = {"backbone": "tiny", "engine": "exact", "kind": "exact", "params": {}, "query_params": {}, "threads": 1}


def result(name: str = "alpha", **changes: object) -> RerankResult:
    fields = {
        "cell": f"tiny/exact/rerank-{name}-top5-beta0.5/single-1t", **NAMES, "n": 9, "d": 2, "q": 5,
        "rerank": name, "rerank_kind": "superglobal", "rerank_params": {"top": 5, "neighbours": 9, "beta": 0.5},
        "offline_s": [3.0, 1.0, 2.0], "size_bytes": 2_000_000, "other_load_fracs": [0.0] * 3,
        "search_s": [[0.001, 0.01, 0.002, 0.003, 0.02]] * 3,
        "rerank_s": [[0.004, 0.1, 0.005, 0.006, 0.2], [0.005, 0.1, 0.006, 0.007, 0.3], [0.004, 0.1, 0.005, 0.009, 0.1]],
        "precision": {"easy": [0.3, 0.5, 1.0], "hard": [0.2, 0.2]},
        "precision_before": {"easy": [0.2, 0.5, 0.8], "hard": [0.2, 0.4]},
        "average_precision": {"easy": [0.5, 0.5, None], "hard": [0.1, 0.1]},
        "average_precision_before": {"easy": [0.4, 0.2, None], "hard": [0.1, 0.1]},
    }  # fmt: skip
    return RerankResult(**{**fields, **changes})


def table_of(*results: RerankResult) -> pd.DataFrame:
    return typed(reranking_table(results, JUDGMENTS), "reranking", "test")


def test_differences_are_paired_and_corrected_over_all_rows() -> None:
    table = table_of(result()).set_index("stratum")
    assert list(table.index) == ["all", "easy", "hard"]
    assert table["queries"].tolist() == [5, 3, 2]
    assert table["precision"].tolist() == pytest.approx([2.2 / 5, 0.6, 0.2])
    assert table["precision_before"].tolist() == pytest.approx([2.1 / 5, 0.5, 0.3])
    assert table["precision_difference"].tolist() == pytest.approx([0.02, 0.1, -0.1])
    assert table["precision_p"].tolist() == pytest.approx([1.0, 0.5, 1.0])
    assert table["precision_p_holm"].tolist() == pytest.approx([1.0, 1.0, 1.0])
    assert table["average_precision_difference"].tolist() == pytest.approx([0.4 / 4, 0.2, 0.0])  # None has no pair
    assert set(table["precision_verdict"]) == {"no difference shown"}
    assert table["setting"].tolist() == [""] * 3
    assert table["parameters"].tolist() == ["top=5 beta=0.5"] * 3  # what the suite named
    assert table["top"].tolist() == [5] * 3


def test_times_are_medians_of_the_stratum_s_own_queries_in_the_order_of_the_judgments() -> None:
    table = table_of(result()).set_index("stratum")
    assert table.loc["easy", "search_ms"] == pytest.approx(2)
    assert table.loc["easy", "rerank_ms"] == pytest.approx(5)  # 5, 6 and 5
    assert table.loc["hard", "rerank_ms"] == pytest.approx(150)  # 150, 200 and 100
    assert table["offline_s"].tolist() == [2.0] * 3
    assert table["processes"].tolist() == [3] * 3


def test_many_queries_show_a_gain_and_a_loss() -> None:
    same = {name: [np.ones(5).tolist()] for name in ("search_s", "rerank_s")} | {"other_load_fracs": [0.0]}
    judged = Judgments(
        pd.DataFrame({name: ["label"] * 20 if name == "stratum" else range(20) for name in QUERY_COLUMNS}),
        np.zeros((20, 9), bool),
    )
    scores = {name: {"label": [value] * 20} for name, value in (("precision", 0.6), ("precision_before", 0.4))}
    scores |= {"average_precision": {"label": [0.1] * 20}, "average_precision_before": {"label": [0.2] * 20}}
    times = {name: [[0.001] * 20] for name in ("search_s", "rerank_s")}
    (row,) = reranking_table([result(**{**same, **scores, **times})], judged).to_dict("records")
    assert (row["precision_verdict"], row["average_precision_verdict"]) == ("gains", "loses")
    assert row["stratum"] == "label"  # one stratum is all queries


def test_failed_cells_are_rows_with_their_reason() -> None:
    failed = RerankResult(
        "tiny/exact/rerank-x-top5/single-1t", **NAMES, rerank="x", rerank_kind="diffusion", rerank_params={"top": 5},
        status="failed", reason="out of memory",
    )  # fmt: skip
    table = table_of(result(), failed)
    assert table["status"].tolist() == ["ok"] * 3 + ["failed"]
    page = reranking_page(table)
    assert page["not measured because"].tolist() == ["", "", "", "out of memory"]
    assert page["re-ranker"].tolist() == [*["alpha top=5 beta=0.5"] * 3, "x top=5"]
    assert page["queries"].tolist() == ["5 all", "3 easy", "2 hard", ""]
    assert page["difference"][1].startswith("+0.100 [")
    assert "not measured because" not in reranking_page(table_of(result()))


def test_figure_has_a_panel_a_stratum_and_none_without_rows(tmp_path: Path) -> None:
    assert draw_reranking(tmp_path) is None
    assert reranking_results(tmp_path) == []
    write_table(table_of(result(), result("beta")), tmp_path, "reranking")
    figure = draw_reranking(tmp_path)
    assert figure is not None
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["tiny · 3 easy queries", "tiny · 2 hard queries"]
    (finding,) = reranking_results(tmp_path)
    assert finding.text.startswith("On tiny, alpha, of 2 settings of all re-rankers the one of highest gain, changes")
    assert "from 0.200 to 0.300, +0.100 [" in finding.text
    assert "n = 5, adjusted p = 1.00 after 6 comparisons, which is not shown to be a difference" in finding.text
    assert finding.text.endswith("adds 7 ms to a query. Of these settings 0 gain and 0 lose.")


def test_lone_re_ranker_that_loses_is_not_called_the_best(tmp_path: Path) -> None:
    table = table_of(result()).assign(average_precision_verdict="loses")
    write_table(table, tmp_path, "reranking")
    (finding,) = reranking_results(tmp_path)
    assert finding.text.startswith("On tiny, alpha changes the average precision of exact from 0.200 to 0.300")
    assert "comparisons, a loss; it adds" in finding.text
    assert not any(word in finding.text for word in ("best", "highest", "settings"))
