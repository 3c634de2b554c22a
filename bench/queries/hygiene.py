"""What is wrong with the data, counted, and what each finding does to the scores.

A finding is a dict: ``about``, ``backbone`` ("" for the tiles), ``count`` (tiles, vectors or queries concerned), ``of``
(examined), ``frac``, ``groups`` (of duplicates; blocks of queries) and ``consequence``, a sentence.
"""

from typing import Any

import numpy as np
import pandas as pd

from bench.judging.judgments import TIMED
from bench.scores.duplicates import close_vectors, equal_groups, equal_vectors, near_groups, tile_prints
from bench.scores.exclusion import block_codes, overlapping_pairs
from bench.scores.score import RELATIVE_TOLERANCE
from bench.stages.base import Base
from bench.stages.vector_corpus import recall_of_file
from ris_core.errors import CorpusError
from ris_core.records import Tiles

MOST_TILES = 100_000  # whose pixels are compared; of a larger corpus a sample, drawn by seed
MOST_BYTES = 2**33  # of pixels that are read for it
_COUNT_ONCE = "Leave the copies out of the corpus, or read recall@1 and precision at small depths with care"


def examine_tiles(tiles: Tiles, query_rows: np.ndarray, tile_px: int, block_px: int) -> list[dict[str, Any]]:
    """Findings about the tiles: copies, no-data, overlap, and how the queries are spread.

    Of a corpus of more than `MOST_TILES` tiles or `MOST_BYTES` of pixels a sample is compared pixel by pixel, and the
    sentence says so; everything else counts all tiles.

    Args:
        tiles: All tiles of the corpus.
        query_rows: (q,) positions of the timed queries among them.
        tile_px: Side of a tile in pixels of the raster.
        block_px: Side of a block of ground in pixels of the raster.
    """
    return [
        *_copies(tiles),
        _no_data(tiles.table["coverage_frac"].to_numpy(np.float64)),
        _overlap(tiles, tile_px),
        _blocks(tiles, query_rows, tile_px, block_px),
    ]


def examine_features(base: Base, facts: pd.DataFrame, k: int) -> list[dict[str, Any]]:
    """Findings about one backbone's vectors and queries: equal vectors, and ties at rank k.

    Args:
        base: Its indexed tiles.
        facts: What `bench.queries.query_facts.query_facts` says of its queries.
        k: Neighbours that the cells are asked for.
    """
    n = len(base.corrected)
    equal, close = equal_vectors(base.corrected.values), close_vectors(base.corrected.values, RELATIVE_TOLERANCE)
    count, groups = _grouped(equal)
    same = (
        f"{_share(count, n)} have the very vector of another, in {groups:,} groups: no engine can tell them apart, "
        "so which of them is answered is chance, and id recall suffers where recall does not. Read recall, which "
        "counts ties as right."
        if count
        else f"All {n:,} vectors differ."
    )
    near_count, near = _grouped(close)
    rounded = (
        f"{_share(near_count, n)} differ from another by no more than float rounding, in {near:,} groups: their order "
        "may change with threads or machine, and recall's tolerance lets either count. Expect id recall to move "
        "between runs."
        if near_count > count
        else "No vectors beyond the equal ones lie within float rounding of each other."
    )
    tied = facts.loc[facts["set"] == TIMED, "tied"].to_numpy(bool)
    ties = (
        f"{_share(int(tied.sum()), len(tied), 'timed queries')} are tied at rank {k:,}: which of the tied tiles is "
        "among the k is chance. Recall counts either as right; id recall is too low by the ties."
        if tied.any()
        else f"None of the {len(tied):,} timed queries is tied at rank {k:,}: recall and id recall agree but for "
        "rounding."
    )
    return [
        _finding("duplicate vectors", count, n, groups, same, base.name),
        _finding("vectors equal but for rounding", near_count, n, near, rounded, base.name),
        _finding("tied queries", int(tied.sum()), len(tied), None, ties, base.name),
        *_file_neighbours(base, k),
    ]


def _file_neighbours(base: Base, k: int) -> list[dict[str, Any]]:
    """Whether the neighbours that a file of vectors names are the exact ones; nothing where it names none."""
    timed = base.timed
    if timed.neighbours is None:
        return []
    depth = min(k, timed.neighbours.shape[1])
    recall = recall_of_file(timed.neighbours, base.corrected, timed.corrected, base.truth, depth)
    count, q = int((recall < 1).sum()), len(recall)
    words = (
        f"For {_share(count, q, 'timed queries')} the {depth:,} neighbours that the file names are not the exact ones; "
        f"their mean recall is {recall.mean():.4f}. Recall is taken against exact neighbours computed here, so it "
        "differs from scores against the file."
        if count
        else f"The {depth:,} neighbours that the file names are the exact ones for all {q:,} timed queries."
    )
    return [_finding("neighbours that the file names", count, q, None, words, base.name)]


