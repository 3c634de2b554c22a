"""The regions of the judged queries, found once a run: in a file, by a sliding window, or by a detector."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from bench.measuring.clock import collection_off, synchronize
from ris_core.device import threads
from ris_core.records import Tiles
from ris_core.regions.boxes import BoxFile
from ris_core.regions.detector import Detector
from ris_core.regions.params import OBJECTS, BoxParams, DetectorParams, RegionParams, WindowParams
from ris_core.regions.sliding_window import slide_windows
from ris_core.tiling.corpus import find_corpus
from ris_core.tiling.full_resolution import read_pictures
from ris_core.tiling.image_folder import ImageFolder
from ris_core.tiling.tile_spec import TileSpec

Find = Callable[[int, np.ndarray], np.ndarray]  # place and picture of a query -> (m, 4) boxes


@dataclasses.dataclass(frozen=True, eq=False)
class QueryPictures:
    """The tiles that are asked for, and the corpus that they were cut from.

    Attributes:
        source: The corpus.
        spec: How it was cut.
        tiles: All its tiles.
        rows: (q,) positions of the queries among them.
        is_hard: (q,) bool: who asks for a small object.
    """

    source: Path
    spec: TileSpec
    tiles: Tiles
    rows: np.ndarray
    is_hard: np.ndarray

    def read(self) -> Iterator[np.ndarray]:
        """Each picture at full resolution, (h, w, 3) uint8."""
        return read_pictures(self.source, self.spec, self.tiles, self.rows)

    def names(self) -> list[tuple[str, ...]]:
        """For each query what a boxes file may call it: its tile's id, of an image corpus also its image's name."""
        return [tuple(known) for known in self._known().iloc[self.rows].to_numpy().tolist()]

    def every_name(self) -> frozenset[str]:
        """What a boxes file may name: every tile, for it may hold boxes of more than the queries."""
        return frozenset(self._known().to_numpy().ravel().tolist())

    def _known(self) -> pd.DataFrame:
        table = self.tiles.table[["id", "raster"]].astype(str)
        return table if isinstance(find_corpus(self.source), ImageFolder) else table[["id"]]


@dataclasses.dataclass(frozen=True, eq=False)
class Found:
    """The regions of each query.

    Attributes:
        boxes: For each query (m, 4) float64 x1, y1, x2, y2 in pixels of its picture.
        sizes_px: For each query the width and height of its picture.
        find_s: For each query the seconds that finding them took, its picture in memory.
    """

    boxes: list[np.ndarray]
    sizes_px: list[tuple[int, int]]
    find_s: list[float]


class RegionFinder:
    """Finds the regions of the queries; what was found once is kept.

    Args:
        pictures: The queries.
        write_objects: Writes a boxes file of the objects that hard queries show, and returns its path.
    """

    def __init__(self, pictures: QueryPictures, write_objects: Callable[[], Path]) -> None:
        self.pictures = pictures
        self._write_objects = write_objects
        self._found: dict[RegionParams, Found] = {}

    def find(self, params: RegionParams) -> Found:
        """The regions by these parameters.

        Raises:
            CorpusError: If a picture or a boxes file cannot be read, or a box does not fit.
            CheckpointError: If the detector cannot be loaded.
        """
        fresh = RegionParams()
        source = dataclasses.replace(params, merge=fresh.merge, per_crop=fresh.per_crop, context=fresh.context)
        if source not in self._found:
            self._found[source] = self._find(self._way(source))
        return self._found[source]

    def _way(self, params: RegionParams) -> Find:
        if isinstance(params, WindowParams):
            return lambda query, picture: slide_windows(size_of(picture), params.sizes, params.overlap)
        if isinstance(params, BoxParams):
            boxes = BoxFile.read(self._write_objects() if params.boxes == OBJECTS else params.boxes)
            boxes.check_queries(self.pictures.every_name().__contains__)
            names = self.pictures.names()
            asks = self.pictures.is_hard if params.boxes == OBJECTS else np.ones(len(names), bool)
            return lambda query, picture: boxes.of(names[query] if asks[query] else (), size_of(picture))
        if isinstance(params, DetectorParams):
            detector = Detector(params.detector)
            return lambda query, picture: detector.find(picture)
        return lambda query, picture: np.empty((0, 4))

    def _find(self, way: Find) -> Found:
        boxes, sizes_px, find_s = [], [], []
        with threads(1), collection_off():  # as all of a region cell
            for query, picture in enumerate(self.pictures.read()):
                for _ in range(1 + (query == 0)):  # the first one twice: what warms up is not counted
                    start = time.perf_counter()
                    found = way(query, picture)
                    synchronize()
                    seconds = time.perf_counter() - start
                boxes.append(found)
                find_s.append(seconds)
                sizes_px.append(size_of(picture))
        return Found(boxes, sizes_px, find_s)


def size_of(picture: np.ndarray) -> tuple[int, int]:
    """Width and height of a (h, w, 3) picture."""
    return picture.shape[1], picture.shape[0]
