"""ScaNN (Apache-2.0): lists of short codes whose errors are shaped for search, the best ranked exactly; optional.

Source: Guo et al. 2020, Accelerating Large-Scale Inference with Anisotropic Vector Quantization, arXiv:1908.10396;
https://github.com/google-research/google-research/tree/master/scann.
"""

import contextlib
import dataclasses
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ris_core.engines.contract import (
    Engine,
    EngineKind,
    check_build,
    check_package,
    check_search,
    missing_package,
    range_faults,
    refuse,
)

_CODES = 16  # centres of a block of dimensions: codes of 4 bits
_LEAST_VECTORS = 16  # that many are needed to learn the codes


@dataclasses.dataclass(frozen=True)
class ScannParams:
    """What shapes lists and codes. ScaNN takes no seed and draws anew each time, so no two indices are alike.

    Attributes:
        lists: Number of centroids, ScaNN's leaves; 0 for sqrt(n), as its documentation advises.
        block_dims: Dimensions that share a code of 4 bits.
        threshold: Cosine from which on errors along a vector weigh more than those across, ScaNN's
            anisotropic_quantization_threshold.
    """

    lists: int = 0
    block_dims: int = 2
    threshold: float = 0.2

    def faults(self, n: int, d: int) -> list[str]:
        """See `ris_core.engines.contract.Params`."""
        if n < _LEAST_VECTORS:
            return [f"{n} vectors are too few for ScaNN's codes; allowed: {_LEAST_VECTORS} or more. Take exact."]
        return range_faults(self, lists=(0, n), block_dims=(1, max(2, d)), threshold=(-1, 1))


@dataclasses.dataclass(frozen=True)
class ScannQuery:
    """How one index is asked.

    Attributes:
        probes: Lists looked into, ScaNN's leaves_to_search; all of them where there are fewer.
        rerank: Vectors of the best codes whose distances are computed; k where that is more.
    """

    probes: int = 16
    rerank: int = 200

    def faults(self, n: int, d: int) -> list[str]:
        """See `ris_core.engines.contract.Params`."""
        return range_faults(self, probes=(1, None), rerank=(1, None))


class Scann(Engine):
    """Codes in lists, beside a copy of the vectors; the base is needed no longer."""

    def __init__(self, base: np.ndarray, params: ScannParams, threads: int) -> None:
        from scann import scann_ops_pybind  # here: optional, and it loads TensorFlow where that is installed

        self._shape, self._params = (len(base), base.shape[1]), params
        self._lists = _number_of_lists(len(base), params)
        builder = scann_ops_pybind.builder(base, min(10, len(base)), "squared_l2").set_n_training_threads(threads)
        builder = builder.tree(self._lists, self._lists).score_ah(params.block_dims, params.threshold)
        with _quiet():
            self._index = builder.reorder(len(base)).build()
        self._threads = 0

    def search(self, queries: np.ndarray, k: int, query: ScannQuery, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """See `ris_core.engines.contract.Engine`."""
        check_search("scann", queries, k, self._shape, threads)
        refuse("scann", query.faults(*self._shape))
        if len(queries) == 0:
            return np.empty((0, k), np.int64), np.empty((0, k), np.float32)
        best = min(max(k, query.rerank), self._shape[0])
        probes = min(query.probes, self._lists)
        if threads == 1 or len(queries) == 1:  # ScaNN shares out queries, not parts of one
            found, distances = self._index.search_batched(queries, k, best, probes)
        else:
            self._hold_threads(threads)
            found, distances = self._index.search_batched_parallel(queries, k, best, probes)
        is_missing = np.isnan(distances)  # ScaNN's padding
        return np.where(is_missing, -1, found.astype(np.int64)), np.where(is_missing, np.float32(np.inf), distances)

    def _hold_threads(self, threads: int) -> None:
        if threads != self._threads:  # each call starts the threads anew
            self._index.set_num_threads(threads)
            self._threads = threads

    def size_bytes(self) -> int:
        """Bytes as `theoretical_bytes` has them: ScaNN does not report its own."""
        return theoretical_bytes(*self._shape, self._params)

    def derived(self) -> dict[str, int | float | str]:
        """Number of lists."""
        return {"lists": self._lists}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Nothing on stderr, where ScaNN notes each step of a build and offers no way to stop it; its errors are raised."""
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _number_of_lists(n: int, params: ScannParams) -> int:
    return params.lists or round(math.sqrt(n))


def build_scann(base: np.ndarray, params: ScannParams, threads: int = 1) -> Scann:
    """Index over a copy of the base.

    Raises:
        SearchError: If ScaNN is not installed, or the base or the parameters are impossible.
    """
    check_package("scann")
    check_build("scann", base, params, threads)
    return Scann(base, params, threads)


def theoretical_bytes(n: int, d: int, params: ScannParams) -> int:
    """Bytes of 4-bit codes, one a block of dimensions, of a row of 4 bytes a vector, and of float32 centroids.

    The centroids are those of the lists and the 16 of each block.
    """
    blocks = -(-d // params.block_dims)
    return n * (-(-blocks // 2) + 4) + (_number_of_lists(n, params) + _CODES) * d * 4


def unavailable() -> str | None:
    """See `ris_core.engines.contract.EngineKind`."""
    return missing_package("scann")


SCANN = EngineKind(ScannParams, ScannQuery, build_scann, theoretical_bytes, unavailable)
