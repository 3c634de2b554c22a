"""Two rankings of the same queries held against each other: scores, paired differences, and what to call them."""

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.scores.inference import ALPHA, holm, paired_permutation_test
from bench.scores.score import bootstrap_interval

SCORES = ("precision", "average_precision")
GAINS, LOSES, NOT_SHOWN = "gains", "loses", "no difference shown"


def joined(scores: Mapping[str, Sequence[float | None]], strata: Sequence[str]) -> np.ndarray:
    """(q,) the scores of the queries of some strata, NaN where there is none."""
    return np.array([value for stratum in strata for value in scores[stratum]], np.float64)


def compare(score: str, after: np.ndarray, before: np.ndarray, name: str) -> dict[str, Any]:
    """Columns of one score: its mean, that of what it is held against, their difference, intervals, and its own p.

    Args:
        score: Name of the column.
        after: (q,) what is judged; NaN where there is no score.
        before: (q,) what it is held against, of the same queries.
        name: What the latter is called: ``before``, ``whole``.
    """
    known = np.isfinite(after) & np.isfinite(before)
    if not known.any():
        return {}
    differences = after[known] - before[known]
    return {
        score: after[known].mean(),
        f"{score}_{name}": before[known].mean(),
        **ends(score, bootstrap_interval(after[known])),
        f"{score}_difference": differences.mean(),
        f"{score}_p": paired_permutation_test(differences),
        **ends(f"{score}_difference", bootstrap_interval(differences)),
    }


def call(rows: Sequence[MutableMapping[str, Any]]) -> None:
    """Put adjusted p values and verdicts into rows of `compare`: all differences of one score are one family (Holm)."""
    for score in SCORES:
        for row, p in zip(rows, holm([row.get(f"{score}_p", np.nan) for row in rows]), strict=True):
            row[f"{score}_p_holm"] = p
            verdict = NOT_SHOWN if p >= ALPHA else GAINS if row.get(f"{score}_difference", 0) > 0 else LOSES
            row[f"{score}_verdict"] = "" if np.isnan(p) else verdict


def ends(name: str, interval: tuple[float, float]) -> dict[str, float]:
    """The columns of an interval."""
    return dict(zip((f"{name}_ci_low", f"{name}_ci_high"), interval, strict=True))


def pairs(table: pd.DataFrame, first: str, second: str) -> list[str]:
    """Two columns as one text; empty where both are missing."""
    return [
        " ".join(str(part) for part in pair if not pd.isna(part)).strip()
        for pair in zip(table[first], table[second], strict=True)
    ]


def spans(table: pd.DataFrame, name: str, sign: str = "") -> list[str]:
    """``0.612 [0.554, 0.671]`` for each row; empty where there is no value."""
    columns = table[[name, f"{name}_ci_low", f"{name}_ci_high"]].astype("float64")
    return [
        ""
        if np.isnan(mean)
        else f"{mean:{sign}.3f}" + ("" if np.isnan(low) else f" [{low:{sign}.3f}, {high:{sign}.3f}]")
        for mean, low, high in columns.itertuples(index=False, name=None)
    ]
