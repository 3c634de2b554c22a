"""Images of a corpus read as tiles: each cut to its largest centred square, or that of a box of it, and resized."""

import contextlib
import dataclasses
import warnings
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from PIL import Image

from ris_core.errors import CorpusError
from ris_core.tiling.image_folder import ImageFolder, box_in, open_image
from ris_core.tiling.pixel_store import Batch
from ris_core.tiling.pixels import empty_values, resize_by_area

_PIECE = 64  # images a thread decodes in one go


@dataclasses.dataclass(frozen=True, eq=False)
class ImageReader:
    """Reads images as tiles.

    Attributes:
        images: Where they lie.
        names: Of them, in the order of their ids.
        boxes: (n, 4) for each ``x1, y1, x2, y2`` of what of it counts, NaN where all does. The middle of a box is
            enlarged where it is smaller than a tile.
        size_px: Side of the tiles; no image may be smaller.
        threads: How many decode.
    """

    images: ImageFolder
    names: tuple[str, ...]
    boxes: np.ndarray
    size_px: int
    threads: int = 1

    def pieces(self, rows: np.ndarray) -> list[np.ndarray]:
        """Positions of images that are read together, in the order given."""
        return [rows[start : start + _PIECE] for start in range(0, len(rows), _PIECE)]

    def ids(self, piece: np.ndarray) -> np.ndarray:
        """(n,) int64 of a piece: the positions of its images."""
        return piece

    @contextlib.contextmanager
    def reading(self) -> Iterator[Callable[[np.ndarray], Batch]]:
        """A function that reads a piece; see `gathering.Source`.

        Its record has for each tile its coverage in [0, 1], the row and column of the square in the image, and the
        box that the square is the middle of.

        Raises:
            CorpusError: If an image is broken, too small, or of a kind that has no 8-bit colours, or its box is
                outside.
        """
        with warnings.catch_warnings(), self.images.reading() as read:
            warnings.simplefilter("error", Image.DecompressionBombWarning)

            def decode(piece: np.ndarray) -> Batch:
                parts = [
                    _decode(self.images, self.names[row], read, self.size_px, self.boxes[row]) for row in piece.tolist()
                ]
                pixels, coverage, corners, boxes = zip(*parts, strict=True)
                record = {"n": len(parts), "coverage": coverage, "corners": corners, "boxes": boxes}
                return Batch(np.stack(pixels), [record])

            yield decode

    def part(self, pieces: Sequence[np.ndarray]) -> tuple["ImageReader", list[np.ndarray]]:
        """A reader that knows the images of these pieces alone, and they as it numbers them."""
        rows = np.concatenate(pieces)
        names = tuple(self.names[row] for row in rows)
        ends = np.cumsum([len(piece) for piece in pieces])
        part = ImageReader(self.images.part(set(names)), names, self.boxes[rows], self.size_px)
        return part, np.split(np.arange(len(rows)), ends[:-1])


def _decode(
    images: ImageFolder, name: str, read: Callable[[str], bytes], size_px: int, box: np.ndarray
) -> tuple[np.ndarray, float, tuple[int, int], list[float]]:
    image = open_image(images, name, read)
    place, is_boxed = np.zeros(2, np.int64), not np.isnan(box).any()
    if is_boxed:
        box = np.array(box_in(box.tolist(), *image.size, f"{images.source}: image {name}"), np.float64)
        image, place = image.crop(tuple(box.astype(int))), box[[1, 0]].astype(np.int64)
    side = min(image.size)
    if is_boxed and side < size_px:
        scale = size_px / side
        image = image.resize([max(size_px, round(length * scale)) for length in image.size], Image.Resampling.BICUBIC)
        side = size_px
    if side < size_px:
        raise CorpusError(
            f"{images.source}: image {name} is {image.width} x {image.height} px, smaller than the tile of {size_px} "
            f"px; tiles are never enlarged. Set tile_px = {side} or less, or remove the image."
        )
    col, row = (image.width - side) // 2, (image.height - side) // 2
    square = np.asarray(image)[row : row + side, col : col + side].transpose(2, 0, 1)
    coverage = 1 - np.count_nonzero(empty_values(square)) / square.size
    corner = int(place[0]) + row, int(place[1]) + col
    return resize_by_area(square, size_px).transpose(1, 2, 0), float(coverage), corner, box.tolist()
