from collections.abc import Callable

import numpy as np
import pytest

from ris_core.rerank.contract import Asked
from ris_core.rerank.query_expansion import QueryExpansion, QueryExpansionParams, expand_query

QUERY = np.array([1, 0], np.float32)
NEIGHBOURS = np.array([[0.8, 0.6], [0.6, -0.8], [-1, 0]], np.float32)


def test_average_is_the_mean_of_query_and_neighbours() -> None:
    expected = np.array([1.4, -0.2]) / np.hypot(1.4, 0.2)  # 1 + 0.8 + 0.6 - 1, 0 + 0.6 - 0.8
    assert expand_query(QUERY, NEIGHBOURS, 0) == pytest.approx(expected, abs=1e-6)


def test_alpha_weighs_by_powers_of_the_similarity_and_leaves_out_the_dissimilar() -> None:
    total = QUERY + 0.8**3 * NEIGHBOURS[0] + 0.6**3 * NEIGHBOURS[1]
    assert expand_query(QUERY, NEIGHBOURS, 3) == pytest.approx(total / np.linalg.norm(total), abs=1e-6)


def test_expanded_query_keeps_its_length_where_the_space_does_not_normalise() -> None:
    assert np.linalg.norm(expand_query(5 * QUERY, 2 * NEIGHBOURS, 3)) == pytest.approx(5)
    assert expand_query(0 * QUERY, NEIGHBOURS, 3).tolist() == [0, 0]


def test_index_is_asked_again_without_the_query_itself(
    clusters: tuple, search_plainly: Callable, searched_over: Callable
) -> None:
    vectors, _ = clusters
    own = np.arange(9)
    rows = search_plainly(vectors, vectors[own], 20, own)
    answers = QueryExpansion(searched_over(vectors), QueryExpansionParams(neighbours=4, alpha=2)).rerank(
        Asked(vectors[own], own), rows
    )
    for number in own:
        weights = [max(0, float(vectors[number] @ vectors[row])) ** 2 for row in rows[number, :4]]
        total = vectors[number] + sum(w * vectors[row] for w, row in zip(weights, rows[number, :4], strict=True))
        order = [row for row in np.argsort(-(vectors @ total), kind="stable") if row != number]
        assert answers[number].tolist() == order[:20]
