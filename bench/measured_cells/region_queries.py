"""One region cell measured: each judged query described with its crops, searched, merged; scored when the clock is off.

Describing runs in the harness' own process, as extraction does; the index answers in a fresh one.
"""

import dataclasses
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from bench.measured_cells.measure import Judged, index_order
from bench.measured_cells.scoring import Scorer
from bench.measuring.clock import Asking, collection_off, synchronize
from bench.measuring.other_load import CellLoad
from bench.measuring.region_worker import RegionWorker
from bench.queries.region_finding import Found, QueryPictures, RegionFinder
from bench.results import RegionResult
from bench.scores.answers import check_answers
from bench.stages.base import Base
from bench.suites.cells import RegionCell
from bench.suites.suite import BackboneEntry, MeasureSpec
from ris_core.artifacts import written_whole
from ris_core.backbone import BackboneSpec, build_backbone
from ris_core.device import threads
from ris_core.engines import ENGINES
from ris_core.errors import CheckpointError, SearchError
from ris_core.feature_batches import describing, plan_extraction
from ris_core.preprocess import WHOLE
from ris_core.records import PADDING_ID, Features, Hits
from ris_core.regions.crops import cut_crops
from ris_core.regions.merging import MERGES
from ris_core.space import Space
from ris_core.whole_images import WholeImages

_PASS_PX = 224  # side of the images of which a pass takes the backbone's usual batch; fewer larger ones


@dataclasses.dataclass(frozen=True, eq=False)
class Describer:
    """What describes the queries: the backbone of the index, in memory.

    Attributes:
        entry: The backbone's variant.
        spec: Its network, with the weights that it has after training.
        finder: Who knows the queries' pictures and finds their regions.
    """

    entry: BackboneEntry
    spec: BackboneSpec
    finder: RegionFinder


@dataclasses.dataclass(frozen=True, eq=False)
class Vectors:
    """The judged queries as vectors in the index' space.

    Attributes:
        values: (v, d) float32: of each query the whole picture, then its crops.
        counts: For each query the number of its vectors.
        describe_s: For each query the seconds of cutting, describing and correcting them, its picture in memory.
    """

    values: np.ndarray
    counts: list[int]
    describe_s: list[float]


