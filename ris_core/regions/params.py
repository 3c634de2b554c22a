"""Parameters of a query by regions: where the regions come from, how they are cut, and how their answers are merged."""

import dataclasses
import math
from pathlib import Path
from typing import Literal

from ris_core.regions.detector import PUBLISHED_MODEL, DetectorSpec

WHOLE, WINDOWS, BOXES, DETECTOR = "whole", "windows", "boxes", "detector"
_MOST_WINDOWS = 2000  # of a picture: 300 MB of crops of 224 px
OBJECTS = Path("objects")  # in the place of a file: boxes from the land cover, of what a hard query shows
Merge = Literal["min", "round_robin"]


@dataclasses.dataclass(frozen=True)
class RegionParams:
    """What all sources have in common; alone: no regions, the whole picture is asked.

    Attributes:
        merge: Key of `ris_core.regions.merging.MERGES`.
        per_crop: How many of the answers to each crop are kept and shown beside the merged ranking.
        context: How many times as long as its region a crop is, see `ris_core.regions.crops.square_boxes`.
    """

    merge: Merge = "min"
    per_crop: int = 5
    context: float = 1.0

    def faults(self, n: int, d: int) -> list[str]:
        """What is impossible about these values for ``n`` vectors of ``d`` dimensions; empty when nothing is."""
        faults = []
        if not 1 <= self.per_crop < n:
            faults.append(f"per_crop = {self.per_crop}; it must be in 1 to {n - 1}, for there are {n} tiles.")
        if self.context < 1:
            faults.append(f"context = {self.context}; it must be at least 1: a crop holds its region.")
        return faults


@dataclasses.dataclass(frozen=True)
class WindowParams(RegionParams):
    """Regions from a sliding window, see `ris_core.regions.sliding_window`.

    Attributes:
        sizes: Sides of the windows, as shares of the picture's shorter side.
        overlap: Share of its side that a window has in common with its neighbour at least.
    """

    sizes: tuple[float, ...] = (0.5,)
    overlap: float = 0.5

    def faults(self, n: int, d: int) -> list[str]:
        """Also windows larger than the picture, and overlaps that never come to an end."""
        faults = super().faults(n, d)
        if not self.sizes or not all(0 < size <= 1 for size in self.sizes):
            faults.append(f"sizes = {list(self.sizes)}; name shares of the picture's shorter side, each in (0, 1].")
        if not 0 <= self.overlap <= 0.95:
            faults.append(f"overlap = {self.overlap}; it must be in [0, 0.95].")
        if not faults and (windows := self._windows()) > _MOST_WINDOWS:
            faults.append(
                f"sizes = {list(self.sizes)} with overlap = {self.overlap} make {windows:,} windows of a square "
                f"picture, all of them in memory; {_MOST_WINDOWS} are allowed. Enlarge sizes, or lower overlap."
            )
        return faults

    def _windows(self) -> int:
        """How many windows a square picture has, or few more."""
        steps = [(1 - size) / (size * (1 - self.overlap)) for size in self.sizes]
        return sum((math.ceil(step - 1e-9) + 1) ** 2 for step in steps)


@dataclasses.dataclass(frozen=True)
class BoxParams(RegionParams):
    """Regions from a file, see `ris_core.regions.boxes`.

    Attributes:
        boxes: The file; or ``objects``: of each hard query of a corpus with land cover, the boxes around its objects.
    """

    boxes: Path = OBJECTS

    def faults(self, n: int, d: int) -> list[str]:
        """Also a file that is not there."""
        faults = super().faults(n, d)
        if self.boxes != OBJECTS and not self.boxes.is_file():
            faults.append(f"boxes = '{self.boxes}' is no file. Name a CSV or JSON file of boxes, or '{OBJECTS}'.")
        return faults


@dataclasses.dataclass(frozen=True)
class DetectorParams(RegionParams):
    """Regions that a detector finds, see `ris_core.regions.detector.DetectorSpec`, whose keys these are."""

    prompt: str = ""
    model: str = PUBLISHED_MODEL
    threshold: float = 0.25
    most: int = 10

    @property
    def detector(self) -> DetectorSpec:
        """The part of it that the detector reads."""
        return DetectorSpec(self.prompt, self.model, self.threshold, self.most)

    def faults(self, n: int, d: int) -> list[str]:
        """Also what is impossible about the detector."""
        return [*super().faults(n, d), *self.detector.faults()]


# Where regions come from. To add a source: one dataclass here, and one line in `bench.queries.region_finding`.
SOURCES: dict[str, type[RegionParams]] = {
    WHOLE: RegionParams,
    WINDOWS: WindowParams,
    BOXES: BoxParams,
    DETECTOR: DetectorParams,
}
