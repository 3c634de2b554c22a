"""The nearest rows of a base by definition: by distance in float64, equal ones by row, whoever computes which part.

A search engine leaves open which of several vectors tied at the last rank it returns; parts of a base would decide
otherwise than the whole. Here its answer is completed where a tie, or a rounding error, could hide a row.
"""

import dataclasses
import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ris_core.cluster import Cluster
from ris_core.engines import ENGINES
from ris_core.shards import has_shard, map_rows, save_shard, shard_folder

SHARD_ROWS = 2**17  # with 192 dimensions 100 MB: 1,000 queries take a second
NEIGHBOUR = np.dtype([("row", np.int64), ("distance", np.float64)])

_SPARE = 16  # rows asked for beyond k: of so many ties nothing more has to be done
_BLOCK_ROWS = 8192  # compared with all undecided queries of a group at once
_GROUP = 256
_BLOCK_VALUES = 2**22  # float64 differences held at once: 32 MiB


def nearest_rows(base: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    """The k nearest rows of each query.

    Memory: some ten megabytes, and the answer.

    Args:
        base: (n, d) float32, C-contiguous; may be memory-mapped.
        queries: (q, d) float32, C-contiguous.
        k: 1 to n.

    Returns:
        (q, k) `NEIGHBOUR`: rows and squared Euclidean distances, summed in float64; by distance, equal ones by row.

    Raises:
        SearchError: See `ris_core.engines.exact`.
    """
    exact, n = ENGINES["exact"], len(base)
    most = min(n, k + _SPARE)
    engine = exact.build(base, exact.build_params(), 1)
    rows, returned = engine.search(queries, most, exact.query_params(), 1)
    found = _sorted(_measured(base, queries, rows))
    if most < n:
        error = (base.shape[1] + 4) * 2.0**-24  # of a float32 sum of d squares, relatively
        undecided = np.flatnonzero(found["distance"][:, k - 1] >= returned[:, -1] * (1 - error))
        for start in range(0, len(undecided), _GROUP):
            group = undecided[start : start + _GROUP]
            found[group, :k] = _compare_all(base, queries[group], found["distance"][group, k - 1], k)
    return found[:, :k]


def nearest_rows_by(cluster: Cluster, path: Path, out: Path, queries: np.ndarray, k: int) -> np.ndarray:
    """`nearest_rows` of a matrix on disk, part by part, by the workers of a cluster.

    Memory of this process: the answer, twice. Parts that an earlier attempt finished are not searched again.

    Args:
        cluster: Who searches.
        path: The base, an ``.npy`` file that the workers see, too.
        out: A folder that they see, for what they find, until `ris_core.shards.clear_shards` removes it.
        queries: See `nearest_rows`.
        k: See `nearest_rows`.

    Raises:
        SearchError: See `ris_core.engines.exact`.
        ArtifactError: If a file cannot be read or written.
        ClusterError: See `ris_core.cluster.Cluster.in_order`.
    """
    cluster.require(out.parent)
    path, n = path.resolve(), len(map_rows(path))
    identity = hashlib.sha256(f"{path} {n} {k} {queries.shape}".encode() + queries.tobytes()).hexdigest()
    folder = shard_folder(out, identity).resolve()
    save_shard(folder / "queries.npy", queries)
    shards = (_Shard(path, start, min(start + SHARD_ROWS, n), k, folder) for start in range(0, n, SHARD_ROWS))
    return merge_nearest((map_rows(file) for file in cluster.in_order(_search_shard, shards)), k)


def merge_nearest(parts: Iterable[np.ndarray], k: int) -> np.ndarray:
    """The k nearest of what parts of a base found, each (q, any) `NEIGHBOUR`: (q, at most k), sorted."""
    merged: np.ndarray | None = None
    for part in parts:
        merged = _sorted(part if merged is None else np.concatenate([merged, part], axis=1))[:, :k]
    if merged is None:
        raise ValueError("there is no part")
    return merged


@dataclasses.dataclass(frozen=True)
class _Shard:
    """Rows of a base that one worker searches, for the queries that lie in the folder, where its answer goes."""

    base: Path
    start: int
    stop: int
    k: int
    folder: Path

    @property
    def file(self) -> Path:
        return self.folder / f"{self.start}.npy"


def _search_shard(shard: _Shard) -> Path:
    """The file of a shard's nearest rows, written unless it is there."""
    queries = np.array(map_rows(shard.folder / "queries.npy"))
    k = min(shard.k, shard.stop - shard.start)
    if not has_shard(shard.file, (len(queries), k), NEIGHBOUR):
        found = nearest_rows(map_rows(shard.base, shard.start, shard.stop), queries, k)
        found["row"] += shard.start
        save_shard(shard.file, found)
    return shard.file


def _compare_all(base: np.ndarray, queries: np.ndarray, limits: np.ndarray, k: int) -> np.ndarray:
    """(q, k) nearest rows by comparing with every row; k of them are no farther than (q,) ``limits``."""
    error = (base.shape[1] + 4) * 2.0**-23
    lengths = np.linalg.norm(queries.astype(np.float64), axis=1)
    best = [np.empty(0, NEIGHBOUR) for _ in queries]
    for start in range(0, len(base), _BLOCK_ROWS):
        block = base[start : start + _BLOCK_ROWS]
        norms = np.linalg.norm(block.astype(np.float64), axis=1)
        approximate = lengths[:, None] ** 2 + norms**2 - 2.0 * (queries @ block.T)
        may_be_near = approximate <= limits[:, None] + error * (lengths[:, None] + norms) ** 2
        for query, is_near in enumerate(may_be_near):
            near = start + np.flatnonzero(is_near)
            if len(near):
                found = _measured(base, queries[[query]], near[None])[0]
                best[query] = merge_nearest([best[query][None], found[None]], k)[0]
    return np.stack(best)


def _measured(base: np.ndarray, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(q, m) `NEIGHBOUR` of the rows in each query's line, in their order."""
    found = np.empty(rows.shape, NEIGHBOUR)
    found["row"] = rows
    step = max(1, _BLOCK_VALUES // max(1, rows.shape[1] * base.shape[1]))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        differences = base[rows[part]].astype(np.float64) - queries[part, None, :]  # (b, m, d)
        found["distance"][part] = np.square(differences, out=differences).sum(axis=2)
    return found


def _sorted(found: np.ndarray) -> np.ndarray:
    """(q, m) `NEIGHBOUR`, each line by distance, equal ones by row."""
    return np.take_along_axis(found, np.lexsort((found["row"], found["distance"])), axis=1)
