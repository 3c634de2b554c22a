import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ris_core.errors import SearchError
from ris_core.local_sets import VALUES, LocalSets
from ris_core.rerank import RERANKERS
from ris_core.rerank.contract import Asked, Searched
from ris_core.rerank.local_descriptors import LocalDescriptorParams, LocalDescriptors
from ris_core.rerank.set_similarity import KERNELS, chamfer, cosines, mutual, set_similarity

PARAMS = LocalDescriptorParams(top=3, count=2, query_count=3, dimensions=8, global_weight=0.0)


def store(folder, values) -> LocalSets:
    np.save(folder / VALUES, np.asarray(values))
    return LocalSets(folder)


def no_search(*asked) -> np.ndarray:
    return np.empty((0, 0), np.int64)


def test_chamfer_and_mutual_are_those_computed_by_hand():
    similarity = np.array([[[0.9, 0.1], [0.8, 0.2], [-0.5, -0.4]]])  # of three descriptors to two
    assert chamfer(similarity) == pytest.approx([(0.9 + 0.8 - 0.4) / 3])
    assert mutual(similarity) == pytest.approx([(0.9 + 0.2 * 0) / 3])  # the second one's nearest has a nearer one


def test_mutual_ignores_negative_pairs():
    assert mutual(np.array([[[-0.5]]])) == pytest.approx([0])


@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 5), st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_kernels_equal_plain_loops(seed, m, a, b):
    rng = np.random.default_rng(seed)
    query, sets = rng.standard_normal((a, 6)), rng.standard_normal((m, b, 6))
    similarity = set_similarity(query, sets)
    for number, one in enumerate(sets):
        plain = np.array([[float(x @ y) for y in one] for x in query])
        np.testing.assert_allclose(similarity[number], plain, atol=1e-12)
        assert chamfer(similarity)[number] == pytest.approx(sum(row.max() for row in plain) / a)
        pairs = [(i, row.argmax()) for i, row in enumerate(plain) if plain[:, row.argmax()].argmax() == i]
        assert mutual(similarity)[number] == pytest.approx(sum(max(0, plain[pair]) for pair in pairs) / a)


def test_a_set_is_most_similar_to_itself():
    sets = np.random.default_rng(0).standard_normal((6, 5, 8))
    sets /= np.linalg.norm(sets, axis=2, keepdims=True)
    for kernel in KERNELS.values():
        scores = kernel(set_similarity(sets[2], sets))
        assert scores.argmax() == 2
        assert scores[2] == pytest.approx(1)


def test_cosines_ignore_lengths_and_survive_zeros():
    found = cosines(np.array([3, 4], np.float32), np.array([[6, 8], [-4, 3], [0, 0]], np.float32))
    np.testing.assert_allclose(found, [1, 0, 0], atol=1e-7)


def test_local_sets_give_the_strongest_of_the_tiles_they_are_told(tmp_path):
    values = np.arange(4 * 3 * 8, dtype=np.float16).reshape(4, 3, 8)
    np.save(tmp_path / VALUES, values)
    sets = LocalSets(tmp_path, np.array([3, 1]))
    assert len(sets) == 2
    np.testing.assert_array_equal(sets.strongest(np.array([1, 0]), 2), values[[1, 3], :2].astype(np.float32))
    np.testing.assert_array_equal(sets.strongest(0, 9), values[3].astype(np.float32))
    assert sets.tile_bytes(2) == 2 * 8 * 2


def test_binary_sets_are_unit_vectors_of_signs(tmp_path):
    bits = np.random.default_rng(0).integers(0, 2, (5, 3, 16)).astype(np.uint8)
    sets = store(tmp_path, np.packbits(bits, axis=2))
    assert sets.dimensions == 16
    assert sets.tile_bytes(3) == 3 * 2
    np.testing.assert_allclose(sets.strongest(np.arange(5), 3), (bits * 2.0 - 1) / 4, atol=1e-7)


@pytest.mark.parametrize("kernel", sorted(KERNELS))
def test_reranking_orders_by_the_sets_alone_where_the_global_weight_is_none(tmp_path, kernel):
    rng = np.random.default_rng(1)
    values = rng.standard_normal((5, 3, 8))
    values[4] = values[1] + 0.05 * rng.standard_normal((3, 8))
    values[2] = values[1] + 1.0 * rng.standard_normal((3, 8))
    values /= np.linalg.norm(values, axis=2, keepdims=True)
    sets = store(tmp_path, values.astype(np.float16))
    searched = Searched(np.eye(5, dtype=np.float32), no_search, local=sets)
    engine = LocalDescriptors(searched, dataclasses.replace(PARAMS, kernel=kernel))
    asked = Asked(np.eye(5, dtype=np.float32)[[1]], np.array([1]), local=LocalSets(tmp_path, np.array([1])))
    assert engine.rerank(asked, np.array([[3, 2, 4, -1]]))[0].tolist()[0] == 4
    assert engine.size_bytes() == 5 * 2 * 8 * 2  # two of the three descriptors are the index'


def test_reranking_keeps_the_index_order_where_only_the_global_similarity_counts_and_in_ties(tmp_path):
    sets = store(tmp_path, np.random.default_rng(0).standard_normal((4, 3, 8)).astype(np.float16))
    vectors = np.array([[1, 0], [0.9, 0.1], [0.5, 0.5], [0.5, 0.5]], np.float32)
    engine = LocalDescriptors(Searched(vectors, no_search, local=sets), dataclasses.replace(PARAMS, global_weight=1.0))
    asked = Asked(vectors[:1], np.array([0]), local=LocalSets(tmp_path, np.array([0])))
    assert engine.rerank(asked, np.array([[3, 2, 1]])).tolist() == [[1, 3, 2]]


def test_the_weighted_sum_is_that_computed_by_hand(tmp_path):
    values = np.zeros((3, 1, 2), np.float16)
    values[:, 0] = [[1, 0], [0.6, 0.8], [0, 1]]  # of the query, and of two answers
    sets = store(tmp_path, values)
    vectors = np.array([[1, 0], [0, 1], [0.8, 0.6]], np.float32)
    given_rows = np.array([[1, 2]])  # locally 0.6 and 0, globally 0 and 0.8
    asked = Asked(vectors[:1], np.array([0]), local=LocalSets(tmp_path, np.array([0])))
    for weight, first in ((0.42, 1), (0.43, 2)):  # they are even at 3 / 7
        params = LocalDescriptorParams(top=2, count=1, query_count=1, dimensions=8, global_weight=weight)
        engine = LocalDescriptors(Searched(vectors, no_search, local=sets), params)
        assert engine.rerank(asked, given_rows)[0, 0] == first


def test_reranking_without_descriptors_says_so():
    with pytest.raises(SearchError, match="no local descriptors were given"):
        LocalDescriptors(Searched(np.eye(5, dtype=np.float32), no_search), PARAMS)


def test_faults_name_key_value_and_remedy():
    faults = " ".join(
        LocalDescriptorParams(count=60, query_count=50, kernel="best", stored="binary", dimensions=12).faults(200, 4)
    )
    assert "query_count = 50 must be at least count = 60." in faults
    assert "kernel = 'best' is unknown; known: chamfer, mutual." in faults
    assert "dimensions = 12: stored = 'binary' takes multiples of 8, which fill bytes." in faults
    assert LocalDescriptorParams().faults(200, 4) == []
    assert RERANKERS["local_descriptors"].needs == ("local",)
