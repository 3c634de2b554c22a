"""Boxes around the objects that hard queries show, read off the land cover: a boxes file as a person would draw it."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
from rasterio.windows import Window
from scipy import ndimage

from bench.judging.judgments import HARD
from ris_core.artifacts import written_whole
from ris_core.errors import CorpusError
from ris_core.records import Tiles
from ris_core.regions.boxes import COLUMNS
from ris_core.tiling.landcover import class_names
from ris_core.tiling.raster_facts import open_raster, read_values

_SMALLEST_PX = 16  # pixels of an object: smaller ones are slivers at the tile's edge, or a blade of a wind turbine
_MOST = 8  # boxes of a query, the largest objects: a herd has dozens
_TOUCHING = np.ones((3, 3), int)  # pixels that touch at a corner are of one object


def write_object_boxes(path: Path, classes: Path, tiles: Tiles, queries: pd.DataFrame, size_px: int) -> None:
    """Write a file of boxes for the hard queries: the connected components of each one's class in its own tile.

    Args:
        path: The CSV file, columns ``query,x1,y1,x2,y2``, read by `ris_core.regions.boxes`.
        classes: The land-cover raster, or a folder of those with the rasters' names.
        tiles: The corpus, without pixels.
        queries: As `bench.judging.judgments.Judgments` has them.
        size_px: Side of a tile in the raster.

    Raises:
        RasterError: If the land cover cannot be read.
        ArtifactError: If the disk cannot take the file.
    """
    table = tiles.table.set_index("id")
    hard = queries[queries["stratum"] == HARD]
    with written_whole(path) as unfinished, unfinished.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for number, concept in hard[["query_id", "concept"]].itertuples(index=False, name=None):
            tile = table.loc[number]
            raster = classes / str(tile["raster"]) if classes.is_dir() else classes
            shown = _where_shown(raster, str(concept), int(tile["row_px"]), int(tile["col_px"]), size_px)
            writer.writerows([number, *box] for box in boxes_of(shown))


def boxes_of(shown: np.ndarray) -> list[tuple[int, int, int, int]]:
    """x1, y1, x2, y2 of the largest connected parts of a (h, w) bool mask, the largest first."""
    labels, count = ndimage.label(shown, _TOUCHING)
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    slices = ndimage.find_objects(labels)
    order = [part for part in np.argsort(-areas, kind="stable") if areas[part] >= _SMALLEST_PX][:_MOST]
    return [(cols.start, rows.start, cols.stop, rows.stop) for rows, cols in (slices[part] for part in order)]


def _where_shown(raster: Path, name: str, row_px: int, col_px: int, size_px: int) -> np.ndarray:
    """(size_px, size_px) bool: where a tile shows a class."""
    with open_raster(raster) as dataset:
        ids = {known: number for number, known in class_names(dataset, raster).items()}
        if name not in ids:
            raise CorpusError(f"{raster}: has no class {name!r}; known: {', '.join(ids)}. Name the boxes by a file.")
        (values,) = read_values(dataset, (1,), window=Window(col_px, row_px, size_px, size_px))
    return np.asarray(values == ids[name])
