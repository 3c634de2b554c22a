"""Geometric verification: an answer counts by how many of its places lie where one motion of the query puts them."""

import dataclasses
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ris_core.engines.contract import missing_package, range_faults, refuse
from ris_core.errors import SearchError
from ris_core.rerank.contract import PIXELS, Asked, Pixels, Reranker, RerankKind, RerankParams, Searched
from ris_core.rerank.sift import Keypoints, find_keypoints, match_by_ratio, root_sift
from ris_core.rerank.verification import POINTS, count_inliers

SIFT = "sift"
LIGHTGLUE = "sift_lightglue"
LOFTR = "loftr"

PUBLISHED = {  # where the weights of the learned matchers come from
    LIGHTGLUE: "sift_lightglue.pth of https://github.com/cvg/LightGlue/releases/tag/v0.1_arxiv",
    LOFTR: "loftr_outdoor.ckpt of https://huggingface.co/kornia/loftr",
}


@dataclasses.dataclass(frozen=True)
class GeometricParams(RerankParams):
    """How places are found, matched and verified.

    Attributes:
        matcher: ``"sift"``: SIFT keypoints by the ratio test; ``"sift_lightglue"``: SIFT keypoints by LightGlue;
            ``"loftr"``: LoFTR, which needs no keypoints.
        weights: File of a learned matcher's weights; see `PUBLISHED`.
        keypoints: Keypoints of a tile at most, those of the highest contrast.
        least_px: Smaller tiles are enlarged to this side before places are sought.
        ratio: Of the ratio test: lower is stricter.
        motion: ``"similarity"``, ``"affine"`` or ``"homography"``: what may lie between two views of one place.
        threshold_px: How far from its predicted place a match still agrees.
        seed: Of RANSAC; similarities are found by one whose seed is fixed.
        cache_mib: Memory for places of indexed tiles, found when a tile is first an answer; the oldest go first.
    """

    matcher: str = SIFT
    weights: str = ""
    keypoints: int = 500
    least_px: int = 128
    ratio: float = 0.8
    motion: str = "similarity"
    threshold_px: float = 4.0
    seed: int = 0
    cache_mib: int = 256

    def faults(self, n: int, d: int) -> list[str]:
        """See `ris_core.rerank.contract.RerankParams`."""
        faults = super().faults(n, d)
        faults += range_faults(self, keypoints=(4, 10_000), least_px=(32, 4096), ratio=(0.1, 1.0))
        faults += range_faults(self, threshold_px=(0.1, 1000), seed=(0, 2**31 - 1), cache_mib=(1, None))
        if self.motion not in POINTS:
            faults.append(f"motion = {self.motion!r} is unknown; known: {', '.join(POINTS)}.")
        if self.matcher not in MATCHERS:
            faults.append(f"matcher = {self.matcher!r} is unknown; known: {', '.join(MATCHERS)}.")
        elif self.matcher == SIFT and self.weights:
            faults.append(f"weights = {self.weights!r}: matcher = {SIFT!r} has none. Remove it.")
        elif self.matcher != SIFT and not Path(self.weights).is_file():
            faults.append(
                f"weights = {self.weights!r} is no file; matcher = {self.matcher!r} needs {PUBLISHED[self.matcher]}. "
                "Fetch it and name its path."
            )
        elif self.matcher != SIFT and (missing := missing_package("kornia", "methods")):
            faults.append(f"matcher = {self.matcher!r}: {missing}")
        return faults


class Matcher(Protocol):
    """Finds what it needs of one image, and the places that two images share."""

    def describe(self, pixels: np.ndarray) -> Any:
        """What the matcher needs of a (s, s, 3) uint8 tile; has ``nbytes``."""
        ...

    def match(self, first: Any, second: Any) -> tuple[np.ndarray, np.ndarray]:
        """(m, 2) float32 places in both images, in pixels, row by row the same."""
        ...


