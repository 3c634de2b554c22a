"""How many tiles, training tiles, vectors and queries a suite will have, counted without decoding a pixel."""

import dataclasses

from bench.planning.corpus_sample import count_stored
from bench.planning.lookup import Found
from bench.suites.part_counts import count_distractors, count_held_out
from bench.suites.suite import LANDMARKS, SCENE, BackboneEntry, Suite
from bench.suites.suite_faults import feature_widths, most_tiles, split_sizes, vector_facts


@dataclasses.dataclass(frozen=True)
class Counts:
    """Numbers of a suite.

    Attributes:
        tiles: Tiles, or vectors that are taken.
        is_exact: Whether it is certain; else there are no more, and the rest follows from that.
        trained: Tiles that train.
        indexed: Tiles that are indexed, of the largest size.
        asked: Tiles, or vectors, that are held out as queries.
        size_px: Side of the stored tiles; 0 of vectors.
        widths: Dimensions of each backbone's features.
        note: What was counted.
    """

    tiles: int
    is_exact: bool
    trained: int
    indexed: int
    asked: int
    size_px: int
    widths: dict[str, int]
    note: str = ""

    def of(self, entry: BackboneEntry) -> int:
        """Vectors that are indexed of one backbone, or of one size."""
        return self.indexed if entry.size is None else entry.size


def count_suite(suite: Suite, found: Found) -> Counts:
    """The numbers of a suite: those of its cut tiles where these are in the cache, else as headers and tables tell.

    Raises:
        RisError: If the corpus cannot be read.
    """
    corpus = suite.corpus
    widths = feature_widths(suite, [])
    size_px = 0 if corpus.is_vectors else corpus.stored_px or corpus.tile_px
    cut = found.cut
    if cut is not None:
        numbers = (len(cut.train_rows), len(cut.base_rows), len(cut.asked_rows))
        return Counts(len(cut.tiles), True, *numbers, size_px, widths)
    most, note, is_exact = most_tiles(suite, []) or 0, "", corpus.source not in (SCENE, LANDMARKS)
    stored = None if corpus.is_vectors or corpus.sample is not None else count_stored(corpus)
    if stored is not None:
        most, is_exact = min(most, stored.n), False
        about = "about " if stored.is_sampled else ""
        note = f"{about}{stored.n:,} of {stored.cells:,} places may hold information, by the block table"
    vectors = vector_facts(suite, [])
    asked = count_held_out(corpus) or 0 if vectors is None else 0
    distractors = 0 if corpus.is_vectors else count_distractors(corpus)
    indexed, trained = split_sizes(most - asked - distractors, corpus.train_frac)
    asked = asked if vectors is None else vectors.held_out or 0
    is_exact = is_exact and corpus.split_block_px is None
    return Counts(most, is_exact, trained, indexed + distractors, asked, size_px, widths, note)
