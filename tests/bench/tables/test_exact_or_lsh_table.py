import dataclasses

import numpy as np
import pandas as pd
import pytest

from bench.judging.judgments import QUERY_COLUMNS, Judgments
from bench.results import QueryResult
from bench.scores.score import bootstrap_interval
from bench.tables.exact_or_lsh_table import exact_or_lsh_page, exact_or_lsh_table
from bench.tables.table import typed
from bench.tables.table_schemas import SCHEMAS

LSH = {"easy": [0.4, 0.2, 0.6], "hard": [0.1]}
EXACT = {"easy": [0.5, 0.4, 0.6], "hard": [0.3]}
RAW = {"easy": [0.1, 0.2, 0.0], "hard": [0.0]}


@pytest.fixture
def judgments() -> Judgments:
    """Three easy queries with 80, 50 and 200 relevant tiles of 1,001, and a hard one with ten."""
    rows = [(7, 0, "easy", "field", 100, 80), (9, 1, "easy", "wood", 100, 50), (4, 2, "easy", "sea", 100, 200),
            (8, 3, "hard", "boat", 20, 10)]  # fmt: skip
    relevant = np.zeros((4, 1001), bool)
    for i, row in enumerate(rows):
        relevant[i, 500 : 500 + row[-1]] = True
    return Judgments(pd.DataFrame(rows, columns=list(QUERY_COLUMNS)), relevant)


def answered(engine: str, precision: dict[str, list[float]], **changes: object) -> QueryResult:
    space, probes = str(changes.pop("space", "corrected")), changes.pop("probes", 1)
    fields = {"backbone": "tiny", "engine": engine, "kind": engine, "params": {}, "query_params": {"probes": probes},
              "mode": "single", "threads": 1, "k": 100, "precision": precision, **changes}  # fmt: skip
    return QueryResult(cell=f"{fields['backbone']}/{engine}/{probes}/{space}/single-1t", space=space, **fields)


def table_of(results: list[QueryResult], judgments: Judgments) -> pd.DataFrame:
    return typed(exact_or_lsh_table(results, judgments), "exact_or_lsh", "")


def test_steps_by_hand(judgments: Judgments) -> None:
    results = [answered("exact", EXACT), answered("lsh", LSH), answered("lsh", RAW, space="as_published")]
    table = table_of(results, judgments)
    assert table["stratum"].tolist() == ["easy", "hard"]
    easy, hard = table.to_dict("records")
    levels = ["random", "as_published", "lsh", "exact", "ceiling"]
    assert [easy[name] for name in levels] == pytest.approx([0.11, 0.1, 0.4, 0.5, (0.8 + 0.5 + 1) / 3])
    assert [hard[name] for name in levels] == pytest.approx([0.01, 0, 0.1, 0.3, 0.5])
    losses = ["lost_by_model", "lost_by_index", "lost_by_slip"]
    assert [easy[name] for name in losses] == pytest.approx([(0.3 + 0.1 + 0.4) / 3, 0.1, 0.3])
    assert [hard[name] for name in losses] == pytest.approx([0.2, 0.2, 0.1])
    assert (easy["queries"], easy["depth"], easy["setting"]) == (3, 100, "lsh 1")
    assert easy["published_small_pretrained"] == pytest.approx(0.951)
    assert easy["cell"] == "tiny/lsh/1/corrected/single-1t"


def test_intervals_are_of_paired_differences(judgments: Judgments) -> None:
    easy = table_of([answered("exact", EXACT), answered("lsh", LSH)], judgments).iloc[0]
    lost = np.array(EXACT["easy"]) - LSH["easy"]
    assert (easy["index_ci_low"], easy["index_ci_high"]) == pytest.approx(bootstrap_interval(lost))
    short = np.array([0.8, 0.5, 1.0]) - EXACT["easy"]
    assert (easy["model_ci_low"], easy["model_ci_high"]) == pytest.approx(bootstrap_interval(short))
    assert (easy["lsh_ci_low"], easy["lsh_ci_high"]) == pytest.approx(bootstrap_interval(LSH["easy"]))
    assert np.isnan(easy["lost_by_slip"])  # never asked with raw queries


def test_all_steps_add_up_to_the_best_possible(judgments: Judgments) -> None:
    results = [answered("exact", EXACT), answered("lsh", LSH), answered("lsh", RAW, space="as_published")]
    for row in table_of(results, judgments).to_dict("records"):
        steps = row["as_published"] + row["lost_by_slip"] + row["lost_by_index"] + row["lost_by_model"]
        assert steps == pytest.approx(row["ceiling"])


def test_raw_queries_belong_to_their_own_setting(judgments: Judgments) -> None:
    results = [
        answered("exact", EXACT), answered("exact", RAW, space="as_published"),
        answered("lsh", LSH), answered("lsh", EXACT, probes=5),
        answered("lsh", RAW, probes=5, space="as_published"), answered("lsh", LSH, backbone="colour"),
    ]  # fmt: skip
    table = table_of(results, judgments).query("stratum == 'easy'")
    assert table["setting"].tolist() == ["lsh 1", "lsh 5"]  # colour was not searched exactly
    assert table["as_published"].tolist() == pytest.approx([np.nan, 0.1], nan_ok=True)


def test_nothing_is_said_where_nothing_was_judged(judgments: Judgments) -> None:
    results = [answered("exact", EXACT), answered("lsh", LSH)]
    for found in (table_of(results, None), table_of(results, dataclasses.replace(judgments, is_decided=False)),
                  table_of(results[1:], judgments), table_of([], judgments)):  # fmt: skip
        assert found.empty
        assert list(found.columns) == list(SCHEMAS["exact_or_lsh"])


def test_page_has_the_thesis_below_each_stratum(judgments: Judgments) -> None:
    page = exact_or_lsh_page(table_of([answered("exact", EXACT), answered("lsh", LSH)], judgments))
    assert page["queries"].tolist() == ["3 easy@100"] * 5 + ["1 hard@20"] * 5
    assert page["backbone"].tolist()[:3] == ["tiny", "thesis tiny", "thesis tiny_longer"]
    assert page.iloc[0][["random answers", "LSH", "exact search", "best possible"]].tolist() == [
        "0.11", "0.40", "0.50", "0.77",
    ]  # fmt: skip
    assert page["LSH, raw queries"].tolist()[:2] == ["", "0.92"]
    assert page["by the index"].tolist()[0].startswith("0.10 [0.00, 0.20")
    assert "by the slip" not in page
