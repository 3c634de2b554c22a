"""SuperGlobal's re-ranking against loops over its formulas."""

from collections.abc import Callable

import numpy as np
import pytest

from ris_core.rerank.contract import Asked
from ris_core.rerank.superglobal import SuperGlobal, SuperGlobalParams, refine


def refine_plainly(vectors: np.ndarray, neighbours: int, beta: float) -> np.ndarray:
    refined = []
    for number, vector in enumerate(vectors):
        others = sorted((place for place in range(len(vectors)) if place != number), key=lambda j: -vectors[j] @ vector)
        total, weights = vector.astype(np.float64), 1.0
        for place in others[:neighbours]:
            weight = beta * max(0.0, float(vectors[place] @ vector))
            total, weights = total + weight * vectors[place], weights + weight
        refined.append(total / weights)
    return np.array(refined)


@pytest.mark.parametrize("neighbours", [1, 5, 200])
def test_descriptors_are_averaged_with_their_nearest_in_the_list(neighbours: int, clusters: tuple) -> None:
    part = clusters[0][:30]
    assert refine(part, neighbours, 0.4) == pytest.approx(refine_plainly(part, neighbours, 0.4), abs=1e-5)


def test_refinement_by_hand() -> None:
    vectors = np.array([[1, 0], [0.6, 0.8], [-1, 0]], np.float32)
    refined = refine(vectors, 1, 0.5)
    assert refined[0] == pytest.approx([(1 + 0.3 * 0.6) / 1.3, 0.3 * 0.8 / 1.3])
    assert refined[2] == pytest.approx([-1, 0])  # its nearest is dissimilar and weighs nothing


def test_order_is_that_of_both_similarities(clusters: tuple, search_plainly: Callable, searched_over: Callable) -> None:
    vectors, _ = clusters
    own = np.arange(8)
    rows = search_plainly(vectors, vectors[own], 30, own)
    answers = SuperGlobal(searched_over(vectors), SuperGlobalParams(top=30, neighbours=4, beta=0.3)).rerank(
        Asked(vectors[own], own), rows
    )
    for number in own:
        refined = refine_plainly(vectors[rows[number]], 4, 0.3)
        plain = refined @ vectors[number]
        expanded = refined[np.argsort(-plain)[:5]].max(axis=0)
        score = (plain + refined @ expanded) / 2
        places = [rows[number].tolist().index(row) for row in answers[number]]
        assert (np.diff(score[places]) <= 1e-6).all()


def test_length_of_the_vectors_does_not_matter(
    clusters: tuple, search_plainly: Callable, searched_over: Callable
) -> None:
    vectors, _ = clusters
    rows = search_plainly(vectors, vectors[:4], 20, np.arange(4))
    lengths = np.linspace(1, 9, len(vectors), dtype=np.float32)[:, None]
    asked = Asked(vectors[:4], np.arange(4))
    plain, scaled = (
        SuperGlobal(searched_over(found), SuperGlobalParams(top=20)).rerank(asked, rows)
        for found in (vectors, vectors * lengths)
    )
    assert np.array_equal(plain, scaled)
