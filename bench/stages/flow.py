"""The heavy stages, each done once: what it makes is an artifact in the cache, keyed by parameters and parents.

    scene -> tiles -> checkpoint -> features -> space -> truth
    vectors ---------------------->

and, where a re-ranker needs it, checkpoint -> local (`bench.stages.local_stage`).

Each function tells its caller, by a `StageNote`, what it made or reused. Raise a stage's version whenever its code
changes what it makes, so that no run reuses what older code left.
"""

import dataclasses
import functools
import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.results import StageNote
from bench.scores.exclusion import block_codes
from bench.stages.base import (
    Asked,
    Base,
    Cut,
    blank_pixels,
    draw_query_rows,
    exact_neighbours,
    nested_rows,
    split_rows,
)
from bench.stages.extraction import extract_timed
from bench.stages.held_out import mark_queries, part_rows
from bench.stages.knn_probe import KnnProbe, knn_scores, split_for_knn
from bench.stages.training import train_backbone
from bench.stages.vector_corpus import (
    comparable_neighbours,
    copy_vectors,
    recall_of_file,
    refuse_zeros,
    vector_key,
    vector_table,
)
from bench.stages.whitening import fit_suite_space, refuse_unlabelled, space_parameters
from bench.suites.suite import LANDMARKS, SCENE, SYNTHETIC, BackboneEntry, CorpusSpec, QuerySpec, SpaceSpec
from fixtures.landmarks import GROUND_TRUTH, make_landmarks
from fixtures.scene import make_scene
from fixtures.vectors import BASE_FILE, make_vectors
from ris_core.artifacts import file_digest, make_once, read_manifest
from ris_core.backbone import COLOUR, PRETRAINED, RANDOM, BackboneSpec, build_backbone
from ris_core.cluster import IN_PROCESS, Cluster
from ris_core.errors import CorpusError
from ris_core.exact_shards import nearest_rows_by
from ris_core.preprocess import WHOLE
from ris_core.records import PADDING_ID, Features, Hits, Tiles
from ris_core.shards import clear_shards
from ris_core.space import Space
from ris_core.tiles import corpus_fingerprint, cut_tiles
from ris_core.tiling.ground_truth import read_ground_truth
from ris_core.tiling.image_folder import list_images
from ris_core.tiling.image_shards import join_shards, shard_fingerprint
from ris_core.tiling.tile_spec import TileSpec
from ris_core.training.options import DEFAULT_OPTIONS, TrainOptions
from ris_core.vector_files import read_vectors
from ris_core.whole_images import boxes_of

VERSIONS = {
    "scene": 1,
    "landmarks": 1,
    "vectors": 1,
    "tiles": 1,
    "checkpoint": 2,
    "features": 3,
    "space": 4,
    "truth": 2,
    "local": 1,
}
KNN = "knn.csv"  # in the artifact of a space: what k-NN predicts of each tile that is asked
_SPARE_TRUTH = 10  # neighbours beyond k that the truth keeps, so that ties at rank k can be seen


@dataclasses.dataclass(frozen=True)
class Cache:
    """Where artifacts live, and who is told about them.

    Attributes:
        root: The cache folder.
        tell: Called with the note of every stage.
        progress: Whether the stages show progress bars on stderr.
        cluster: Who computes what a stage can have done in pieces.
    """

    root: Path
    tell: Callable[[StageNote], None]
    progress: bool = False
    cluster: Cluster = IN_PROCESS

    @property
    def shared(self) -> dict[str, int]:
        """What a stage notes whose pieces workers computed: their number; nothing where this process did."""
        return {} if self.cluster is IN_PROCESS else {"workers": self.cluster.workers}

    def make(
        self,
        stage: str,
        backbone: str,
        parameters: Mapping[str, Any],
        parents: Sequence[str],
        make: Callable[[Path], Mapping[str, Any]],
    ) -> StageNote:
        """Note of an artifact, made now unless it is in the cache."""
        keyed = {**parameters, "version": VERSIONS[stage]}
        folder, reused = make_once(self.root, stage, keyed, parents, make)
        manifest = read_manifest(folder)
        notes = dict(manifest.get("notes", {}))
        note = StageNote(stage, backbone, str(folder.resolve()), manifest["key"], reused, manifest["wall_s"], notes)
        self.tell(note)
        return note


