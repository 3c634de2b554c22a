"""One backbone of a suite in training: by which method, on which tiles, with which labels."""

from pathlib import Path

import numpy as np

from bench.judging.judge import main_labels
from bench.stages.base import Cut, without_pixels
from bench.suites.suite import BackboneEntry, Suite
from bench.suites.suite_file import UNLABELLED
from ris_core.errors import CorpusError, SuiteError
from ris_core.training.dino_training import refuse_training, train_dino
from ris_core.training.label_recipe import LabelRecipe
from ris_core.training.label_training import refuse_label_training, train_with_labels
from ris_core.training.options import DEFAULT_OPTIONS, TrainOptions


def train_backbone(entry: BackboneEntry, cut: Cut, out: Path, options: TrainOptions = DEFAULT_OPTIONS) -> None:
    """Leave the trained backbone in a folder; only the tiles that train, and their labels, are looked at.

    Raises:
        RisError: See `train_dino` and `train_with_labels`; a backbone without a recipe is a `CorpusError`.
    """
    if isinstance(entry.recipe, LabelRecipe):
        known = training_labels(cut)
        labels = np.full(len(cut.tiles), "", known.dtype)
        labels[cut.train_rows] = known
        train_with_labels(cut.tiles, labels, entry.spec, entry.recipe, out, options=options)
    elif entry.recipe is not None:
        train_dino(cut.tiles, entry.spec, entry.recipe, out, rows=cut.train_rows, options=options)


def refuse_backbone(entry: BackboneEntry, cut: Cut, options: TrainOptions = DEFAULT_OPTIONS) -> None:
    """Raise what makes the training of a backbone impossible on the tiles as they were cut; none is always possible.

    Raises:
        SuiteError: If recipe or options have faults.
        CorpusError: If the tiles, or their labels, are too few, or queries would be tiles whose labels were learnt.
    """
    if isinstance(entry.recipe, LabelRecipe):
        refuse_label_training(training_labels(cut), entry.spec, entry.recipe, options)
        if not len(cut.asked_rows) and np.isin(cut.train_rows, cut.base_rows).any():
            raise CorpusError(LEAKING)
    elif entry.recipe is not None:
        refuse_training(cut.tiles, cut.train_rows, entry.spec, entry.recipe, options)


def label_faults(suite: Suite, cut: Cut) -> list[str]:
    """What makes trainings with labels impossible, one sentence a backbone; told before anything is trained."""
    faults = []
    for entry in suite.backbones if suite.engines else ():
        try:
            if isinstance(entry.recipe, LabelRecipe):
                refuse_backbone(entry, cut)
        except (CorpusError, SuiteError) as error:
            faults.append(f"{suite.path}: [backbone.{entry.name}] train: {error}")
    return faults


def training_labels(cut: Cut) -> np.ndarray:
    """(m,) str labels of the tiles that train: a tile's own, else the class that covers most of it; empty = none.

    Raises:
        CorpusError: If the corpus has neither.
    """
    labels = main_labels(without_pixels(cut.tiles, cut.train_rows))
    if labels is None:
        raise CorpusError(UNLABELLED)
    return labels


LEAKING = (
    "every query would be a tile whose label was learnt, so no score would tell what the network makes of new images. "
    "Set corpus.train_frac, such as 0.5, or hold out queries by corpus.queries."
)
