"""The scores of one backbone's cells: rows that an engine answered, checked and judged, as `QueryResult` has them."""

import dataclasses
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from bench.judging.judgments import LABEL, Judgments
from bench.scores.answers import check_answers
from bench.scores.exclusion import excluded_rows, extra_depth, precision_without, recall_without
from bench.scores.score import average_precision, id_recall_at_k, precision_at_k, recall_at_k
from bench.scores.vote import NO_VOTE, majority_vote
from bench.stages.base import Asked, Base, exact_neighbours
from bench.suites.suite import SELF, Suite
from ris_core.records import Hits, Tiles


@dataclasses.dataclass(frozen=True, eq=False)
class Excluded:
    """Tiles that are no answers, besides the queries' own.

    Attributes:
        timed: For each timed query the ids that do not count.
        judged: The same for each judged query.
        truth: Exact neighbours of the timed queries, deep enough that k are left.
        judged_extra: Answers to a judged query that may go.
    """

    timed: list[np.ndarray]
    judged: list[np.ndarray]
    truth: Hits
    judged_extra: int


@dataclasses.dataclass(frozen=True, eq=False)
class Scorer:
    """What the answers to one backbone's queries are held against.

    Attributes:
        suite: The suite.
        base: The backbone's indexed tiles, timed queries and their exact neighbours.
        tiles: The indexed tiles, without pixels.
        judgments: The judged queries, or None.
    """

    suite: Suite
    base: Base
    tiles: Tiles
    judgments: Judgments | None

    @property
    def k(self) -> int:
        """Neighbours, the query's own tile not counted."""
        return self.suite.queries.k

    @property
    def depth(self) -> int:
        """Answers to ask for: k, and the query's own tile where it is in the index."""
        return self.k + _own(self.base.timed)

    @cached_property
    def judged(self) -> Asked | None:
        """The judged queries' vectors; None where there are none."""
        if self.judgments is None or not len(self.judgments):
            return None
        return self.base.asked_by(self.judgments.queries["query_id"].to_numpy(np.int64))

    @cached_property
    def judged_depth(self) -> int:
        """Answers that judging needs, the query's own tile and those that are ignored included."""
        assert self.judgments is not None
        ignored = self.judgments.ignored
        most_ignored = 0 if ignored is None else int(ignored.sum(axis=1).max())
        return int(self.judgments.queries["depth"].max()) + most_ignored + _own(self.judged)

    @property
    def judged_recall_depth(self) -> int:
        """Answers to a judged query that recall at k needs: `depth`, for queries of which others may be indexed."""
        return self.k + _own(self.judged)

    @cached_property
    def judged_truth(self) -> Hits:
        """Exact neighbours of the judged queries at k."""
        assert self.judged is not None
        return exact_neighbours(self.base.corrected, self.judged, self.k)

    @cached_property
    def excluded(self) -> Mapping[str, Excluded]:
        """By name, each exclusion that the suite asks for, the queries' own tiles apart."""
        found: dict[str, Excluded] = {}
        for how in self.suite.queries.exclude:
            if how == SELF:
                continue
            timed = self._excluded_ids(how, self.base.timed)
            judged = [] if self.judged is None else self._excluded_ids(how, self.judged)
            most = len(self.base.corrected) - 1
            truth = exact_neighbours(self.base.corrected, self.base.timed, min(most, self.k + extra_depth(timed)))
            found[how] = Excluded(timed, judged, truth, extra_depth(judged))
        return found

    def _excluded_ids(self, how: Any, asked: Asked) -> list[np.ndarray]:
        corpus = self.suite.corpus
        rows = excluded_rows(self.tiles, asked.rows, how, corpus.tile_px, self.suite.queries.block_px)
        return [self.base.corrected.ids[part] for part in rows]

    def score_timed(self, rows: np.ndarray) -> dict[str, Any]:
        """Recall of the timed queries, and what else their answers tell."""
        base, k = self.base, self.k
        answers = check_answers(rows, base.corrected, base.timed.corrected, base.timed.rows, k)
        own = self._own_ids(base.timed)
        return {
            "recall_at_k": recall_at_k(answers.hits, base.truth, k, own).tolist(),
            "recall_ids_at_k": id_recall_at_k(answers.hits, base.truth, k, own).tolist(),
            "shorter_than_k_frac": answers.shorter_than_k_frac,
            "self_first_frac": _known(answers.self_first_frac),
            "self_missed_frac": _known(answers.self_missed_frac),
        }

    def score_judged_recall(self, rows: np.ndarray) -> list[float]:
        """Recall at k of the judged queries."""
        assert self.judged is not None
        hits = check_answers(rows, self.base.corrected, self.judged.corrected, self.judged.rows, self.k).hits
        return recall_at_k(hits, self.judged_truth, self.k, self._own_ids(self.judged)).tolist()

    def judge(self, rows: np.ndarray) -> tuple[dict[str, Any], Hits, np.ndarray]:
        """Precision of the judged queries by stratum, none while undecided; their hits and which are relevant."""
        assert self.judgments is not None
        hits = self._judged_hits(rows, int(self.judgments.queries["depth"].max()))
        relevant = self.judgments.relevance_of(hits, self.base.corrected.ids)
        if not self.judgments.is_decided:
            return {}, hits, relevant
        totals = self.judgments.queries["relevant"].to_numpy(np.int64)
        precision, mean_precision = {}, {}
        for stratum, depth, places in self._strata():
            part, right = _part(hits, places), relevant[places]
            precision[stratum] = precision_at_k(part, right, depth).tolist()
            found = average_precision(part, right, totals[places], depth)
            mean_precision[stratum] = [_known(value) for value in found]
        return {"precision": precision, "average_precision": mean_precision}, hits, relevant

    def votes(self, hits: Hits) -> dict[str, list[bool]]:
        """Whether the label that most answers bear is the query's, of the queries that labels judge; empty for none."""
        assert self.judgments is not None
        queries = self.judgments.queries
        places = np.flatnonzero(queries["stratum"] == LABEL)
        if not len(places) or self.tiles.labels is None:
            return {}
        names, codes = np.unique(self.tiles.labels, return_inverse=True)
        rows = pd.Index(self.base.corrected.ids).get_indexer(hits.ids[places].ravel())
        voted = majority_vote(np.where(rows >= 0, codes[rows], NO_VOTE).reshape(len(places), -1))
        right = (voted != NO_VOTE) & (names[voted] == queries["concept"].to_numpy(str)[places])
        return {"vote_right": right.tolist()}

    def score_without(self, how: str, timed: np.ndarray, judged: np.ndarray | None) -> tuple[list[Any], dict[str, Any]]:
        """Recall of the timed queries, and precision of the judged ones, with an exclusion's tiles left out.

        Args:
            how: Name of the exclusion.
            timed: (q, `depth` + `extra_depth`) rows answered to the timed queries.
            judged: (j, `judged_depth` + `extra_depth`) rows answered to the judged ones, or None.
        """
        base, excluded = self.base, self.excluded[how]
        hits = check_answers(timed, base.corrected, base.timed.corrected, base.timed.rows, excluded.truth.k).hits
        recall = recall_without(hits, excluded.truth, excluded.timed, self.k, self._own_ids(base.timed))
        precision: dict[str, list[float]] = {}
        if judged is not None and self.judgments is not None and self.judgments.is_decided:
            found = self._judged_hits(judged, judged.shape[1] - _own(self.judged))
            relevant = self.judgments.relevance_of(found, base.corrected.ids)
            for stratum, depth, places in self._strata():
                ids = [excluded.judged[place] for place in places]
                precision[stratum] = precision_without(_part(found, places), relevant[places], ids, depth).tolist()
        return [_known(value) for value in recall], precision

    def _judged_hits(self, rows: np.ndarray, depth: int) -> Hits:
        """So many answers to each judged query, its own tile and those that are ignored left out."""
        assert self.judged is not None
        assert self.judgments is not None
        most = rows.shape[1] - _own(self.judged)
        hits = check_answers(rows, self.base.corrected, self.judged.corrected, self.judged.rows, most).hits
        hits = self.judgments.counted(hits, self.base.corrected.ids)
        return Hits(hits.ids[:, :depth], hits.distances[:, :depth])

    def _strata(self) -> list[tuple[str, int, np.ndarray]]:
        """Each stratum with its depth and the places of its queries; all queries of a stratum have one depth."""
        assert self.judgments is not None
        queries = self.judgments.queries
        names = queries["stratum"].to_numpy(str)
        places = {name: np.flatnonzero(names == name) for name in dict.fromkeys(names.tolist())}
        return [(name, int(queries["depth"].iloc[found[0]]), found) for name, found in places.items()]

    def _own_ids(self, asked: Asked) -> np.ndarray:
        return np.where(asked.rows >= 0, self.base.corrected.ids[asked.rows], -1)


def _own(asked: Asked | None) -> int:
    """1 where a query's own tile may be among its answers, else 0."""
    return int(asked is not None and (asked.rows >= 0).any())


def _part(hits: Hits, places: np.ndarray) -> Hits:
    return Hits(hits.ids[places], hits.distances[places])


def _known(value: float) -> float | None:
    """The value as JSON has it: None for NaN."""
    return None if np.isnan(value) else float(value)