def prepare_tiles(cache: Cache, corpus: CorpusSpec) -> Cut:
    """Tiles of the suite's corpus, split by its seed.

    Raises:
        CorpusError: If the corpus has fewer tiles than asked for, or one half of the split would be empty.
        RasterError: If a raster cannot be read.
        ArtifactError: If the disk cannot take them.
    """
    if corpus.is_vectors:
        return _take_vectors(cache, corpus)
    source, spec, source_key = locate_corpus(cache, corpus)
    parameters = dataclasses.asdict(dataclasses.replace(spec, labels=None, classes=None))
    for name in ("labels", "classes"):
        path = getattr(spec, name)
        parameters[name] = None if path is None or corpus.source == SCENE else file_digest(path)
    del parameters["ground_truth"], parameters["distractors"]  # these enter the key where they are: others keep theirs
    if spec.ground_truth is not None:
        parameters["ground_truth"] = file_digest(spec.ground_truth)
    if spec.distractors:
        parameters["distractors"] = [[path.name, shard_fingerprint(path)] for path in spec.distractors]

    def make(folder: Path) -> Mapping[str, Any]:
        is_continued, start = any(folder.iterdir()), time.perf_counter()  # an attempt that was cut off
        tiles = cut_tiles(source, spec, folder, progress=cache.progress, cluster=cache.cluster)
        rate = None if is_continued else len(tiles) / (time.perf_counter() - start)
        return {"n": len(tiles), "size_px": tiles.size_px, "tiles_per_s": rate, **cache.shared}

    note = cache.make("tiles", "", parameters, [source_key], make)
    tiles = mark_queries(Tiles.open(Path(note.folder)), corpus)
    asked, others, distractors = part_rows(tiles)
    blocks = None
    if corpus.train_frac and corpus.split_block_px is not None:
        blocks = block_codes(tiles, corpus.tile_px, corpus.split_block_px)[others]
    train_rows, base_rows = (others[rows] for rows in split_rows(len(others), corpus.train_frac, corpus.seed, blocks))
    base_rows = np.append(base_rows, distractors)
    if not len(train_rows) or not len(base_rows):
        raise CorpusError(
            f"{corpus.source}: {len(others)} tiles leave {len(train_rows)} to train on and {len(base_rows)} to search "
            f"with train_frac = {corpus.train_frac}. Cut smaller tiles, or take a larger corpus."
        )
    truth = None if spec.ground_truth is None else read_ground_truth(spec.ground_truth)
    images = join_shards(list_images(source), spec.distractors) if spec.distractors else source
    return Cut(
        tiles, note.key, train_rows, base_rows, folder=Path(note.folder), source=images, truth=truth, asked_rows=asked
    )


def _take_vectors(cache: Cache, corpus: CorpusSpec) -> Cut:
    """The vectors of a file, or of a law by which they are made on the way, in the place of tiles."""
    law = corpus.synthetic

    def make(folder: Path) -> Mapping[str, Any]:
        make_vectors(folder, law)
        return {"n": law.n, "d": law.d, "held_out": law.queries}

    if corpus.source == SYNTHETIC:
        note = cache.make("vectors", "", dataclasses.asdict(law), [], make)
        vectors = read_vectors(Path(note.folder) / BASE_FILE)
    else:
        vectors = corpus.vectors()
    table = vector_table(vectors, corpus)
    sizes = nested_rows(len(table), corpus.sizes, corpus.seed)
    rows = sizes[max(sizes)] if sizes else np.arange(len(table))
    tiles = Tiles(blank_pixels(len(table)), table)
    return Cut(tiles, vector_key(vectors, table), rows[:0], rows, vectors, sizes)


def locate_corpus(cache: Cache, corpus: CorpusSpec) -> tuple[Path, Any, str]:
    """Path of the corpus, its tile spec, and a key of its content; the scene is made on the way."""
    spec = corpus.tile_spec()
    if corpus.source not in (SCENE, LANDMARKS):
        return Path(corpus.source), spec, corpus_fingerprint(Path(corpus.source))

    def make(folder: Path) -> Mapping[str, Any]:
        make_scene(folder, corpus.scene_px, corpus.scene_seed, progress=cache.progress)
        return {"size_px": corpus.scene_px}

    note = cache.make("scene", "", {"scene_px": corpus.scene_px, "scene_seed": corpus.scene_seed}, [], make)
    folder = Path(note.folder)
    if corpus.source == LANDMARKS:
        return _take_landmarks(cache, corpus, note)
    classes = spec.classes if spec.classes is not None else folder / "classes.tif"
    return folder / "ortho.tif", dataclasses.replace(spec, classes=classes), note.key


def _take_landmarks(cache: Cache, corpus: CorpusSpec, scene: StageNote) -> tuple[Path, TileSpec, str]:
    """Pictures of the scene with their ground truth, as `locate_corpus` returns a corpus."""

    def make(folder: Path) -> Mapping[str, Any]:
        try:
            return make_landmarks(folder, Path(scene.folder), corpus.tile_px, seed=corpus.seed)
        except ValueError as error:
            raise CorpusError(f"{error} Raise corpus.scene_px, or lower corpus.tile_px.") from error

    note = cache.make("landmarks", "", {"picture_px": corpus.tile_px, "seed": corpus.seed}, [scene.key], make)
    folder = Path(note.folder)
    return folder, dataclasses.replace(corpus.tile_spec(), ground_truth=folder / GROUND_TRUTH), note.key


