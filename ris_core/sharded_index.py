"""An index a shard of the base, each built once by a worker of a cluster that keeps it, and all asked together.

The base is cut into contiguous ranges of rows. Every shard is asked for k rows, and the answers are merged by distance,
equal ones by row. Which shards there are decides the answer; where they are does not: one process, several, and the
workers of a scheduler give the same ids. A worker that dies takes its indexes along; who takes over its shards builds
them again, or opens their files, where the engine has some.
"""

import dataclasses
import functools
import itertools
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np

from ris_core.artifacts import MANIFEST, file_digest, make_once, read_manifest
from ris_core.cluster import IN_PROCESS, Cluster
from ris_core.engines import ENGINES, make_params
from ris_core.engines.contract import Engine, check_search
from ris_core.engines.crosspolytope import load_crosspolytope
from ris_core.engines.faiss_kernels import take_nearest
from ris_core.errors import UNREADABLE, ArtifactError, SearchError
from ris_core.records import PADDING_ID, Features, Hits
from ris_core.shards import map_rows

_VERSION = 1  # of the files; raise it when a shard's file changes
_FILE = "shard.index"
_EUCLIDEAN = "euclidean_squared"
_BLOCK_QUERIES = 1024  # sent to a shard at once
_PLACES = itertools.count()

# Engines that write themselves by `save(path)`, and what opens the file over the same base.
_SAVED: dict[str, Callable[[Path, np.ndarray], Engine]] = {
    "crosspolytope": functools.partial(load_crosspolytope, mmap=True)
}


@dataclasses.dataclass(frozen=True)
class IndexShard:
    """Rows of a base with an index of their own, wherever that is.

    Attributes:
        kind: Key of `ENGINES`.
        params: The engine's build parameters.
        threads: To build with.
        base: The (n, d) float32 ``.npy`` file of all rows.
        base_key: What tells the base from any other.
        start: Its first row.
        stop: The row after its last.
        cache: Where an engine that can write itself has its file; None: nowhere.
    """

    kind: str
    params: Any
    threads: int
    base: Path
    base_key: str
    start: int
    stop: int
    cache: Path | None


@dataclasses.dataclass(frozen=True)
class ShardFacts:
    """One shard's index.

    Attributes:
        start: The shard's first row.
        build_s: Seconds of building it, or of opening its file.
        size_bytes: As `Engine.size_bytes`.
        process: Machine and number of the process that has it.
    """

    start: int
    build_s: float
    size_bytes: int
    process: str


