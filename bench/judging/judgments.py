"""Judgments: which tiles are queries, and which tiles are right answers to each of them."""

import dataclasses
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd

from ris_core.artifacts import disk_error
from ris_core.errors import ArtifactError, SearchError
from ris_core.records import PADDING_ID, Hits

EASY, MEDIUM, HARD, LABEL, QRELS = "easy", "medium", "hard", "label", "qrels"
STRATA = (EASY, MEDIUM, HARD, LABEL, QRELS)
TIMED, JUDGED = "timed", "judged"  # the two sets of queries of a run
QUERY_COLUMNS = {
    "query_id": np.int64,
    "row": np.int64,
    "stratum": str,
    "concept": str,
    "depth": np.int64,
    "relevant": np.int64,
}


@dataclasses.dataclass(frozen=True, eq=False)
class Judgments:
    """Queries and the relevance of every tile to each of them.

    Attributes:
        queries: One row a query: ``query_id`` (int64, tile id), ``row`` (int64, its position in the corpus),
            ``stratum``, ``concept`` (str), ``depth`` (int64, length of the answer list that is judged), ``relevant``
            (int64, how many other tiles are relevant).
        relevant: (q, n) bool; the query itself is never relevant.
        notes: What a reader should know, one sentence each: strata that came out short, for one.
        is_decided: Whether it is known who is relevant. False: people are still to say so (`bench.judging.pool`);
            ``relevant`` is False throughout then, and no precision follows from it.
    """

    queries: pd.DataFrame
    relevant: np.ndarray
    notes: tuple[str, ...] = ()
    is_decided: bool = True

    def __post_init__(self) -> None:
        if self.relevant.ndim != 2 or len(self.queries) != len(self.relevant):
            raise SearchError(f"{len(self.queries)} queries have judgments of shape {self.relevant.shape}.")

    def __len__(self) -> int:
        return len(self.queries)

    @property
    def ceiling(self) -> np.ndarray:
        """(q,) highest precision that any answer can reach: min(relevant, depth) / depth."""
        depth = self.queries["depth"].to_numpy(np.float64)
        return np.minimum(self.queries["relevant"].to_numpy(np.float64), depth) / depth

    @property
    def chance(self) -> np.ndarray:
        """(q,) precision that random answers reach on average: relevant / (n - 1)."""
        return self.queries["relevant"].to_numpy(np.float64) / (self.relevant.shape[1] - 1)

    def relevance_of(self, hits: Hits, ids: np.ndarray) -> np.ndarray:
        """(q, k) bool: is the tile in this place relevant? Padding and the query itself are not.

        Args:
            hits: (q, k) answers, one list a query in the order of ``queries``.
            ids: (n,) tile ids of the corpus, in the order in which it was judged.

        Raises:
            SearchError: If the numbers of queries or tiles differ, or a hit is not in the corpus.
        """
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
        return np.take_along_axis(self.relevant, rows, axis=1) & known

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
        """Write ``judgments.parquet`` and ``relevant.npy``; what else is known goes with the table."""
        table = self.queries.copy()
        table.attrs |= {"notes": list(self.notes), "is_decided": self.is_decided}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            table.to_parquet(folder / "judgments.parquet", index=False)
            np.save(folder / "relevant.npy", self.relevant)
        except OSError as error:
            raise disk_error(folder, error) from error

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Judgments of a folder."""
        try:
            queries = pd.read_parquet(folder / "judgments.parquet")
            relevant = np.load(folder / "relevant.npy", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise ArtifactError(f"{folder}: no judgments to be read ({error}). Run again.") from error
        about = queries.attrs
        return cls(queries, relevant, tuple(about.get("notes", ())), bool(about.get("is_decided", True)))
