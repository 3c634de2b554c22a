import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import cdist

from bench.scores.duplicates import (
    close_vectors,
    difference_hashes,
    equal_groups,
    equal_vectors,
    near_groups,
    tile_prints,
)
from bench.scores.score import RELATIVE_TOLERANCE


def partition(groups: np.ndarray) -> list[list[int]]:
    """The groups as lists of their members, whatever their numbers."""
    return sorted(np.flatnonzero(groups == group).tolist() for group in set(groups.tolist()))


def linked(near: np.ndarray) -> list[list[int]]:
    """Groups of a (n, n) relation, found by walking it."""
    left, groups = set(range(len(near))), []
    while left:
        group, rim = set(), {min(left)}
        while rim:
            group |= rim
            rim = {int(j) for i in rim for j in np.flatnonzero(near[i] | near[:, i])} - group
        groups.append(sorted(group))
        left -= group
    return sorted(groups)


def pictures(n: int, size: int = 72, seed: int = 0) -> np.ndarray:
    """Random pictures of 9 x 8 fields in any colour."""
    rng = np.random.default_rng(seed)
    fields = rng.integers(0, 256, (n, 8, 9, 3), np.uint8)
    return np.ascontiguousarray(fields.repeat(size // 8, axis=1)[:, :, np.arange(size) * 9 // size])


def test_difference_hash_by_hand() -> None:
    thumbnail = np.zeros((1, 8, 9), np.uint8)
    thumbnail[0, 0] = [0, 1, 1, 2, 0, 9, 8, 8, 9]
    assert difference_hashes(thumbnail)[0].tolist() == [0b10101001, 0, 0, 0, 0, 0, 0, 0]


def test_thumbnail_is_the_mean_of_each_area_and_digest_that_of_the_pixels() -> None:
    tiles = np.zeros((3, 72, 72, 3), np.uint8)
    tiles[0, :9, :8] = 100
    tiles[2, 0, 0, 0] = 1
    digests, thumbnails = tile_prints(tiles, np.array([0, 1, 2, 1]))
    assert thumbnails[0, 0, 0] == 100
    assert thumbnails[0].sum() == 100
    assert partition(equal_groups(digests)) == [[0], [1, 3], [2]]


def test_noise_makes_near_duplicates_and_no_identical_ones() -> None:
    tiles = pictures(20)
    noisy = np.clip(tiles[:5].astype(int) + np.random.default_rng(1).integers(-3, 4, tiles[:5].shape), 0, 255)
    digests, thumbnails = tile_prints(np.concatenate([tiles, noisy.astype(np.uint8)]), np.arange(25))
    assert len(set(digests)) == 25
    assert partition(near_groups(thumbnails)) == sorted([[i, i + 20] for i in range(5)] + [[i] for i in range(5, 20)])


def test_plain_tiles_of_other_colours_are_no_near_duplicates() -> None:
    tiles = np.full((4, 32, 32, 3), 10, np.uint8)
    tiles[1], tiles[2], tiles[3] = 200, 12, 204
    assert partition(near_groups(tile_prints(tiles, np.arange(4))[1])) == [[0, 2], [1, 3]]


def test_hash_may_differ_in_three_bits_and_no_more() -> None:
    thumbnails = np.full((3, 8, 9), 100, np.uint8)
    thumbnails[:, :, ::2] += 1  # a comb: every second pixel is brighter
    for tile, bits in ((1, 3), (2, 4)):
        for row in range(bits):
            thumbnails[tile, row, 8] = 99  # takes one bit from the row
    assert [bin(int.from_bytes(h.tobytes())).count("1") for h in difference_hashes(thumbnails)] == [32, 29, 28]
    assert partition(near_groups(thumbnails[:2])) == [[0, 1]]
    assert partition(near_groups(thumbnails[[0, 2]])) == [[0], [1]]
    assert partition(near_groups(thumbnails)) == [[0, 1, 2]]  # the middle one links the other two


@settings(max_examples=40, deadline=None)
@given(arrays(np.uint8, (12, 8, 9), elements=st.integers(0, 6)), st.integers(1, 12))
def test_near_groups_agree_with_comparing_all_pairs(thumbnails: np.ndarray, block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.scores.duplicates._QUERIES", block)
        found = near_groups(thumbnails)
    bits = np.unpackbits(difference_hashes(thumbnails), axis=1).astype(int)
    levels = thumbnails.reshape(12, -1).astype(float)
    near = (cdist(bits, bits, "cityblock") <= 3) & (cdist(levels, levels, "cityblock") / 72 <= 4)
    assert partition(found) == linked(near)


def test_equal_vectors_count_minus_zero_as_zero() -> None:
    values = np.array([[0.0, 1.0], [-0.0, 1.0], [0.0, np.nextafter(np.float32(1), np.float32(2))]], np.float32)
    assert partition(equal_vectors(values)) == [[0, 1], [2]]


def test_close_vectors_are_those_within_rounding() -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((500, 32)).astype(np.float32)
    values[400:450] = values[:50] * (1 + RELATIVE_TOLERANCE / 4)
    values[450:] = values[50:100] * (1 + RELATIVE_TOLERANCE * 4)
    expected = [[i, i + 400] for i in range(50)] + [[i] for i in range(50, 400)] + [[i] for i in range(450, 500)]
    assert partition(close_vectors(values, RELATIVE_TOLERANCE)) == sorted(expected)


@settings(max_examples=40, deadline=None)
@given(arrays(np.float32, (14, 2), elements=st.integers(0, 30).map(lambda i: i / 8)), st.sampled_from([0.05, 0.2]))
def test_close_vectors_agree_with_comparing_all_pairs(values: np.ndarray, tolerance: float) -> None:
    lengths = np.linalg.norm(values.astype(float), axis=1)
    distances = cdist(values.astype(float), values.astype(float))
    near = distances <= tolerance * np.maximum(lengths[:, None], lengths)
    on_the_rim = np.isclose(distances, tolerance * np.maximum(lengths[:, None], lengths)) & (distances > 0)
    if not on_the_rim.any():
        assert partition(close_vectors(values, tolerance)) == linked(near)


def test_vectors_that_all_collapsed_are_one_group() -> None:
    rng = np.random.default_rng(0)
    values = (1 + 1e-8 * rng.standard_normal((3000, 8))).astype(np.float32)
    values[0, 0] = np.nextafter(values[0, 0], np.float32(2))
    assert len(partition(close_vectors(values, RELATIVE_TOLERANCE))) == 1


def test_one_vector_or_none_is_no_trouble() -> None:
    assert close_vectors(np.ones((1, 3), np.float32), 1e-6).tolist() == [0]
    assert near_groups(np.zeros((1, 8, 9), np.uint8)).tolist() == [0]
