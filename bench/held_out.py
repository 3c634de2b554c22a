"""Tiles that a corpus holds out as queries: which they are, and the rest, which trains and is searched."""

from pathlib import Path

import numpy as np

from bench.suite import EMBEDDED, CorpusSpec
from ris_core.errors import CorpusError
from ris_core.records import Tiles
from ris_core.tiling.corpus import find_corpus
from ris_core.tiling.ground_truth import read_ground_truth
from ris_core.tiling.image_folder import ImageFolder, lies_below
from ris_core.tiling.image_roles import IS_DISTRACTOR, IS_QUERY
from ris_core.tiling.image_shards import list_shard


def count_held_out(corpus: CorpusSpec) -> int | None:
    """How many tiles of an image corpus are queries alone, by names; None where none is, or a sample decides.

    Raises:
        CorpusError: If the corpus is none of images, none of them is a query, or all are.
    """
    if corpus.source in EMBEDDED:
        return None
    if corpus.ground_truth is not None:
        return len(read_ground_truth(corpus.ground_truth).queries)
    if corpus.queries is None:
        return None
    images = find_corpus(Path(corpus.source))
    if not isinstance(images, ImageFolder):
        raise CorpusError(
            f"queries = '{corpus.queries}': {corpus.source} is no folder of images, whose subfolders may be held out; "
            "tiles of rasters are queries themselves. Remove the key."
        )
    count = int(images.below(corpus.queries.as_posix()).sum())
    if count == len(images.names):
        raise CorpusError(
            f"queries = '{corpus.queries}': all {count} images of {corpus.source} lie there, so none is left to be "
            "searched. Name a folder that holds a part of them."
        )
    return count if corpus.sample is None else None


def count_distractors(corpus: CorpusSpec) -> int:
    """How many tiles are there to distract.

    Raises:
        CorpusError: If a shard cannot be read.
    """
    return sum(len(list_shard(Path(path)).names) for path in corpus.distractors)


def mark_queries(tiles: Tiles, corpus: CorpusSpec) -> Tiles:
    """The tiles, those of the images below the folder ``corpus.queries`` marked in their table."""
    if corpus.queries is None:
        return tiles
    folder = corpus.queries.as_posix()
    return Tiles(tiles.pixels, tiles.table.assign(**{IS_QUERY: [lies_below(n, folder) for n in tiles.table["raster"]]}))


def part_rows(tiles: Tiles) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions of the tiles that are held out as queries, of those that train and are searched, and that distract.

    Raises:
        CorpusError: If tiles are to be held out and none is, or all others are.
    """
    columns = (IS_QUERY, IS_DISTRACTOR)
    is_query, distracts = (
        tiles.table[name].to_numpy(bool) if name in tiles.table else np.zeros(len(tiles), bool) for name in columns
    )
    others = ~is_query & ~distracts
    if IS_QUERY in tiles.table and not (is_query.any() and others.any()):
        raise CorpusError(
            f"{is_query.sum()} of {len(tiles)} tiles are held out as queries; some must be, and some be left to be "
            "searched. Take a larger corpus.sample, or name another folder as corpus.queries."
        )
    return np.flatnonzero(is_query), np.flatnonzero(others), np.flatnonzero(distracts)
