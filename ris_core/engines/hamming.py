"""Hamming distance between discrete codes by faiss, eight units a byte: all codes compared, or only likely ones.

With ``tables``, substrings of the codes are keys of hash tables, and the codes are compared that share one with the
query, or nearly (multi-index hashing). Two codes that differ in h units have a substring of ``tables`` that differs in
at most h / ``tables``, so that ``flips`` that large miss nothing within h. ``flips`` is a property of faiss' index, so
queries with different ones must not run at once.

Many codes are equally near, and rows often stand in the order of their classes, so codes are stored in an order drawn
by the seed, in which faiss finds equal ones.

Source: Norouzi, Punjani, Fleet 2012, Fast search in Hamming space with multi-index hashing; faiss' ``IndexBinaryFlat``
and ``IndexBinaryMultiHash`` (MIT). Differs: each substring is looked up to the same number of flips, whatever the
answer, so that a list may be shorter than k.
"""

import dataclasses
import math

import faiss
import numpy as np

from ris_core.engines.codes import check_codes
from ris_core.engines.contract import Engine, EngineKind, check_build, check_search, range_faults, refuse
from ris_core.engines.faiss_kernels import faiss_threads, pad

_MOST_HASH_BITS = 62  # faiss keeps a key in an int64
_MOST_LOOKUPS = 10_000_000  # of keys in a table; they take seconds, and grow a hundredfold by two more flips
_MAX_SEED = 2**32 - 1
_ORDER_BYTES = 4  # a code's row
_ENTRY_BYTES = 8  # a row in a list
_BUCKET_BYTES = 8 + 8 + 24  # key, link to the next bucket, and the vector that holds the rows


@dataclasses.dataclass(frozen=True)
class HammingParams:
    """What shapes the index.

    Attributes:
        tables: Hash tables, one a substring of the codes; 0 compares all codes and is exact.
        hash_bits: Units of a substring; of no meaning without tables.
        seed: Of the order of codes that are equally near.
    """

    tables: int = 0
    hash_bits: int = 12
    seed: int = 0

    def faults(self, n: int, d: int) -> list[str]:
        """See `ris_core.engines.contract.Params`."""
        faults = range_faults(self, tables=(0, None), hash_bits=(1, _MOST_HASH_BITS), seed=(0, _MAX_SEED))
        if not faults and self.tables * self.hash_bits > d:
            faults.append(
                f"tables = {self.tables} of hash_bits = {self.hash_bits} take {self.tables * self.hash_bits} units; a "
                f"code has {d}. Lower one of them."
            )
        return faults


@dataclasses.dataclass(frozen=True)
class HammingQuery:
    """How one index is asked.

    Attributes:
        flips: Units by which a substring may differ from the query's; of no meaning without tables.
    """

    flips: int = 1

    def faults(self, n: int, d: int) -> list[str]:
        """See `ris_core.engines.contract.Params`."""
        return range_faults(self, flips=(0, None))


class Hamming(Engine):
    """Packed codes, with tables of their substrings where asked for; the base is needed no longer."""

    def __init__(self, base: np.ndarray, params: HammingParams, threads: int) -> None:
        self._shape = (len(base), base.shape[1])
        self._params = params
        self._rows = np.random.default_rng(params.seed).permutation(len(base)).astype(np.int32)
        codes = _packed(base)[self._rows]
        bits = 8 * codes.shape[1]
        if params.tables:
            self._index = faiss.IndexBinaryMultiHash(bits, params.tables, params.hash_bits)
        else:
            self._index = faiss.IndexBinaryFlat(bits)
        with faiss_threads(threads):
            self._index.add(codes)

    def search(
        self, queries: np.ndarray, k: int, query: HammingQuery, threads: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `ris_core.engines.contract.Engine`; refuses flips that would take a query longer than all codes do."""
        check_search("hamming", queries, k, self._shape, threads)
        check_codes("hamming", queries)
        refuse("hamming", query.faults(*self._shape))
        if self._params.tables:
            self._index.nflip = min(query.flips, self._params.hash_bits)
            self._refuse_lookups()
        with faiss_threads(threads):
            differing, places = self._index.search(_packed(queries), k)
        return pad(np.where(places >= 0, self._rows[places], np.int64(-1)), differing.astype(np.float32))

    def _refuse_lookups(self) -> None:
        bits, flips = self._params.hash_bits, self._index.nflip
        lookups = sum(math.comb(bits, count) for count in range(flips + 1))
        if lookups > _MOST_LOOKUPS:
            found = f"flips = {flips} of hash_bits = {bits} look up {lookups:,} keys in each table for each query"
            refuse("hamming", [f"{found}, more than {_MOST_LOOKUPS:,}. Lower one of them, or set tables = 0."])

    def candidates(self, queries: np.ndarray, k: int, query: HammingQuery) -> np.ndarray | None:
        """See `ris_core.engines.contract.Engine`; faiss does not tell what its tables lead to."""
        return None if self._params.tables else np.full(len(queries), self._shape[0], np.int64)

    def size_bytes(self) -> int:
        """Bytes of the codes and their order, and of buckets and their rows, by faiss' counts."""
        if not self._params.tables:
            return int(self._index.xb.size()) + self._rows.nbytes
        entries = self._params.tables * self._shape[0]
        codes = faiss.downcast_IndexBinary(self._index.storage).xb.size()
        return self._rows.nbytes + int(codes + self._index.hashtable_size() * _BUCKET_BYTES + entries * _ENTRY_BYTES)


def _packed(codes: np.ndarray) -> np.ndarray:
    """(n, bytes) uint8: eight units a byte, padded by units that are never active."""
    return np.packbits(codes.astype(bool), axis=1, bitorder="little")


def build_hamming(base: np.ndarray, params: HammingParams, threads: int = 1) -> Hamming:
    """Index over packed codes.

    Raises:
        SearchError: If the base holds no codes, or the parameters are impossible.
    """
    check_build("hamming", base, params, threads)
    check_codes("hamming", base)
    return Hamming(base, params, threads)


def theoretical_bytes(n: int, d: int, params: HammingParams) -> int:
    """Bytes of packed codes and their order, and for each table of n rows in as many buckets as random codes fill."""
    buckets = 2**params.hash_bits * -np.expm1(-n / 2**params.hash_bits)
    return n * (-(-d // 8) + _ORDER_BYTES) + params.tables * int(buckets * _BUCKET_BYTES + n * _ENTRY_BYTES)


HAMMING = EngineKind(HammingParams, HammingQuery, build_hamming, theoretical_bytes, lambda: None, keeps_vectors=False)
