"""How tiles are cut from a corpus."""

import dataclasses
from pathlib import Path

_SMALLEST_PX = 8


@dataclasses.dataclass(frozen=True)
class TileSpec:
    """How tiles are cut.

    Attributes:
        size_px: Side of a tile in the raster's pixels. Of an image folder: side of the stored tile, unless
            ``stored_px`` says otherwise; every image is one tile, cut to its largest centred square.
        stride_px: Distance between neighbouring tiles; None = ``size_px``, smaller = overlap, larger = gaps.
        half_offset: Whether there is a second grid too, moved down and right by half a tile.
        stored_px: Side of the stored tile; None = ``size_px``; smaller = resized on reading, by area.
        min_coverage: Share of a tile's values (each band on its own) that must be exceeded by those that are none
            of 0, 255 (or the largest value of a wider type), nodata, or masked, for the tile to be kept; 0 keeps
            all. Images of an image folder are kept whatever their coverage.
        sample: How many tiles to draw; None = all.
        seed: Of that draw.
        bands: Red, green and blue, counted from 1; [1, 1, 1] takes a single band as grey.
        percentiles: Of the valid values of each band, in a decimated read of all rasters; they become 0 and 255
            where values are wider than 8 bits.
        labels: CSV ``row,col,label``, the class of each grid cell; only labelled cells become tiles then.
        classes: Land-cover raster that lies pixel on pixel over the image; for a folder of rasters, a folder of
            such rasters with the same names.
        ground_truth: Of an image folder: which images are searched and which ask, see `ris_core.tiling.ground_truth`.
        distractors: Beside an image folder: shards of images that are searched and never right, see
            `ris_core.tiling.image_shards`.
    """

    size_px: int = 512
    stride_px: int | None = None
    half_offset: bool = False
    stored_px: int | None = None
    min_coverage: float = 0.9
    sample: int | None = None
    seed: int = 0
    bands: tuple[int, int, int] = (1, 2, 3)
    percentiles: tuple[float, float] = (2.0, 98.0)
    labels: Path | None = None
    classes: Path | None = None
    ground_truth: Path | None = None
    distractors: tuple[Path, ...] = ()

    @property
    def output_px(self) -> int:
        """Side of the stored tile."""
        return self.stored_px or self.size_px

    def faults(self) -> list[str]:
        """Everything that makes this specification impossible, whatever the corpus."""
        low, high = self.percentiles if len(self.percentiles) == 2 else (-1.0, -1.0)
        stored = self.size_px if self.stored_px is None else self.stored_px
        checks = [
            (self.size_px < _SMALLEST_PX, f"tile size is {self.size_px} px; allowed: {_SMALLEST_PX} or more"),
            (self.stride_px is not None and self.stride_px < 1, f"stride is {self.stride_px} px; allowed: 1 or more"),
            (
                not min(_SMALLEST_PX, self.size_px) <= stored <= self.size_px,
                f"stored size is {stored} px; allowed: {_SMALLEST_PX} to the tile size, {self.size_px} px",
            ),
            (
                not 0 <= self.min_coverage < 1,
                f"min_coverage is {self.min_coverage}; allowed: 0 to less than 1, since the coverage must exceed it",
            ),
            (self.sample is not None and self.sample < 1, f"sample is {self.sample}; allowed: 1 or more"),
            (self.seed < 0, f"seed is {self.seed}; allowed: 0 or more"),
            (
                len(self.bands) != 3 or min(self.bands) < 1,
                f"bands is {list(self.bands)}; allowed: three numbers of bands, counted from 1",
            ),
            (
                not 0 <= low < high <= 100,
                f"percentiles is {list(self.percentiles)}; allowed: two ascending numbers in 0 to 100",
            ),
            (
                self.labels is not None and self.half_offset,
                "labels and half_offset exclude each other: the labels belong to the cells of one grid",
            ),
            (
                self.sample is not None and self.ground_truth is not None,
                f"sample is {self.sample}, which would leave out images that the ground truth names; allowed: none",
            ),
            (
                self.sample is not None and bool(self.distractors),
                f"sample is {self.sample}, which would leave out distractors by chance; allowed: none",
            ),
        ]
        return [text for is_fault, text in checks if is_fault]
