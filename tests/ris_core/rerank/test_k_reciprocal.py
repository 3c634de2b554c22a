"""k-reciprocal encoding against sets and loops, as the paper words it."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import sparse

from ris_core.rerank.contract import Asked
from ris_core.rerank.k_reciprocal import KReciprocal, KReciprocalParams, jaccard_distances, largest_distance


class Plainly:
    """Neighbourhoods as sets, weights as dictionaries."""

    def __init__(self, vectors: np.ndarray, k1: int, k2: int, near: np.ndarray) -> None:
        self.vectors, self.k1, self.k2 = vectors.astype(np.float64), k1, k2
        self.near, n = near, len(vectors)
        self.distances = np.square(self.vectors[:, None] - self.vectors[None]).sum(axis=2)
        self.scale = self.distances.max()
        self.half = [self.reciprocal(row, round(k1 / 2)) for row in range(n)]
        self.alone = [self.weights(self.expand(self.reciprocal(row, k1)), self.distances[row]) for row in range(n)]
        self.codes = [
            self.mean([self.alone[row], *(self.alone[j] for j in self.near[row, : k2 - 1])]) for row in range(n)
        ]

    def reciprocal(self, row: int, k: int) -> set[int]:
        return {row} | {int(j) for j in self.near[row, :k] if row in self.near[j, :k]}

    def expand(self, members: set[int]) -> set[int]:
        joined = set(members)
        for member in members:
            if len(self.half[member] & members) > 2 / 3 * len(self.half[member]):
                joined |= self.half[member]
        return joined

    def weights(self, members: set[int], distances: np.ndarray) -> dict[int, float]:
        raw = {member: math.exp(-distances[member] / self.scale) for member in members}
        return {member: weight / sum(raw.values()) for member, weight in raw.items()}

    def mean(self, codes: list[dict[int, float]]) -> dict[int, float]:
        return {key: sum(code.get(key, 0) for code in codes) / len(codes) for code in codes for key in code}

    def order(self, query: np.ndarray, rows: np.ndarray, weight: float) -> tuple[list[int], np.ndarray]:
        distances = np.square(self.vectors - query).sum(axis=1)
        reach = [self.distances[row, self.near[row, self.k1 - 1]] for row in range(len(self.vectors))]
        mutual = {int(row) for row in rows[: self.k1] if distances[row] <= reach[row] + 1e-7}
        alone = self.weights(self.expand(mutual), distances)
        code = self.mean([alone, *(self.codes[row] for row in rows[: self.k2 - 1])])
        final = []
        for row in rows:
            keys = code.keys() | self.codes[row].keys()
            low = sum(min(code.get(key, 0), self.codes[row].get(key, 0)) for key in keys)
            high = sum(max(code.get(key, 0), self.codes[row].get(key, 0)) for key in keys)
            final.append(weight * distances[row] / self.scale + (1 - weight) * (1 - low / high))
        return [int(rows[place]) for place in np.argsort(final, kind="stable")], np.sort(final)


@pytest.mark.parametrize(("k1", "k2", "weight"), [(10, 4, 0.3), (7, 1, 0.0), (1, 2, 0.5), (6, 9, 0.2)])
def test_order_is_that_of_sets_and_loops(
    k1: int, k2: int, weight: float, clusters: tuple, search_plainly: Callable, searched_over: Callable
) -> None:
    vectors, _ = clusters
    plain = Plainly(vectors, k1, k2, search_plainly(vectors, vectors, 119, np.arange(120)))
    assert largest_distance(vectors) == pytest.approx(plain.scale, rel=1e-5)
    own = np.concatenate([np.arange(12), [-1]])
    queries = np.concatenate([vectors[:12], (vectors[:1] + vectors[5:6]) / 2])
    rows = search_plainly(vectors, queries, 40, own)
    reranker = KReciprocal(searched_over(vectors), KReciprocalParams(top=40, k1=k1, k2=k2, weight=weight))
    answers = reranker.rerank(Asked(queries, own), rows)
    for number, query in enumerate(queries):
        order, final = plain.order(query, rows[number], weight)
        gaps = np.flatnonzero(np.diff(final) > 1e-5) + 1  # ties may fall either way
        assert [set(part) for part in np.split(answers[number], gaps)] == [set(part) for part in np.split(order, gaps)]


def test_codes_of_the_corpus_are_those_of_the_paper(
    clusters: tuple, search_plainly: Callable, searched_over: Callable
) -> None:
    vectors, _ = clusters
    plain = Plainly(vectors, 8, 3, search_plainly(vectors, vectors, 119, np.arange(120)))
    found = KReciprocal(searched_over(vectors), KReciprocalParams(k1=8, k2=3))._codes.toarray()
    for row, code in enumerate(plain.codes):
        assert {int(column) for column in np.flatnonzero(found[row])} == code.keys()
        assert found[row, list(code)] == pytest.approx(list(code.values()), rel=1e-4)


def test_jaccard_distance_by_hand() -> None:
    code = sparse.csr_array(np.array([[0.5, 0.5, 0.0, 0.0]]))
    others = sparse.csr_array(np.array([[0.5, 0.5, 0.0, 0.0], [0.25, 0.0, 0.75, 0.0], [0.0, 0.0, 0.0, 1.0]]))
    assert jaccard_distances(code, others) == pytest.approx([0, 1 - 0.25 / 1.75, 1])
    nothing = sparse.csr_array((1, 4))
    assert jaccard_distances(nothing, others) == pytest.approx([1, 1, 1])


def test_weight_one_keeps_the_order_of_the_index(
    clusters: tuple, search_plainly: Callable, searched_over: Callable
) -> None:
    vectors, _ = clusters
    rows = search_plainly(vectors, vectors[:5], 25, np.arange(5))
    reranker = KReciprocal(searched_over(vectors), KReciprocalParams(k1=5, weight=1.0))
    assert np.array_equal(reranker.rerank(Asked(vectors[:5], np.arange(5)), rows), rows)
