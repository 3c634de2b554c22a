import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.judging.strata import (
    Concept,
    easy_concepts,
    grouped,
    hard_concepts,
    medium_concepts,
    object_classes,
    spread_queries,
)


def by_name(concepts: list[Concept]) -> dict[str, tuple[list[int], list[int]]]:
    """Query rows and relevant rows of each concept."""
    return {c.name: (c.rows.tolist(), np.flatnonzero(c.relevant).tolist()) for c in concepts}


def test_easy_concept_needs_a_class_that_fills_a_tile():
    shares = pd.DataFrame({"field": [1.0, 0.9, 0.75, 0.74, 0.0], "wood": [0.0, 0.0, 0.2, 0.2, 0.8]})
    assert by_name(easy_concepts(shares, fill=0.9, hit=0.75)) == {"field": ([0, 1], [0, 1, 2])}


def test_medium_concept_is_the_set_of_main_classes():
    shares = pd.DataFrame(
        {
            "field": [0.5, 0.8, 0.95, 0.30, 0.2, 0.10],
            "road": [0.3, 0.15, 0.05, 0.30, 0.2, 0.60],
            "wood": [0.2, 0.05, 0.0, 0.40, 0.6, 0.30],
        }
    )
    concepts = by_name(medium_concepts(shares, main=0.25, hit=0.1, cover=0.6, fill=0.9))
    # Row 1 has one main class, row 2 is filled, row 4 has one main class; rows 0, 1, 3 and 5 show field and road.
    assert concepts == {
        "field + road": ([0], [0, 1, 3, 5]),
        "field + road + wood": ([3], [0, 3, 4, 5]),
        "road + wood": ([5], [3, 4, 5]),
    }


def test_medium_concept_of_the_documentation():
    shares = pd.DataFrame(
        {"field": [0.5, 0.3, 0.8, 0.0, 0.6], "road": [0.3, 0.3, 0.15, 0.95, 0.4], "wood": [0.2, 0.4, 0.0, 0.0, 0.0]}
    )
    concepts = by_name(medium_concepts(shares, main=0.2, hit=0.15, cover=0.6, fill=0.9))
    assert concepts["field + road"] == ([4], [0, 1, 2, 4])


def test_medium_query_needs_main_classes_that_cover_it():
    shares = pd.DataFrame({"a": [0.25, 0.3], "b": [0.25, 0.3], "c": [0.24, 0.2], "d": [0.24, 0.2]})
    concepts = by_name(medium_concepts(shares, main=0.25, hit=0.1, cover=0.6, fill=0.9))
    assert concepts == {"a + b": ([1], [1])}


def test_hard_concept_leaves_out_slivers_and_large_ones():
    boat = [0.10, 0.10, 0.02, 0.20, 0.004, 0.0, 0.001]  # median of those with 0.003 or more: 0.10
    shares = pd.DataFrame({"boat": boat, "water": 1 - np.array(boat)})
    concepts = by_name(hard_concepts(shares, ["boat"], smallest=0.003, part=0.3, largest=0.15))
    assert concepts == {"boat": ([0, 1], [0, 1, 3])}


def test_hard_query_shows_no_greater_object():
    shares = pd.DataFrame({"boat": [0.05, 0.05], "pier": [0.02, 0.08]})
    concepts = by_name(hard_concepts(shares, ["boat", "pier"], smallest=0.003, part=0.3, largest=0.15))
    assert concepts == {"boat": ([0], [0, 1]), "pier": ([1], [0, 1])}


def test_objects_are_rare_and_small():
    n = 100
    shares = pd.DataFrame(
        {
            "field": np.ones(n),
            "tree": np.where(np.arange(n) < 50, 0.02, 0),  # small, but everywhere
            "hall": np.where(np.arange(n) < 5, 0.5, 0),  # rare, but large
            "boat": np.where(np.arange(n) < 5, 0.02, 0),
            "none": np.zeros(n),
        }
    )
    assert object_classes(shares, smallest=0.003, largest=0.15, tiles_frac=0.1) == ["boat"]


def test_grouped_adds_up_classes():
    shares = pd.DataFrame({"wheat": [0.4, 0.0], "road": [0.2, 1.0], "beet": [0.3, 0.0]})
    found = grouped(shares, {"field": ["wheat", "beet"]})
    pd.testing.assert_frame_equal(found, pd.DataFrame({"road": [0.2, 1.0], "field": [0.7, 0.0]}))


def concept(name: str, rows: range, relevant: range, n: int = 100) -> Concept:
    return Concept(tuple(name.split("+")), np.array(rows), np.isin(np.arange(n), np.array(relevant)))


def test_queries_are_spread_over_concepts():
    concepts = [concept("a", range(50), range(50)), concept("b", range(50, 60), range(50, 100))]
    picks = spread_queries(concepts, 6, 10, np.random.default_rng(0))
    assert sorted(c.name for _, c in picks) == ["a"] * 3 + ["b"] * 3


def test_queries_are_spread_over_the_classes_of_concepts():
    everything = range(100)
    concepts = [concept(name, everything, everything) for name in ("a+b", "a+c", "a+d", "b+c", "e+f")]
    first = {c.name for _, c in spread_queries(concepts, 2, 10, np.random.default_rng(1))}
    assert "e+f".replace("+", " + ") in first


def test_concepts_with_enough_relevant_tiles_come_first():
    rich, poor = concept("rich", range(50), range(50)), concept("poor", range(50, 60), range(50, 60))
    picks = spread_queries([poor, rich], 4, 40, np.random.default_rng(0))
    # Nine other relevant tiles are three halvings short of forty, so the rich one is drawn three times before.
    assert [c.name for _, c in picks[:3]] == ["rich"] * 3


def test_fewer_queries_come_where_there_are_no_more():
    concepts = [concept("a", range(2), range(9)), concept("lonely", range(20, 21), range(20, 21))]
    picks = spread_queries(concepts, 5, 3, np.random.default_rng(0))
    assert sorted(row for row, _ in picks) == [0, 1]


@given(st.integers(0, 1000), st.integers(0, 30))
def test_no_tile_is_drawn_twice_and_each_shows_its_concept(seed, count):
    rng = np.random.default_rng(seed)
    shares = pd.DataFrame(rng.dirichlet([0.3] * 4, 40), columns=list("abcd"))
    concepts = medium_concepts(shares, main=0.2, hit=0.1, cover=0.6, fill=0.9)
    picks = spread_queries(concepts, count, 10, rng)
    rows = [row for row, _ in picks]
    assert len(set(rows)) == len(rows) <= count
    assert all(c.relevant[row] and c.others > 0 for row, c in picks)


@pytest.mark.parametrize("seed", [0, 1])
def test_draw_depends_on_the_seed_alone(seed):
    concepts = [concept("a", range(50), range(50)), concept("b", range(50, 90), range(50, 90))]
    first, second = ([row for row, _ in spread_queries(concepts, 9, 5, np.random.default_rng(seed))] for _ in range(2))
    assert first == second