@dataclasses.dataclass(frozen=True, eq=False)
class CropAnswers:
    """The first answers to each vector of each query.

    Attributes:
        query: (v,) int64 place of the query among the judged ones; the first of a query is its whole picture.
        boxes: (v, 4) float64 in pixels of the picture.
        ids: (v, per_crop) int64 tile ids, nearest first, padded with -1.
        relevant: (v, per_crop) bool.
    """

    query: np.ndarray
    boxes: np.ndarray
    ids: np.ndarray
    relevant: np.ndarray

    def save(self, path: Path) -> None:
        """Write them as an npz file, whole."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as unfinished:
            np.savez_compressed(unfinished, **{f.name: getattr(self, f.name) for f in dataclasses.fields(self)})


def measure_regions(
    cell: RegionCell, scorer: Scorer, spec: MeasureSpec, describer: Describer
) -> tuple[RegionResult, Judged, CropAnswers]:
    """Describe, search and merge the judged queries once, and score the merged ranking.

    Raises:
        SearchError: If nothing is judged.
        CorpusError: If a picture or a boxes file cannot be read, or a box does not fit.
        CheckpointError: If the detector cannot be loaded, or the backbone returns NaN.
        WorkerError: If the process of the index raised an error, died, or took too long.
    """
    base, judged, judgments = scorer.base, scorer.judged, scorer.judgments
    if judged is None or judgments is None or not judgments.is_decided:
        raise SearchError("regions are measured on judged queries, and there are none. Remove [regions], or judge.")
    params, load = cell.point.params, CellLoad()
    found = describer.finder.find(params)
    vectors = _describe(describer, found, base, params.context, cell.threads)
    whole = np.cumsum([0, *vectors.counts[:-1]])
    vectors.values[whole] = judged.corrected  # to the last bit what query cells ask: a batch of crops rounds otherwise
    k = min(len(base.corrected), max(scorer.judged_depth, params.per_crop + 1))
    asking = Asking(vectors.values, k, cell.query.params, cell.threads)
    order = index_order(base, ENGINES[cell.index.kind], cell.index.build.params, cell.threads)
    with RegionWorker(order, spec.timeout_s) as worker:
        answered = worker.ask_together(asking, vectors.counts, spec.warmup)
        load.add(worker.used_cpu_s())
    own = np.repeat(judged.rows, vectors.counts)
    hits = check_answers(answered.rows, base.corrected, vectors.values, own, k - int((own >= 0).any())).hits
    merged, merge_s = _merge(hits, vectors.counts, base, params.merge, scorer.judged_depth)
    scores, merged_hits, relevant = scorer.judge(merged)
    n, d = base.corrected.values.shape
    result = RegionResult(
        **cell.named(),
        n=n,
        d=d,
        q=len(judged),
        crops=[count - 1 for count in vectors.counts],
        find_s=found.find_s,
        describe_s=[vectors.describe_s],
        search_s=[answered.search_s],
        merge_s=[merge_s],
        precision=scores["precision"],
        average_precision=scores["average_precision"],
        descriptor_bytes=base.corrected.values.nbytes,
        answer_digests=[[zlib.crc32(row.tobytes()) for row in merged]],
        other_load_fracs=[load.read()],
        slow_build=answered.build_s > spec.slow_build_s,
        threads_seen=answered.threads_seen,
    )
    return result, Judged(merged_hits, relevant), _crop_answers(scorer, found, hits, vectors.counts, params.per_crop)


def _describe(describer: Describer, found: Found, base: Base, context: float, thread_count: int) -> Vectors:
    """Vectors of each query and its crops, in passes of the backbone's usual batch."""
    pictures, space, backbone = describer.finder.pictures, Space.open(base.space_folder), build_backbone(describer.spec)
    is_whole, multiple_px = describer.spec.preprocess == WHOLE, backbone.patch_px or 1
    size_px = multiple_px * max(1, round(describer.spec.whole_px / multiple_px)) if is_whole else pictures.tiles.size_px
    plan = plan_extraction(describer.entry.extract, 1 + max(map(len, found.boxes)), has_one_shape=not is_whole)
    step = max(1, plan.batch * _PASS_PX**2 // max(_PASS_PX, size_px) ** 2)
    values, describe_s = [], []
    with threads(thread_count), describing(backbone, plan, size_px) as describe, collection_off():

        def one(picture: np.ndarray, whole: np.ndarray, boxes: np.ndarray) -> np.ndarray:
            crops = cut_crops(picture, boxes, size_px, context)
            alike = [np.concatenate([whole[None], crops])] if whole.shape == crops.shape[1:] else [whole[None], crops]
            parts = [torch.from_numpy(group[i : i + step]) for group in alike for i in range(0, len(group), step)]
            raw = torch.cat([describe(part.to(plan.device)) for part in parts]).cpu().numpy()
            if not np.isfinite(raw).all():
                raise CheckpointError(f"{describer.entry.name} returns NaN or infinity for a crop. Train it again.")
            return space.apply(Features(raw, np.arange(len(raw)))).values

        for number, query in enumerate(
            _queries(pictures, found, describer.spec.whole_px if is_whole else None, multiple_px)
        ):
            for _ in range(1 + (number == 0)):  # the first one twice: what warms up is not counted
                start = time.perf_counter()
                described = one(*query)
                synchronize()
                seconds = time.perf_counter() - start
            values.append(described)
            describe_s.append(seconds)
    return Vectors(np.ascontiguousarray(np.concatenate(values)), [len(part) for part in values], describe_s)


def _queries(
    pictures: QueryPictures, found: Found, whole_px: int | None, multiple_px: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Picture of each query, what the corpus' description saw of it (tile, or whole image of that size), and boxes."""
    if whole_px is None:
        stored = (np.asarray(pictures.tiles.pixels[row]) for row in pictures.rows)
        yield from zip(pictures.read(), stored, found.boxes, strict=True)
        return
    images = WholeImages.of_tiles(pictures.source, pictures.tiles.table.iloc[pictures.rows], whole_px, multiple_px)
    with images.reading() as read:
        for number, (picture, boxes) in enumerate(zip(pictures.read(), found.boxes, strict=True)):
            yield picture, read(number), boxes


def _merge(hits: Hits, counts: list[int], base: Base, how: str, depth: int) -> tuple[np.ndarray, list[float]]:
    """(q, depth) rows of the merged rankings, padded with -1, and the seconds of each merging."""
    rows = np.where(
        hits.ids == PADDING_ID,
        PADDING_ID,
        pd.Index(base.corrected.ids).get_indexer(hits.ids.ravel()).reshape(hits.ids.shape),
    )
    merged, merge_s = np.full((len(counts), depth), PADDING_ID, np.int64), []
    with collection_off():
        for number, (end, count) in enumerate(zip(np.cumsum(counts), counts, strict=True)):
            part = slice(end - count, end)
            start = time.perf_counter()
            ranking = MERGES[how](rows[part], hits.distances[part])[:depth]
            merge_s.append(time.perf_counter() - start)
            merged[number, : len(ranking)] = ranking
    return merged, merge_s


def _crop_answers(scorer: Scorer, found: Found, hits: Hits, counts: list[int], per_crop: int) -> CropAnswers:
    assert scorer.judgments is not None
    query = np.repeat(np.arange(len(counts)), counts)
    whole = [np.array([[0, 0, *size]], np.float64) for size in found.sizes_px]
    boxes = [part for pair in zip(whole, found.boxes, strict=True) for part in pair]
    ids = hits.ids[:, :per_crop]
    rows = pd.Index(scorer.base.corrected.ids).get_indexer(ids.ravel()).reshape(ids.shape)
    relevant = np.take_along_axis(scorer.judgments.relevant[query], rows, axis=1) & (ids != PADDING_ID)
    return CropAnswers(query, np.concatenate(boxes), ids, relevant)
