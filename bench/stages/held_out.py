"""Tiles that a corpus holds out as queries: which they are, and the rest, which trains and is searched."""

import numpy as np

from bench.suites.suite import CorpusSpec
from ris_core.errors import CorpusError
from ris_core.records import Tiles
from ris_core.tiling.image_folder import lies_below
from ris_core.tiling.image_roles import IS_DISTRACTOR, IS_QUERY


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
