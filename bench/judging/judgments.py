"""Judgments: which tiles are queries, and which tiles are right answers to each of them."""

import dataclasses
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd

from ris_core.artifacts import disk_error
from ris_core.errors import UNREADABLE, ArtifactError, RisError, SearchError
from ris_core.records import PADDING_ID, Hits

EASY, MEDIUM, HARD, LABEL, QRELS = "easy", "medium", "hard", "label", "qrels"
STRATA = (EASY, MEDIUM, HARD, LABEL, QRELS)
NOT_SEARCHED = -1  # in the place of a row: the query is held out
TIMED, JUDGED = "timed", "judged"  # the two sets of queries of a run
QUERY_COLUMNS = {
    "query_id": np.int64,
    "row": np.int64,
    "stratum": str,
    "concept": str,
    "depth": np.int64,
    "relevant": np.int64,
}


_RELEVANCE = "relevance.npz"


@dataclasses.dataclass(frozen=True, eq=False)
class Judgments:
    """Queries and the relevance of every tile to each of them.

    Attributes:
        queries: One row a query: ``query_id`` (int64, tile id), ``row`` (int64, its position among the searched tiles,
            -1 where it is held out), ``stratum``, ``concept`` (str), ``depth`` (int64, length of the answer list that
            is judged), ``relevant`` (int64, how many other tiles are relevant).
        relevant: (q, n) bool; the query itself is never relevant.
        notes: What a reader should know, one sentence each: strata that came out short, for one.
        is_decided: Whether it is known who is relevant. False: people are still to say so (`bench.judging.pool`);
            ``relevant`` is False throughout then, and no precision follows from it.
        ignored: (q, n) bool: tiles that do not count for a query; they leave its answers, later ones move up. None: no
            tile is ignored.
    """

    queries: pd.DataFrame
    relevant: np.ndarray
    notes: tuple[str, ...] = ()
    is_decided: bool = True
    ignored: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.relevant.ndim != 2 or len(self.queries) != len(self.relevant):
            raise SearchError(f"{len(self.queries)} queries have judgments of shape {self.relevant.shape}.")
        if self.ignored is not None and self.ignored.shape != self.relevant.shape:
            raise SearchError(f"ignored is of shape {self.ignored.shape}, the judgments of {self.relevant.shape}.")
        if self.ignored is not None and (self.ignored & self.relevant).any():
            raise SearchError("a tile is both relevant to a query and ignored. Keep one of the two.")

    def __len__(self) -> int:
        return len(self.queries)

    def part(self, places: np.ndarray) -> Self:
        """The judgments of some queries, by their positions."""
        ignored = None if self.ignored is None else self.ignored[places]
        queries = self.queries.iloc[places].reset_index(drop=True)
        return dataclasses.replace(self, queries=queries, relevant=self.relevant[places], ignored=ignored)

    @property
    def ceiling(self) -> np.ndarray:
        """(q,) highest precision that any answer can reach: min(relevant, depth) / depth."""
        depth = self.queries["depth"].to_numpy(np.float64)
        return np.minimum(self.queries["relevant"].to_numpy(np.float64), depth) / depth

    @property
    def chance(self) -> np.ndarray:
        """(q,) precision that random answers reach on average: relevant / the other tiles that count."""
        others = self.relevant.shape[1] - (self.queries["row"].to_numpy(np.int64) != NOT_SEARCHED)
        others = others - (0 if self.ignored is None else self.ignored.sum(axis=1))
        return self.queries["relevant"].to_numpy(np.float64) / others

    def relevance_of(self, hits: Hits, ids: np.ndarray) -> np.ndarray:
        """(q, k) bool: is the tile in this place relevant? Padding and the query itself are not.

        Args:
            hits: (q, k) answers, one list a query in the order of ``queries``.
            ids: (n,) tile ids of the corpus, in the order in which it was judged.

        Raises:
            SearchError: If the numbers of queries or tiles differ, or a hit is not in the corpus.
        """
        rows, known = self._rows_of(hits, ids)
        return np.take_along_axis(self.relevant, rows, axis=1) & known

    def counted(self, hits: Hits, ids: np.ndarray) -> Hits:
        """The answers without the ignored tiles, in their order, padded at the end to the length that they had.

        Args:
            hits: As for `relevance_of`.
            ids: As for `relevance_of`.

        Raises:
            SearchError: As `relevance_of`.
        """
        if self.ignored is None:
            return hits
        rows, known = self._rows_of(hits, ids)
        left = ~(np.take_along_axis(self.ignored, rows, axis=1) & known)
        order = np.argsort(~left, axis=1, kind="stable")
        left, found, distances = (np.take_along_axis(part, order, 1) for part in (left, hits.ids, hits.distances))
        return Hits(np.where(left, found, PADDING_ID), np.where(left, distances, np.float32(np.inf)))

    def _rows_of(self, hits: Hits, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(q, k) row of each hit in the corpus, and (q, k) bool: is it one, and not padding?"""
        if len(hits) != len(self) or len(ids) != self.relevant.shape[1]:
            raise SearchError(
                f"{len(hits)} answer lists over {len(ids)} tiles do not fit judgments of shape {self.relevant.shape}."
            )
        order = np.argsort(ids)
        place = np.minimum(np.searchsorted(ids, hits.ids, sorter=order), len(ids) - 1)
        rows = order[place]
        known = ids[rows] == hits.ids
        foreign = ~known & (hits.ids != PADDING_ID)
        if foreign.any():
            raise SearchError(f"hit {hits.ids[foreign][0]} is not a tile of the judged corpus.")
        return rows, known

    def qrels(self, ids: np.ndarray) -> pd.DataFrame:
        """The relevant tiles as rows for `bench.judging.trec.write_qrels`; the stratum stands in the iteration field.

        Args:
            ids: (n,) tile ids of the corpus, in the order in which it was judged.
        """
        query, tile = np.nonzero(self.relevant)
        return pd.DataFrame(
            {
                "topic": self.queries["query_id"].to_numpy()[query],
                "iteration": self.queries["stratum"].to_numpy()[query],
                "document": ids[tile],
                "grade": 1,
            }
        )

    def save(self, folder: Path) -> None:
        """Write ``judgments.parquet`` and ``relevance.npz``: ``relevant`` and, where there is one, ``ignored``."""
        table = self.queries.copy()
        table.attrs |= {"notes": list(self.notes), "is_decided": self.is_decided}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            table.to_parquet(folder / "judgments.parquet", index=False)
            arrays = {"relevant": self.relevant} | ({} if self.ignored is None else {"ignored": self.ignored})
            np.savez_compressed(folder / _RELEVANCE, allow_pickle=False, **arrays)
        except OSError as error:
            raise disk_error(folder, error) from error

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Judgments of a folder."""
        try:
            queries = pd.read_parquet(folder / "judgments.parquet")
            with (folder / _RELEVANCE).open("rb") as stored, np.load(stored, allow_pickle=False) as file:
                relevant, ignored = file["relevant"], file.get("ignored")
            about, queries = queries.attrs, queries[list(QUERY_COLUMNS)]
            return cls(queries, relevant, tuple(about.get("notes", ())), bool(about.get("is_decided", True)), ignored)
        except (*UNREADABLE, RisError) as error:
            raise ArtifactError(f"{folder}: no judgments to be read ({error}). Run again.") from error
