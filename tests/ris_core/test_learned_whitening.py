import itertools

import numpy as np
import pytest

from ris_core.errors import SearchError
from ris_core.learned_whitening import WITHIN_FLOOR, fit_learned_space
from ris_core.records import Features
from ris_core.space import Space, fit_space


def labelled(n: int = 60, d: int = 5, classes: int = 4, seed: int = 0) -> tuple[Features, np.ndarray]:
    """Classes that lie apart along one direction, and spread far along another."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, classes, n)
    spread = rng.normal(size=(n, d)) * np.array([0.5, 4.0, 1.0, 1.0, 0.5])[:d]
    values = spread + rng.normal(size=(classes, d))[codes] * np.array([3.0, 0.1, 0.1, 0.1, 0.1])[:d] + 3
    return Features(values.astype(np.float32), np.arange(n)), np.array([f"c{code}" for code in codes])


def scatter_of_pairs(values: np.ndarray, labels: np.ndarray, matching: bool) -> np.ndarray:
    pairs = [(i, j) for i, j in itertools.combinations(range(len(labels)), 2) if (labels[i] == labels[j]) == matching]
    differences = np.array([values[i] - values[j] for i, j in pairs])
    return differences.T @ differences / len(pairs)


def test_matching_pairs_differ_equally_in_every_direction_and_others_most_in_the_first() -> None:
    features, labels = labelled()
    space = fit_learned_space(features, labels, normalize=False)
    found = space.apply(features).values.astype(np.float64)
    np.testing.assert_allclose(scatter_of_pairs(found, labels, True), np.eye(5), atol=1e-4)
    others = scatter_of_pairs(found, labels, False)
    np.testing.assert_allclose(others, np.diag(np.diag(others)), atol=1e-3)
    assert (np.diff(np.diag(others)) < 0).all()
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-4)


def test_projection_is_that_of_pairs_written_out() -> None:
    features, labels = labelled(n=30, d=3)
    values = features.values.astype(np.float64)
    cholesky = np.linalg.inv(np.linalg.cholesky(scatter_of_pairs(values, labels, True)))  # another root of it
    eigenvalues, directions = np.linalg.eigh(cholesky @ scatter_of_pairs(values, labels, False) @ cholesky.T)
    expected = (values - values.mean(axis=0)) @ (cholesky.T @ directions[:, ::-1])
    found = fit_learned_space(features, labels, normalize=False).apply(features).values
    np.testing.assert_allclose(np.abs(found), np.abs(expected), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(
        scatter_of_pairs(found.astype(np.float64), labels, False), np.diag(eigenvalues[::-1]), rtol=1e-3, atol=1e-3
    )


def test_fewer_components_are_the_first_of_all() -> None:
    features, labels = labelled()
    whole, part = (fit_learned_space(features, labels, normalize=False, components=c) for c in (None, 2))
    np.testing.assert_array_equal(part.apply(features).values, whole.apply(features).values[:, :2])
    normalised = fit_learned_space(features, labels, components=2).apply(features)
    np.testing.assert_allclose(np.linalg.norm(normalised.values, axis=1), 1, rtol=1e-6)


def test_neighbours_share_the_class_of_others_more_often_than_raw_or_whitened_without_labels() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, 400)
    values = rng.normal(size=(400, 8)) * np.array([0.5] * 3 + [6.0] * 5)
    values[:, :3] += rng.normal(size=(4, 3))[codes] * 2
    training, asked = (Features(part.astype(np.float32), np.arange(200)) for part in np.array_split(values, 2))

    def precision(space: Space) -> float:
        found = space.apply(asked).values.astype(np.float64)
        distances = ((found[:, None] - found[None]) ** 2).sum(axis=2)
        np.fill_diagonal(distances, np.inf)
        return float((codes[200:][distances.argmin(axis=1)] == codes[200:]).mean())

    labels = codes[:200].astype(str)
    learned = precision(fit_learned_space(training, labels, normalize=False, components=3))
    assert learned > 0.8
    assert learned > precision(fit_space(training, normalize=False)) + 0.2
    assert learned > precision(fit_space(training, normalize=False, whiten=3)) + 0.2


def test_directions_in_which_few_pairs_happen_to_agree_do_not_outweigh_all_others() -> None:
    features, labels = labelled(n=6, d=5, classes=2)
    space = fit_learned_space(features, labels, normalize=False)
    within = scatter_of_pairs(features.values.astype(np.float64), labels, True)
    assert np.linalg.matrix_rank(within) < 5
    assert space.projection is not None
    longest = np.linalg.norm(space.projection, ord=2)
    assert longest <= 1.01 / np.sqrt(WITHIN_FLOOR * np.trace(within) / 5)


def test_labels_without_pairs_are_refused() -> None:
    features, labels = labelled(n=8)
    for wrong in (np.array(list("abcdefgh")), np.array(["a"] * 8)):
        with pytest.raises(SearchError, match=r"8 features with \d labels have no pairs that match, or none that do"):
            fit_learned_space(features, wrong)
    with pytest.raises(SearchError, match=r"whiten = 9 must be in \[1, 5\]"):
        fit_learned_space(features, labels, components=9)
    with pytest.raises(SearchError, match="fitted on raw features"):
        fit_learned_space(Features(features.values, features.ids, "0" * 16), labels)
    same = Features(np.ones((8, 5), np.float32), features.ids)
    with pytest.raises(SearchError, match="of one label are all the same"):
        fit_learned_space(same, labels)
