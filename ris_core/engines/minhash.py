"""MinHash LSH by datasketch over discrete codes: a vector is the set of its active units, compared by Jaccard.

Permutations of the units are hashed; the least hash value of a set is that of another with probability J, their Jaccard
similarity |A and B| / |A or B|. Several values in a row are a band; sets that agree in a whole band share a bucket
of its table, with probability 1 - (1 - J^rows)^bands. datasketch chooses bands and rows for the ``threshold``.

The candidates of all buckets are ranked by their exact Jaccard similarity; two empty sets are equal. Many candidates
are equally similar, and rows often stand in the order of their classes, so equal ones come in an order drawn by the
seed. A query whose buckets hold fewer than k vectors gets a shorter list.

Source: Broder 1997, On the resemblance and containment of documents; Leskovec, Rajaraman, Ullman, Mining of Massive
Datasets, chapter 3; ``datasketch.MinHashLSH`` (MIT). Differs: the signature of a set is computed as the least of those
of its units, which is the same value at a fraction of the time; candidates are ranked, which datasketch leaves to its
user; answers come with squared Euclidean distances, here the number of units that differ, whatever they are ranked by.
"""

import dataclasses
import sys
from typing import Any

import numpy as np

from ris_core.engines.codes import check_codes
from ris_core.engines.contract import (
    Engine,
    EngineKind,
    check_build,
    check_package,
    check_search,
    missing_package,
    range_faults,
)
from ris_core.errors import SearchError

_PACKAGE, _EXTRA = "datasketch", "methods"
_MOST_PERMUTATIONS = 1024  # datasketch weighs all pairs of bands and rows: 512 take 0.4 s
_MAX_SEED = 2**32 - 1
_HASH_BYTES, _ROW_BYTES = 4, 8


@dataclasses.dataclass(frozen=True)
class MinHashParams:
    """What shapes the tables.

    Attributes:
        threshold: Jaccard similarity from which two sets should share a bucket; below it they should not.
        permutations: Values of a signature.
        seed: Of the permutations, and of the order of vectors that are equally similar.
    """

    threshold: float = 0.5
    permutations: int = 128
    seed: int = 1

    def faults(self, n: int, d: int) -> list[str]:
        """See `ris_core.engines.contract.Params`."""
        return range_faults(self, threshold=(0, 1), permutations=(2, _MOST_PERMUTATIONS), seed=(0, _MAX_SEED))


@dataclasses.dataclass(frozen=True)
class MinHashQuery:
    """Nothing is to be said: the buckets of a query are those of its signature."""

    def faults(self, n: int, d: int) -> list[str]:
        """See `ris_core.engines.contract.Params`."""
        return []


