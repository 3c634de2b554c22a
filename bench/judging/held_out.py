"""Judgments of held-out queries by labels: a searched tile is right where it bears the same."""

import numpy as np
import pandas as pd

from bench.judging.judgments import LABEL, NOT_SEARCHED, QUERY_COLUMNS, Judgments
from ris_core.errors import CorpusError
from ris_core.records import Tiles

_NAMED = 5  # labels that a note lists


def judge_held_out(tiles: Tiles, held_out: Tiles, per_label: int, depth: int, seed: int) -> Judgments:
    """Some held-out tiles of each label as queries, drawn by seed; one stratum, `LABEL`.

    Args:
        tiles: The searched tiles, with labels; tiles without one are never right.
        held_out: The tiles that ask, with labels.
        per_label: Queries of each label.
        depth: Length of the answer lists that are judged.
        seed: Of the draw.

    Raises:
        CorpusError: If no label of a held-out tile is that of a searched one.
    """
    searched, asked = (named_labels(part) for part in (tiles, held_out))
    right = {name: searched == name for name in sorted(set(asked) - {""})}
    lost = [name for name, bears in right.items() if not bears.any()]
    picks: list[tuple[int, str]] = []
    said = []
    for number, name in enumerate(name for name in right if name not in lost):
        rows = np.random.default_rng([seed, number]).permutation(np.flatnonzero(asked == name))[:per_label]
        picks += [(int(row), name) for row in np.sort(rows)]
        if len(rows) < per_label:
            said.append(f"{len(rows)} of {per_label} held-out queries of {name} could be found.")
    if not picks:
        raise CorpusError(
            f"no searched tile bears a label of the {len(held_out)} held-out ones ({', '.join(lost[:_NAMED])}), so no "
            "answer can be right. Give both parts the same class folders."
        )
    if lost:
        names = ", ".join(lost[:_NAMED]) + (", ..." if len(lost) > _NAMED else "")
        said.append(f"{len(lost)} labels of held-out tiles are on no searched tile ({names}): nobody asks for them.")
    relevant = np.array([right[name] for _, name in picks])
    totals = relevant.sum(axis=1)
    if (totals < depth).any():
        said.append(
            f"{(totals < depth).sum()} of {len(picks)} queries have fewer relevant tiles than their depth, so that no "
            "answer reaches precision 1: see the ceiling."
        )
    records = [
        (held_out.ids[row], NOT_SEARCHED, LABEL, name, depth, total)
        for (row, name), total in zip(picks, totals, strict=True)
    ]
    queries = pd.DataFrame(records, columns=list(QUERY_COLUMNS)).astype(QUERY_COLUMNS)
    return Judgments(queries, relevant, tuple(said))


def named_labels(tiles: Tiles) -> np.ndarray:
    """(n,) str: each tile's label, empty where it has none."""
    labels = tiles.table["label"]
    return np.where(labels.isna(), "", labels.astype(str).str.strip()).astype(str)
