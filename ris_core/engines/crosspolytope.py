"""Our own LSH: multiprobe over cross-polytope or hyperplane buckets, sketches in bucket order, exact re-ranking.

A query looks into the buckets that its neighbours most likely lie in. Their points' sketches, four bits a group of
principal coordinates, are compared with the query 32 at a time, and the best are scored exactly from the base, which
is not copied.

Guarantees: every probed bucket is examined entirely; with all buckets probed and no filter (``rerank=0``) the answer is
that of exact search. On one machine the same base, parameters and seed give the same index on any number of threads; a
saved index answers alike on any CPU. Between machines a build may differ in the last bits of its axes (LAPACK).

Source: the hash and its probing: Andoni et al. 2015, Practical and Optimal LSH for Angular Distance,
arXiv:1509.02897; sketches: André et al. 2015, Cache Locality Is Not Enough. Differs: the leading principal coordinates
are hashed, not the whole vector, and buckets are large: what is read in one go costs little.
"""

from pathlib import Path
from typing import Any

import numpy as np

from ris_core import native
from ris_core.engines.contract import MAX_POINTS, Engine, EngineKind, check_build, check_search, check_vectors, refuse
from ris_core.engines.crosspolytope_params import (
    CrosspolytopeParams,
    CrosspolytopeQuery,
    sketch_groups,
    theoretical_bytes,
)
from ris_core.engines.principal_axes import principal_axes
from ris_core.engines.recall_tuning import choose_cheapest, hold_out, ladder
from ris_core.errors import SearchError

_BLOCK_QUERIES = 1024  # Ctrl-C gets through between two blocks
_MAX_PROBES = 2**30 // 16  # bytes a probe: their list stays under 1 GiB a thread
_RERANK_COST = 100  # of one candidate scored exactly, in candidates compared by sketch; measured, d = 192 and 384


