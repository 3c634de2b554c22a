"""What the stages hand to each other: frozen, checked at birth, and able to live on disk."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import geopandas as gpd
import numpy as np
import pandas as pd

from ris_core.errors import UNREADABLE, ArtifactError, CorpusError, RisError, SearchError

RAW = "raw"  # the space of features as the backbone returned them
PADDING_ID = -1
_BLOCK_VALUES = 2**22  # that are looked at together

# Rows of a tile selection: positions, not tile ids.
Rows = Sequence[int] | np.ndarray | slice


@dataclasses.dataclass(frozen=True, eq=False)
class Tiles:
    """Square cuts of one or more rasters, in the order of their table.

    Attributes:
        pixels: (n, size, size, 3) uint8, usually memory-mapped.
        table: n rows. Always: ``id`` (int64, unique), ``raster`` (str), ``row`` and ``col`` (int64, place in
            the grid), ``row_px`` and ``col_px`` (int64, upper left corner in the raster), ``coverage_frac``
            (float64 in [0, 1]). Where known: ``label`` (str), ``frac_<class>`` (float32 in [0, 1], share of
            the tile's area), ``footprint`` (polygon in the raster's CRS; the table is then a GeoDataFrame).
    """

    pixels: np.ndarray
    table: pd.DataFrame

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        if self.pixels.dtype != np.uint8 or self.pixels.ndim != 4 or shape[1] != shape[2] or shape[3] != 3:
            raise CorpusError(f"tiles must be uint8 of shape (n, size, size, 3), not {self.pixels.dtype} {shape}.")
        if len(self.table) != len(self.pixels):
            raise CorpusError(f"{len(self.pixels)} tiles have a table of {len(self.table)} rows.")
        if not self.table["id"].is_unique:
            raise CorpusError("tile ids are not unique.")

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, rows: Rows) -> "Tiles":
        """The tiles at these positions."""
        positions = np.arange(len(self))[rows]
        return Tiles(self.pixels[rows], self.table.iloc[positions].reset_index(drop=True))

    @property
    def ids(self) -> np.ndarray:
        """(n,) int64, unique."""
        return self.table["id"].to_numpy(np.int64)

    @property
    def size_px(self) -> int:
        """Side of the stored tiles, in pixels."""
        return int(self.pixels.shape[1])

    @property
    def labels(self) -> np.ndarray | None:
        """(n,) str, or None where the corpus has no labels."""
        return self.table["label"].to_numpy(str) if "label" in self.table else None

    @property
    def class_fractions(self) -> pd.DataFrame | None:
        """(n, classes) float32 shares of each tile's area, one column a class, or None."""
        columns = [c for c in self.table.columns if c.startswith("frac_")]
        if not columns:
            return None
        return pd.DataFrame(self.table[columns]).rename(columns=lambda c: c.removeprefix("frac_"))

    def save(self, folder: Path) -> None:
        """Write ``tiles.parquet`` (GeoParquet where footprints are known) and, unless it is there, ``pixels.npy``."""
        if not (folder / "pixels.npy").exists():
            np.save(folder / "pixels.npy", self.pixels)
        self.table.to_parquet(folder / "tiles.parquet", index=False)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Tiles of a folder, pixels memory-mapped."""
        try:
            pixels = np.load(folder / "pixels.npy", mmap_mode="r", allow_pickle=False)
            try:
                table: pd.DataFrame = gpd.read_parquet(folder / "tiles.parquet")
            except ValueError:  # a plain table: an image folder has no footprints
                table = pd.read_parquet(folder / "tiles.parquet")
            return cls(pixels, table)
        except (*UNREADABLE, RisError) as error:
            raise ArtifactError(f"{folder}: no tiles to be read ({error}). Delete the folder and run again.") from error


@dataclasses.dataclass(frozen=True, eq=False)
class Features:
    """One vector a tile, stamped with the space that it lives in.

    Attributes:
        values: (n, d) float32, finite, C-contiguous.
        ids: (n,) int64, unique: the tiles' ids.
        space: ``"raw"`` as the backbone returned them, else the key of the `Space` that was applied.
    """

    values: np.ndarray
    ids: np.ndarray
    space: str = RAW

    def __post_init__(self) -> None:
        if self.values.dtype != np.float32 or self.values.ndim != 2:
            raise SearchError(f"features must be float32 of shape (n, d), not {self.values.dtype} {self.values.shape}.")
        if self.ids.shape != (len(self.values),):
            raise SearchError(f"{len(self.values)} features have ids of shape {self.ids.shape}.")
        if len(np.unique(self.ids)) != len(self.ids):
            raise SearchError("feature ids are not unique.")
        finite = finite_rows(self.values)
        if not finite.all():
            bad = self.ids[~finite]
            raise SearchError(
                f"{len(bad)} of {len(self.ids)} features are NaN or infinite, first for tile {bad[0]}. "
                "Check the checkpoint that made them; training may have diverged."
            )

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: Rows) -> "Features":
        """The features at these positions."""
        return Features(np.ascontiguousarray(self.values[rows]), self.ids[rows], self.space)

    def save(self, folder: Path) -> None:
        """Write ``features.npy`` (unless it is there), ``ids.npy`` and ``space.json``."""
        if not (folder / "features.npy").exists():
            np.save(folder / "features.npy", self.values)
        np.save(folder / "ids.npy", self.ids)
        (folder / "space.json").write_text(json.dumps({"space": self.space}), encoding="utf-8")

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Features of a folder, memory-mapped."""
        try:
            values = np.load(folder / "features.npy", mmap_mode="r", allow_pickle=False)
            ids = np.load(folder / "ids.npy", allow_pickle=False)
            space = str(json.loads((folder / "space.json").read_text(encoding="utf-8"))["space"])
            return cls(values, ids, space)
        except (*UNREADABLE, RisError) as error:
            raise ArtifactError(f"{folder}: no features to be read ({error}). Delete the folder, run again.") from error


