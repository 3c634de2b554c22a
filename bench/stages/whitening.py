"""The space that a suite asks for, fitted on the searched tiles, or on the labels of those that train."""

import dataclasses
import hashlib
from typing import Any

import numpy as np

from bench.judging.judge import main_labels
from bench.stages.base import Cut, without_pixels
from bench.suites.suite import LEARNED, BackboneEntry, SpaceSpec
from ris_core.errors import CorpusError
from ris_core.learned_whitening import fit_learned_space
from ris_core.records import Features
from ris_core.space import Space, fit_space


def refuse_unlabelled(cut: Cut, entry: BackboneEntry) -> None:
    """Raise where a backbone's whitening is to be learned and the corpus has nothing to learn it from.

    Raises:
        CorpusError: If tiles have no labels, or those that train are searched too, or no two of these have one label.
    """
    if entry.space.whitening != LEARNED:
        return
    rows, labels = _labelled(cut)
    remedy = f"or set whitening = 'pca' for backbone {entry.name}."
    if not len(labels):
        raise CorpusError(
            "whitening = 'learned' needs labelled tiles among those that train, and there are none. Give "
            f"corpus.labels, {remedy}"
        )
    if np.isin(rows, cut.base_rows).any():
        raise CorpusError(
            "whitening = 'learned' needs tiles that train and are not searched. Set corpus.train_frac above 0, such as "
            f"0.5, {remedy}"
        )
    _, counts = np.unique(labels, return_counts=True)
    if len(counts) < 2 or counts.max(initial=0) < 2:
        raise CorpusError(
            f"whitening = 'learned': the {len(labels)} labelled tiles that train have {len(counts)} labels; pairs that "
            f"match and pairs that do not are needed. Raise corpus.train_frac, {remedy}"
        )


def fit_suite_space(base: Features, features: Features, cut: Cut, spec: SpaceSpec) -> Space:
    """The space of a corpus.

    Args:
        base: Raw features of the searched tiles.
        features: Those of all tiles.
        cut: The corpus.
        spec: What is asked for.
    """
    if spec.whitening == LEARNED:
        rows, labels = _labelled(cut)
        return fit_learned_space(features[rows], labels, normalize=spec.normalize, components=spec.whiten)
    return fit_space(base, center=spec.center, normalize=spec.normalize, whiten=spec.whiten)


def space_parameters(cut: Cut, spec: SpaceSpec) -> dict[str, Any]:
    """What a fitted space depends on besides the features and which tiles are searched."""
    parameters = dataclasses.asdict(spec)
    if spec.whitening != LEARNED:
        del parameters["whitening"]  # as it was before there was a choice
        return parameters
    rows, labels = _labelled(cut)
    digest = hashlib.sha256("\0".join(labels).encode() + rows.astype(np.int64).tobytes())
    return {**parameters, "labels": digest.hexdigest()}


def _labelled(cut: Cut) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the tiles that train and have a label, or a class that covers most of them; and these labels."""
    labels = main_labels(without_pixels(cut.tiles, cut.train_rows))
    if labels is None:
        return cut.train_rows[:0], np.empty(0, str)
    return cut.train_rows[labels != ""], labels[labels != ""]
