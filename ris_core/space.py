"""The space that features are compared in: centring, whitening and scaling, fitted on the base."""

import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np

from ris_core.errors import UNREADABLE, ArtifactError, SearchError
from ris_core.records import RAW, Features

WHITENING_FLOOR = 1e-8  # of the largest eigenvalue; smaller ones are raised to it, so that noise is not blown up

_FILE = "space.npz"
_BLOCK_BYTES = 2**26  # of float64 held at a time, beside input and output
_RESOLUTION = float(np.finfo(np.float32).eps)


@dataclasses.dataclass(frozen=True, eq=False)
class Space:
    """A fitted transform of raw features: subtract the mean, project, scale to unit length; each where wanted.

    Attributes:
        mean: (d,) float64, or None.
        projection: (d, d_out) float64, or None.
        normalize: Whether vectors are scaled to unit Euclidean length at the end.
        d: Length of the raw features that it takes.
        key: Stamp of the features that went through it: 16 hexadecimal digits of its content's hash; ``"raw"`` for
            the space that changes nothing.
    """

    mean: np.ndarray | None
    projection: np.ndarray | None
    normalize: bool
    d: int
    key: str

    @classmethod
    def make(cls, mean: np.ndarray | None, projection: np.ndarray | None, normalize: bool, d: int) -> Self:
        """A space with the key of its content; see the class."""
        return cls(mean, projection, normalize, d, _key(mean, projection, normalize, d))

    def apply(self, features: Features) -> Features:
        """The features in this space, computed in float64 and stored as float32.

        Raises:
            SearchError: If the features are not raw or have another length, or if one cannot be scaled to unit
                length because nothing but rounding is left of it.
        """
        if features.space != RAW:
            raise SearchError(
                f"features are in space {features.space!r} already; a space applies to raw features only. "
                "Pass them as the backbone returned them."
            )
        if features.values.shape[1] != self.d:
            raise SearchError(
                f"features have d = {features.values.shape[1]}; this space was fitted on d = {self.d}. "
                "Use the features of the backbone that it was fitted on."
            )
        d_out = self.d if self.projection is None else self.projection.shape[1]
        values = np.empty((len(features), d_out), np.float32)
        for rows, block in _blocks(features.values):
            values[rows] = self._apply_block(block, features.ids[rows])
        return Features(values, features.ids, self.key)

    def _apply_block(self, block: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """(b, d) float64 raw -> (b, d_out) float64."""
        smallest = np.linalg.norm(block, axis=1) * _RESOLUTION  # (b,) a shorter vector is rounding error
        if self.mean is not None:
            block = block - self.mean
        if self.normalize:
            _refuse_zeros(block, smallest, ids)
        if self.projection is not None:
            smallest = np.linalg.norm(block, axis=1) * _RESOLUTION * np.linalg.norm(self.projection, axis=0).max()
            block = block @ self.projection
            if self.normalize:
                _refuse_zeros(block, smallest, ids)
        if self.normalize:
            block = block / np.linalg.norm(block, axis=1, keepdims=True)
        return block

    def save(self, folder: Path) -> None:
        """Write ``space.npz``."""
        arrays: dict[str, Any] = {
            "normalize": np.array(self.normalize),
            "d": np.array(self.d),
            "key": np.array(self.key),
        }
        optional = {"mean": self.mean, "projection": self.projection}
        arrays |= {name: array for name, array in optional.items() if array is not None}
        np.savez(folder / _FILE, **arrays)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """The space of a folder.

        Raises:
            ArtifactError: If there is none, or its content does not have the hash that it was saved with.
        """
        path = folder / _FILE
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                arrays = dict(stored)
            mean, projection = arrays.get("mean"), arrays.get("projection")
            normalize, d, key = bool(arrays["normalize"]), int(arrays["d"]), str(arrays["key"])
            is_whole = key == _key(mean, projection, normalize, d)  # a member that is no array comes as bytes
        except UNREADABLE as error:
            raise ArtifactError(f"{path}: no space to be read ({error}). Delete the folder and run again.") from error
        if not is_whole:
            raise ArtifactError(f"{path}: does not have the hash it was saved with. Delete the folder and run again.")
        return cls(mean, projection, normalize, d, key)


def fit_space(features: Features, *, center: bool = True, normalize: bool = True, whiten: int | None = None) -> Space:
    """The space fitted on the base's features.

    Args:
        features: Raw features of the base, any number that fits on disk: they are read in blocks.
        center: Subtract the base's mean.
        normalize: Scale to unit length, last. Squared Euclidean distance is then 2 - 2 * cosine.
        whiten: Project onto that many principal components and divide each by its standard deviation, between
            centring and scaling; None = no projection.

    Raises:
        SearchError: If the features are none or not raw, or whitening is asked without centring, of more components
            than there are dimensions or other vectors, or of vectors that are all the same.

    Source:
        Centring and scaling: the FALCONN manual's advice, and the thesis. Whitening: Jégou and Chum 2012, Negative
        evidences and co-occurrences in image retrieval. Differs: eigenvalues below `WHITENING_FLOOR` times the
        largest are raised to it.
    """
    refuse_fit(features)
    n, d = features.values.shape
    if whiten is not None and not center:
        raise SearchError(f"whiten = {whiten} needs center = true: components are directions from the mean.")
    if whiten is not None and not 1 <= whiten <= min(d, n - 1):
        raise SearchError(f"whiten = {whiten} must be in [1, {min(d, n - 1)}] for {n} features of d = {d}.")
    mean = _mean(features.values) if center else None
    projection = None if whiten is None or mean is None else _whitening(features.values, mean, whiten)
    return Space.make(mean, projection, normalize, d)


def refuse_fit(features: Features) -> None:
    """Raise unless a space can be fitted on these features.

    Raises:
        SearchError: If there are none, or they are not raw.
    """
    if features.space != RAW:
        raise SearchError(f"features are in space {features.space!r} already; a space is fitted on raw features.")
    if len(features) == 0:
        raise SearchError("a space cannot be fitted on no features. Give at least one tile.")


def norm_statistics(features: Features) -> tuple[float, float]:
    """Mean and standard deviation (divisor n) of the features' Euclidean lengths.

    Raises:
        SearchError: If there are no features.
    """
    if len(features) == 0:
        raise SearchError("no features have no lengths. Give at least one tile.")
    norms = np.concatenate([np.linalg.norm(block, axis=1) for _, block in _blocks(features.values)])
    return float(norms.mean()), float(norms.std())


def _mean(values: np.ndarray) -> np.ndarray:
    """(d,) float64 mean of the rows."""
    total = np.zeros(values.shape[1])
    for _, block in _blocks(values):
        total += block.sum(axis=0)
    return total / len(values)


def _whitening(values: np.ndarray, mean: np.ndarray, components: int) -> np.ndarray:
    """(d, components) float64: principal directions, largest variance first, divided by their standard deviation."""
    covariance = np.zeros((len(mean), len(mean)))
    for _, block in _blocks(values):
        centred = block - mean
        covariance += centred.T @ centred
    eigenvalues, directions = np.linalg.eigh(covariance / len(values))  # ascending
    eigenvalues, directions = eigenvalues[::-1][:components], directions[:, ::-1][:, :components]
    if eigenvalues[0] <= (np.abs(mean).max() * _RESOLUTION) ** 2:
        raise SearchError("the features are all the same, so there is nothing to whiten. Check the backbone.")
    largest = np.abs(directions).argmax(axis=0)
    signs = np.sign(directions[largest, np.arange(components)])  # LAPACK leaves the sign open
    return directions * signs / np.sqrt(np.maximum(eigenvalues, WHITENING_FLOOR * eigenvalues[0]))


def _refuse_zeros(block: np.ndarray, smallest: np.ndarray, ids: np.ndarray) -> None:
    zero = np.linalg.norm(block, axis=1) <= smallest
    if zero.any():
        tiles = ", ".join(str(i) for i in ids[zero][:5])
        raise SearchError(
            f"{zero.sum()} features cannot be scaled to unit length: they are zero, or equal to the mean that is "
            f"subtracted (tiles {tiles}{', ...' if zero.sum() > 5 else ''}). All tiles may look the same to the "
            "backbone; check its weights, remove these tiles, or set normalize = false."
        )


def _blocks(values: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """The rows in float64, a bounded number at a time."""
    step = max(1, _BLOCK_BYTES // (8 * values.shape[1]))
    for start in range(0, len(values), step):
        rows = slice(start, start + step)
        yield rows, values[rows].astype(np.float64)


def _key(mean: np.ndarray | None, projection: np.ndarray | None, normalize: bool, d: int) -> str:
    if mean is None and projection is None and not normalize:
        return RAW
    digest = hashlib.sha256(f"{d} {normalize}".encode())
    for array in (mean, projection):
        digest.update(b"none" if array is None else str(array.shape).encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