class ShardedIndex:
    """What `build_sharded_index` returns. Leaving its context, or `close`, frees the memory that its indexes take.

    Attributes:
        shards: The shards, in the order of their rows.
        facts: What is known of their indexes, in the same order, from when they were built first.
        rebuilt: How often a shard's index had to be made again since, because the worker that had it was lost.
    """

    def __init__(self, shards: tuple[IndexShard, ...], folder: Path, cluster: Cluster) -> None:
        self.shards = shards
        self.rebuilt = 0
        self._cluster = cluster
        self._places = {shard: next(_PLACES) for shard in shards}  # its own, spread over all workers
        self._ids, self._space = _ids_and_space(folder)
        self._d = map_rows(shards[0].base).shape[1]
        self.facts = tuple(cluster.in_order(_build, shards, self._places.__getitem__))

    def __len__(self) -> int:
        return self.shards[-1].stop

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the workers forget the indexes; asked again, they build them again."""
        for _ in self._cluster.in_order(_forget, self.shards, self._places.__getitem__):
            pass

    @property
    def size_bytes(self) -> int:
        """Bytes of all indexes, see `Engine.size_bytes`."""
        return sum(facts.size_bytes for facts in self.facts)

    def search(self, features: Features, k: int, *, threads: int = 1, **query_params: Any) -> Hits:
        """The k nearest tiles of each feature, as `ris_core.engines.Index.search`, merged from all shards.

        Args:
            features: Queries, in the index's space.
            k: Length of each list, 1 to the number of tiles in the index.
            threads: Of each worker.
            query_params: The engine's query parameters, the same for every shard. Probes and lists are looked into in
                each of them; a wanted recall is tuned in each of them.

        Raises:
            SearchError: If the space or the dimensions differ, k is too large, or a parameter is impossible.
            ClusterError: See `ris_core.cluster.Cluster.in_order`.
        """
        found = np.empty((len(features), k), np.int64)
        distances = np.empty((len(features), k), np.float32)
        answers = self._ask(_search, features, k, query_params, threads)
        for start in range(0, len(features), _BLOCK_QUERIES):
            parts = [next(answers) for _ in self.shards]
            rows, lengths = (np.concatenate(each, axis=1) for each in zip(*parts, strict=True))
            block = slice(start, start + _BLOCK_QUERIES)
            found[block], distances[block] = take_nearest(rows, lengths, k)
        return Hits(np.where(found >= 0, self._ids[found], PADDING_ID), distances)

    def candidates(self, features: Features, k: int, **query_params: Any) -> np.ndarray | None:
        """(q,) int64: how many different rows `search` examines in all shards; None where that has no meaning."""
        counts = list(self._ask(_count, features, k, query_params, 1))
        if any(count is None for count in counts):
            return None
        blocks = [sum(counts[i : i + len(self.shards)]) for i in range(0, len(counts), len(self.shards))]
        return np.concatenate([np.empty(0, np.int64), *blocks])

    def _ask(
        self, function: Callable[["_Question"], Any], features: Features, k: int, params: dict[str, Any], threads: int
    ) -> Iterator[Any]:
        """What each shard answers to the first block of queries, then to the second, and so on."""
        kind = self.shards[0].kind
        place = f"sharded index {kind}"
        if features.space != self._space:
            raise SearchError(
                f"{place}: the queries live in space {features.space!r}, the index in {self._space!r}. "
                "Apply the index's space to the queries first: space.apply(features)."
            )
        queries = np.ascontiguousarray(features.values)
        check_search(place, queries, k, (len(self), self._d), threads)
        query = make_params(place, ENGINES[kind].query_params, params, (_smallest(self.shards), self._d))
        blocks = (queries[start : start + _BLOCK_QUERIES] for start in range(0, len(queries), _BLOCK_QUERIES))
        questions = (_Question(shard, block, k, query, threads) for block in blocks for shard in self.shards)
        return self._counted(self._cluster.in_order(function, questions, lambda question: self._places[question.shard]))

    def _counted(self, answers: Iterator[tuple[Any, bool]]) -> Iterator[Any]:
        for answer, was_missing in answers:
            self.rebuilt += was_missing
            yield answer


def build_sharded_index(
    name: str,
    folder: Path,
    shards: int,
    *,
    cluster: Cluster = IN_PROCESS,
    cache: Path | None = None,
    threads: int = 1,
    **build_params: Any,
) -> ShardedIndex:
    """Indexes over contiguous ranges of the features in a folder, which must not change afterwards.

    Args:
        name: Key of `ENGINES`.
        folder: What `Features.save` wrote, or the artifact of a space; the workers must see it by the same path. Its
            rows are mapped, not read: each worker holds what its indexes need of them.
        shards: How many; their lengths differ by one at most.
        cluster: Whose workers build and keep them. It must stay open as long as the index is asked.
        cache: Where the shards of engines that can write themselves (crosspolytope) are kept as artifacts and opened
            from, mapped; None: they live in memory alone.
        threads: To build with, of each worker.
        build_params: The engine's build parameters, the same for every shard, checked for the smallest one.

    Raises:
        SearchError: If there is no such engine, a parameter or the number of shards is impossible, or the engine's own
            distance is another than the squared Euclidean one, by which answers are merged.
        ArtifactError: If the features cannot be read, or a shard not be written.
        ClusterError: See `ris_core.cluster.Cluster.in_order`.
    """
    place = f"sharded index {name}"
    if name not in ENGINES:
        raise SearchError(f"{place}: no engine is called so; known: {', '.join(sorted(ENGINES))}.")
    base = folder.resolve() / "features.npy"
    n, d = map_rows(base).shape
    if not 1 <= shards <= n:
        raise SearchError(f"{place}: shards = {shards}; allowed: 1 to {n}, the number of vectors.")
    params = make_params(place, ENGINES[name].build_params, build_params, (n // shards, d))
    if getattr(params, "distance", _EUCLIDEAN) != _EUCLIDEAN:
        raise SearchError(
            f"{place}: distance = {params.distance!r}; allowed: {_EUCLIDEAN}, by which the answers of the shards are "
            "merged. Give the vectors length 1 (space.normalize), where it ranks alike."
        )
    key = read_manifest(folder)["key"] if (folder / MANIFEST).exists() else file_digest(base)
    kept = None if cache is None else cache.resolve()
    cuts = [n * i // shards for i in range(shards + 1)]
    parts = tuple(
        IndexShard(name, params, threads, base, key, start, stop, kept) for start, stop in itertools.pairwise(cuts)
    )
    return ShardedIndex(parts, folder, cluster)


@dataclasses.dataclass(frozen=True, eq=False)
class _Question:
    """Queries for one shard."""

    shard: IndexShard
    queries: np.ndarray
    k: int
    query: Any
    threads: int


_INDEXES: dict[IndexShard, Engine] = {}  # of this process


def _index(shard: IndexShard) -> tuple[Engine, bool]:
    """The index of a shard, and whether it was missing here and had to be made or opened."""
    is_missing = shard not in _INDEXES
    if is_missing:
        _INDEXES[shard] = _make(shard)
    return _INDEXES[shard], is_missing


def _make(shard: IndexShard) -> Engine:
    rows = map_rows(shard.base, shard.start, shard.stop)
    build = functools.partial(ENGINES[shard.kind].build, rows, shard.params, shard.threads)
    if shard.cache is None or shard.kind not in _SAVED:
        return build()

    def make(staging: Path) -> None:
        engine: Any = build()
        engine.save(staging / _FILE)

    shape = {"start": shard.start, "stop": shard.stop, "version": _VERSION}
    parameters = {"kind": shard.kind, **dataclasses.asdict(shard.params), **shape}
    artifact, _ = make_once(shard.cache, "index", parameters, [shard.base_key], make)
    return _SAVED[shard.kind](artifact / _FILE, rows)


def _build(shard: IndexShard) -> ShardFacts:
    start = time.perf_counter()
    engine, _ = _index(shard)
    seconds = time.perf_counter() - start
    return ShardFacts(shard.start, seconds, engine.size_bytes(), f"{platform.node()}:{os.getpid()}")


def _search(question: _Question) -> tuple[tuple[np.ndarray, np.ndarray], bool]:
    """Rows of the whole base and their distances, padded as the engine pads, and whether the index was missing."""
    shard = question.shard
    engine, was_missing = _index(shard)
    k = min(question.k, shard.stop - shard.start)
    queries = np.require(question.queries, requirements=["C", "ALIGNED"])  # a message puts them at any address
    rows, distances = engine.search(queries, k, question.query, question.threads)
    return (np.where(rows >= 0, rows + shard.start, PADDING_ID), distances), was_missing


def _count(question: _Question) -> tuple[np.ndarray | None, bool]:
    engine, was_missing = _index(question.shard)
    k = min(question.k, question.shard.stop - question.shard.start)
    queries = np.require(question.queries, requirements=["C", "ALIGNED"])
    return engine.candidates(queries, k, question.query), was_missing


def _forget(shard: IndexShard) -> None:
    _INDEXES.pop(shard, None)


def _smallest(shards: tuple[IndexShard, ...]) -> int:
    return min(shard.stop - shard.start for shard in shards)


def _ids_and_space(folder: Path) -> tuple[np.ndarray, str]:
    """Ids, memory-mapped, and the space of stored features, of which nothing else is read."""
    try:
        space = json.loads((folder / "space.json").read_text(encoding="utf-8"))["space"]
        return map_rows(folder / "ids.npy"), str(space)
    except UNREADABLE as error:
        raise ArtifactError(f"{folder}: no features to be read ({error}). Save them there first.") from error
