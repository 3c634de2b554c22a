"""Re-ranking by sets of local descriptors: how well an answer's places match the query's."""

import dataclasses

import numpy as np

from ris_core.engines.contract import range_faults, refuse
from ris_core.local_sets import LocalSpec
from ris_core.rerank.contract import LOCAL, Asked, Reranker, RerankKind, RerankParams, Searched
from ris_core.rerank.set_similarity import KERNELS, cosines, given, set_similarity


@dataclasses.dataclass(frozen=True)
class LocalDescriptorParams(RerankParams):
    """Which descriptors are compared, and how.

    Attributes:
        count: Strongest descriptors of an indexed tile.
        query_count: Strongest descriptors of a query, which need no memory beside the index; at least ``count``.
        dimensions: See `ris_core.local_sets.LocalSpec`, as layer, strength, detector and stored.
        layer: See there.
        strength: See there.
        detector: See there.
        stored: See there.
        kernel: Key of `KERNELS`.
        global_weight: Share of the cosine of the indexed vectors in the score; the rest is the sets' similarity.
    """

    count: int = 50
    query_count: int = 50
    dimensions: int = 64
    layer: int = -1
    strength: str = "norm"
    detector: str = ""
    stored: str = "float16"
    kernel: str = "chamfer"
    global_weight: float = 0.5

    @property
    def local(self) -> LocalSpec:
        """What has to be extracted."""
        return LocalSpec(self.query_count, self.dimensions, self.layer, self.strength, self.detector, self.stored)

    def faults(self, n: int, d: int) -> list[str]:
        """See `ris_core.rerank.contract.RerankParams`."""
        faults = super().faults(n, d) + range_faults(self, count=(1, None), global_weight=(0, 1)) + self.local.faults()
        if self.query_count < self.count:
            faults.append(f"query_count = {self.query_count} must be at least count = {self.count}.")
        if self.kernel not in KERNELS:
            faults.append(f"kernel = {self.kernel!r} is unknown; known: {', '.join(KERNELS)}.")
        return faults


class LocalDescriptors(Reranker):
    """Orders answers by a weighted sum of the global and the local similarity; ties keep the index' order."""

    def __init__(self, searched: Searched, params: LocalDescriptorParams) -> None:
        refuse("rerank local_descriptors", params.faults(*searched.vectors.shape))
        self._searched, self._params = searched, params
        self._sets = given(searched.local)

    def rerank_one(self, asked: Asked, number: int, rows: np.ndarray) -> np.ndarray:
        """See `ris_core.rerank.contract.Reranker`."""
        params = self._params
        query = given(asked.local).strongest(number, params.query_count)
        sets = self._sets.strongest(rows, params.count)
        local = KERNELS[params.kernel](set_similarity(query, sets))
        whole = cosines(asked.vectors[number], self._searched.vectors[rows])
        scores = params.global_weight * whole + (1 - params.global_weight) * local
        return rows[np.argsort(-scores, kind="stable")]

    def size_bytes(self) -> int:
        """Bytes of the indexed tiles' descriptors."""
        return len(self._sets) * self._sets.tile_bytes(self._params.count)


LOCAL_DESCRIPTORS = RerankKind(LocalDescriptorParams, LocalDescriptors, needs=(LOCAL,))
