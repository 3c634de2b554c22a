"""Tiles of a corpus: one raster, a folder of rasters, an image folder, or a zip of one."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from ris_core.artifacts import write_json
from ris_core.errors import CorpusError
from ris_core.parallel import decoding_threads
from ris_core.records import Tiles
from ris_core.tiling.corpus import corpus_fingerprint, find_corpus
from ris_core.tiling.image_folder import ImageFolder, read_images
from ris_core.tiling.image_roles import image_roles
from ris_core.tiling.mosaic import check_sample, count_candidates, cut_rasters
from ris_core.tiling.pixel_store import PixelStore
from ris_core.tiling.tile_spec import TileSpec
from ris_core.tiling.virtual_path import as_path

__all__ = ["TileSpec", "corpus_fingerprint", "count_cells", "cut_tiles"]

TILING_FACTS = "tiling.json"


def cut_tiles(
    source: Path, spec: TileSpec, out: Path | None = None, *, progress: bool = False, threads: int | None = None
) -> Tiles:
    """The tiles of a corpus that hold information, ids ascending.

    Args:
        source: A GeoTIFF or other raster file, also by a path of GDAL's virtual file systems, such as
            ``/vsicurl/https://...`` or ``/vsis3/bucket/key``; a folder of rasters (their footprints may overlap), an
            image folder with one subfolder a class (at any depth), or a zip of an image folder.
        spec: How they are cut.
        out: Folder for ``pixels.npy``, which the returned tiles map into memory, ``tiles.parquet``, and
            ``tiling.json`` with what was read, left out and scaled. None keeps all in memory.
        progress: Whether a progress line goes to stderr.
        threads: How many decode; None = one a core. The result does not depend on it.

    Raises:
        CorpusError: If the corpus is missing, mixed or empty, or has fewer tiles than the sample.
        RasterError: If a raster is unreadable or unfit, or smaller than a tile.
        ArtifactError: If ``out`` cannot be written.
    """
    source, out = as_path(source), None if out is None else Path(out)
    _check(spec)
    corpus = find_corpus(source)
    if not isinstance(corpus, ImageFolder):
        _refuse_ground_truth(source, spec)
    threads = decoding_threads() if threads is None else threads
    store = PixelStore(spec.output_px, out, spec.sample)
    try:
        with tqdm(desc="tiles", unit="tile", disable=not progress) as bar:
            if isinstance(corpus, ImageFolder):
                tiles, facts = _cut_images(corpus, spec, store, bar, threads)
            else:
                tiles, facts = cut_rasters(corpus, spec, store, bar, threads)
    finally:
        store.discard()
    if out is not None:
        tiles.save(out)
        write_json(out / TILING_FACTS, facts)
    return tiles


def count_cells(source: Path, spec: TileSpec) -> int:
    """How many tiles a corpus could give at most, without a pixel decoded: its grid cells, labelled ones, or images.

    Raises:
        CorpusError: As `cut_tiles`.
        RasterError: As `cut_tiles`, where the header tells.
    """
    source = as_path(source)
    _check(spec)
    corpus = find_corpus(source)
    if isinstance(corpus, ImageFolder):
        return len(image_roles(corpus, spec).images.names)
    _refuse_ground_truth(source, spec)
    return count_candidates(corpus, spec)


def _check(spec: TileSpec) -> None:
    faults = spec.faults()
    if faults:
        raise CorpusError(f"the tiles cannot be cut as asked: {'; '.join(faults)}. Change these settings.")


def _refuse_ground_truth(source: Path, spec: TileSpec) -> None:
    if spec.ground_truth is not None or spec.distractors:
        what = f"a ground truth ({spec.ground_truth})" if spec.ground_truth is not None else "distractors"
        raise CorpusError(
            f"{source}: is no folder of images, and only these have {what}. Leave it out, or name the folder that "
            "holds the images in a subfolder."
        )


def _cut_images(
    images: ImageFolder, spec: TileSpec, store: PixelStore, bar: Any, threads: int
) -> tuple[Tiles, dict[str, Any]]:
    """Every image, or a sample, as tiles; see `image_roles` for their ids."""
    if spec.labels is not None or spec.classes is not None:
        raise CorpusError(
            f"{images.source}: is an image folder, whose folders are its classes; `labels` and `classes` belong to "
            "rasters. Leave them out."
        )
    roles = image_roles(images, spec)
    images, n = roles.images, len(roles.images.names)
    rows = np.arange(n)
    if spec.sample is not None:
        check_sample(images.source, spec, n)
        rows = np.sort(np.random.default_rng(spec.seed).permutation(n)[: spec.sample])
    bar.reset(total=len(rows))
    coverage, corners, boxes = [np.empty(0)], [np.empty((0, 2), np.int64)], [np.empty((0, 4))]
    for pictures in read_images(images, rows, spec.output_px, threads, roles.boxes):
        store.append(pictures.pixels)
        coverage.append(pictures.coverage)
        corners.append(pictures.corners)
        boxes.append(pictures.boxes)
        bar.update(len(pictures.pixels))
    corner = np.concatenate(corners)
    table = pd.DataFrame(
        {
            "id": rows.astype(np.int64),
            "raster": [images.names[row] for row in rows],
            "row": np.zeros(len(rows), np.int64),
            "col": np.zeros(len(rows), np.int64),
            "row_px": corner[:, 0],
            "col_px": corner[:, 1],
            "coverage_frac": np.concatenate(coverage),
        }
    ).join(roles.columns(rows, np.concatenate(boxes)))
    facts = {"kind": "images", "images": n, "tiles": len(rows), "classes": sorted(set(roles.labels or ()))}
    return Tiles(store.finish(np.arange(len(rows))), table), facts
