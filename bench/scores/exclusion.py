"""Spatial leakage: tiles that are no fair answer to a query because they show its ground, and scores without them."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
import shapely

from bench.scores.score import precision_at_k, recall_at_k
from ris_core.errors import CorpusError, SearchError
from ris_core.records import PADDING_ID, Hits, Tiles

OVERLAP, BLOCK = "overlap", "block"
SHARED_FRAC = 1e-6  # of a tile's area: less is the rounding of coordinates, and tiles that touch do not overlap


def excluded_rows(
    tiles: Tiles, query_rows: np.ndarray, how: Literal["overlap", "block"], tile_px: int, block_px: int
) -> list[np.ndarray]:
    """For each query the rows of the tiles that are no answers to it, its own left out.

    Args:
        tiles: The tiles that are searched.
        query_rows: (q,) int64 positions of the queries in ``tiles``.
        how: ``"overlap"``: tiles whose footprints share ground with the query's, in any raster. ``"block"``: tiles of
            the same raster whose centre lies in the same square block as the query's centre.
        tile_px: Side of a tile in pixels of the raster.
        block_px: Side of a block in pixels of the raster.

    Returns:
        q int64 arrays, ascending.

    Raises:
        CorpusError: If the tiles have no places.
    """
    query_rows = np.asarray(query_rows, np.int64)
    if how == OVERLAP:
        places, rows = overlapping_pairs(tiles, query_rows, tile_px)
    else:
        places, rows = _same_code(block_codes(tiles, tile_px, block_px), query_rows)
    others = rows != query_rows[places]
    places, rows = places[others], rows[others]
    order = np.lexsort((rows, places))
    bounds = np.searchsorted(places[order], np.arange(1, len(query_rows)))
    return [part.astype(np.int64) for part in np.split(rows[order], bounds)] if len(query_rows) else []


def overlapping_pairs(tiles: Tiles, query_rows: np.ndarray, tile_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Places in ``query_rows`` and rows of the tiles that share ground with them, themselves included.

    Bounding boxes come from an R-tree; polygons are cut only where their boxes share an area, so that a grid of
    neighbours that touch costs little.

    Raises:
        CorpusError: If the tiles have no places.
    """
    footprints = _footprints(tiles, tile_px)
    places, rows = shapely.STRtree(footprints).query(footprints[query_rows])
    least = SHARED_FRAC * shapely.area(footprints)[query_rows]
    boxes = shapely.bounds(footprints)
    mine, theirs = boxes[query_rows][places], boxes[rows]
    shared = np.minimum(mine[:, 2:], theirs[:, 2:]) - np.maximum(mine[:, :2], theirs[:, :2])  # (p, 2): width, height
    near = np.maximum(shared, 0).prod(axis=1) > least[places]
    places, rows = places[near], rows[near]
    areas = shapely.area(shapely.intersection(footprints[query_rows][places], footprints[rows]))
    cut = areas > least[places]
    return places[cut], rows[cut]


