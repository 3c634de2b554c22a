"""Engines: the kinds of index that can be compared, and the index that the rest of the program holds."""

import dataclasses
from typing import Any

import numpy as np

from ris_core.engines.contract import Engine, EngineKind, refuse
from ris_core.engines.crosspolytope import CROSSPOLYTOPE
from ris_core.engines.exact import EXACT
from ris_core.engines.faiss_hnsw import FAISS_HNSW
from ris_core.engines.faiss_ivf import FAISS_IVF
from ris_core.engines.faiss_lsh import FAISS_LSH
from ris_core.engines.falconn import FALCONN
from ris_core.engines.hamming import HAMMING
from ris_core.engines.hnswlib import HNSWLIB
from ris_core.engines.kdtree import KDTREE
from ris_core.engines.minhash import MINHASH
from ris_core.engines.scann import SCANN
from ris_core.engines.usearch import USEARCH
from ris_core.errors import SearchError
from ris_core.records import PADDING_ID, Features, Hits

# To add an engine: one file beside this one, and one line here.
ENGINES: dict[str, EngineKind] = {
    "crosspolytope": CROSSPOLYTOPE,
    "exact": EXACT,
    "faiss_hnsw": FAISS_HNSW,
    "faiss_ivf": FAISS_IVF,
    "faiss_lsh": FAISS_LSH,
    "falconn": FALCONN,
    "hamming": HAMMING,
    "hnswlib": HNSWLIB,
    "kdtree": KDTREE,
    "minhash": MINHASH,
    "scann": SCANN,
    "usearch": USEARCH,
}


@dataclasses.dataclass(frozen=True, eq=False)
class Index:
    """An engine over features, that knows their tile ids and the space that they live in.

    Attributes:
        kind: Key of ``ENGINES``.
        engine: The engine itself, which works with rows: what a clock should time.
        ids: (n,) int64 tile ids, in the order of the engine's rows.
        space: The space of the features; queries must be stamped with the same.
        d: Dimensions of the features.
    """

    kind: str
    engine: Engine
    ids: np.ndarray
    space: str
    d: int

    def __len__(self) -> int:
        return len(self.ids)

    def search(self, features: Features, k: int, *, threads: int = 1, **query_params: Any) -> Hits:
        """The k nearest tiles of each feature. A tile that is in the index is its own nearest neighbour.

        Args:
            features: Queries, in the index's space.
            k: Length of each list, 1 to the number of tiles in the index.
            threads: Threads to use.
            query_params: The engine's query parameters; its defaults serve for what is not given.

        Returns:
            Hits by tile id, nearest first.

        Raises:
            SearchError: If the space or the dimensions differ, k is too large, or a parameter is impossible.
        """
        place = f"index {self.kind}"
        if features.space != self.space:
            raise SearchError(
                f"{place}: the queries live in space {features.space!r}, the index in {self.space!r}. "
                "Apply the index's space to the queries first: space.apply(features)."
            )
        query = make_params(place, ENGINES[self.kind].query_params, query_params, (len(self), features.values.shape[1]))
        rows, distances = self.engine.search(np.ascontiguousarray(features.values), k, query, threads)
        return Hits(self.ids_of(rows), distances)

    def ids_of(self, rows: np.ndarray) -> np.ndarray:
        """Int64 tile ids of the engine's rows; padding stays padding."""
        return np.where(rows >= 0, self.ids[rows], PADDING_ID)


def build_index(name: str, features: Features, *, threads: int = 1, **build_params: Any) -> Index:
    """Index over features, which must not change afterwards.

    Args:
        name: Key of ``ENGINES``.
        features: What to index; at least one.
        threads: Threads to build with.
        build_params: The engine's build parameters; its defaults serve for what is not given.

    Raises:
        SearchError: If there is no such engine or it cannot run here, a parameter is unknown or impossible for
            these features, or there are no features.
    """
    if name not in ENGINES:
        raise SearchError(f"build_index: no engine is called {name!r}; known: {', '.join(sorted(ENGINES))}.")
    kind = ENGINES[name]
    reason = kind.unavailable()
    if reason is not None:
        raise SearchError(f"engine {name} cannot run here: {reason}")
    n, d = features.values.shape
    params = make_params(f"engine {name}", kind.build_params, build_params, (n, d))
    engine = kind.build(np.ascontiguousarray(features.values), params, threads)
    return Index(name, engine, features.ids, features.space, d)


def make_params(place: str, kind: type[Any], values: dict[str, Any], shape: tuple[int, int]) -> Any:
    """An object of the parameter class ``kind``, checked for a base of ``shape`` (n, d).

    Raises:
        SearchError: If a key is unknown or a value of the wrong type or impossible; all such faults at once.
    """
    types = {field.name: field.type for field in dataclasses.fields(kind)}
    faults = []
    for key, value in values.items():
        if key not in types:
            faults.append(f"unknown parameter {key!r}; known: {', '.join(types) or 'none'}. Rename or remove it.")
        elif type(value) is not types[key]:
            wanted = getattr(types[key], "__name__", types[key])
            faults.append(f"{key} = {value!r} is of type {type(value).__name__}; allowed is {wanted}.")
    refuse(place, faults)
    params = kind(**values)
    refuse(place, params.faults(*shape))
    return params