def _copies(tiles: Tiles) -> list[dict[str, Any]]:
    """Findings about identical and nearly identical tiles."""
    rows = _examined(tiles)
    digests, thumbnails = tile_prints(tiles.pixels, rows)
    n = len(rows)
    sampled = (
        f" Compared was a sample of {n:,} of {len(tiles):,} tiles: copies outside it are not seen, so the share among "
        "all is higher. Duplicate vectors are counted among all."
        if n < len(tiles)
        else ""
    )
    count, groups = _grouped(equal_groups(digests))
    identical = (
        f"{_share(count, n)} have an identical copy, in {groups:,} groups: any index finds the copy of a query at "
        f"distance 0, which flatters recall and precision. {_COUNT_ONCE}."
        if count
        else f"No two of the {n:,} tiles are identical."
    )
    near_count, near = _grouped(near_groups(thumbnails))
    alike = (
        f"{_share(near_count, n)} look like another at thumbnail size, in {near:,} groups, identical copies included: "
        f"they are easy answers to each other and nearly one observation in an average. {_COUNT_ONCE}."
        if near_count
        else f"No two of the {n:,} tiles look alike at thumbnail size."
    )
    return [
        _finding("identical tiles", count, n, groups, identical + sampled),
        _finding("near-duplicate tiles", near_count, n, near, alike + sampled),
    ]


def _no_data(coverage: np.ndarray) -> dict[str, Any]:
    partial = coverage < 1
    count, n = int(partial.sum()), len(coverage)
    words = (
        f"{_share(count, n)} hold pixels without data, on average {_percent(1 - coverage[partial].mean())} of their "
        f"area and at most {_percent(1 - coverage.min())}: their features show the empty margin too, so that they "
        "answer one another. Raise min_coverage to leave them out."
        if count
        else f"All {n:,} tiles are covered by data to the last pixel: no feature shows an empty margin."
    )
    return _finding("tiles with no-data", count, n, None, words)


def _overlap(tiles: Tiles, tile_px: int) -> dict[str, Any]:
    n = len(tiles)
    try:
        mine, others = overlapping_pairs(tiles, np.arange(n), tile_px)
    except CorpusError:
        words = "The tiles have no places on the ground: whether an answer shows a query's own ground is not known."
        return _finding("overlapping tiles", 0, 0, None, words)
    count = len(np.unique(mine[mine != others]))
    words = (
        f"{_share(count, n)} share ground with another tile: an answer may show what the query shows because it is the "
        'same place, which flatters precision. Compare exclude = "self" with "overlap" in [queries].'
        if count
        else f"No two of the {n:,} tiles share ground: no answer shows a part of its query."
    )
    return _finding("overlapping tiles", count, n, None, words)


def _blocks(tiles: Tiles, query_rows: np.ndarray, tile_px: int, block_px: int) -> dict[str, Any]:
    q = len(query_rows)
    try:
        codes = block_codes(tiles, tile_px, block_px)[query_rows]
    except CorpusError:
        words = "The tiles have no places on the ground: whether queries lie side by side is not known."
        return _finding("queries in one block", 0, 0, None, words)
    count = _grouped(codes)[0]
    blocks = len(np.unique(codes))
    words = f"The {q:,} timed queries lie in {blocks:,} blocks of {block_px:,} px"
    words += (
        f"; {count:,} share theirs with another query. Neighbours on the ground look alike, so that these are fewer "
        "than so many independent observations and the intervals are too narrow. Draw queries from more ground, or "
        "count a block once."
        if count
        else ", each in its own: none is another's neighbour on the ground."
    )
    return _finding("queries in one block", count, q, blocks, words)


def _examined(tiles: Tiles) -> np.ndarray:
    """Rows of the tiles whose pixels are compared, ascending."""
    most = min(MOST_TILES, MOST_BYTES // (tiles.size_px**2 * 3))
    if len(tiles) <= most:
        return np.arange(len(tiles))
    return np.sort(np.random.default_rng(0).choice(len(tiles), most, replace=False))


def _grouped(groups: np.ndarray) -> tuple[int, int]:
    """How many members stand in a group with others, and how many such groups there are."""
    sizes = np.unique(groups, return_counts=True)[1]
    return int(sizes[sizes > 1].sum()), int((sizes > 1).sum())


def _finding(
    about: str, count: int, of: int, groups: int | None, consequence: str, backbone: str = ""
) -> dict[str, Any]:
    return {
        "about": about,
        "backbone": backbone,
        "count": count,
        "of": of,
        "frac": count / of if of else None,
        "groups": groups,
        "consequence": consequence,
    }


def _share(count: int, of: int, noun: str = "tiles") -> str:
    return f"{count:,} of {of:,} {noun} ({_percent(count / of)})"


def _percent(frac: float) -> str:
    """A share in per cent, two digits: ``0.26 %``, ``100 %``."""
    return f"{frac * 100:.2g} %" if frac < 0.995 else f"{frac * 100:.0f} %"