class Crosspolytope(Engine):
    """Tables over a base that is neither copied nor to be changed.

    Queries may come from several threads at once. Each thread that searches several tables costs a byte a vector.
    """

    def __init__(self, base: np.ndarray, index: Any) -> None:
        self._base = base
        self._index = index
        self._settings: dict[str, Any] = index.settings()
        self._chosen: dict[tuple[float, int], dict[str, int | float]] = {}

    def search(
        self, queries: np.ndarray, k: int, query: CrosspolytopeQuery, threads: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `ris_core.engines.contract.Engine`.

        The rows are in the order of the index's own distance; for cosines and inner products the squared Euclidean
        distances beside them need not rise.

        Raises:
            SearchError: Also if a row at hand shows that the base was changed after the build; see `check_base`.
        """
        check_search("crosspolytope", queries, k, self._base.shape, threads)
        refuse("crosspolytope", query.faults(*self._base.shape))
        self._refuse_zeros(queries)
        probes, rerank = self._asked(k, query, threads)
        if len(queries) <= _BLOCK_QUERIES:
            return self._search(queries, k, probes, rerank, threads)
        blocks = [
            self._search(queries[start : start + _BLOCK_QUERIES], k, probes, rerank, threads)
            for start in range(0, len(queries), _BLOCK_QUERIES)
        ]
        rows, distances = zip(*blocks, strict=True)
        return np.concatenate(rows), np.concatenate(distances)

    def prepare(self, k: int, query: CrosspolytopeQuery, threads: int = 1) -> dict[str, int | float]:
        """What was chosen for ``query.recall``: ``probes_per_table``, ``rerank`` and ``recall_on_sample``.

        Raises:
            SearchError: If k or the parameters do not fit this index, or the recall cannot be reached.
        """
        n = len(self._base)
        check_search("crosspolytope", self._base[:0], k, self._base.shape, threads)
        refuse("crosspolytope", query.faults(*self._base.shape))
        if query.recall == 0:
            return {}
        key = query.recall, k
        if key not in self._chosen:
            self._chosen[key] = self._choose(query.recall, min(k, n - 1), threads)
        return dict(self._chosen[key])

    def _choose(self, recall: float, k: int, threads: int) -> dict[str, int | float]:
        buckets, has_sketch = 2 ** self._settings["hash_bits"], self._settings["sketch"]
        if k == 0:  # a single vector
            return {"probes_per_table": buckets, "rerank": 0, "recall_on_sample": 1.0}
        self.check_base()
        # Not kept: what a choice takes must not depend on the choices before it.
        sample = hold_out(self._base, k, self._settings["distance"], threads)
        queries = sample.queries
        candidates: dict[int, float] = {}

        def recalls(probes: int, rerank: int) -> np.ndarray:
            rows, _ = self._search(queries, k + 1, probes, rerank if has_sketch else 0, threads)
            return sample.recalls(rows)

        def cost(probes: int, rerank: int) -> float:
            if probes not in candidates:
                candidates[probes] = self._count(queries[::8], probes, threads).mean()
            return candidates[probes] + _RERANK_COST * (rerank if has_sketch else candidates[probes])

        steps = [probes for probes in ladder(buckets) if self._is_listable(probes)]
        choice = choose_cheapest(recall, k + 1, steps, len(self._base), recalls, cost)
        if choice is None:
            raise SearchError(
                f"crosspolytope: recall = {recall} is not reached even with all buckets probed; that happens among "
                "vectors at equal distances. Lower it, or take the engine exact."
            )
        return {
            "probes_per_table": choice.probes,
            "rerank": choice.rerank if has_sketch else 0,
            "recall_on_sample": choice.recall,
        }

    def size_bytes(self) -> int:
        """Bytes of tables, sketches, axes and rotations."""
        size: int = self._index.size_bytes
        return size

    def derived(self) -> dict[str, int | float | str]:
        """A table's bits, hash functions and last dimension; what a sketch is made of; the compiled path."""
        return {"hash_bits": self._settings["hash_bits"], **self._index.derived(), "path": self._index.path}

    def candidates(self, queries: np.ndarray, k: int, query: CrosspolytopeQuery) -> np.ndarray:
        """(q,) int64: how many different rows the probed buckets hold."""
        check_search("crosspolytope", queries, k, self._base.shape, 1)
        refuse("crosspolytope", query.faults(*self._base.shape))
        probes, _ = self._asked(k, query, 1)
        return self._count(queries, probes, 1)

    def add(self, vectors: np.ndarray, threads: int = 1) -> None:
        """Index further vectors; they get the row numbers that follow.

        Base and index are copied once, so add many at a time. Axes and centroids stay those of the first base, and so
        does the length that inner products make all vectors equal in: a longer vector is hashed as if it had no
        coordinate appended. What was chosen for a recall is forgotten.

        Raises:
            SearchError: If the vectors do not fit, or not into memory.
        """
        check_search("crosspolytope", vectors, 1, self._base.shape, threads)
        self._refuse_zeros(vectors)
        if len(self._base) + len(vectors) > MAX_POINTS:
            raise SearchError(f"crosspolytope: the base would grow beyond {MAX_POINTS} vectors. Build a second index.")
        self.check_base()
        n, d = len(self._base) + len(vectors), vectors.shape[1]
        params = CrosspolytopeParams(**self._settings)
        refuse("crosspolytope", params.memory_faults(n, d, beside=4 * n * d))
        base = np.concatenate([self._base, vectors])
        self._index = self._index.extended(base, threads=threads)
        self._base = base
        self._chosen = {}

    def save(self, path: Path) -> None:
        """Write the index into a file; the base's vectors are not in it.

        Raises:
            SearchError: If the base was changed after the build, or the file cannot be written.
        """
        try:
            self._index.check_base()
            self._index.save(str(path))
        except native.ForeignBaseError as error:
            raise _foreign(error) from error
        except native.IndexFileError as error:
            raise SearchError(f"crosspolytope: {error}. Check that the folder exists and the disk has room.") from error

    def check_base(self) -> None:
        """Compare 1,024 rows of the base with what they were at the build; `search` compares eight.

        Raises:
            SearchError: If one of them was changed.
        """
        try:
            self._index.check_base()
        except native.ForeignBaseError as error:
            raise _foreign(error) from error

    def _asked(self, k: int, query: CrosspolytopeQuery, threads: int) -> tuple[int, int]:
        """Probes a table and candidates to re-rank."""
        chosen = self.prepare(k, query, threads) if query.recall > 0 else {}
        return int(chosen.get("probes_per_table", query.probes_per_table)), int(chosen.get("rerank", query.rerank))

    def _probes(self, probes_per_table: int) -> int:
        tables, buckets = self._settings["tables"], 2 ** self._settings["hash_bits"]
        if not self._is_listable(probes_per_table):
            raise SearchError(
                f"crosspolytope: probes_per_table = {probes_per_table}; allowed: up to {_MAX_PROBES // tables}, as "
                f"their list must stay under 1 GiB a thread, or all {buckets} buckets. Lower it, or hash_bits."
            )
        return tables * min(probes_per_table, buckets)

    def _is_listable(self, probes_per_table: int) -> bool:
        """Whether so many probes are all buckets, which need no list, or their list is short enough."""
        tables, buckets = self._settings["tables"], 2 ** self._settings["hash_bits"]
        return probes_per_table >= buckets or tables * probes_per_table <= _MAX_PROBES

    def _search(
        self, queries: np.ndarray, k: int, probes: int, rerank: int, threads: int
    ) -> tuple[np.ndarray, np.ndarray]:
        try:
            return self._index.search(queries, k, self._probes(probes), rerank, threads)
        except native.ForeignBaseError as error:
            raise _foreign(error) from error

    def _count(self, queries: np.ndarray, probes: int, threads: int) -> np.ndarray:
        counts: np.ndarray = self._index.candidates(np.ascontiguousarray(queries), self._probes(probes), threads)
        return counts

    def _refuse_zeros(self, vectors: np.ndarray) -> None:
        if self._settings["distance"] == "cosine":
            _refuse_zeros(vectors)


def _refuse_zeros(vectors: np.ndarray) -> None:
    is_zero = np.einsum("nd,nd->n", vectors, vectors) < np.finfo(np.float32).tiny  # squares below it lose digits
    if is_zero.any():
        raise SearchError(
            f"crosspolytope: {np.count_nonzero(is_zero)} of {len(vectors)} vectors are zero, first in row "
            f"{np.argmax(is_zero)}, or shorter than 1e-19; they have no direction for distance cosine. Leave them out, "
            "or take another distance."
        )


def _foreign(error: Exception) -> SearchError:
    return SearchError(
        f"crosspolytope: {error}. An index reads its base, which must stay as it was; build it anew for other vectors."
    )


def build_crosspolytope(
    base: np.ndarray, params: CrosspolytopeParams, threads: int = 1, *, path: str = ""
) -> Crosspolytope:
    """Index over the base, which is not copied.

    Args:
        base: (n, d) float32, C-contiguous; must not change while the index lives.
        params: What shapes the index.
        threads: Threads to build with; the index does not depend on them.
        path: ``"plain"``, ``"avx2"`` or ``"avx512"``, the compiled code to take; the fastest that this CPU has
            where empty. From the same axes, all give the same index and the same answers.

    Raises:
        SearchError: If the compiled part is missing, or base or parameters are impossible.
    """
    reason = native.crosspolytope_unavailable()
    refuse("crosspolytope", [f"cannot run here: {reason}"] if reason else [])
    check_build("crosspolytope", base, params, threads)
    if params.distance == "cosine":
        _refuse_zeros(base)
    settings = native.CrosspolytopeSettings()
    for name in ("family", "distance", "tables", "rotations", "seed"):
        setattr(settings, name, getattr(params, name))
    settings.hash_bits = params.bits(len(base))
    axes = np.empty((0, 0), np.float32)
    if params.sketch or params.hash_dimension > 0:
        axes, moments = principal_axes(base, params.distance)
        settings.variances = moments.tolist()
        settings.hash_dimension = min(params.hash_dimension, len(axes))
        settings.sketch_groups = sketch_groups(len(axes)) if params.sketch else 0
    try:
        return Crosspolytope(base, native.CrosspolytopeIndex(base, settings, axes, threads, path))
    except ValueError as error:
        raise SearchError(f"crosspolytope: {error}.") from error


def load_crosspolytope(path: Path, base: np.ndarray, *, mmap: bool = False) -> Crosspolytope:
    """An index that `Crosspolytope.save` wrote, over the same base.

    The base is not in the file, since features have a file of their own; it may be memory-mapped too. It is compared
    with the indexed one by 1,024 of its rows.

    Args:
        path: The file.
        base: The (n, d) float32 base that was indexed.
        mmap: Map the file instead of reading it: buckets and rows are read and checked once, sketches are not checked
            and are read when a search needs them; pages may be shared among processes. The file must stay as it is
            while the index lives; `Crosspolytope.save` onto it puts another one in its place.

    Raises:
        SearchError: If the file is missing, damaged, foreign or of another version, or the base is another one.
    """
    reason = native.crosspolytope_unavailable()
    refuse("crosspolytope", [f"cannot run here: {reason}"] if reason else [])
    check_vectors("crosspolytope", base)
    try:
        return Crosspolytope(base, native.CrosspolytopeIndex(base, str(path), mmap))
    except native.IndexFileError as error:
        raise SearchError(f"crosspolytope: {error}. Build the index anew and save it.") from error
    except native.ForeignBaseError as error:
        raise _foreign(error) from error
    except ValueError as error:
        raise SearchError(
            f"crosspolytope: {error}. Give the base that was indexed, or build the index anew."
        ) from error
    except MemoryError as error:
        raise SearchError(f"crosspolytope: {path} does not fit into memory. Load it with mmap=True.") from error


CROSSPOLYTOPE = EngineKind(
    CrosspolytopeParams, CrosspolytopeQuery, build_crosspolytope, theoretical_bytes, native.crosspolytope_unavailable
)
