"""What the stages hand on inside the harness: the cut corpus, the queries asked of it, and one backbone's base."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ris_core.errors import SearchError
from ris_core.exact_shards import nearest_rows
from ris_core.records import PADDING_ID, Features, Hits, Tiles
from ris_core.space import Space
from ris_core.tiling.ground_truth import GroundTruth
from ris_core.tiling.image_folder import ImageFolder
from ris_core.vector_files import Vectors


@dataclasses.dataclass(frozen=True, eq=False)
class Cut:
    """The tiles of a corpus, and which of them train and which are searched.

    Attributes:
        tiles: All tiles; of vectors their table with blank pixels.
        key: Key of their artifact.
        train_rows: Positions of the tiles that train.
        base_rows: Positions of the tiles that are indexed, and queried where none are held out.
        vectors: The file, where the corpus is one of vectors.
        sizes: Where the corpus is indexed in several sizes, the positions of each, all of a smaller one in a larger.
        folder: Folder of the tiles' artifact; of vectors there is none.
        truth: What is right for the tiles that are held out, where a file of ground truth says so.
        asked_rows: Positions of the tiles that are held out as queries: they neither train nor are indexed.
        source: What the tiles were cut from.
    """

    tiles: Tiles
    key: str
    train_rows: np.ndarray
    base_rows: np.ndarray
    vectors: Vectors | None = None
    sizes: Mapping[int, np.ndarray] = dataclasses.field(default_factory=dict)
    folder: Path = Path()
    truth: GroundTruth | None = None
    asked_rows: np.ndarray = dataclasses.field(default_factory=lambda: np.empty(0, np.int64))
    source: Path | ImageFolder | None = None

    def of_size(self, size: int | None) -> "Cut":
        """The same with so many tiles indexed; None: as it is."""
        return self if size is None else dataclasses.replace(self, base_rows=self.sizes[size])

    @property
    def common_rows(self) -> np.ndarray:
        """Positions that are indexed in every size: who asks at one of them asks at all."""
        return self.sizes[min(self.sizes)] if self.sizes else self.base_rows

    def timed_rows(self, count: int, seed: int) -> np.ndarray:
        """Positions of the timed queries among the tiles, drawn by seed: of held-out ones, else of indexed ones."""
        drawn_from = self.asked_rows if len(self.asked_rows) else self.common_rows
        return drawn_from[draw_query_rows(len(drawn_from), count, seed)]


@dataclasses.dataclass(frozen=True, eq=False)
class Asked:
    """Query vectors.

    Attributes:
        rows: (q,) int64 their rows in the base; -1 for queries that are not indexed.
        raw: (q, d_raw) float32 as the backbone returned them.
        corrected: (q, d) float32 in the fitted space.
        neighbours: (q, any) rows of the base that the corpus' file names as nearest in this space, if it does.
        ids: (q,) int64 ids of the tiles that they are; None where the rows say it all.
    """

    rows: np.ndarray
    raw: np.ndarray
    corrected: np.ndarray
    neighbours: np.ndarray | None = None
    ids: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.rows)


@dataclasses.dataclass(frozen=True, eq=False)
class Base:
    """One backbone's indexed tiles, ready for engines.

    Attributes:
        name: Name of the backbone's variant.
        raw: Features of all tiles as the backbone returned them, memory-mapped.
        corrected: Those of the indexed tiles in the fitted space, memory-mapped.
        features_folder: Artifact of ``raw``.
        rows: Rows of the indexed tiles in ``raw``; the others train, or are held out as queries.
        space_folder: Artifact of the fitted space and of ``corrected``.
        timed: The timed queries.
        truth: Exact neighbours of the timed queries in the fitted space, their own tiles dropped.
    """

    name: str
    raw: Features
    corrected: Features
    features_folder: Path
    rows: np.ndarray
    space_folder: Path
    timed: Asked
    truth: Hits

    def asked_by(self, ids: np.ndarray) -> Asked:
        """Tiles of the corpus as queries, indexed or not; a tile may ask more than once.

        Args:
            ids: (q,) tile ids.

        Raises:
            SearchError: If one is no tile of the corpus.
        """
        ids = np.asarray(ids, np.int64)
        places, rows = (pd.Index(features.ids).get_indexer(ids) for features in (self.raw, self.corrected))
        if (places < 0).any():
            raise SearchError(f"{ids[places < 0][0]} is the id of no tile of the corpus. Ask by a tile that it has.")
        raw = np.ascontiguousarray(self.raw.values[places])
        corrected = np.ascontiguousarray(self.corrected.values[rows])
        outside = np.flatnonzero(rows < 0)
        if len(outside):
            corrected[outside] = Space.open(self.space_folder).apply(Features(raw[outside], outside)).values
        return Asked(rows.astype(np.int64), raw, corrected, ids=ids)


def split_rows(n: int, train_frac: float, seed: int, blocks: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Rows that train and rows that are searched, each in ascending order; both are all rows for 0.

    Args:
        n: Tiles.
        train_frac: Share of them that trains.
        seed: Of the draw.
        blocks: (n,) code of each tile's block of ground; whole blocks are drawn until the share is reached as nearly as
            they allow. None: single tiles are drawn.
    """
    if train_frac == 0:
        return np.arange(n), np.arange(n)
    wanted = round(n * train_frac)
    rng = np.random.default_rng(seed)
    if blocks is None:
        order = rng.permutation(n)
        return np.sort(order[:wanted]), np.sort(order[wanted:])
    codes, counts = np.unique(blocks, return_counts=True)
    order = rng.permutation(len(codes))
    drawn = int(np.abs(np.concatenate([[0], np.cumsum(counts[order])]) - wanted).argmin())
    trains = np.isin(blocks, codes[order[:drawn]])
    return np.flatnonzero(trains), np.flatnonzero(~trains)


