"""How many tiles of a corpus are queries alone, and how many only distract, before anything is cut."""

from pathlib import Path

from bench.suites.suite import EMBEDDED, CorpusSpec
from ris_core.errors import CorpusError
from ris_core.tiling.corpus import find_corpus
from ris_core.tiling.ground_truth import read_ground_truth
from ris_core.tiling.image_folder import ImageFolder
from ris_core.tiling.image_shards import list_shard


def count_held_out(corpus: CorpusSpec) -> int | None:
    """How many tiles of an image corpus are queries alone, by names; None where none is, or a sample decides.

    Raises:
        CorpusError: If the corpus is none of images, none of them is a query, or all are.
    """
    if corpus.source in EMBEDDED:
        return None
    if corpus.ground_truth is not None:
        return len(read_ground_truth(corpus.ground_truth).queries)
    if corpus.queries is None:
        return None
    images = find_corpus(Path(corpus.source))
    if not isinstance(images, ImageFolder):
        raise CorpusError(
            f"queries = '{corpus.queries}': {corpus.source} is no folder of images, whose subfolders may be held out; "
            "tiles of rasters are queries themselves. Remove the key."
        )
    count = int(images.below(corpus.queries.as_posix()).sum())
    if count == len(images.names):
        raise CorpusError(
            f"queries = '{corpus.queries}': all {count} images of {corpus.source} lie there, so none is left to be "
            "searched. Name a folder that holds a part of them."
        )
    return count if corpus.sample is None else None


def count_distractors(corpus: CorpusSpec) -> int:
    """How many tiles are there to distract.

    Raises:
        CorpusError: If a shard cannot be read.
    """
    return sum(len(list_shard(Path(path)).names) for path in corpus.distractors)
