"""The label that most neighbours bear."""

import numpy as np

from ris_core.errors import SearchError

NO_VOTE = -1


def majority_vote(labels: np.ndarray) -> np.ndarray:
    """For each query the label that most of its neighbours bear; of tied labels the one that comes first.

    Args:
        labels: (q, k) codes of the neighbours' labels, whole numbers from 0, nearest first; -1 where there is none.

    Returns:
        (q,) int64 codes; -1 where no neighbour has a label.

    Raises:
        SearchError: If the codes are no matrix of whole numbers.

    Source:
        Fix and Hodges 1951, Discriminatory Analysis, Nonparametric Discrimination (the k-NN rule). Differs: ties go to
        the nearest neighbour of the tied labels, not to chance.
    """
    if labels.ndim != 2 or labels.dtype.kind not in "iu":
        raise SearchError(f"labels are {labels.dtype} of shape {labels.shape}; (q, k) codes are needed.")
    if not labels.shape[1]:
        return np.full(len(labels), NO_VOTE, np.int64)
    votes = (labels[:, :, None] == labels[:, None, :]).sum(axis=2)  # (q, k): how many bear the label of this place
    votes[labels < 0] = 0
    return np.take_along_axis(labels, votes.argmax(axis=1)[:, None], axis=1)[:, 0].astype(np.int64)
