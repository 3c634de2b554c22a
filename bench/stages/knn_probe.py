"""How well features tell labels apart: DINO's weighted k-NN protocol on a cut corpus, during training and after.

Where one half of the tiles trains, its labels, which DINO never sees, vote on the tiles of the searched half; where
tiles are held out as queries, on those. Where all tiles train and all are searched, two halves of them are drawn by a
fixed seed.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
import pandas as pd

from bench.judging.judge import main_labels
from bench.scores.score import bootstrap_interval
from bench.stages.base import Cut, without_pixels
from ris_core.backbone import Backbone
from ris_core.features import extract_features
from ris_core.knn import knn_predict
from ris_core.records import Tiles

VOTERS = {"knn_10": 10, "knn_20": 20}  # k of each column; the paper's best of its k = 10, 20, 100, 200
MOST_TILES = 2_000  # that vote, and that are asked
_BLOCK_TILES = 512  # whose pixels are in memory at once
_SEED = 0


@dataclasses.dataclass(frozen=True, eq=False)
class KnnSplit:
    """Labelled tiles, some of which vote and others are asked.

    Attributes:
        memory: (m,) rows in the corpus of the tiles that vote, ascending.
        queries: (q,) rows of those that are asked, ascending; none of them votes.
        ids: (q,) their ids.
        names: Labels in sorted order; their places are the codes.
        memory_codes: (m,) codes of the labels.
        query_codes: (q,) likewise.
    """

    memory: np.ndarray
    queries: np.ndarray
    ids: np.ndarray
    names: np.ndarray
    memory_codes: np.ndarray
    query_codes: np.ndarray

    def answers(self, memory: np.ndarray, queries: np.ndarray) -> pd.DataFrame:
        """What is predicted: ``tile`` (id), ``label``, and a predicted label for each column of `VOTERS`.

        Args:
            memory: (m, d) features of the tiles that vote, as the backbone returned them.
            queries: (q, d) likewise of those that are asked.
        """
        table = pd.DataFrame({"tile": self.ids, "label": self.names[self.query_codes]})
        for column, k in VOTERS.items():
            table[column] = self.names[knn_predict(memory, self.memory_codes, queries, k)]
        return table


def split_for_knn(cut: Cut) -> KnnSplit | None:
    """The tiles that vote and that are asked, at most 2,000 of each, drawn by seed; None where there are too few.

    A tile's label is its own, else the class that covers most of it; tiles without any take no part.
    """
    labels = main_labels(without_pixels(cut.tiles, np.arange(len(cut.tiles))))
    if labels is None:
        return None
    rng = np.random.default_rng(_SEED)
    rows_asked = cut.asked_rows if len(cut.asked_rows) else cut.base_rows
    voting, asked = (rng.permutation(rows[labels[rows] != ""]) for rows in (cut.train_rows, rows_asked))
    if not len(cut.train_rows) or np.isin(cut.train_rows, rows_asked).any():  # no part was set apart
        voting, asked = np.array_split(asked, 2)
    if not len(voting) or not len(asked):
        return None
    memory, queries = np.sort(voting[:MOST_TILES]), np.sort(asked[:MOST_TILES])
    names, codes = np.unique(labels[np.concatenate([memory, queries])], return_inverse=True)
    return KnnSplit(memory, queries, cut.tiles.ids[queries], names, codes[: len(memory)], codes[len(memory) :])


def knn_scores(answers: pd.DataFrame) -> dict[str, float]:
    """Share of right answers for each k, and the 95 % bootstrap interval of that for the largest."""
    scores = {column: float(is_right(answers, column).mean()) for column in VOTERS}
    low, high = bootstrap_interval(is_right(answers, "knn_20"))
    return {**scores, "knn_20_ci_low": low, "knn_20_ci_high": high}


def is_right(answers: pd.DataFrame, column: str) -> np.ndarray:
    """(q,) float64: 1 where a column predicts the label, else 0."""
    return (answers[column] == answers["label"]).to_numpy(np.float64)


@dataclasses.dataclass(frozen=True, eq=False)
class KnnProbe:
    """Reads the accuracy of a backbone in training: ``knn_10`` and ``knn_20``.

    Attributes:
        tiles: The corpus; pixels are read in blocks.
        split: Who votes and who is asked.
    """

    tiles: Tiles
    split: KnnSplit

    def __call__(self, backbone: Backbone) -> Mapping[str, float]:
        """Accuracies of the backbone as it is, on the device on which features are extracted."""
        memory, queries = (self._features(backbone, rows) for rows in (self.split.memory, self.split.queries))
        answers = self.split.answers(memory, queries)
        return {column: float(is_right(answers, column).mean()) for column in VOTERS}

    def _features(self, backbone: Backbone, rows: np.ndarray) -> np.ndarray:
        blocks = np.split(rows, range(_BLOCK_TILES, len(rows), _BLOCK_TILES))
        return np.concatenate([extract_features(self.tiles[block], backbone).values for block in blocks])
