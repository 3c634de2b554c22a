import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier

import ris_core.knn
from ris_core.errors import SearchError
from ris_core.knn import knn_accuracy, knn_predict

SEEDS = st.integers(0, 2**32 - 1)


def draw(seed: int, n: int = 80, q: int = 30, d: int = 5, labels: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    base, queries = rng.normal(size=(n, d)), rng.normal(size=(q, d))
    return base.astype(np.float32), rng.integers(labels, size=n), queries.astype(np.float32)


def voted_one_by_one(
    base: np.ndarray, labels: np.ndarray, queries: np.ndarray, k: int, temperature: float
) -> list[int]:
    """The protocol word by word, in float64."""
    predicted = []
    for query in queries.astype(np.float64):
        cosine = [float(query @ v / (np.linalg.norm(query) * np.linalg.norm(v))) for v in base.astype(np.float64)]
        voters = sorted(range(len(base)), key=lambda row: (-cosine[row], row))[:k]
        votes = dict.fromkeys(sorted(set(labels.tolist())), 0.0)
        for row in voters:
            votes[int(labels[row])] += np.exp(cosine[row] / temperature)
        predicted.append(max(votes, key=lambda label: votes[label]))  # the first of equals: the lowest code
    return predicted


@settings(max_examples=30)
@given(SEEDS, st.integers(1, 90), st.sampled_from([0.07, 0.5]))
def test_votes_are_those_of_a_plain_loop(seed: int, k: int, temperature: float) -> None:
    base, labels, queries = draw(seed)
    expected = voted_one_by_one(base, labels, queries, k, temperature)
    assert knn_predict(base, labels, queries, k, temperature).tolist() == expected


@pytest.mark.parametrize("k", [1, 10, 20])
def test_votes_are_those_of_scikit_learn(k: int) -> None:
    base, labels, queries = draw(7, n=300, q=200)
    model = KNeighborsClassifier(
        k, weights=lambda distance: np.exp((1 - distance) / 0.07), metric="cosine", algorithm="brute"
    ).fit(base, labels)
    assert knn_predict(base, labels, queries, k).tolist() == model.predict(queries).tolist()


def test_vote_is_that_computed_by_hand() -> None:
    # To (1, 0): cosine 0.8 (label 0) twice, and 1 (label 1). With T = 0.07 exp(0.2 / 0.07) = 17.4 outweighs both; with
    # T = 1 it is 1.22 against 2.
    base, labels = np.array([[4, 3], [4, -3], [2, 0], [-1, 0]], np.float32), np.array([0, 0, 1, 2])
    query = np.array([[5, 0]], np.float32)
    assert knn_predict(base, labels, query, 3).tolist() == [1]
    assert knn_predict(base, labels, query, 3, temperature=1).tolist() == [0]
    assert knn_accuracy(base, labels, np.repeat(query, 4, axis=0), np.array([1, 1, 1, 0]), 3) == 0.75
    assert knn_predict(base, labels, query, 1, temperature=1).tolist() == [1]
    votes = 2 * np.exp(0.8 / 0.07), np.exp(1 / 0.07), 2 * np.exp(0.8), np.exp(1)
    assert (votes[1] / votes[0], votes[2], votes[3]) == pytest.approx((8.7, 4.45, 2.72), rel=1e-2)  # docs/measures.md
    assert np.isnan(knn_accuracy(base, labels, query[:0], np.array([], int), 3))


def test_ties_go_to_the_first_rows_and_the_lowest_code() -> None:
    base, query = np.ones((6, 2), np.float32), np.ones((1, 2), np.float32)
    assert knn_predict(base, np.array([2, 1, 1, 0, 0, 0]), query, 3).tolist() == [1]  # rows 0 to 2 vote
    assert knn_predict(base, np.array([2, 2, 1, 1, 0, 0]), query, 4).tolist() == [1]  # two votes each
    nearer = np.concatenate([base, [[1, 0]]]).astype(np.float32)  # of the ties at the last seat, after one that is near
    assert knn_predict(nearer, np.array([3, 0, 0, 0, 0, 0, 1]), np.array([[1, 0]], np.float32), 2).tolist() == [1]


@settings(max_examples=20)
@given(SEEDS, st.integers(1, 7))
def test_blocks_do_not_change_the_votes(seed: int, rows: int) -> None:
    base, labels, queries = draw(seed)
    whole = knn_predict(base, labels, queries, 10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ris_core.knn, "_BLOCK_VALUES", rows * len(base))
        assert knn_predict(base, labels, queries, 10).tolist() == whole.tolist()


@pytest.mark.parametrize("scale", [1e-30, 1, 1e30])
def test_length_of_the_vectors_does_not_change_the_votes(scale: float) -> None:
    base, labels, queries = draw(3)
    grown = knn_predict(base * np.float32(scale), labels, queries * np.float32(scale), 10)
    assert grown.tolist() == knn_predict(base, labels, queries, 10).tolist()


def test_sharpest_temperature_leaves_the_nearest() -> None:
    base, labels, queries = draw(5)
    assert knn_predict(base, labels, queries, 20, 1e-6).tolist() == knn_predict(base, labels, queries, 1).tolist()


@settings(max_examples=20)
@given(SEEDS, st.integers(1, 40))
def test_collapsed_features_give_every_query_one_label(seed: int, k: int) -> None:
    labels = np.random.default_rng(seed).integers(3, size=40)
    assert len(set(knn_predict(np.ones((40, 4), np.float32), labels, np.ones((9, 4), np.float32), k).tolist())) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": 0}, "k = 0"),
        ({"temperature": 0.0}, "temperature = 0"),
        ({"base": np.zeros((0, 5), np.float32)}, "n > 0"),
        ({"queries": np.zeros((3, 4), np.float32)}, r"\(80, 5\) and \(3, 4\)"),
        ({"queries": np.zeros(5, np.float32)}, r"queries \(q, d\)"),
        ({"base_labels": np.zeros(79, int)}, "one label each"),
        ({"base_labels": np.zeros(80)}, "float64"),
        ({"base_labels": np.full(80, -1)}, "from 0"),
    ],
)
def test_what_cannot_vote_is_refused(changes: dict, message: str) -> None:
    base, labels, queries = draw(1)
    with pytest.raises(SearchError, match=message):
        knn_predict(**{"base": base, "base_labels": labels, "queries": queries, "k": 3, **changes})


def test_each_query_needs_its_label() -> None:
    base, labels, queries = draw(1)
    with pytest.raises(SearchError, match="30 queries"):
        knn_accuracy(base, labels, queries, labels, 3)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_vectors_that_are_not_finite_are_refused(value: float) -> None:
    base, labels = np.eye(3, dtype=np.float32), np.arange(3)
    spoilt = np.where(base > 0, np.float32(value), base)
    for some, queries in ((spoilt, base), (base, spoilt)):
        with pytest.raises(SearchError, match="NaN or infinity"):
            knn_predict(some, labels, queries, 1)


def test_large_codes_cost_no_memory() -> None:
    base, labels = np.eye(3, dtype=np.float32), np.array([10**12, 7, 10**12])
    np.testing.assert_array_equal(knn_predict(base, labels, base, 1), labels)


def test_smallest_temperature_leaves_the_vote_to_the_nearest() -> None:
    random = np.random.default_rng(0)
    base, queries = random.normal(size=(30, 5)), random.normal(size=(7, 5))
    labels = random.integers(0, 3, 30)
    nearest = knn_predict(base, labels, queries, 1)
    np.testing.assert_array_equal(knn_predict(base, labels, queries, 5, temperature=1e-50), nearest)
