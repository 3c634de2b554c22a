"""How many matched places of two images agree on one motion of the ground."""

import importlib

import numpy as np

POINTS = {"similarity": 2, "affine": 3, "homography": 4}  # that determine a motion

_ITERATIONS = 2000
_CONFIDENCE = 0.99
_LARGEST_AREA_RATIO = 16.0  # a motion that shrinks or enlarges more is a collapse onto few places


def count_inliers(first: np.ndarray, second: np.ndarray, motion: str, threshold_px: float, seed: int = 0) -> int:
    """Matches that agree on one motion; 0 where they are no more than determine one, for those always agree.

    Args:
        first: (m, 2) float32 places in one image, in pixels.
        second: (m, 2) those matched to them in the other.
        motion: Key of `POINTS`.
        threshold_px: Distance up to which a match agrees, in the second image.
        seed: Of the random samples.

    Returns:
        Places that are matched more than once, as SIFT's with two orientations, count once. A motion that mirrors, or
        changes areas more than 16-fold, counts as none.

    Source:
        Fischler and Bolles 1981, RANSAC; Philbin et al. 2007 for its use in retrieval. Affine motions and homographies
        by OpenCV's USAC (Barath et al. 2020), similarities by its older RANSAC, whose seed is fixed.
    """
    places = np.unique(np.concatenate([first, second], axis=1).round(), axis=0, return_index=True)[1]
    first, second = (np.ascontiguousarray(side[np.sort(places)], np.float32) for side in (first, second))
    if len(first) <= POINTS[motion]:
        return 0
    matrix, mask = _fit(first, second, motion, threshold_px, seed)
    if matrix is None or mask is None or not _is_plausible(matrix):
        return 0
    return int(mask.sum())


def _fit(
    first: np.ndarray, second: np.ndarray, motion: str, threshold_px: float, seed: int
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The motion as a matrix, and which matches agree with it."""
    cv2 = importlib.import_module("cv2")  # optional
    if motion == "similarity":
        return cv2.estimateAffinePartial2D(first, second, None, cv2.RANSAC, threshold_px, _ITERATIONS, _CONFIDENCE)
    options = cv2.UsacParams()
    options.threshold, options.maxIterations, options.confidence = threshold_px, _ITERATIONS, _CONFIDENCE
    options.randomGeneratorState = seed
    fit = cv2.findHomography if motion == "homography" else cv2.estimateAffine2D
    return fit(first, second, options)


def _is_plausible(matrix: np.ndarray) -> bool:
    """Whether the motion keeps the ground's handedness and, roughly, its area."""
    scale = matrix[2, 2] if len(matrix) == 3 else 1.0
    area = float(np.linalg.det(matrix[:2, :2] / scale)) if scale else 0.0
    return 1 / _LARGEST_AREA_RATIO < area < _LARGEST_AREA_RATIO