def finite_rows(values: np.ndarray) -> np.ndarray:
    """(n,) bool: which rows are; block by block, because a mask of all values would take a quarter of their memory."""
    finite = np.empty(len(values), bool)
    step = max(1, _BLOCK_VALUES // max(1, values.shape[1]))
    for start in range(0, len(values), step):
        finite[start : start + step] = np.isfinite(values[start : start + step]).all(axis=1)
    return finite


@dataclasses.dataclass(frozen=True, eq=False)
class Hits:
    """Ranked answers, nearest first.

    Attributes:
        ids: (q, k) int64 tile ids; -1 pads a list that is shorter than k.
        distances: (q, k) float32 squared Euclidean distances; +inf where padded.
    """

    ids: np.ndarray
    distances: np.ndarray

    def __post_init__(self) -> None:
        if self.ids.ndim != 2 or self.ids.shape != self.distances.shape:
            raise SearchError(f"hits have ids of shape {self.ids.shape} and distances of {self.distances.shape}.")
        if self.ids.dtype != np.int64 or self.distances.dtype != np.float32:
            raise SearchError(f"hits must be int64 and float32, not {self.ids.dtype} and {self.distances.dtype}.")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def k(self) -> int:
        """Length of each list, padding included."""
        return int(self.ids.shape[1])

    def save(self, folder: Path) -> None:
        """Write ``ids.npy`` and ``distances.npy``."""
        np.save(folder / "ids.npy", self.ids)
        np.save(folder / "distances.npy", self.distances)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Hits of a folder."""
        try:
            return cls(
                np.load(folder / "ids.npy", allow_pickle=False), np.load(folder / "distances.npy", allow_pickle=False)
            )
        except (*UNREADABLE, RisError) as error:
            raise ArtifactError(f"{folder}: no hits to be read ({error}). Delete the folder and run again.") from error
