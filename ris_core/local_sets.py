"""Local descriptors of tiles on disk: a set of equally many a tile, strongest first, read when they are asked for."""

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from ris_core.errors import UNREADABLE, ArtifactError

STRENGTHS = ("norm", "attention", "detector")
STORED = ("float16", "binary")

VALUES = "local.npy"


@dataclasses.dataclass(frozen=True)
class LocalSpec:
    """Which local descriptors a tile has, and how they are kept.

    Attributes:
        count: Descriptors a tile; fewer where the network's map is smaller.
        dimensions: Principal components that are kept, whitened; 0: the descriptors as the network gives them.
        layer: Which map of the network: -1 the last, -2 the one before it, as timm counts them.
        strength: Which descriptors are taken: those of the greatest ``"norm"``, or those to which the class token of
            a transformer pays most ``"attention"``; or those that a trained ``"detector"`` finds strongest, which then
            describes them too.
        detector: File of that detector's weights, see `ris_core.local_detector`.
        stored: ``"float16"``, or ``"binary"``: one bit a dimension, after a rotation that makes signs lose little.
    """

    count: int = 50
    dimensions: int = 64
    layer: int = -1
    strength: str = "norm"
    detector: str = ""
    stored: str = "float16"

    def faults(self) -> list[str]:
        """Everything that is impossible about this spec, one sentence a fault."""
        faults = []
        if self.count < 1:
            faults.append(f"count = {self.count} must be at least 1.")
        if self.dimensions < 0:
            faults.append(f"dimensions = {self.dimensions} must be at least 0, which keeps all.")
        if self.layer >= 0:
            faults.append(f"layer = {self.layer} must be negative: -1 is the last map of the network.")
        if self.strength not in STRENGTHS:
            faults.append(f"strength = {self.strength!r} is unknown; known: {', '.join(STRENGTHS)}.")
        if self.strength == "detector" and not Path(self.detector).is_file():
            faults.append(f"detector = {self.detector!r} is no file. Fetch a published one of AMES and name its path.")
        if self.strength != "detector" and self.detector:
            faults.append(f"detector = {self.detector!r}: strength = {self.strength!r} has none. Remove one of them.")
        if self.stored not in STORED:
            faults.append(f"stored = {self.stored!r} is unknown; known: {', '.join(STORED)}.")
        if self.stored == "binary" and self.dimensions % 8:
            faults.append(f"dimensions = {self.dimensions}: stored = 'binary' takes multiples of 8, which fill bytes.")
        return faults


class LocalSets:
    """Local descriptors of some tiles, memory-mapped.

    Args:
        folder: What `ris_core.local_extraction.extract_local` wrote.
        places: (n,) positions of the tiles there; None: all.

    Raises:
        ArtifactError: If the folder holds none.
    """

    def __init__(self, folder: Path, places: np.ndarray | None = None) -> None:
        try:
            self._stored: np.ndarray = np.load(folder / VALUES, mmap_mode="r", allow_pickle=False)
            if self._stored.ndim != 3:
                raise ValueError(f"an array of shape {self._stored.shape}")
        except UNREADABLE as error:
            raise ArtifactError(
                f"{folder}: no local descriptors ({error}). Delete the folder and run again."
            ) from error
        self._places = np.arange(len(self._stored)) if places is None else places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, rows: slice) -> "LocalSets":
        """Those of some of the tiles."""
        chosen = copy.copy(self)
        chosen._places = self._places[rows]
        return chosen

    @property
    def count(self) -> int:
        """Descriptors a tile."""
        return int(self._stored.shape[1])

    @property
    def dimensions(self) -> int:
        """Length of a descriptor."""
        return int(self._stored.shape[2]) * (8 if self._stored.dtype == np.uint8 else 1)

    def tile_bytes(self, count: int) -> int:
        """Bytes of a tile's ``count`` strongest descriptors."""
        return min(count, self.count) * int(self._stored[0, 0].nbytes)

    def strongest(self, rows: Any, count: int) -> np.ndarray:
        """(m, count, c) float32 unit vectors of m rows, the strongest first; (count, c) of one row."""
        stored = self._stored[self._places[rows], :count]
        if stored.dtype != np.uint8:
            return stored.astype(np.float32)
        signs = np.unpackbits(stored, axis=-1).astype(np.float32) * 2 - 1
        return signs / np.float32(np.sqrt(self.dimensions))
