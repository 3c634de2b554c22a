from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.judging.judgments import Judgments
from bench.queries.query_facts import COLUMNS, query_facts
from bench.stages.base import Asked, Base, exact_neighbours
from ris_core.records import Features


def base_of(values: list[list[float]] | np.ndarray, rows: list[int], depth: int) -> Base:
    features = Features(np.ascontiguousarray(values, np.float32), np.arange(len(values)) * 10, "space")
    asked = Asked(np.array(rows), features.values[rows], features.values[rows])
    truth = exact_neighbours(features, asked, depth)
    return Base("tiny", features, features, Path(), np.arange(len(values)), Path(), asked, truth)


LINE = [[0.0], [1.0], [2.0], [4.0], [4.0], [9.0]]


def test_facts_of_a_line_by_hand() -> None:
    facts = query_facts(base_of(LINE, [0, 1], 5), 3, np.array(list("aabbbb")), None)
    assert list(facts) == list(COLUMNS)
    assert facts["query_id"].tolist() == [0, 10]
    assert set(facts["set"]) == {"timed"}
    assert facts["label"].tolist() == ["a", "a"]
    assert facts["kth_distance"].tolist() == [4, 3]
    # From 0: distances 1, 2, 4, 4, 9; the third is tied with the fourth. From 1: 1, 1, 3, 3, 8.
    assert facts["tied"].tolist() == [True, True]
    assert facts["lid"].tolist() == pytest.approx([1 / np.log(2), 3 / (2 * np.log(3))])
    assert facts["relative_contrast"].tolist() == pytest.approx([20 / 5 / 4, 16 / 5 / 3])


def test_tie_needs_a_neighbour_as_near_at_the_next_rank() -> None:
    base = base_of(LINE, [0], 5)
    assert [bool(query_facts(base, k, None, None)["tied"][0]) for k in (1, 2, 3, 4, 5)] == [0, 0, 1, 0, 0]


def test_judged_queries_follow_the_timed_ones() -> None:
    queries = pd.DataFrame(
        {"query_id": [50, 0], "row": [5, 0], "stratum": ["easy", "hard"], "concept": "x", "depth": 2, "relevant": 1}
    )
    judgments = Judgments(queries, np.zeros((2, 6), bool))
    facts = query_facts(base_of(LINE, [1], 4), 3, None, judgments)
    assert facts["query_id"].tolist() == [10, 50, 0]
    assert facts["set"].tolist() == ["timed", "judged", "judged"]
    assert facts["stratum"].tolist() == ["", "easy", "hard"]
    assert facts["kth_distance"].tolist() == [3, 7, 4]
    assert facts["label"].tolist() == ["", "", ""]


def test_query_from_elsewhere_has_no_id_and_no_label() -> None:
    base = base_of(LINE, [0], 5)
    asked = Asked(np.array([-1]), base.timed.raw, base.timed.corrected)
    truth = exact_neighbours(base.corrected, asked, 5)
    held_out = Base(base.name, base.raw, base.corrected, Path(), base.rows, Path(), asked, truth)
    facts = query_facts(held_out, 3, np.array(list("aabbbb")), None)
    assert facts["query_id"].tolist() == [-1]
    assert facts["label"].tolist() == [""]
    assert facts["relative_contrast"].tolist() == pytest.approx([20 / 6 / 2])  # its own tile is another one now
