"""Whitening learned from labels: what differs between features of one class shrinks, what tells classes apart stays."""

import numpy as np

from ris_core.errors import SearchError
from ris_core.records import Features
from ris_core.space import Space, refuse_fit

# Of the mean within-class variance. Few matching pairs leave directions in which they happen not to differ; these would
# outweigh all others.
WITHIN_FLOOR = 1e-3


def fit_learned_space(
    features: Features, labels: np.ndarray, *, normalize: bool = True, components: int | None = None
) -> Space:
    """The space in which matching pairs of features differ by the same variance in every direction.

    All pairs count: two of one label match, others do not. Their sums follow from the scatter of each class.

    Args:
        features: Raw features that were labelled, none of which is searched.
        labels: (n,) their labels.
        normalize: Scale to unit length, last.
        components: How many directions stay, those first along which pairs that do not match differ most; None = all.

    Raises:
        SearchError: If the features are not raw, no two have one label, all have one, or there are fewer directions.

    Source:
        Mikolajczyk and Matas 2007, Improving descriptors for fast tree matching by optimal linear projection, as in
        Radenović et al. 2018, arXiv:1711.02512, section 3.4. Differs: all pairs count, not drawn ones; the mean is that
        of all features; variances of matching pairs below `WITHIN_FLOOR` times their mean are raised to it.
    """
    refuse_fit(features)
    n, d = features.values.shape
    if components is not None and not 1 <= components <= d:
        raise SearchError(f"whiten = {components} must be in [1, {d}] for features of d = {d}.")
    classes, members = np.unique(labels, return_inverse=True)
    if not 1 < len(classes) < n:
        raise SearchError(
            f"{n} features with {len(classes)} labels have no pairs that match, or none that do not. Label more, or "
            "set whitening = 'pca'."
        )
    values = features.values.astype(np.float64)
    mean = values.mean(axis=0)
    inverse_root = _inverse_root(_matching_scatter(values, members))
    # Of all pairs: matching ones add the same in every direction here, which leaves the directions of the others.
    _, directions = np.linalg.eigh(inverse_root @ np.cov(values.T) @ inverse_root)  # ascending
    projection = inverse_root @ directions[:, ::-1][:, :components]
    largest = np.abs(projection).argmax(axis=0)
    return Space.make(mean, projection * np.sign(projection[largest, np.arange(projection.shape[1])]), normalize, d)


def _matching_scatter(values: np.ndarray, members: np.ndarray) -> np.ndarray:
    """(d, d) mean of the outer products of differences of matching pairs.

    The differences of all ordered pairs of m vectors have the sum of outer products 2 m S, S being their scatter.
    """
    counts = np.bincount(members)
    total = np.zeros((values.shape[1], values.shape[1]))
    for number, count in enumerate(counts):
        own = values[members == number]
        own = own - own.mean(axis=0)
        total += 2 * count * (own.T @ own)
    return total / (counts * (counts - 1)).sum()


def _inverse_root(matching: np.ndarray) -> np.ndarray:
    """(d, d) symmetric inverse square root, small eigenvalues raised."""
    eigenvalues, directions = np.linalg.eigh(matching)
    if eigenvalues[-1] <= 0:
        raise SearchError("features of one label are all the same, so there is nothing to whiten. Check the backbone.")
    floored = np.maximum(eigenvalues, WITHIN_FLOOR * eigenvalues.mean())
    return (directions / np.sqrt(floored)) @ directions.T
