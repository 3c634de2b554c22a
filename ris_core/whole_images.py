"""The images of a corpus at their own aspect ratio, or the box of one, in place of their square tiles."""

import contextlib
import dataclasses
import hashlib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
from PIL import Image

from ris_core.errors import CorpusError
from ris_core.tiling.corpus import find_corpus
from ris_core.tiling.image_folder import ImageFolder, box_in, open_image
from ris_core.tiling.image_roles import BOX_COLUMNS

_LISTED_NAMES = 3


@dataclasses.dataclass(frozen=True, eq=False)
class WholeImages:
    """The files of some tiles, and how large they are read.

    Attributes:
        folder: The corpus.
        names: (n) of the files within it.
        boxes: (n, 4) float64 ``x1, y1, x2, y2`` of what is cut out of an image before it is resized; NaN: nothing is.
        longer_px: Length of the longer side; images that are smaller are not enlarged.
        multiple_px: Both sides are whole multiples of this, at least one: the patch of a transformer.
    """

    folder: ImageFolder
    names: tuple[str, ...]
    boxes: np.ndarray
    longer_px: int
    multiple_px: int = 1

    @classmethod
    def of_tiles(cls, source: Path | ImageFolder, table: pd.DataFrame, longer_px: int, multiple_px: int = 1) -> Self:
        """Those that the tiles of a table were made of.

        Args:
            source: The corpus, a folder of images or a zip of one; or its images.
            table: Of the tiles: ``raster`` names the files; `BOX_COLUMNS` are there where boxes are known.
            longer_px: See the class.
            multiple_px: See the class.

        Raises:
            CorpusError: If the corpus is none of images, or lacks one.
        """
        folder = source if isinstance(source, ImageFolder) else find_corpus(source)
        if not isinstance(folder, ImageFolder):
            raise CorpusError(
                f"{source}: is no folder of images, and only these are described whole. Choose another preprocess, "
                "such as 'native'."
            )
        names = tuple(table["raster"])
        missing = sorted(set(names) - set(folder.names))
        if missing:
            raise CorpusError(
                f"{source}: lacks {len(missing)} image(s) that its tiles were made of, such as "
                f"{', '.join(missing[:_LISTED_NAMES])}. Put them back, or cut the tiles anew."
            )
        return cls(folder, names, boxes_of(table), longer_px, multiple_px)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that is read, but for the files' content."""
        digest = hashlib.sha256("\0".join(self.names).encode() + self.boxes.tobytes())
        digest.update(f"{self.longer_px} {self.multiple_px}".encode())
        return digest.hexdigest()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Callable[[int], np.ndarray]]:
        """A function from a row to its (h, w, 3) uint8 pixels; safe in threads.

        Raises:
            CorpusError: If an image cannot be decoded, or its box is not within it.

        Source:
            The revisited protocol's images, Radenović et al. 2018, arXiv:1803.11285: a query is its box alone, cut at
            full resolution. Differs: an image is turned upright first where its EXIF tag says so.
        """
        with warnings.catch_warnings(), self.folder.reading() as read:
            warnings.simplefilter("error", Image.DecompressionBombWarning)

            def take(row: int) -> np.ndarray:
                image, box = open_image(self.folder, self.names[row], read), self.boxes[row]
                if not np.isnan(box).any():
                    place = f"{self.folder.source}: image {self.names[row]}"
                    image = image.crop(box_in(box.tolist(), *image.size, place))
                return self._resized(image)

            yield take

    def _resized(self, image: Image.Image) -> np.ndarray:
        scale = min(1.0, self.longer_px / max(image.size))
        width, height = (self.multiple_px * max(1, round(side * scale / self.multiple_px)) for side in image.size)
        return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))


def boxes_of(table: pd.DataFrame) -> np.ndarray:
    """(n, 4) float64 boxes of a table of tiles; NaN where there is none."""
    if not set(BOX_COLUMNS) <= set(table.columns):
        return np.full((len(table), 4), np.nan)
    return table[list(BOX_COLUMNS)].to_numpy(np.float64)
