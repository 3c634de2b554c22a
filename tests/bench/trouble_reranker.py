"""A re-ranker that goes wrong in the way that its parameter names, and one that looks at pictures.

Workers import this module by its name, so the tests that use it put this folder on the path.
"""

import dataclasses
import os
import signal

import numpy as np

from ris_core.errors import SearchError
from ris_core.rerank.contract import PIXELS, Asked, Reranker, RerankKind, RerankParams, Searched


@dataclasses.dataclass(frozen=True)
class TroubleParams(RerankParams):
    fault: str = "none"


class Troublesome(Reranker):
    """Reverses the order, unless it is to go wrong."""

    def __init__(self, searched: Searched, params: TroubleParams) -> None:
        self._n, self._fault = len(searched.vectors), params.fault
        if self._fault == "offline":
            raise SearchError("nothing can be made of this corpus.")

    def rerank_one(self, asked: Asked, number: int, rows: np.ndarray) -> np.ndarray:
        if self._fault == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if self._fault == "raise":
            raise ValueError("a bug")
        if self._fault == "lose":
            return rows[1:]
        if self._fault == "invent":
            return np.append(rows[:-1], np.setdiff1d(np.arange(self._n), rows)[0])
        if self._fault == "repeat":
            return np.append(rows[:-1], rows[0])
        return rows[::-1]


class Looker(Reranker):
    """Orders by mean absolute difference of the pictures, the query's own picture checked where it is indexed."""

    def __init__(self, searched: Searched, params: TroubleParams) -> None:
        self._pixels, self._seen = searched.pixels, set[int]()

    def rerank_one(self, asked: Asked, number: int, rows: np.ndarray) -> np.ndarray:
        own = asked.pixels[number].astype(np.int64)
        if asked.rows[number] >= 0 and not np.array_equal(own, self._pixels[asked.rows[number]]):
            raise SearchError("the query's picture is another tile's.")
        self._seen.update(rows.tolist())
        return rows[np.argsort(np.abs(self._pixels[rows] - own).mean(axis=(1, 2, 3)), kind="stable")]

    def size_bytes(self) -> int:
        """Of what it has seen."""
        return len(self._seen)


def trouble_kind(unavailable: str | None = None) -> RerankKind:
    return RerankKind(TroubleParams, Troublesome, unavailable=lambda: unavailable)


LOOKER = RerankKind(TroubleParams, Looker, needs=(PIXELS,))
