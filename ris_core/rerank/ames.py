"""Re-ranking by AMES: a small transformer says how similar two sets of local descriptors are."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit

from ris_core.engines.contract import range_faults, refuse
from ris_core.local_sets import LocalSets, LocalSpec
from ris_core.rerank.contract import LOCAL, Asked, Reranker, RerankKind, RerankParams, Searched
from ris_core.rerank.set_similarity import cosines, given

if TYPE_CHECKING:
    import torch

_AT_ONCE = 256  # tiles that are mapped together offline


@dataclasses.dataclass(frozen=True)
class AmesParams(RerankParams):
    """Whose weights, how many descriptors, and how the similarities are joined; defaults are those of the paper.

    Attributes:
        weights: A published file, such as ``dinov2_ames.pt``.
        count: Strongest descriptors of an indexed tile.
        query_count: Strongest descriptors of a query; at least ``count``.
        layer: See `ris_core.local_sets.LocalSpec`, as strength and detector.
        strength: See there.
        detector: See there; the published networks were trained on what the published detectors describe.
        global_weight: Share of the cosine of the indexed vectors in the score (the paper's lambda).
        temperature: By which the network's answer is multiplied before the logistic function (its gamma).
    """

    weights: str = ""
    count: int = 50
    query_count: int = 600
    layer: int = -1
    strength: str = "norm"
    detector: str = ""
    global_weight: float = 0.55
    temperature: float = 0.3

    @property
    def local(self) -> LocalSpec:
        """What has to be extracted: descriptors of the network's own length."""
        return LocalSpec(self.query_count, 0, self.layer, self.strength, self.detector)

    def faults(self, n: int, d: int) -> list[str]:
        """See `ris_core.rerank.contract.RerankParams`."""
        faults = super().faults(n, d) + self.local.faults()
        faults += range_faults(self, count=(1, None), global_weight=(0, 1), temperature=(0.001, 1000))
        if self.query_count < self.count:
            faults.append(f"query_count = {self.query_count} must be at least count = {self.count}.")
        if not Path(self.weights).is_file():
            from ris_core.local_detector import PUBLISHED  # torch

            faults.append(f"weights = {self.weights!r} is no file. Fetch one from {PUBLISHED} and name its path.")
        return faults


class Ames(Reranker):
    """Orders answers by a weighted sum of the cosine and AMES' similarity; ties keep the index' order.

    Source: Suma et al. 2024, AMES, arXiv:2408.03282; the sum as its published code computes it. Differs: signs are kept
    in a byte each while they are in memory, and `size_bytes` counts those bytes. For n tiles these are n count c, or
    2 n count c of a network without signs, and twice that while it is made (400,000 tiles, 50 descriptors of 128:
    2.6 GB).
    """

    def __init__(self, searched: Searched, params: AmesParams) -> None:
        from ris_core.rerank.ames_network import load_ames  # torch

        place = "rerank ames"
        refuse(place, params.faults(*searched.vectors.shape))
        self._searched, self._params = searched, params
        self._network = load_ames(Path(params.weights))
        sets, d = given(searched.local), self._network.d
        if sets.dimensions != d:
            found = f"its descriptors have {d} dimensions, the backbone's {sets.dimensions}"
            refuse(place, [f"weights = {params.weights!r}: {found}. Name the backbone that the file was trained with."])
        self._stored = self._codes(sets)

    def _codes(self, sets: LocalSets) -> "torch.Tensor":
        """(n, count, c): what is kept of the indexed tiles."""
        import torch

        rows, count = np.arange(len(sets)), self._params.count
        batches = [rows[start : start + _AT_ONCE] for start in range(0, len(sets), _AT_ONCE)]
        with torch.inference_mode():
            return torch.cat([self._network.code(torch.from_numpy(sets.strongest(b, count))) for b in batches])

    def rerank_one(self, asked: Asked, number: int, rows: np.ndarray) -> np.ndarray:
        """See `ris_core.rerank.contract.Reranker`."""
        local = self.similarities(given(asked.local).strongest(number, self._params.query_count), rows)
        whole = cosines(asked.vectors[number], self._searched.vectors[rows])
        weight = self._params.global_weight
        scores = weight * whole + (1 - weight) * expit(self._params.temperature * local)
        return rows[np.argsort(-scores, kind="stable")]

    def similarities(self, query: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """(m,) float32: what the network says of a query's (a, d) descriptors and those of m indexed rows."""
        import torch

        with torch.inference_mode():
            sets = self._network.decode(self._stored[torch.from_numpy(rows)])
            return self._network(self._network.map(torch.from_numpy(query)), sets).numpy()

    def size_bytes(self) -> int:
        """Bytes of the indexed tiles' mapped descriptors."""
        return int(self._stored.nbytes)


AMES = RerankKind(AmesParams, Ames, needs=(LOCAL,), libraries=("torch",))
