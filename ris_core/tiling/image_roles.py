"""What the images of a corpus are for: searched, asked by a box of theirs, or there to distract; in order of ids."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from ris_core.tiling.ground_truth import PUBLISHED_FOLDER, find_named, read_ground_truth
from ris_core.tiling.image_folder import ImageFolder
from ris_core.tiling.image_shards import join_shards
from ris_core.tiling.tile_spec import TileSpec

IS_QUERY = "is_query"  # column of the tiles' table, bool: asked, not searched; absent where nothing is held out
IS_DISTRACTOR = "is_distractor"  # column of the same, bool: of a shard; absent where there are none
BOX_COLUMNS = ("box_x1", "box_y1", "box_x2", "box_y2")  # columns of the same, px of the upright image; NaN = all of it


@dataclasses.dataclass(frozen=True, eq=False)
class ImageRoles:
    """The images that become tiles.

    Attributes:
        images: They, in the order of their ids.
        labels: The class of each, or None where that is not known.
        is_query: (n,) bool: which are asked and not searched; None where no file tells.
        boxes: (n, 4) float64 ``x1, y1, x2, y2`` in pixels of what is asked by; NaN: the whole image.
        distractors: How many of them, the last ones, distract: they are searched, never right, and have no label.
    """

    images: ImageFolder
    labels: list[str] | None
    is_query: np.ndarray | None = None
    boxes: np.ndarray | None = None
    distractors: int = 0

    def columns(self, rows: np.ndarray, boxes: np.ndarray) -> pd.DataFrame:
        """What is known of some images beside their pictures, one row each.

        Args:
            rows: Their positions.
            boxes: (m, 4) what was cut out of them.
        """
        table = pd.DataFrame(index=range(len(rows)))
        if self.labels is not None:
            table["label"] = [self.labels[row] for row in rows]
        if self.is_query is not None:
            table[IS_QUERY] = self.is_query[rows]
            table[list(BOX_COLUMNS)] = boxes
        if self.distractors:
            table[IS_DISTRACTOR] = rows >= len(self.images.names) - self.distractors
        return table

    def with_shards(self, shards: Sequence[Path]) -> "ImageRoles":
        """The same with the images of these shards behind them, to distract.

        Raises:
            CorpusError: If a shard cannot be read.
        """
        if not shards:
            return self
        joined = join_shards(self.images, shards)
        more = len(joined.names) - len(self.images.names)
        labels = None if self.labels is None else [*self.labels, *[""] * more]
        is_query = None if self.is_query is None else np.append(self.is_query, np.zeros(more, bool))
        boxes = None if self.boxes is None else np.concatenate([self.boxes, np.full((more, 4), np.nan)])
        return ImageRoles(joined, labels, is_query, boxes, more)


def image_roles(images: ImageFolder, spec: TileSpec) -> ImageRoles:
    """The images of a corpus as a specification of tiles takes them: all, or those that its ground truth names.

    With a ground truth an image's id is its place in ``imlist``, and queries follow; else the place in the sorted list.
    Distractors come last.

    Raises:
        CorpusError: If the ground truth or a shard cannot be read, or images are named that are not there.
    """
    shards = [Path(path) for path in spec.distractors]
    if spec.ground_truth is None:
        return ImageRoles(images, images.labels).with_shards(shards)
    truth = read_ground_truth(Path(spec.ground_truth))
    names = find_named(images, truth)
    sizes = dict(zip(images.names, images.sizes, strict=True))
    named = dataclasses.replace(images, names=tuple(names), sizes=tuple(sizes[name] for name in names))
    boxes = np.full((len(names), 4), np.nan)
    for row, query in enumerate(truth.queries, start=len(truth.names)):
        boxes[row] = np.nan if query.box is None else query.box
    is_query = np.arange(len(names)) >= len(truth.names)
    return ImageRoles(named, _labels(named), is_query, boxes).with_shards(shards)


def _labels(images: ImageFolder) -> list[str] | None:
    """The folder that each image lies in, below the published one; None where one lies in none."""
    labels = [PurePosixPath(name.removeprefix(f"{PUBLISHED_FOLDER}/")).parent.name for name in images.names]
    return labels if all(labels) else None
