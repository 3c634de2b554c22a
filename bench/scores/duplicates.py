"""Tiles and vectors that stand in a corpus more than once, put into groups.

A group is given as a number for each member: equal numbers, one group. Nearness links: if a is near b and b is near c,
all three are one group.
"""

import hashlib
from collections.abc import Iterator, Sequence

import faiss
import numpy as np
import pandas as pd
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

HASH_BITS = 64
MOST_BITS = 3  # difference hashes of near duplicates differ in at most so many of their bits ...
MOST_LEVELS = 4  # ... and their thumbnails by at most so many of 255 grey levels, on average
_THUMBNAIL = (9, 8)  # width, height: eight differences in each of eight rows
_QUERIES = 512  # hashes that are compared with all others at once
_ROWS = 2**15  # vectors in float64, or pairs of them, at once
_MOST_AHEAD = 64  # places along the line that close vectors are looked for


def tile_prints(pixels: np.ndarray, rows: np.ndarray) -> tuple[list[bytes], np.ndarray]:
    """A digest and a thumbnail of some tiles, which are read once, one after the other.

    Args:
        pixels: (n, size, size, 3) uint8, usually memory-mapped.
        rows: (m,) which of them.

    Returns:
        m SHA-256 digests of the pixels, and (m, 8, 9) uint8 grey thumbnails, each pixel the mean of its area.
    """
    digests = []
    thumbnails = np.empty((len(rows), *_THUMBNAIL[::-1]), np.uint8)
    for place, row in enumerate(rows):
        tile = np.ascontiguousarray(pixels[row])
        digests.append(hashlib.sha256(tile.data).digest())
        grey = Image.fromarray(tile).convert("L")
        thumbnails[place] = np.asarray(grey.resize(_THUMBNAIL, Image.Resampling.BOX))
    return digests, thumbnails


def difference_hashes(thumbnails: np.ndarray) -> np.ndarray:
    """(m, 8) uint8, 64 bits a tile: is a pixel of the thumbnail brighter than its left neighbour?

    Source:
        Krawetz 2013, "Kind of Like That", hackerfactor.com (dHash). Differs: the thumbnail is a mean over areas.
    """
    return np.packbits((thumbnails[:, :, 1:] > thumbnails[:, :, :-1]).reshape(len(thumbnails), HASH_BITS), axis=1)


def near_groups(thumbnails: np.ndarray) -> np.ndarray:
    """(m,) group of each tile; near duplicates have one group.

    Two tiles are near duplicates when their difference hashes differ in at most `MOST_BITS` of 64 bits and their
    thumbnails in at most `MOST_LEVELS` grey levels on average. The hash alone would join plain tiles of any colour.

    Cost: each thumbnail against all others, 0.7 ns a comparison on one core: 7 s for 100,000 tiles, two minutes for
    400,000. Many plain tiles with the same hash cost more, for their thumbnails are compared as well.
    """
    unique, inverse = np.unique(thumbnails.reshape(len(thumbnails), -1), axis=0, return_inverse=True)
    levels = unique.astype(np.int16)
    hashes = difference_hashes(unique.reshape(-1, *_THUMBNAIL[::-1]))
    index = faiss.IndexBinaryFlat(HASH_BITS)
    index.add(hashes)
    groups = np.arange(len(unique))
    for start in range(0, len(unique), _QUERIES):
        limits, _, found = index.range_search(hashes[start : start + _QUERIES], MOST_BITS + 1)  # below, not up to
        mine = start + np.searchsorted(limits, np.arange(len(found)), side="right") - 1
        mine, found = mine[found > mine], found[found > mine]
        near = np.zeros(len(mine), bool)
        for some in _blocks(len(mine)):
            near[some] = np.abs(levels[mine[some]] - levels[found[some]]).mean(axis=1) <= MOST_LEVELS
        groups = _joined(groups, mine[near], found[near])
    return groups[inverse.reshape(-1)]


def equal_groups(keys: Sequence[bytes]) -> np.ndarray:
    """(m,) group of each key; equal keys have one group."""
    return pd.factorize(np.array(keys, object))[0]


def equal_vectors(values: np.ndarray) -> np.ndarray:
    """(n,) group of each vector; those that are equal in every component have one group."""
    digests = [
        hashlib.sha256((row + np.float32(0)).tobytes()).digest() for row in values
    ]  # + 0: minus zero equals zero
    return equal_groups(digests)


def close_vectors(values: np.ndarray, tolerance: float) -> np.ndarray:
    """(n,) group of each vector; those that float rounding alone could set apart have one group.

    Two vectors are close when their distance is at most ``tolerance`` times the length of the longer one. Close vectors
    are close along any line as well, so they are looked for among the neighbours along one random line: n log n, not
    n squared. A vector with more than 64 others within the tolerance on that line is compared with 64 of them.

    Args:
        values: (n, d) float32.
        tolerance: Relative, such as `bench.scores.score.RELATIVE_TOLERANCE`.
    """
    groups = equal_vectors(values)
    points = np.unique(groups, return_index=True)[1]  # the row of one of each group, in the order of their numbers
    line = np.random.default_rng(0).standard_normal(values.shape[1])
    direction = line / np.linalg.norm(line)
    along, lengths = np.empty((2, len(points)))
    for some in _blocks(len(points)):
        part = values[points[some]].astype(np.float64)
        along[some], lengths[some] = part @ direction, np.linalg.norm(part, axis=1)
    order = np.argsort(along)
    joined = np.arange(len(points))
    for ahead in range(1, min(_MOST_AHEAD, len(points) - 1) + 1):
        left, right = order[:-ahead], order[ahead:]
        limit = tolerance * np.maximum(lengths[left], lengths[right])
        may_be = along[right] - along[left] <= limit
        if not may_be.any():
            break
        left, right, limit = left[may_be], right[may_be], limit[may_be]
        close = np.zeros(len(left), bool)
        for some in _blocks(len(left)):
            differences = values[points[left[some]]].astype(np.float64) - values[points[right[some]]]
            close[some] = np.linalg.norm(differences, axis=1) <= limit[some]
        joined = _joined(joined, left[close], right[close])
    return joined[groups]


def _blocks(n: int) -> Iterator[slice]:
    """Parts of n vectors or pairs, few enough to be looked at at once."""
    return (slice(start, start + _ROWS) for start in range(0, n, _ROWS))


def _joined(groups: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The groups after joining those of some pairs; a group bears the number of its first member."""
    n = len(groups)
    edges = (np.concatenate([left, np.arange(n)]), np.concatenate([right, groups]))
    parts = connected_components(coo_array((np.ones(len(edges[0]), bool), edges), shape=(n, n)), directed=False)[1]
    return np.unique(parts, return_index=True)[1][parts]
