"""SIFT keypoints of a tile, and which of two tiles' keypoints are the same place by the ratio test."""

import dataclasses
import importlib

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Keypoints:
    """Local features of one image.

    Attributes:
        xy: (n, 2) float32 places, in pixels of an image whose shorter side was made at least so many pixels long.
        descriptors: (n, 128) uint8.
        size_px: (n,) float32 diameter of the described neighbourhood.
        angle_deg: (n,) float32 orientation.
        side_px: Side of that image.
    """

    xy: np.ndarray
    descriptors: np.ndarray
    size_px: np.ndarray
    angle_deg: np.ndarray
    side_px: int

    def __len__(self) -> int:
        return len(self.xy)

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return self.xy.nbytes + self.descriptors.nbytes + self.size_px.nbytes + self.angle_deg.nbytes


def grey_image(pixels: np.ndarray, least_px: int) -> np.ndarray:
    """(s, s) uint8 brightness of a (s, s, 3) uint8 RGB tile, enlarged to ``least_px`` where it is smaller (bicubic)."""
    cv2 = importlib.import_module("cv2")  # optional
    grey = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY)
    if len(grey) >= least_px:
        return grey
    return cv2.resize(grey, (least_px, least_px), interpolation=cv2.INTER_CUBIC)


def find_keypoints(pixels: np.ndarray, most: int, least_px: int) -> Keypoints:
    """The strongest SIFT keypoints of a tile; none where it is blank.

    Args:
        pixels: (s, s, 3) uint8 RGB.
        most: Keypoints that are kept at most, those of the highest contrast.
        least_px: Side to which a smaller tile is enlarged: detail finer than the first octave has no keypoints.

    Source:
        Lowe 2004, as OpenCV computes it. Differs: descriptors are uint8, which OpenCV's floats are rounded to anyway.
    """
    cv2 = importlib.import_module("cv2")  # optional
    image = grey_image(pixels, least_px)
    sift = cv2.SIFT_create(most, 3, 0.04, 10, 1.6, cv2.CV_8U)  # its defaults, but for the type of descriptors
    found, descriptors = sift.detectAndCompute(image, None)
    found = found[:most]  # of equal contrast OpenCV keeps all
    if not found:
        descriptors = np.empty((0, 128), np.uint8)
    return Keypoints(
        np.array([point.pt for point in found], np.float32).reshape(-1, 2),
        np.ascontiguousarray(descriptors[: len(found)], np.uint8),
        np.array([point.size for point in found], np.float32),
        np.array([point.angle for point in found], np.float32),
        len(image),
    )


def root_sift(descriptors: np.ndarray) -> np.ndarray:
    """(n, 128) float32 unit vectors: the roots of descriptors that sum to one, so that products are Hellinger's kernel.

    Source:
        Arandjelović and Zisserman 2012, "Three things everyone should know to improve object retrieval".
    """
    values = descriptors.astype(np.float32)
    return np.sqrt(values / np.maximum(values.sum(axis=1, keepdims=True), 1))


def match_by_ratio(first: np.ndarray, second: np.ndarray, ratio: float) -> np.ndarray:
    """Pairs of unit vectors that are each other's nearest, and clearly so.

    Args:
        first: (n, d) float32.
        second: (m, d) float32.
        ratio: A pair counts if its distance is below this share of the distance to the second nearest of ``second``.

    Returns:
        (pairs, 2) int64 positions in both, by position in ``first``. None where ``second`` has no second nearest.

    Source:
        Lowe 2004, section 7.1. Differs: a pair has to be mutual, so that no place is matched twice.
    """
    if len(first) == 0 or len(second) < 2:
        return np.empty((0, 2), np.int64)
    similarity = first @ second.T
    nearest = similarity.argmax(axis=1)
    rows = np.arange(len(first))
    best = similarity[rows, nearest]
    runner_up = np.partition(similarity, -2, axis=1)[:, -2]
    is_clear = 2 - 2 * best < ratio**2 * (2 - 2 * runner_up)  # squared distances of unit vectors
    is_mutual = similarity.argmax(axis=0)[nearest] == rows
    chosen = np.flatnonzero(is_clear & is_mutual)
    return np.stack([chosen, nearest[chosen]], axis=1)
