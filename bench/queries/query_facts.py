"""What is known of each query before any engine is asked: its label, its stratum, and the geometry around it."""

import numpy as np
import pandas as pd

from bench.judging.judgments import JUDGED, TIMED, Judgments
from bench.scores.geometry import local_intrinsic_dimension, mean_distances, relative_contrast
from bench.scores.score import RELATIVE_TOLERANCE
from bench.stages.base import Asked, Base, exact_neighbours
from ris_core.records import PADDING_ID, Hits

COLUMNS = ("query_id", "set", "stratum", "label", "lid", "relative_contrast", "kth_distance", "tied")


def query_facts(base: Base, k: int, labels: np.ndarray | None, judgments: Judgments | None) -> pd.DataFrame:
    """One row a query: the timed ones in the order of their times and recalls, then the judged ones in theirs.

    Args:
        base: One backbone's indexed tiles; its truth is at least k deep.
        k: Neighbours that the cells are asked for.
        labels: Label of each tile of the corpus, as ``base.raw`` has them; or None.
        judgments: The judged queries, or None.

    Returns:
        ``query_id`` (int64 tile id, -1 for a query that is no tile of the corpus), ``set`` (``"timed"``, ``"judged"``),
        ``stratum`` (of judged queries, else ""), ``label`` ("" where unknown), ``lid`` and ``relative_contrast`` at k,
        ``kth_distance`` (Euclidean), ``tied`` (bool: is the tile at rank k + 1 as near as the one at rank k?).
    """
    facts = _facts(base, k, labels, base.timed, base.truth).assign(set=TIMED, stratum="")
    if judgments is None or not len(judgments):
        return facts[list(COLUMNS)]
    asked = base.asked_by(judgments.queries["query_id"].to_numpy(np.int64))
    judged = _facts(base, k, labels, asked, exact_neighbours(base.corrected, asked, base.truth.k))
    judged = judged.assign(set=JUDGED, stratum=judgments.queries["stratum"].to_numpy(str))
    return pd.concat([facts, judged], ignore_index=True)[list(COLUMNS)]


def _facts(base: Base, k: int, labels: np.ndarray | None, asked: Asked, truth: Hits) -> pd.DataFrame:
    rows = asked.rows
    ids = np.where(rows >= 0, base.corrected.ids[rows], PADDING_ID) if asked.ids is None else asked.ids
    places = pd.Index(base.raw.ids).get_indexer(ids)
    kth = np.sqrt(truth.distances[:, k - 1].astype(np.float64))
    mean = mean_distances(base.corrected.values, asked.corrected, rows)
    return pd.DataFrame(
        {
            "query_id": ids,
            "label": "" if labels is None else np.where(places >= 0, labels[places], ""),
            "lid": local_intrinsic_dimension(truth.distances[:, :k]),
            "relative_contrast": relative_contrast(mean, kth),
            "kth_distance": kth,
            "tied": _tied(truth, k),
        }
    )


def _tied(truth: Hits, k: int) -> np.ndarray:
    """(q,) bool: does the tie tolerance of recall let the tile at rank k + 1 in? No where there is none."""
    if truth.k <= k:
        return np.zeros(len(truth), bool)
    return truth.distances[:, k] <= truth.distances[:, k - 1].astype(np.float64) * (1 + RELATIVE_TOLERANCE)
