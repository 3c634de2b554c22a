"""FALCONN 1.3.1 by our own binding: cross-polytope and hyperplane LSH with multiprobe.

Source: Andoni, Indyk, Laarhoven, Razenshteyn, Schmidt 2015, Practical and Optimal LSH for Angular Distance,
arXiv:1509.02897; https://github.com/FALCONN-LIB/FALCONN. Differs from its Python wrapper: many queries a call,
one query object a thread, no copy of the base, squared Euclidean distances returned; the loop over candidates in search
is ours and fetches points ahead, with FALCONN's own distances and heap. The answers are the same, ties included.
"""

import dataclasses
from typing import Any

import numpy as np
import psutil

from ris_core import native
from ris_core.engines.contract import Engine, EngineKind, check_build, check_search, refuse

FAMILIES = ("cross_polytope", "hyperplane")
STORAGES = ("bit_packed", "flat", "linear_probing", "stl")
DISTANCES = ("euclidean_squared", "negative_inner_product")  # FALCONN 1.3.1 has no other

_FLAT_STORAGES = ("bit_packed", "flat")  # one place a bucket, taken or not
_SPARE_BITS = 2
_MAX_FLAT_BITS = 30  # FALCONN's number of buckets is an int
_MAX_BITS = 64  # FALCONN's widest hash
_MAX_SEED = 2**64 - 1
_BLOCK_QUERIES = 1024  # Ctrl-C gets through between two blocks
_PROBE_BYTES = 40  # an entry of FALCONN's heap of probes
_MAX_HEAP_BYTES = 2**30


@dataclasses.dataclass(frozen=True)
class FalconnParams:
    """What shapes FALCONN's tables. The defaults are the thesis' (for 400,000 tiles).

    Attributes:
        family: ``"cross_polytope"`` or ``"hyperplane"``.
        tables: Number of hash tables, FALCONN's l.
        hash_bits: Bits of a table's hash: 2^bits buckets. FALCONN advises about one bucket a vector. Storages
            that reserve each bucket take up to ceil(log2 n) + 2 bits (20 fit from 131,073 vectors on), where three
            of four buckets are empty and more bits only cost memory and probes; the others take any number.
        rotations: Pseudo-random rotations before each cross-polytope; 1 suffices for dense vectors, says FALCONN.
            Hyperplanes have none.
        storage: ``"bit_packed"`` or ``"flat"``; ``"stl"`` or ``"linear_probing"`` for many more buckets than vectors.
        distance: What candidates are ranked by; ``"negative_inner_product"`` ranks alike for unit vectors.
        seed: Of the rotations or hyperplanes; 0 to 2^64 - 1. FALCONN's own default.
        feature_hashing_dim: -1, or a dimension. FALCONN reads it for sparse vectors alone; for ours, which are
            dense, it changes nothing.
    """

    family: str = "cross_polytope"
    tables: int = 10
    hash_bits: int = 20
    rotations: int = 2
    storage: str = "bit_packed"
    distance: str = "euclidean_squared"
    seed: int = 409556018
    feature_hashing_dim: int = -1

    def faults(self, n: int, d: int) -> list[str]:
        """See `ris_core.engines.contract.Params`."""
        choices = [
            f"{key} = {value!r}; allowed: {', '.join(allowed)}."
            for key, value, allowed in (
                ("family", self.family, FAMILIES),
                ("storage", self.storage, STORAGES),
                ("distance", self.distance, DISTANCES),
            )
            if value not in allowed
        ]
        numbers = [
            f"{key} = {value}; allowed: {allowed}."
            for key, value, is_fine, allowed in (
                ("tables", self.tables, self.tables >= 1, "1 or more"),
                ("rotations", self.rotations, self.rotations >= 1, "1 or more"),
                ("seed", self.seed, 0 <= self.seed <= _MAX_SEED, "0 to 2^64 - 1"),
                (
                    "feature_hashing_dim",
                    self.feature_hashing_dim,
                    self.feature_hashing_dim == -1 or self.feature_hashing_dim >= 1,
                    "-1, or 1 or more",
                ),
            )
            if not is_fine
        ]
        faults = choices + numbers + self._bit_faults(n)
        return faults or self._memory_faults(n, d)

    def _bit_faults(self, n: int) -> list[str]:
        if self.storage not in _FLAT_STORAGES:
            most, reason = _MAX_BITS, "the width of FALCONN's hash"
        else:
            most = min(_MAX_FLAT_BITS, max(1, (max(n, 1) - 1).bit_length()) + _SPARE_BITS)
            reason = f"four to eight buckets a vector for {n} vectors"
        if 1 <= self.hash_bits <= most:
            return []
        advised = max(1, most - _SPARE_BITS)
        return [
            f"hash_bits = {self.hash_bits}; allowed: 1 to {most} with storage {self.storage} ({reason}). "
            + ("" if self.storage not in _FLAT_STORAGES else f"Lower it to about {advised}, or index more vectors.")
        ]

    def _memory_faults(self, n: int, d: int) -> list[str]:
        need = theoretical_bytes(n, d, self)
        free = psutil.virtual_memory().available
        if need <= free:
            return []
        return [
            f"tables = {self.tables} with storage {self.storage} need about {need / 2**30:.1f} GiB for {n} vectors; "
            f"{free / 2**30:.1f} GiB are free. Lower tables or hash_bits, or take storage bit_packed."
        ]