def nested_rows(n: int, sizes: Sequence[int], seed: int) -> dict[int, np.ndarray]:
    """For each size so many rows below n, ascending: the beginnings of one permutation, so that larger hold smaller."""
    order = np.random.default_rng(seed).permutation(n)
    return {size: np.sort(order[:size]) for size in sizes}


def draw_query_rows(n: int, count: int, seed: int) -> np.ndarray:
    """(count,) different rows below n, ascending; the same for every backbone."""
    return np.sort(np.random.default_rng(seed).choice(n, count, replace=False))


def exact_neighbours(
    corrected: Features, asked: Asked, depth: int, nearest: Callable[[np.ndarray, int], np.ndarray] | None = None
) -> Hits:
    """(q, depth) nearest other tiles of each query by exact search: by distance in float64, equal ones by row.

    Args:
        corrected: The indexed tiles.
        asked: The queries.
        depth: Length of the lists; where there are fewer others, they are padded.
        nearest: Who searches them: from queries and k to what `ris_core.exact_shards.nearest_rows` returns for this
            base; None: this process.
    """
    nearest = nearest or functools.partial(nearest_rows, corrected.values)
    found = nearest(asked.corrected, min(len(corrected), depth + 1))
    order = np.argsort(found["row"] == asked.rows[:, None], axis=1, kind="stable")  # its own row goes last
    found = np.take_along_axis(found, order, axis=1)[:, :depth]
    is_other = found["row"] != asked.rows[:, None]
    distances = np.where(is_other, found["distance"], np.inf).astype(np.float32)
    return Hits(np.where(is_other, corrected.ids[found["row"]], PADDING_ID), distances)


def without_pixels(tiles: Tiles, rows: np.ndarray) -> Tiles:
    """The table of some tiles, with one blank pixel a tile: who judges must neither see nor load pictures."""
    return Tiles(blank_pixels(len(rows)), tiles.table.iloc[rows].reset_index(drop=True))


def blank_pixels(n: int) -> np.ndarray:
    """(n, 1, 1, 3) uint8 zeros that take no memory."""
    return np.broadcast_to(np.zeros((1, 1, 1, 1), np.uint8), (n, 1, 1, 3))
