from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.scores.vote import majority_vote
from ris_core.errors import SearchError


def test_vote_is_that_computed_by_hand() -> None:
    labels = np.array([[2, 1, 1, 0], [3, 1, 1, 3], [-1, 5, -1, -1], [-1, -1, -1, -1]])
    assert majority_vote(labels).tolist() == [1, 3, 5, -1]  # tied 3 and 1: 3 comes first


@given(st.lists(st.lists(st.integers(-1, 4), min_size=5, max_size=5), min_size=1, max_size=8))
def test_vote_is_the_most_common_label_and_of_tied_ones_the_first(rows: list[list[int]]) -> None:
    found = majority_vote(np.array(rows))
    for row, winner in zip(rows, found, strict=True):
        counts = Counter(label for label in row if label >= 0)
        best = [label for label in row if label >= 0 and counts[label] == max(counts.values())]
        assert winner == (best[0] if best else -1)


def test_vote_of_nobody_is_none() -> None:
    assert majority_vote(np.empty((2, 0), np.int64)).tolist() == [-1, -1]


@pytest.mark.parametrize("labels", [np.zeros(3, np.int64), np.zeros((2, 2))])
def test_vote_refuses_what_are_no_codes(labels: np.ndarray) -> None:
    with pytest.raises(SearchError, match=r"\(q, k\) codes are needed"):
        majority_vote(labels)
