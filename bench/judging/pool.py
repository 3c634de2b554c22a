"""Pooling: the union of what all models and settings found for a concept, each tile once, is what people judge.

Source: Spärck Jones and van Rijsbergen 1975, Report on the need for and provision of an "ideal" information retrieval
test collection; Harman 1993 and Voorhees 2002 on TREC, where the first 100 of each run are pooled. Differs: a pool
belongs to a concept in words, which several queries may share, and each query is pooled to the depth that is scored.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd

from bench.judging.judgments import STRATA
from bench.judging.spreadsheet import in_one_line
from bench.judging.votes import KEYS
from bench.scores.places import countable
from bench.scores.unjudged import UNJUDGED
from ris_core.errors import UNREADABLE, ArtifactError, SearchError
from ris_core.records import Hits

TOPIC = ["query_id", "stratum", "concept", "depth"]
_STORED = ("query_ids", "stratum", "concept", "depth")  # the same in a file of answers


@dataclasses.dataclass(frozen=True, eq=False)
class Searcher:
    """One model under one setting, and what it answered to the queries.

    Attributes:
        names: ``run``, ``backbone``, ``engine``, ``cell``, ``space``.
        topics: q rows of `TOPIC`: the queries' tiles, and how deep their answers are scored.
        hits: (q, any) answers, nearest first, padded.
    """

    names: Mapping[str, str]
    topics: pd.DataFrame
    hits: Hits

    @classmethod
    def open(cls, path: Path, names: Mapping[str, str]) -> Self:
        """The answers that a run keeps of a cell (`bench.results.QueryResult.hits_file`).

        Raises:
            ArtifactError: If the file is missing, damaged or of another version.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                topics = pd.DataFrame(dict(zip(TOPIC, (file[name] for name in _STORED), strict=True)))
                hits = Hits(file["ids"].astype(np.int64), file["distances"])
        except (*UNREADABLE, SearchError) as error:
            raise ArtifactError(f"{path}: no answers to be read ({error}). Run the cell again.") from error
        return cls(names, topics.assign(concept=[in_one_line(str(text)) for text in topics["concept"]]), hits)

    def grades(self, merged: pd.DataFrame) -> np.ndarray:
        """(q, any) int64: what was judged of each answer, -1 for nothing.

        Args:
            merged: As `bench.judging.votes.merge_votes` returns it.
        """
        known = merged.set_index(KEYS)["grade"]
        concepts = np.repeat(self.topics["concept"].to_numpy(object), self.hits.k)
        asked = pd.MultiIndex.from_arrays([concepts, self.hits.ids.ravel()], names=KEYS)
        return known.reindex(asked, fill_value=UNJUDGED).to_numpy(np.int64).reshape(self.hits.ids.shape)

    def totals(self, merged: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Two (q,) int64: the tiles judged relevant and judged wrong for each query, its own left out."""
        concepts, own = self.topics["concept"].to_numpy(object), self.topics["query_id"].to_numpy(np.int64)
        counts = []
        for grade in (1, 0):
            part = merged[merged["grade"] == grade]
            of_concept, itself = part["concept"].value_counts(), pd.MultiIndex.from_frame(part[KEYS])
            is_own = pd.MultiIndex.from_arrays([concepts, own]).isin(itself)
            counts.append(of_concept.reindex(concepts, fill_value=0).to_numpy(np.int64) - is_own)
        return counts[0], counts[1]


def all_topics(searchers: Sequence[Searcher]) -> pd.DataFrame:
    """The queries of all searchers, each once, the easy ones first."""
    topics = pd.concat([searcher.topics for searcher in searchers]).drop_duplicates(TOPIC)
    order = topics["stratum"].map(STRATA.index)
    return topics.assign(order=order).sort_values("order", kind="stable")[TOPIC].reset_index(drop=True)


def pool_tiles(searchers: Sequence[Searcher], depth: int | None = None) -> pd.DataFrame:
    """Every tile that any searcher found for a concept, once; by concept and tile id, which tells nothing of who did.

    Args:
        searchers: All models and settings.
        depth: How much of each answer list is pooled, at most; None: as much as is scored.

    Returns:
        ``concept``, ``queries`` (str, the ids of its query tiles), ``tile`` (int64).
    """
    topics = all_topics(searchers)
    parts = []
    for searcher in searchers:
        own, depths = searcher.topics["query_id"].to_numpy(np.int64), searcher.topics["depth"].to_numpy(np.int64)
        limit = depths if depth is None else np.minimum(depths, depth)
        taken = countable(searcher.hits.ids, own) & (np.arange(searcher.hits.k) < limit[:, None])
        concepts = searcher.topics["concept"].to_numpy(object)[np.nonzero(taken)[0]]
        parts.append(pd.DataFrame({"concept": concepts, "tile": searcher.hits.ids[taken]}))
    pool = pd.concat(parts, ignore_index=True).drop_duplicates()
    places = {concept: place for place, concept in enumerate(topics["concept"].drop_duplicates())}
    queries = {name: " ".join(map(str, part)) for name, part in topics.groupby("concept")["query_id"].unique().items()}
    pool = pool.assign(place=pool["concept"].map(places), queries=pool["concept"].map(queries))
    return pool.sort_values(["place", "tile"])[["concept", "queries", "tile"]].reset_index(drop=True)


def pooled_qrels(topics: pd.DataFrame, merged: pd.DataFrame) -> pd.DataFrame:
    """The judgments of each query as rows for `bench.judging.trec.write_qrels`; what is undecided is left out."""
    rows = topics.merge(merged[merged["grade"] != UNJUDGED], on="concept")
    rows = rows[rows["query_id"] != rows["tile"]].drop_duplicates(["query_id", "tile"])
    return rows.rename(columns={"query_id": "topic", "stratum": "iteration", "tile": "document"})
