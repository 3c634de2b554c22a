"""Judgments of pairs, as the revisited Oxford and Paris benchmarks have them: easy, hard, junk or wrong.

The same query is judged up to three times, once for each set-up of the protocol, which says what is right and what is
ignored; a query without anything right in a set-up is not asked in it.
"""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from bench.judging.judgments import NOT_SEARCHED, QUERY_COLUMNS, Judgments
from bench.scores.revisited import SETUPS
from ris_core.errors import CorpusError
from ris_core.records import Tiles
from ris_core.tiling.ground_truth import GroundTruth


def judge_pairs(tiles: Tiles, held_out: Tiles, truth: GroundTruth, depths: Mapping[str, int]) -> Judgments:
    """The queries of a ground truth in each set-up, in the order of `SETUPS`.

    Args:
        tiles: The searched tiles; the id of one is its place in ``truth.names``, and what is not named is wrong.
        held_out: The queries' tiles, in the order of ``truth.queries``.
        truth: What is right.
        depths: For each set-up the length of the answer lists whose precision is read.

    Raises:
        CorpusError: If nothing is right for any query, or the tiles are not those of the ground truth.
    """
    if len(held_out) != len(truth.queries):
        raise CorpusError(
            f"{truth.path}: has {len(truth.queries)} queries, the corpus {len(held_out)}. Cut the tiles anew."
        )
    records: list[tuple[int, int, str, str, int, int]] = []
    right, ignored, said = [], [], []
    for setup, (right_labels, ignored_labels) in SETUPS.items():
        asked = len(records)
        for tile, query in zip(held_out.ids.tolist(), truth.queries, strict=True):
            is_right, is_ignored = (
                np.isin(tiles.ids, np.concatenate([query.labels[label] for label in labels]))
                for labels in (right_labels, ignored_labels)
            )
            if is_right.any():
                records.append((tile, NOT_SEARCHED, setup, subject_of(query.name), depths[setup], int(is_right.sum())))
                right.append(is_right)
                ignored.append(is_ignored)
        if lost := len(truth.queries) - (len(records) - asked):
            said.append(f"{lost} of {len(truth.queries)} queries have nothing right in the set-up {setup}; left out.")
    if not records:
        raise CorpusError(f"{truth.path}: no searched image is right for any query. Check its easy and hard lists.")
    queries = pd.DataFrame(records, columns=list(QUERY_COLUMNS)).astype(QUERY_COLUMNS)
    return Judgments(queries, np.array(right), tuple(said), ignored=np.array(ignored))


def subject_of(name: str) -> str:
    """What an image shows, as its name tells: ``all_souls`` of ``all_souls_000013``, ``boat`` of ``boat/07_2.jpg``."""
    stem = str(PurePosixPath(name).with_suffix(""))
    return re.sub(r"[/_-]*[\d_-]+$", "", stem) or stem
