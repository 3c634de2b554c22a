import dataclasses

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2", reason="opencv is optional: pip install 'ris-bench[methods]'")

from ris_core.errors import SearchError  # noqa: E402 - after the skip
from ris_core.rerank import RERANKERS  # noqa: E402
from ris_core.rerank.contract import Asked, Searched  # noqa: E402
from ris_core.rerank.geometric import BoundedCache, Geometric, GeometricParams  # noqa: E402
from ris_core.rerank.sift import find_keypoints, match_by_ratio, root_sift  # noqa: E402
from ris_core.rerank.verification import POINTS, count_inliers  # noqa: E402

SIDE = 96
PARAMS = GeometricParams(top=3)


def texture(seed: int, side: int = 160) -> np.ndarray:
    """Blobs of several sizes, unlike those of any other seed."""
    rng = np.random.default_rng(seed)
    image = sum(cv2.resize(rng.random((n, n, 3)), (side, side), interpolation=cv2.INTER_CUBIC) for n in (12, 25, 50))
    return np.clip(image / 3 * 255, 0, 255).astype(np.uint8)


def view(
    image: np.ndarray, angle_deg: float = 0.0, scale: float = 1.0, shift: tuple[float, float] = (0, 0)
) -> np.ndarray:
    """A tile of SIDE px around the middle of an image that was turned, scaled and shifted."""
    centre = (image.shape[1] / 2, image.shape[0] / 2)
    matrix = cv2.getRotationMatrix2D(centre, angle_deg, scale)
    matrix[:, 2] += np.array(shift) - np.array(centre) + SIDE / 2
    return cv2.warpAffine(image, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def searched(tiles: np.ndarray) -> Searched:
    return Searched(np.eye(len(tiles), 4, dtype=np.float32), lambda *asked: np.empty((0, 0), np.int64), tiles)


def asked(tile: np.ndarray) -> Asked:
    return Asked(np.ones((1, 4), np.float32), np.array([-1]), tile[None])


@pytest.fixture(scope="module")
def tiles() -> np.ndarray:
    return np.stack([view(texture(seed)) for seed in range(5)])


@pytest.mark.parametrize("motion", sorted(POINTS))
def test_geometric_finds_the_source_of_a_turned_scaled_and_shifted_view(tiles, motion):
    engine = Geometric(searched(tiles), dataclasses.replace(PARAMS, motion=motion))
    query = view(texture(3), angle_deg=37, scale=1.25, shift=(9, -6))
    given = np.array([[0, 1, 2, 3, 4]])
    assert engine.rerank(asked(query), given)[0, 0] == 3
    inliers = engine.inliers(query, given[0])
    assert inliers[3] >= 20
    assert inliers[[0, 1, 2, 4]].max() <= 8


def test_geometric_keeps_the_old_order_of_ties_and_the_padding(tiles):
    blank = np.zeros_like(tiles)
    engine = Geometric(searched(blank), PARAMS)
    given = np.array([[4, 1, 3, -1]])
    np.testing.assert_array_equal(engine.rerank(asked(tiles[0]), given), given)


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_geometric_takes_blank_queries(tiles, grey):
    engine = Geometric(searched(tiles), PARAMS)
    given = np.array([[2, 0, 1]])
    np.testing.assert_array_equal(engine.rerank(asked(np.full_like(tiles[0], grey)), given), given)


def test_geometric_answers_the_same_twice_and_with_a_tiny_cache(tiles):
    query, rows = view(texture(1), 20), np.arange(5)
    once, again = (Geometric(searched(tiles), PARAMS) for _ in range(2))
    tiny = Geometric(searched(tiles), dataclasses.replace(PARAMS, cache_mib=1))
    expected = once.inliers(query, rows)
    for engine in (once, again, tiny):
        np.testing.assert_array_equal(engine.inliers(query, rows), expected)
        np.testing.assert_array_equal(engine.inliers(query, rows[::-1]), expected[::-1])


def test_geometric_tells_the_bytes_of_what_it_remembers(tiles):
    engine = Geometric(searched(tiles), PARAMS)
    assert engine.size_bytes() == 0
    engine.inliers(tiles[0], np.array([0, 2, 0]))
    found = [len(find_keypoints(tiles[row], PARAMS.keypoints, PARAMS.least_px)) for row in (0, 2)]
    assert engine.size_bytes() == sum(found) * (128 + 4 * 4)  # uint8 descriptors, place, size and angle


def test_cache_drops_what_was_unused_for_longest():
    made: list[int] = []

    def make(row: int) -> np.ndarray:
        made.append(row)
        return np.zeros(40, np.uint8)

    cache = BoundedCache(make, 100)
    for row in (0, 1, 0, 2, 0, 1):  # 2 drops 1, which was used before 0 was
        cache[row]
    assert made == [0, 1, 2, 1]
    assert cache.nbytes == 80


def test_keypoints_are_as_many_as_asked_for_and_of_the_enlarged_tile(tiles):
    few = find_keypoints(tiles[0], 7, 200)
    assert len(few) == 7
    assert few.side_px == 200
    assert few.descriptors.dtype == np.uint8
    assert find_keypoints(tiles[0], 7, 50).side_px == SIDE


def test_root_sift_products_are_hellingers_kernel():
    first, second = np.array([[1, 3]], np.uint8), np.array([[2, 2]], np.uint8)
    assert root_sift(first) @ root_sift(second).T == pytest.approx(np.sqrt(0.25 * 0.5) + np.sqrt(0.75 * 0.5))
    assert not root_sift(np.zeros((1, 2), np.uint8)).any()


def test_matches_are_clear_and_mutual():
    angles = np.deg2rad([0, 50, 90])
    base = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    turned = np.deg2rad([1, 70, 88, 92.5])  # clear; as far from both; nearer to 90 than the last one; not mutual
    query = np.stack([np.cos(turned), np.sin(turned)], axis=1).astype(np.float32)
    np.testing.assert_array_equal(match_by_ratio(query, base, 0.8), [[0, 0], [2, 2]])
    assert len(match_by_ratio(query, base[:1], 0.8)) == 0  # there is no second nearest
    assert len(match_by_ratio(query[:0], base, 0.8)) == 0


def test_ratio_compares_distances():
    base = np.eye(3, dtype=np.float32)
    query = np.array([[0.8, 0.6, 0]], np.float32)  # at squared distances 0.4 and 0.8: a ratio of 0.7071
    assert len(match_by_ratio(query, base, 0.71)) == 1
    assert len(match_by_ratio(query, base, 0.70)) == 0


@pytest.mark.parametrize(("motion", "points"), POINTS.items())
def test_inliers_are_counted_among_outliers(motion, points):
    rng = np.random.default_rng(0)
    first = rng.uniform(0, 200, (60, 2)).astype(np.float32)
    turn = np.array([[0.8, -0.6], [0.6, 0.8]], np.float32)
    second = first @ turn.T + np.float32([5, 7])
    second[40:] = rng.uniform(0, 200, (20, 2))
    assert 40 <= count_inliers(first, second, motion, 1.0) <= 42
    assert count_inliers(first[:points], second[:points], motion, 1.0) == 0  # so few always agree


def test_inliers_of_one_place_count_once():
    rng = np.random.default_rng(0)
    first = rng.uniform(0, 200, (10, 2)).astype(np.float32)
    assert count_inliers(np.repeat(first, 3, axis=0), np.repeat(first, 3, axis=0), "affine", 1.0) == 10


@pytest.mark.parametrize(
    "matrix", [[[-1, 0], [0, 1]], [[0.1, 0], [0, 0.1]], [[9, 0], [0, 9]]]
)  # mirror, collapse, blow-up
def test_inliers_of_an_implausible_motion_are_none(matrix):
    first = np.random.default_rng(0).uniform(0, 200, (30, 2)).astype(np.float32)
    assert count_inliers(first, first @ np.array(matrix, np.float32), "affine", 0.5) == 0


def test_geometric_faults_name_key_value_and_remedy():
    wrong = GeometricParams(top=3, motion="shear", matcher="orb", ratio=2.0)
    faults = " ".join(wrong.faults(5, 4))
    assert "motion = 'shear' is unknown; known: similarity, affine, homography." in faults
    assert "matcher = 'orb' is unknown; known: sift, sift_lightglue, loftr." in faults
    assert "ratio = 2.0; allowed: 0.1 to 1.0. Lower it." in faults
    assert GeometricParams(top=3, weights="w.pth").faults(5, 4) == [
        "weights = 'w.pth': matcher = 'sift' has none. Remove it."
    ]


@pytest.mark.parametrize(
    ("matcher", "source"), [("sift_lightglue", "github.com/cvg/LightGlue"), ("loftr", "huggingface.co/kornia/loftr")]
)
def test_learned_matcher_without_its_file_says_where_it_is(tiles, matcher, source):
    with pytest.raises(SearchError, match=rf"weights = 'absent.pth' is no file; .*{source}.*Fetch it"):
        Geometric(searched(tiles), GeometricParams(top=3, matcher=matcher, weights="absent.pth"))


def test_geometric_without_pictures_says_so(tiles):
    with pytest.raises(SearchError, match="no pictures of tiles or of queries"):
        Geometric(Searched(np.eye(5, dtype=np.float32), lambda *asked: np.empty(0)), PARAMS)


def test_geometric_is_listed_and_needs_pixels():
    assert RERANKERS["geometric"].needs == ("pixels",)
    assert RERANKERS["geometric"].unavailable() is None
