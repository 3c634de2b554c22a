"""Regions of a picture as crops that a backbone takes: square, and as large as the corpus' stored tiles."""

import numpy as np
from PIL import Image

from ris_core.tiling.pixels import resize_by_area


def cut_crops(picture: np.ndarray, boxes: np.ndarray, size_px: int, context: float = 1.0) -> np.ndarray:
    """The regions of a picture as square crops, made smaller as tiles are (by area) or larger (bicubic).

    Args:
        picture: (h, w, 3) uint8 at full resolution.
        boxes: (m, 4) x1, y1, x2, y2 in its pixels.
        size_px: Side of the crops.
        context: See `square_boxes`.

    Returns:
        (m, size_px, size_px, 3) uint8.
    """
    crops = np.empty((len(boxes), size_px, size_px, 3), np.uint8)
    height, width = picture.shape[:2]
    for crop, (x1, y1, x2, y2) in zip(crops, square_boxes(boxes, (width, height), context), strict=True):
        crop[:] = _resized(picture[y1:y2, x1:x2], size_px)
    return crops


def square_boxes(boxes: np.ndarray, size_px: tuple[int, int], context: float = 1.0) -> np.ndarray:
    """The smallest squares of whole pixels that hold the boxes, moved into the picture.

    Like a tile, a crop shows its ground undistorted. A box longer than the picture is wide or high is cut to its
    middle, as an image of a corpus is.

    Args:
        boxes: (m, 4) x1, y1, x2, y2 in pixels, within the picture.
        size_px: Width and height of the picture.
        context: How many times as long as the box the square is; what lies around an object tells what it is.

    Returns:
        (m, 4) int64.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    longest = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=1.0)
    side = np.minimum(np.ceil(longest * context - 1e-9), min(size_px)).astype(np.int64)
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    corner = np.floor(middle - side[:, None] / 2 + 0.5).astype(np.int64)
    corner = np.clip(corner, 0, np.asarray(size_px) - side[:, None])
    return np.column_stack([corner, corner + side[:, None]])


def _resized(square: np.ndarray, size_px: int) -> np.ndarray:
    if len(square) >= size_px:
        return resize_by_area(square.transpose(2, 0, 1), size_px).transpose(1, 2, 0)
    return np.asarray(Image.fromarray(np.ascontiguousarray(square)).resize((size_px,) * 2, Image.Resampling.BICUBIC))