def prepare_checkpoint(
    cache: Cache, entry: BackboneEntry, cut: Cut, knn_every: int, options: TrainOptions = DEFAULT_OPTIONS
) -> tuple[BackboneSpec, str]:
    """The backbone with the weights that it has after training, and the key of those weights.

    Every ``knn_every`` epochs, and before the first, its k-NN accuracy is read where the corpus has labels; 0: never.
    Where ``options.ranks`` train together all of them call this; the first one makes the artifact.

    Raises:
        CheckpointError: If its weights do not fit, or training diverged.
    """
    spec, recipe, ranks = entry.spec, entry.recipe, options.ranks
    weights = spec.weights if spec.weights in (RANDOM, PRETRAINED) else file_digest(Path(spec.weights))
    if recipe is None:
        return spec, weights
    spec = spec.as_trained()
    split = {"train_rows": digest(cut.train_rows)}
    knn = split_for_knn(cut) if knn_every else None
    probe = None if knn is None else KnnProbe(cut.tiles, knn)
    probing = {"knn_every": 0 if probe is None else knn_every}
    parameters = {**spec_parameters(spec), "recipe": dataclasses.asdict(recipe), **split, **probing}
    options = dataclasses.replace(options, progress=cache.progress, probe=probe, probe_every=max(1, knn_every))

    def train(folder: Path) -> None:
        train_backbone(dataclasses.replace(entry, spec=spec), cut, folder, options)

    def make(folder: Path) -> Mapping[str, Any]:
        before = {} if probe is None else probe(build_backbone(spec, to_train=True))
        start = time.perf_counter()
        train(ranks.agree(folder))
        log = [json.loads(line) for line in (folder / "log.txt").read_text(encoding="utf-8").splitlines()]
        return {
            "n": len(cut.train_rows),
            "epochs": len(log),
            "train_s": time.perf_counter() - start,
            "final_loss": log[-1]["train_loss"] if log else None,
            **{f"{name}_start": value for name, value in before.items()},
        }

    if not ranks.is_first and (folder := ranks.agree(None)) is not None:
        train(folder)
    note = cache.make("checkpoint", entry.name, parameters, [cut.key, weights], make)  # others wait for the first one
    if ranks.is_first and note.reused:
        ranks.agree(None)
    return dataclasses.replace(entry.spec, weights=str(Path(note.folder) / "model.safetensors")), note.key


def prepare_features(cache: Cache, entry: BackboneEntry, cut: Cut, knn_every: int = 0) -> tuple[Features, StageNote]:
    """Features of all tiles by one backbone, trained first where the suite says so, and their artifact."""
    vectors = cut.vectors
    if vectors is not None:
        note = cache.make(
            "features", entry.name, {}, [cut.key], lambda folder: copy_vectors(vectors, cut.tiles.table, folder)
        )
        return Features.open(Path(note.folder)), note
    spec, weights_key = prepare_checkpoint(cache, entry, cut, knn_every)

    def make(folder: Path) -> Mapping[str, Any]:
        return extract_timed(cut, spec, folder, entry.extract, cache.progress, cache.cluster)

    parameters = {**spec_parameters(entry.spec), "extract": dataclasses.asdict(entry.extract)}  # rates depend on it
    if spec.preprocess == WHOLE:
        parameters["boxes"] = hashlib.sha256(boxes_of(cut.tiles.table).tobytes()).hexdigest()
    note = cache.make("features", entry.name, parameters, [cut.key, weights_key], make)
    return Features.open(Path(note.folder)), note


def spec_parameters(spec: BackboneSpec) -> dict[str, Any]:
    """What shapes a network besides its weights: a path of weights is no identity, their digest is a parent."""
    parameters = {key: value for key, value in spec.named().items() if key != "weights"}
    draws = (spec.weights == RANDOM and spec.model != COLOUR) or spec.bottleneck is not None or spec.soa
    return {**parameters, "seed": spec.seed if draws else 0}


def prepare_base(cache: Cache, entry: BackboneEntry, cut: Cut, queries: QuerySpec, knn_every: int = 0) -> Base:
    """One backbone's features of the searched tiles, raw and corrected, with the exact neighbours of the queries."""
    refuse_unlabelled(cut, entry)
    features, made = prepare_features(cache, entry, cut, knn_every)
    if cut.vectors is not None and entry.space.normalize and not entry.space.center:
        refuse_zeros(cut.vectors, made.notes["zero_vectors"])
    fitted, corrected, spaced = prepare_space(cache, entry.name, features, cut, entry.space, made.key)
    timed = _timed(cut, features, corrected, fitted, queries)
    truth = prepare_truth(cache, spaced, corrected, timed, queries)
    folders = Path(made.folder), Path(spaced.folder)
    return Base(entry.name, features, corrected, folders[0], cut.base_rows, folders[1], timed, truth)


