"""Tiles of a corpus: one raster, a folder of rasters, an image folder, or a zip of one."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from ris_core.artifacts import disk_error, write_json
from ris_core.cluster import IN_PROCESS, Cluster
from ris_core.errors import CorpusError
from ris_core.parallel import decoding_threads
from ris_core.records import Tiles
from ris_core.tiling.corpus import corpus_fingerprint, corpus_stamp, find_corpus
from ris_core.tiling.gathering import SHARDS, Readers, gather
from ris_core.tiling.image_folder import ImageFolder
from ris_core.tiling.image_reader import ImageReader
from ris_core.tiling.image_roles import image_roles
from ris_core.tiling.mosaic import check_sample, count_candidates, cut_rasters
from ris_core.tiling.pixel_store import PIXELS, PixelStore, Record
from ris_core.tiling.tile_spec import TileSpec
from ris_core.tiling.virtual_path import as_path

__all__ = ["TileSpec", "corpus_fingerprint", "count_cells", "cut_tiles"]

TILING_FACTS = "tiling.json"


def cut_tiles(
    source: Path,
    spec: TileSpec,
    out: Path | None = None,
    *,
    progress: bool = False,
    threads: int | None = None,
    cluster: Cluster = IN_PROCESS,
) -> Tiles:
    """The tiles of a corpus that hold information, ids ascending.

    A tiling into a folder that was cut off, by whatever, goes on there when it is called again for the same corpus.

    Args:
        source: A GeoTIFF or other raster file, also by a path of GDAL's virtual file systems, such as
            ``/vsicurl/https://...`` or ``/vsis3/bucket/key``; a folder of rasters (their footprints may overlap), an
            image folder with one subfolder a class (at any depth), or a zip of an image folder.
        spec: How they are cut.
        out: Folder for ``pixels.npy``, which the returned tiles map into memory, ``tiles.parquet``, and
            ``tiling.json`` with what was read, left out and scaled. None keeps all in memory.
        progress: Whether a progress line goes to stderr.
        threads: How many decode; None = one a core. The result does not depend on it, nor on what follows.
        cluster: Who reads in place of this process; all must see ``out``, and the corpus by the same path. None of it
            is used where ``out`` is None.

    Raises:
        CorpusError: If the corpus is missing, mixed or empty, or has fewer tiles than the sample.
        RasterError: If a raster is unreadable or unfit, or smaller than a tile.
        ArtifactError: If ``out`` cannot be written, or cannot be taken up where it was left.
        ClusterError: If the cluster is lost, or does not see ``out``.
    """
    source, out = as_path(source), None if out is None else Path(out)
    _check(spec)
    corpus = find_corpus(source)
    if not isinstance(corpus, ImageFolder):
        _refuse_ground_truth(source, spec)
    if out is not None:
        cluster.require(out.parent)
    readers = Readers(decoding_threads() if threads is None else threads, cluster)
    stamp = corpus_stamp(source, corpus, spec)
    store = PixelStore(spec.output_px, out, spec.sample, stamp)
    try:
        with tqdm(desc="tiles", unit="tile", disable=not progress) as bar:
            if isinstance(corpus, ImageFolder):
                tiles, facts = _cut_images(corpus, spec, store, bar, readers)
            else:
                tiles, facts = cut_rasters(corpus, spec, store, bar, readers)
        if corpus_stamp(source, corpus, spec) != stamp:
            if out is not None:
                (out / PIXELS).unlink()  # which is whole by now, and of two corpora
            raise CorpusError(f"{source}: changed while its tiles were cut. Leave it alone, and run again.")
        if out is not None:
            _save(tiles, facts, out)
    except CorpusError:  # which no further attempt at the same corpus escapes
        _discard(store)
        raise
    finally:
        store.close()
    _discard(store)
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


def _save(tiles: Tiles, facts: dict[str, Any], out: Path) -> None:
    try:
        tiles.save(out)
    except OSError as error:
        raise disk_error(out, error) from error
    write_json(out / TILING_FACTS, facts)


def _discard(store: PixelStore) -> None:
    """Remove what the next attempt would go on from."""
    store.discard()
    if store.folder is not None:
        shutil.rmtree(store.folder / SHARDS, ignore_errors=True)


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
    images: ImageFolder, spec: TileSpec, store: PixelStore, bar: Any, readers: Readers
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
    boxes = np.full((n, 4), np.nan) if roles.boxes is None else roles.boxes
    reader = ImageReader(images, images.names, boxes, spec.output_px, readers.threads)
    records = []
    for piece, record in gather(reader, reader.pieces(rows), store, readers.cluster):
        records.append(record)
        bar.update(len(piece))
    corners = _joined(records, "corners").astype(np.int64)
    table = pd.DataFrame(
        {
            "id": rows.astype(np.int64),
            "raster": [images.names[row] for row in rows],
            "row": np.zeros(len(rows), np.int64),
            "col": np.zeros(len(rows), np.int64),
            "row_px": corners[:, 0],
            "col_px": corners[:, 1],
            "coverage_frac": _joined(records, "coverage"),
        }
    ).join(roles.columns(rows, _joined(records, "boxes")))
    facts = {"kind": "images", "images": n, "tiles": len(rows), "classes": sorted(set(roles.labels or ()))}
    return Tiles(store.finish(np.arange(len(rows))), table), facts


def _joined(records: Sequence[Record], key: str) -> np.ndarray:
    return np.concatenate([np.array(record[key], np.float64) for record in records])