@dataclasses.dataclass(frozen=True)
class FalconnQuery:
    """What one index can be asked with. The defaults are the thesis'.

    Attributes:
        probes_per_table: Buckets looked into, on average over the tables: FALCONN shares tables times this number
            among the tables by how promising a bucket is. 1 is no multiprobe.
        max_candidates: Stop after so many candidates, counted as often as tables hold them; -1 for no limit.
    """

    probes_per_table: int = 20
    max_candidates: int = -1

    def faults(self, n: int, d: int) -> list[str]:
        """See `ris_core.engines.contract.Params`."""
        faults = []
        if self.probes_per_table < 1:
            faults.append(f"probes_per_table = {self.probes_per_table}; FALCONN needs 1 or more in each table.")
        if self.max_candidates < 1 and self.max_candidates != -1:
            faults.append(f"max_candidates = {self.max_candidates}; allowed: -1 (no limit), or 1 or more.")
        return faults


class Falconn(Engine):
    """FALCONN's tables over a base that is neither copied nor to be changed.

    Queries may come from several threads at once. Each thread that searches costs about four bytes a vector.
    """

    def __init__(self, base: np.ndarray, params: FalconnParams, threads: int) -> None:
        self._shape = (len(base), base.shape[1])
        self._params = params
        self._hashes: tuple[int, int] = native.falconn_hashes_for_bits(params.family, base.shape[1], params.hash_bits)
        settings = native.FalconnSettings()
        for name in ("family", "distance", "storage", "tables", "rotations", "seed"):
            setattr(settings, name, getattr(params, name))
        settings.feature_hashing_dimension = params.feature_hashing_dim
        settings.hash_functions, settings.last_cp_dimension = self._hashes
        self._index = native.FalconnIndex(base, settings, threads=threads)

    def search(
        self, queries: np.ndarray, k: int, query: FalconnQuery, threads: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `ris_core.engines.contract.Engine`.

        The rows are in the order of the index's own distance; for negative inner products the squared Euclidean
        distances beside them need not rise.
        """
        check_search("falconn", queries, k, self._shape, threads)
        probing = self._probing(query)
        if len(queries) <= _BLOCK_QUERIES:
            return self._index.search(queries, k, threads=threads, **probing)
        rows = np.empty((len(queries), k), np.int64)
        distances = np.empty((len(queries), k), np.float32)
        for start in range(0, len(queries), _BLOCK_QUERIES):
            block = slice(start, start + _BLOCK_QUERIES)
            rows[block], distances[block] = self._index.search(queries[block], k, threads=threads, **probing)
        return rows, distances

    def size_bytes(self) -> int:
        """Bytes of tables and hash functions as `theoretical_bytes` has them: FALCONN does not report its own."""
        return theoretical_bytes(*self._shape, self._params)

    def derived(self) -> dict[str, int | float | str]:
        """Number of hash functions a table and, for cross-polytopes, the dimension of the last one."""
        functions, last = self._hashes
        return {"hash_functions": functions, "last_cp_dimension": last} if last else {"hash_functions": functions}

    def candidates(self, queries: np.ndarray, k: int, query: FalconnQuery) -> np.ndarray:
        """(q,) int64: how many different rows are compared with each query, whatever k is."""
        counts = [
            np.diff(self._candidates(queries[start : start + _BLOCK_QUERIES], query, is_unique=True)[0])
            for start in range(0, len(queries), _BLOCK_QUERIES)
        ]
        return np.concatenate([np.empty(0, np.int64), *counts])

    def candidate_rows(self, queries: np.ndarray, query: FalconnQuery, *, is_unique: bool = True) -> list[np.ndarray]:
        """Rows of each query's candidates in the order of the probing sequence.

        Args:
            queries: (q, d) float32.
            query: How to probe.
            is_unique: Each row once; else as often as the probed buckets hold it.

        Returns:
            q arrays of int64 rows.
        """
        return _split(self._candidates(queries, query, is_unique=is_unique))

    def near_neighbours(
        self, queries: np.ndarray, threshold: float, query: FalconnQuery, threads: int = 1
    ) -> list[np.ndarray]:
        """Candidates whose distance is below ``threshold`` by the index's own distance, in no order of distance.

        Args:
            queries: (q, d) float32.
            threshold: Squared Euclidean distance or negative inner product, as the index was built.
            query: How to probe.
            threads: Threads to use.

        Returns:
            q arrays of int64 rows. A candidate exactly at the threshold is left out (FALCONN's documentation says
            otherwise, its code does this).
        """
        check_search("falconn", queries, 1, self._shape, threads)
        return _split(self._index.near(queries, threshold, threads=threads, **self._probing(query)))

    def statistics(self) -> dict[str, int | float]:
        """FALCONN's averages a query since the last reset: seconds by phase, candidates, unique candidates.

        Queries of every kind count. ``distance_s`` of a search is the time in our loop over candidates, which FALCONN
        does not see; ``total_query_s`` includes it, but not the copying of queries and answers.
        """
        statistics: dict[str, int | float] = self._index.statistics()
        return statistics

    def reset_statistics(self) -> None:
        """Begin the averages anew."""
        self._index.reset_statistics()

    def _candidates(
        self, queries: np.ndarray, query: FalconnQuery, *, is_unique: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        check_search("falconn", queries, 1, self._shape, 1)
        return self._index.candidates(queries, unique=is_unique, **self._probing(query))

    def _probing(self, query: FalconnQuery) -> dict[str, int]:
        """FALCONN's numbers for this query; probes beyond the last bucket are dropped."""
        refuse("falconn", query.faults(*self._shape))
        tables = self._params.tables
        probes = tables * min(query.probes_per_table, 2**self._params.hash_bits)
        most = _MAX_HEAP_BYTES // (_PROBE_BYTES * 2 * self._hashes[0] * tables)
        if probes > most:
            refuse(
                "falconn",
                [
                    f"probes_per_table = {query.probes_per_table}; allowed: up to {most // tables} with these tables, "
                    "as FALCONN's list of probes must stay under 1 GiB a thread. Lower it, or take fewer hash bits."
                ],
            )
        return {"probes": probes, "max_candidates": query.max_candidates}


def theoretical_bytes(n: int, d: int, params: FalconnParams) -> int:
    """Bytes of FALCONN's tables and hash functions for n vectors of d dimensions.

    Each of the tables holds n row numbers and where each bucket begins, b being its hash bits:

    - bit_packed: 2^b starts of ceil(log2(n + 1)) bits and n rows of ceil(log2 n) bits, each in words of 64 bits;
    - flat: 2^b pairs of start and length, and n rows, of 4 bytes each number;
    - linear_probing: 2n places of key (4 bytes, or 8 beyond 32 bits), start and length, and n rows;
    - stl: n nodes of 32 bytes, the allocator's share included, and n pointers of 8 bytes to them.

    Its hash functions are b normal vectors of d float32 (hyperplanes), or, for each of its cross-polytopes of up to
    1 + log2 D bits, D being d rounded up to a power of two, ``rotations`` vectors of D float32 signs.

    Source: the classes below ``falconn/core`` in FALCONN 1.3.1. Differs: an object's own few fields are not counted.
    """
    buckets = 2**params.hash_bits
    storage = params.storage if n > 1 else "flat"  # our binding keeps a single vector in no other
    if storage == "flat":
        table = 8 * buckets + 4 * n
    elif storage == "bit_packed":
        table = _packed_bytes(buckets, n.bit_length()) + _packed_bytes(n, (n - 1).bit_length())
    elif storage == "linear_probing":
        table = (12 if params.hash_bits <= 32 else 16) * 2 * n + 4 * n
    else:
        table = (32 + 8) * n
    rotation_dim = 1 << (d - 1).bit_length()
    if params.family == "hyperplane":
        functions = params.hash_bits * d * 4
    else:
        functions = -(-params.hash_bits // rotation_dim.bit_length()) * params.rotations * rotation_dim * 4
    return params.tables * (table + functions)


def _packed_bytes(numbers: int, bits: int) -> int:
    return -(-numbers * bits // 64) * 8


def default_params(n: int, d: int, *, distance: str = "euclidean_squared", is_dense: bool = True) -> FalconnParams:
    """FALCONN's own advice for n vectors of d dimensions: a quick build, to be refined by hand.

    Raises:
        SearchError: If FALCONN is unavailable here, or the arguments are impossible.
    """
    reason = native.falconn_unavailable()
    refuse("falconn", [reason] if reason else [])
    if distance not in DISTANCES:
        refuse("falconn", [f"distance = {distance!r}; allowed: {', '.join(DISTANCES)}."])
    if not (1 <= n < 2**30 and d >= 1):
        refuse("falconn", [f"n = {n}, d = {d}; allowed: n from 1 to 2^30 - 1, d from 1."])
    advice: dict[str, Any] = native.falconn_default_settings(n, d, distance, is_dense)
    keys = ("family", "tables", "hash_bits", "rotations", "storage", "distance", "seed")
    return FalconnParams(**{key: advice[key] for key in keys})


def build_falconn(base: np.ndarray, params: FalconnParams, threads: int = 1) -> Falconn:
    """FALCONN's index over the base, which is not copied.

    Args:
        base: (n, d) float32, C-contiguous; must not change while the index lives.
        params: What shapes the tables.
        threads: Threads to build with; FALCONN uses at most one a table.

    Raises:
        SearchError: If FALCONN is unavailable here, or base or parameters are impossible.
    """
    reason = native.falconn_unavailable()
    refuse("falconn", [f"cannot run here: {reason}"] if reason else [])
    check_build("falconn", base, params, threads)
    return Falconn(base, params, threads)


def _split(ragged: tuple[np.ndarray, np.ndarray]) -> list[np.ndarray]:
    offsets, rows = ragged
    return np.split(rows, offsets[1:-1]) if len(offsets) > 1 else []


FALCONN = EngineKind(FalconnParams, FalconnQuery, build_falconn, theoretical_bytes, native.falconn_unavailable)