class SiftMatcher:
    """RootSIFT keypoints by the ratio test."""

    def __init__(self, params: GeometricParams) -> None:
        self._params = params

    def describe(self, pixels: np.ndarray) -> Keypoints:
        """See `Matcher`."""
        return find_keypoints(pixels, self._params.keypoints, self._params.least_px)

    def match(self, first: Keypoints, second: Keypoints) -> tuple[np.ndarray, np.ndarray]:
        """See `Matcher`."""
        pairs = match_by_ratio(root_sift(first.descriptors), root_sift(second.descriptors), self._params.ratio)
        return first.xy[pairs[:, 0]], second.xy[pairs[:, 1]]


def _lightglue(params: GeometricParams) -> Matcher:
    from ris_core.rerank.learned_matching import LightGlueMatcher  # torch, which SIFT can do without

    return LightGlueMatcher(Path(params.weights), params.keypoints, params.least_px, PUBLISHED[LIGHTGLUE])


def _loftr(params: GeometricParams) -> Matcher:
    from ris_core.rerank.learned_matching import LoftrMatcher  # torch, which SIFT can do without

    return LoftrMatcher(Path(params.weights), params.least_px, PUBLISHED[LOFTR])


MATCHERS: dict[str, Callable[[GeometricParams], Matcher]] = {SIFT: SiftMatcher, LIGHTGLUE: _lightglue, LOFTR: _loftr}


class BoundedCache:
    """Values by row, made when first asked for; beyond so many bytes the ones unused for longest are dropped."""

    def __init__(self, make: Callable[[int], Any], most_bytes: int) -> None:
        self._make, self._most_bytes = make, most_bytes
        self._kept: OrderedDict[int, Any] = OrderedDict()
        self.nbytes = 0

    def __getitem__(self, row: int) -> Any:
        """The value of a row."""
        if row in self._kept:
            self._kept.move_to_end(row)
            return self._kept[row]
        value = self._kept[row] = self._make(row)
        self.nbytes += value.nbytes
        while self.nbytes > self._most_bytes and len(self._kept) > 1:
            self.nbytes -= self._kept.popitem(last=False)[1].nbytes
        return value


class Geometric(Reranker):
    """Orders answers by the number of places that agree with the query's; ties keep the index' order."""

    def __init__(self, searched: Searched, params: GeometricParams) -> None:
        refuse("rerank geometric", params.faults(*searched.vectors.shape))
        self._params, pixels = params, _given(searched.pixels)
        self._matcher = MATCHERS[params.matcher](params)
        self._described = BoundedCache(lambda row: self._matcher.describe(pixels[row]), params.cache_mib * 2**20)

    def rerank_one(self, asked: Asked, number: int, rows: np.ndarray) -> np.ndarray:
        """See `ris_core.rerank.contract.Reranker`."""
        inliers = self.inliers(_given(asked.pixels)[number], rows)
        return rows[np.argsort(-inliers, kind="stable")]

    def inliers(self, query: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """(m,) int64: how many places of each of these rows agree with those of a (s, s, 3) uint8 query."""
        own = self._matcher.describe(query)
        return np.array([self._count(own, self._described[int(row)]) for row in rows], np.int64)

    def _count(self, query: Any, answer: Any) -> int:
        places, params = self._matcher.match(query, answer), self._params
        return count_inliers(*places, params.motion, params.threshold_px, params.seed)

    def size_bytes(self) -> int:
        """Bytes of the places that are remembered now."""
        return self._described.nbytes


def _given(pixels: Pixels | None) -> Pixels:
    if pixels is None:
        raise SearchError("rerank geometric: there are no pictures of tiles or of queries. Give their pixels.")
    return pixels


def _unavailable() -> str | None:
    return missing_package("cv2", "methods")


GEOMETRIC = RerankKind(GeometricParams, Geometric, (PIXELS,), unavailable=_unavailable, libraries=("cv2",))
