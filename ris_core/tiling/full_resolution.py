"""Tiles as the corpus has them, not as they were stored: whole images, and windows of rasters that were not resized."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ris_core.records import Tiles
from ris_core.tiling.corpus import find_corpus
from ris_core.tiling.image_folder import ImageFolder, box_in, read_whole
from ris_core.tiling.image_roles import BOX_COLUMNS
from ris_core.tiling.mosaic import tile_reader
from ris_core.tiling.tile_spec import TileSpec


def read_pictures(source: Path, spec: TileSpec, tiles: Tiles, rows: np.ndarray) -> Iterator[np.ndarray]:
    """The pictures of some tiles at full resolution, one after another.

    Args:
        source: The corpus that the tiles were cut from.
        spec: How they were cut.
        tiles: All of them.
        rows: (m,) positions of those wanted; of an image folder each picture is the whole image, of which the tile is
            the middle, or the box of it that is asked by.

    Yields:
        (h, w, 3) uint8; of rasters h = w = ``spec.size_px``.

    Raises:
        CorpusError: If an image cannot be read.
        RasterError: If a raster cannot be read.
    """
    corpus = find_corpus(source)
    if isinstance(corpus, ImageFolder):
        part = tiles.table.iloc[rows]
        boxed = set(BOX_COLUMNS) <= set(part.columns)
        boxes = part[list(BOX_COLUMNS)].to_numpy(np.float64) if boxed else np.full((len(part), 4), np.nan)
        for box, name, picture in zip(boxes, part["raster"], read_whole(corpus, part["raster"].tolist()), strict=True):
            yield picture if np.isnan(box).any() else _cut_box(picture, box, f"{source}: image {name}")
    elif spec.output_px == spec.size_px:
        yield from (np.asarray(tiles.pixels[row]) for row in rows)
    else:
        full = dataclasses.replace(spec, stored_px=None, min_coverage=0.0, labels=None, classes=None)
        reader = tile_reader(corpus, full, threads=1)
        for number in tiles.ids[rows]:
            (stretch,) = reader.read([reader.plan.layout.locate(np.array([number]))])
            yield stretch.pixels[0]


def _cut_box(picture: np.ndarray, box: np.ndarray, place: str) -> np.ndarray:
    x1, y1, x2, y2 = box_in(box.tolist(), picture.shape[1], picture.shape[0], place)
    return picture[y1:y2, x1:x2]