def _timed(cut: Cut, raw: Features, corrected: Features, fitted: Space, queries: QuerySpec) -> Asked:
    """The timed queries, drawn by seed: among those that the corpus holds out, else among the searched tiles."""
    held_out = None if cut.vectors is None else cut.vectors.queries
    if cut.vectors is None or held_out is None:
        drawn = cut.timed_rows(queries.count, queries.seed)
        rows = pd.Index(cut.base_rows).get_indexer(drawn)
        asked = Features(raw.values[drawn], raw.ids[drawn])
        answered = corrected.values[rows] if (rows >= 0).all() else fitted.apply(asked).values
        return Asked(rows, asked.values, answered, ids=asked.ids)
    chosen = draw_query_rows(len(held_out), queries.count, queries.seed)
    asked = Features(held_out[chosen], chosen)
    neighbours = comparable_neighbours(cut.vectors, fitted, len(corrected), chosen)
    return Asked(np.full(len(chosen), PADDING_ID), asked.values, fitted.apply(asked).values, neighbours)


def prepare_space(
    cache: Cache, backbone: str, features: Features, cut: Cut, spec: SpaceSpec, parent: str
) -> tuple[Space, Features, StageNote]:
    """The space fitted on the searched tiles, their features in it, and the artifact of both.

    Where tiles have labels, it holds what k-NN says of them by the raw features, and notes the accuracy.
    """
    ids = cut.tiles.ids[cut.base_rows]

    def make(folder: Path) -> Mapping[str, Any]:
        is_all = len(ids) == len(features)
        raw = Features(features.values if is_all else np.ascontiguousarray(features.values[cut.base_rows]), ids)
        fitted = fit_suite_space(raw, features, cut, spec)
        fitted.save(folder)
        corrected = fitted.apply(raw)
        np.save(folder / "features.npy", corrected.values)  # over what an attempt that was cut off may have left
        corrected.save(folder)
        notes = {"n": len(raw), "d": raw.values.shape[1]}
        knn = split_for_knn(cut)
        if knn is None:
            return notes
        answers = knn.answers(features.values[knn.memory], features.values[knn.queries])
        answers.to_csv(folder / KNN, index=False)
        known = {name: None if math.isnan(value) else value for name, value in knn_scores(answers).items()}
        return {**notes, **known, "knn_memory": len(knn.memory), "knn_queries": len(knn.queries)}

    parameters = {**space_parameters(cut, spec), "ids": digest(ids)}
    note = cache.make("space", backbone, parameters, [parent], make)
    folder = Path(note.folder)
    return Space.open(folder), Features.open(folder), note


def prepare_truth(cache: Cache, spaced: StageNote, corrected: Features, timed: Asked, queries: QuerySpec) -> Hits:
    """Exact neighbours of the timed queries in the artifact of a space, their own tiles dropped, deeper than k."""
    n = len(corrected)
    depth = truth_depth(n, queries, has_own=bool((timed.rows >= 0).any()))

    def make(folder: Path) -> Mapping[str, Any]:
        nearest = None
        if cache.cluster is not IN_PROCESS:
            nearest = functools.partial(nearest_rows_by, cache.cluster, Path(spaced.folder) / "features.npy", folder)
        truth = exact_neighbours(corrected, timed, depth, nearest)
        clear_shards(folder)  # also those of an attempt by other means
        truth.save(folder)
        notes = {"q": len(timed), "depth": depth, "n": n, **cache.shared}
        if timed.neighbours is None:
            return notes
        file_k = min(queries.k, timed.neighbours.shape[1])
        recall = recall_of_file(timed.neighbours, corrected, timed.corrected, truth, file_k)
        return {**notes, "file_k": file_k, "file_recall": float(recall.mean())}

    parameters = {"count": queries.count, "k": queries.k, "seed": queries.seed, "rows": digest(timed.rows)}
    if timed.ids is not None and (timed.rows < 0).all():  # held-out tiles, which rows do not tell apart
        parameters["ids"] = digest(timed.ids)
    note = cache.make("truth", spaced.backbone, parameters, [spaced.key], make)
    return Hits.open(Path(note.folder))


def truth_depth(n: int, queries: QuerySpec, *, has_own: bool) -> int:
    """Neighbours that the truth keeps of each query among n vectors; one that is indexed is not its own neighbour."""
    return min(n - has_own, queries.k + max(_SPARE_TRUTH, queries.k // 10))


def digest(numbers: np.ndarray) -> str:
    """SHA-256 of an array's values: which tiles train, or are searched, is part of what an artifact is made of."""
    return hashlib.sha256(np.ascontiguousarray(numbers, np.int64).tobytes()).hexdigest()
