"""What is impossible about describing a corpus, and about whitening what was described, before anything runs."""

from collections.abc import Iterator
from pathlib import Path

from bench.suites.suite import LANDMARKS, LEARNED, SCENE, BackboneEntry, Suite
from ris_core.errors import CorpusError
from ris_core.preprocess import WHOLE
from ris_core.tiling.corpus import find_corpus
from ris_core.tiling.image_folder import ImageFolder


def describing_faults(suite: Suite, entry: BackboneEntry) -> Iterator[str]:
    """Whole images where there are none, and labels to learn from where no tile is set apart for it."""
    if not suite.corpus.is_vectors and entry.spec.preprocess == WHOLE and not _has_images(suite.corpus.source):
        yield (
            f"[backbone.{entry.table}] preprocess = {WHOLE!r} describes the files of a folder or zip of images; "
            f"corpus.source = {suite.corpus.source!r} is none. Choose another preprocess, such as 'native'."
        )
    if entry.space.whitening != LEARNED:
        return
    table = "space" if entry.space == suite.space else f"backbone.{entry.table}.space"
    if suite.corpus.is_vectors:
        yield f"[{table}] whitening = {LEARNED!r} needs tiles with labels that train; vectors do not. Set 'pca'."
    elif not suite.corpus.train_frac:
        yield (
            f"[{table}] whitening = {LEARNED!r} learns from tiles that train and are not searched, and with "
            "corpus.train_frac = 0 there are none. Set it to 0.5, or whitening = 'pca'."
        )


def _has_images(source: str) -> bool:
    if source in (SCENE, LANDMARKS):
        return source == LANDMARKS
    try:
        return isinstance(find_corpus(Path(source)), ImageFolder)
    except CorpusError:
        return True  # others tell it
