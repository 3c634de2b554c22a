"""Diffusion against dense matrices, written down as the paper has them, and solved directly."""

from collections.abc import Callable

import numpy as np
import pytest

from ris_core.rerank.contract import Asked
from ris_core.rerank.diffusion import Diffusion, DiffusionParams, affinity


def dense_affinity(vectors: np.ndarray, near: np.ndarray, gamma: float) -> np.ndarray:
    n = len(vectors)
    edges = np.zeros((n, n))
    for i in range(n):
        for j in near[i]:
            if i in near[j]:
                edges[i, j] = max(0.0, float(vectors[i] @ vectors[j])) ** gamma
    degrees = edges.sum(axis=1)
    for i in range(n):
        for j in range(n):
            edges[i, j] = edges[i, j] / np.sqrt(degrees[i] * degrees[j]) if edges[i, j] else 0.0
    return edges


def test_graph_joins_reciprocal_neighbours_and_is_normalised(
    clusters: tuple, search_plainly: Callable, searched_over: Callable
) -> None:
    near = search_plainly(clusters[0], clusters[0], 7, np.arange(120))
    found = affinity(searched_over(clusters[0]), 7, 3.0)
    assert found.toarray() == pytest.approx(dense_affinity(clusters[0], near, 3.0), abs=1e-5)
    assert abs(found - found.T).max() < 1e-6
    assert np.abs(np.linalg.eigvalsh(found.toarray())).max() <= 1 + 1e-5  # so that the flow converges


def test_order_is_that_of_the_exact_solution_on_the_truncated_graph(
    clusters: tuple, search_plainly: Callable, searched_over: Callable
) -> None:
    vectors, _ = clusters
    params = DiffusionParams(top=30, neighbours=8, query_neighbours=4, alpha=0.9, gamma=2.0)
    own = np.arange(10)
    rows = search_plainly(vectors, vectors[own], 30, own)
    answers = Diffusion(searched_over(vectors), params).rerank(Asked(vectors[own], own), rows)
    dense = dense_affinity(vectors, search_plainly(vectors, vectors, 8, np.arange(120)), 2.0)
    for number in own:
        start = np.zeros(30)
        start[:4] = np.clip(vectors[rows[number, :4]] @ vectors[number], 0, 1) ** 2
        system = np.eye(30) - 0.9 * dense[np.ix_(rows[number], rows[number])]
        flowed = np.linalg.solve(system, start)
        places = [rows[number].tolist().index(row) for row in answers[number]]
        assert (np.diff(flowed[places]) <= 1e-4 * flowed.max()).all()  # descending, but for what iterations leave


def test_similarity_flows_round_a_bend(search_plainly: Callable, searched_over: Callable) -> None:
    """Two half circles: the far end of the query's own comes before the near end of the other one."""
    angle = np.linspace(0, np.pi, 40)
    arc = np.column_stack([np.cos(angle), np.sin(angle)])
    flat = np.concatenate([arc, 1.5 * arc])
    vectors = np.column_stack([flat, np.full(len(flat), 6.0)])
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    rows = search_plainly(vectors, vectors[:1], 79, np.array([0]))
    assert not set(rows[0, :39]) <= set(range(40))
    reranker = Diffusion(searched_over(vectors), DiffusionParams(top=79, neighbours=6, query_neighbours=2))
    assert set(reranker.rerank(Asked(vectors[:1], np.array([0])), rows)[0, :39]) == set(range(1, 40))


def test_bytes_are_those_of_the_graph(clusters: tuple, searched_over: Callable) -> None:
    reranker = Diffusion(searched_over(clusters[0]), DiffusionParams(neighbours=5))
    graph = affinity(searched_over(clusters[0]), 5, 3.0)
    assert reranker.size_bytes() == graph.data.nbytes + graph.indices.nbytes + graph.indptr.nbytes