def block_codes(tiles: Tiles, tile_px: int, block_px: int) -> np.ndarray:
    """(n,) int64, equal for the tiles of one block: one raster, centres in one square of ``block_px``.

    Raises:
        CorpusError: If the tiles have no places.
    """
    _check_places(tiles)
    centre_px = tiles.table[["row_px", "col_px"]] + tile_px // 2
    blocks = (centre_px // block_px).assign(raster=tiles.table["raster"])
    return blocks.groupby(["raster", "row_px", "col_px"], sort=False).ngroup().to_numpy(np.int64)


def extra_depth(excluded: Sequence[np.ndarray]) -> int:
    """How many answers beyond k (and the query itself) must be asked for, so that k are left for every query."""
    return max((len(rows) for rows in excluded), default=0)


def recall_without(
    hits: Hits, truth: Hits, excluded_ids: Sequence[np.ndarray], k: int, query_ids: np.ndarray | None = None
) -> np.ndarray:
    """`recall_at_k` with some tiles taken from the truth and from the answers; k stays the divisor.

    Args:
        hits: (q, at least k + `extra_depth`) answers.
        truth: (q, at least k + `extra_depth`, or all other tiles) exact neighbours.
        excluded_ids: For each query the ids of the tiles that do not count.
        k: Cut-off, in tiles.
        query_ids: (q,) tile ids of the queries.

    Returns:
        (q,) float64 in [0, 1]; NaN where fewer than k true neighbours are left.

    Raises:
        SearchError: If the numbers of queries differ.
    """
    left = without(truth, excluded_ids)
    scored = np.flatnonzero((left.ids != PADDING_ID).sum(axis=1) >= k)
    recall = np.full(len(hits), np.nan)
    own = None if query_ids is None else np.asarray(query_ids)[scored]
    recall[scored] = recall_at_k(_of(without(hits, excluded_ids), scored), _of(left, scored), k, own)
    return recall


def precision_without(
    hits: Hits, relevance: np.ndarray, excluded_ids: Sequence[np.ndarray], k: int, query_ids: np.ndarray | None = None
) -> np.ndarray:
    """`precision_at_k` with some tiles taken from the answers; k stays the divisor.

    Args:
        hits: (q, at least k + `extra_depth`) answers.
        relevance: (q, same) bool: is the tile in this place relevant?
        excluded_ids: For each query the ids of the tiles that do not count.
        k: Depth, in places.
        query_ids: (q,) tile ids of the queries.

    Returns:
        (q,) float64 in [0, 1]. With fewer relevant tiles left than k, even perfect answers stay below 1.

    Raises:
        SearchError: If the numbers of queries differ.
    """
    order, _ = _order_without(hits, excluded_ids)
    return precision_at_k(without(hits, excluded_ids), np.take_along_axis(relevance, order, axis=1), k, query_ids)


def without(hits: Hits, excluded_ids: Sequence[np.ndarray]) -> Hits:
    """The answers without the excluded tiles, in their order, padded at the end to the length that they had."""
    order, kept = _order_without(hits, excluded_ids)
    ids, distances = (np.take_along_axis(values, order, axis=1) for values in (hits.ids, hits.distances))
    return Hits(np.where(kept, ids, PADDING_ID), np.where(kept, distances, np.float32(np.inf)))


def _order_without(hits: Hits, excluded_ids: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(q, m) places with the kept ones first, and (q, m) bool: is what stands there then kept?"""
    if len(excluded_ids) != len(hits):
        raise SearchError(f"{len(hits)} answer lists have {len(excluded_ids)} lists of excluded tiles.")
    kept = np.array([~np.isin(ids, out) for ids, out in zip(hits.ids, excluded_ids, strict=True)], bool)
    kept = kept.reshape(hits.ids.shape)
    order = np.argsort(~kept, axis=1, kind="stable")
    return order, np.take_along_axis(kept, order, axis=1)


def _of(hits: Hits, places: np.ndarray) -> Hits:
    return Hits(hits.ids[places], hits.distances[places])


def _same_code(codes: np.ndarray, query_rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places in ``query_rows`` and rows with the same code, themselves included."""
    order = np.argsort(codes, kind="stable")
    first, last = (np.searchsorted(codes[order], codes[query_rows], side=side) for side in ("left", "right"))
    counts = last - first
    places = np.repeat(np.arange(len(query_rows)), counts)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return places, order[first[places] + within]


def _footprints(tiles: Tiles, tile_px: int) -> np.ndarray:
    """(n,) polygons; without coordinates, squares in pixels, each raster in a strip of the plane of its own."""
    table = tiles.table
    if "footprint" in table:
        return table["footprint"].to_numpy()
    _check_places(tiles)
    raster = pd.factorize(table["raster"])[0]
    x, y = table["col_px"].to_numpy(np.float64), table["row_px"].to_numpy(np.float64)
    x = x + raster * (x.max() + 2 * tile_px)
    return shapely.box(x, y, x + tile_px, y + tile_px)


def _check_places(tiles: Tiles) -> None:
    table = tiles.table
    if "footprint" in table:
        return
    places = table[["raster", "row_px", "col_px"]]
    if places["raster"].is_unique or places.duplicated().any():
        raise CorpusError(
            f"the {len(tiles)} tiles have no places on the ground (an image folder, or vectors), so none can be left "
            'out for lying near a query. Set exclude = ["self"] in [queries], or take a raster as corpus.'
        )