class MinHashLsh(Engine):
    """Tables of buckets beside the base, which is neither copied nor to be changed."""

    def __init__(self, base: np.ndarray, params: MinHashParams) -> None:
        from datasketch import MinHash  # here: optional

        self._base = base
        self._sizes = base.sum(axis=1)
        self._places = np.random.default_rng(params.seed).permutation(len(base)).astype(np.int32)
        self._lsh = _empty_lsh(params)
        self._empty = MinHash(num_perm=params.permutations, seed=params.seed)
        self._units = unit_signatures(base.shape[1], params)
        signature = self._empty.copy()
        for row, values in enumerate(self._signatures(base)):
            signature.hashvalues = values
            self._lsh.insert(row, signature, check_duplication=False)

    def search(
        self, queries: np.ndarray, k: int, query: MinHashQuery, threads: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `ris_core.engines.contract.Engine`; datasketch answers by one thread, however many are given."""
        check_search("minhash", queries, k, self._base.shape, threads)
        check_codes("minhash", queries)
        rows = np.full((len(queries), k), -1, np.int64)
        distances = np.full((len(queries), k), np.inf, np.float32)
        for place, found in enumerate(self._candidates(queries)):
            shared = self._base[found] @ queries[place]
            total = self._sizes[found] + queries[place].sum()
            order = np.lexsort((self._places[found], -_jaccard(shared, total)))[:k]
            rows[place, : len(order)] = found[order]
            distances[place, : len(order)] = (total - 2 * shared)[order]
        return rows, distances

    def size_bytes(self) -> int:
        """Bytes of tables, signatures of the units, sizes and order of the sets, by what Python says of each object."""
        tables = [*self._lsh.hashtables, self._lsh.keys]
        objects = sum(_storage_bytes(table) for table in tables) + len(self._base) * sys.getsizeof(2**20)
        return objects + self._units.nbytes + self._sizes.nbytes + self._places.nbytes

    def derived(self) -> dict[str, int | float | str]:
        """Bands, and the values of a signature that make one."""
        return {"bands": self._lsh.b, "band_rows": self._lsh.r}

    def candidates(self, queries: np.ndarray, k: int, query: Any) -> np.ndarray:
        """See `ris_core.engines.contract.Engine`."""
        check_codes("minhash", queries)
        return np.array([len(found) for found in self._candidates(queries)], np.int64)

    def _candidates(self, queries: np.ndarray) -> list[np.ndarray]:
        """For each query the rows of its buckets, ascending."""
        signature = self._empty.copy()
        found = []
        for values in self._signatures(queries):
            signature.hashvalues = values
            found.append(np.sort(np.array(self._lsh.query(signature), np.int64)))
        return found

    def _signatures(self, codes: np.ndarray) -> np.ndarray:
        """(n, permutations): for each the least of its active units' hash values; an empty set has the largest."""
        values = np.tile(self._empty.hashvalues, (len(codes), 1))
        if len(codes) < len(self._units):
            for row in range(len(codes)):
                values[row] = self._units[codes[row] > 0].min(axis=0, initial=values[row, 0])
            return values
        for unit, signature in zip(codes.T, self._units, strict=True):
            active = np.flatnonzero(unit)
            values[active] = np.minimum(values[active], signature)
        return values


def unit_signatures(d: int, params: MinHashParams) -> np.ndarray:
    """(d, permutations): datasketch's signature of each unit as a set of its own."""
    from datasketch import MinHash  # here: optional

    sets = [[str(unit).encode()] for unit in range(d)]
    return np.stack([m.hashvalues for m in MinHash.bulk(sets, num_perm=params.permutations, seed=params.seed)])


def _jaccard(shared: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Jaccard similarity from |A and B| and |A| + |B|; 1 for two empty sets."""
    union = total - shared
    return np.divide(shared, union, out=np.ones_like(shared), where=union > 0)


def _storage_bytes(storage: Any) -> int:
    """Bytes of one table of datasketch: its dict, and each key with the set or list that it leads to."""
    keys = dict.fromkeys(storage.keys())
    return sys.getsizeof(keys) + sum(_entry_bytes(key, storage.get(key)) for key in keys)


def _entry_bytes(key: Any, values: Any) -> int:
    own = sys.getsizeof(key) if isinstance(key, bytes) else 0  # a row number is one object for all tables
    held = sum(sys.getsizeof(value) for value in values) if isinstance(values, list) else 0  # of each vector its keys
    return own + sys.getsizeof(values) + held


def _empty_lsh(params: MinHashParams) -> Any:
    """An empty index of datasketch, which chooses bands and rows.

    Raises:
        SearchError: If the threshold leaves one band alone.
    """
    from datasketch import MinHashLSH  # here: optional

    try:
        return MinHashLSH(threshold=params.threshold, num_perm=params.permutations)
    except ValueError as error:  # its one error for checked parameters
        raise SearchError(
            f"minhash: threshold = {params.threshold} with permutations = {params.permutations} leaves fewer than the "
            "2 bands that datasketch needs. Lower the threshold, or raise the permutations."
        ) from error


def build_minhash(base: np.ndarray, params: MinHashParams, threads: int = 1) -> MinHashLsh:
    """Tables over the base, made by one thread.

    Raises:
        SearchError: If datasketch is not installed, the base holds no codes, or the parameters are impossible.
    """
    check_package("minhash", _PACKAGE, _EXTRA)
    check_build("minhash", base, params, threads)
    check_codes("minhash", base)
    return MinHashLsh(base, params)


def theoretical_bytes(n: int, d: int, params: MinHashParams) -> int:
    """Bytes of what the method stores: in each table a key and a row for each vector; signatures, sizes and an order.

    What Python takes beside, several times as much, is no part of the method; `MinHashLsh.size_bytes` counts it.
    """
    lsh = _empty_lsh(params)
    return n * lsh.b * (lsh.r * _HASH_BYTES + _ROW_BYTES) + d * params.permutations * _HASH_BYTES + n * (4 + 4)


def unavailable() -> str | None:
    """See `ris_core.engines.contract.EngineKind`."""
    return missing_package(_PACKAGE, _EXTRA)


MINHASH = EngineKind(MinHashParams, MinHashQuery, build_minhash, theoretical_bytes, unavailable)
