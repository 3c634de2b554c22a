"""Small bases of vectors that stand in for a backbone's features, taken through the stages that a run goes through.

A corpus of vectors gives a part of itself. A network's features are not known yet: synthetic vectors of their width
stand in, which lie as features do, off-centre and near a surface of few dimensions, with the sample's labels where it
has some.
"""

import dataclasses
import time
from pathlib import Path

import numpy as np
import pandas as pd

from bench.judging.judge import JudgeSpec, judge_tiles, main_labels
from bench.measured_cells.scoring import Scorer
from bench.queries.hygiene import examine_features
from bench.queries.query_facts import query_facts
from bench.stages.base import Base, Cut
from bench.stages.flow import Cache, prepare_base, prepare_tiles
from bench.suites.suite import SELF, SYNTHETIC, VECTORS, BackboneEntry, CorpusSpec, SpaceSpec, Suite
from fixtures.vectors import SyntheticVectors
from ris_core.backbone import BackboneSpec

_INTRINSIC_DIM = 16
SMALLEST, GROWTH = 2048, 4  # vectors of the smallest base, and how much larger each further one is
_DEPTH = 20  # of judged answers, at most


@dataclasses.dataclass(frozen=True, eq=False)
class SampleBase:
    """One small base.

    Attributes:
        n: Its vectors.
        scorer: Ready to measure cells over it.
        seconds: Of the stages ``vectors``, ``features``, ``space`` and ``truth``, where it went through them, and of
            ``checks``: what a run finds out about vectors and queries.
    """

    n: int
    scorer: Scorer
    seconds: dict[str, float]

    @property
    def base(self) -> Base:
        """Vectors, queries and truth."""
        return self.scorer.base


def sample_base(suite: Suite, d: int, n: int, labels: np.ndarray | None, scratch: Path) -> SampleBase:
    """A base of ``n`` vectors.

    Args:
        suite: The suite, whose space, queries and judgments are asked for.
        d: Width of the vectors; of a corpus of vectors it is its own.
        n: How many; no more than the corpus has.
        labels: Some labels of the corpus, which are dealt out to the vectors; None: it has none.
        scratch: Folder for its artifacts.

    Raises:
        RisError: If a stage cannot do with so few.
    """
    corpus = _part(suite.corpus, n) if suite.corpus.is_vectors else _stand_in(suite, d, n, labels, scratch)
    queries = dataclasses.replace(
        suite.queries, count=min(suite.queries.count, n // 2), k=min(suite.queries.k, n // 4), exclude=(SELF,)
    )
    judged = 0 if corpus.labels is None else suite.judge.easy + suite.judge.medium + suite.judge.hard
    kinds = 1 if labels is None else len(np.unique(labels))
    judge = JudgeSpec(per_label=max(1, judged // kinds), label_depth=min(_DEPTH, n // 4))
    small = dataclasses.replace(suite, corpus=corpus, queries=queries, judge=judge, reranks=(), regions=())
    entry = BackboneEntry("sample", BackboneSpec(VECTORS), space=_of_width(suite.space, d, n))
    seconds: dict[str, float] = {}
    cache = Cache(scratch, lambda note: seconds.update({note.stage: note.wall_s}))
    cut = prepare_tiles(cache, corpus)
    base = prepare_base(cache, entry, cut, queries)
    scorer = Scorer(small, base, cut.tiles, judge_tiles(cut.tiles, judge) if corpus.labels is not None else None)
    start = time.perf_counter()
    facts = query_facts(base, queries.k, main_labels(cut.tiles), scorer.judgments)
    examine_features(base, facts, queries.k)
    return SampleBase(n, scorer, {**seconds, "checks": time.perf_counter() - start})


def sample_labels(cut: Cut) -> np.ndarray | None:
    """Labels of a sample of the corpus, its main classes where it has no labels; None where it has neither."""
    labels = main_labels(cut.tiles)
    known = None if labels is None else labels[labels != ""]
    return None if known is None or len(known) == 0 else known


def _part(corpus: CorpusSpec, n: int) -> CorpusSpec:
    """So many of the vectors of a corpus."""
    if corpus.source == SYNTHETIC:
        return dataclasses.replace(corpus, sizes=(), synthetic=dataclasses.replace(corpus.synthetic, n=n))
    return dataclasses.replace(corpus, sizes=(), sample=n)


def _stand_in(suite: Suite, d: int, n: int, labels: np.ndarray | None, scratch: Path) -> CorpusSpec:
    """Synthetic vectors in place of features."""
    law = SyntheticVectors(n, d, min(_INTRINSIC_DIM, d), queries=max(1, min(suite.queries.count, n // 2)))
    if labels is None:
        return CorpusSpec(SYNTHETIC, synthetic=law)
    path = scratch / f"labels-{n}.csv"
    pd.DataFrame({"label": np.resize(labels, n)}).to_csv(path, index=False)
    return CorpusSpec(SYNTHETIC, synthetic=law, labels=path)


def _of_width(spec: SpaceSpec, d: int, n: int) -> SpaceSpec:
    """The suite's space where vectors have that width; a learned whitening costs what one of the base does."""
    components = None if spec.whiten is None else min(spec.whiten, d, n - 1)
    return dataclasses.replace(spec, whitening=SpaceSpec.whitening, whiten=components)
