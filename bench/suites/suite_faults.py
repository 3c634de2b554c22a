"""What does not go together in a suite: sections with each other, and with the size of the corpus.

Most of it is told before anything runs, from headers and shapes alone; `corpus_faults` is asked once more with what
tiling has found, before anything is trained.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from bench.pace.work import EXTRACT, TILES, TRAIN
from bench.suites.describing_faults import describing_faults
from bench.suites.part_counts import count_distractors, count_held_out
from bench.suites.suite import (
    AS_PUBLISHED,
    LANDMARKS,
    SCENE,
    SYNTHETIC,
    VECTORS,
    BackboneEntry,
    Suite,
    ThroughputSpec,
    takes,
)
from bench.suites.system_faults import system_faults
from ris_core.backbone import COLOUR, RANDOM, build_backbone, refuse_tiles
from ris_core.errors import CheckpointError, CorpusError, RasterError, SuiteError
from ris_core.regions.boxes import BoxFile
from ris_core.regions.params import OBJECTS, BoxParams
from ris_core.rerank import RERANKERS
from ris_core.rerank.contract import LOCAL, PIXELS
from ris_core.tiles import count_cells
from ris_core.training.dino_training import refuse_crops
from ris_core.training.recipe import DinoRecipe
from ris_core.weights import read_weights

_TYPICAL_WIDTH = 192


def joint_faults(suite: Suite, known: Sequence[str]) -> list[str]:
    """Faults between sections, before any pixel is read; a key that is at fault already is not named again."""
    found: list[str] = []
    widths = feature_widths(suite, found)
    corpus = f"{suite.path}: [corpus] "
    corpus_is_known = all(f.startswith(f"{corpus}has unknown key") for f in known if f.startswith(corpus))
    most = most_tiles(suite, found) if corpus_is_known else None
    if most is not None:
        held_out = _held_out_tiles(suite, found)
        distractors = 0 if suite.corpus.is_vectors else count_distractors(suite.corpus)  # they were listed for `most`
        indexed, trained = split_sizes(most - (held_out or 0) - distractors, suite.corpus.train_frac)
        indexed += distractors
        found.extend(corpus_faults(suite, indexed, trained, widths, held_out))
    found.extend(_idle_backbones(suite))
    found.extend(f"{suite.path}: {fault}" for fault in system_faults(suite))
    told = {_place(fault) for fault in known}
    return [fault for fault in found if _place(fault) not in told]


def _idle_backbones(suite: Suite) -> Iterator[str]:
    """Backbones that no engine takes, in a suite that measures searches alone."""
    if not suite.engines or suite.throughput is not None:
        return
    for table, entry in {entry.table: entry for entry in suite.backbones}.items():
        if not any(takes(grid.backbones, entry) for grid in suite.engines):
            where = f"{suite.path}: [backbone.{table}]"
            yield f"{where} is taken by no engine. Name it in the backbones of one, or remove it."


def feature_widths(suite: Suite, faults: list[str]) -> dict[str, int]:
    """Dimensions of each backbone's features, from its shape alone: no weights are made or downloaded.

    Told on the way: whether a file's weights fit, and the network takes the corpus' tiles and the recipe's crops.

    Args:
        suite: The suite.
        faults: An architecture that timm refuses, weights that do not fit and tiles that do not are appended here.
    """
    if suite.corpus.is_vectors:
        vectors = vector_facts(suite, faults)
        return {} if vectors is None else {entry.name: vectors.d for entry in suite.backbones}
    widths = {}
    for entry in suite.backbones:
        try:
            with torch.device("meta"):
                backbone = build_backbone(dataclasses.replace(entry.spec, weights=RANDOM))
            widths[entry.name] = backbone.d
            if Path(entry.spec.weights).is_file():
                read_weights(backbone, Path(entry.spec.weights), to_train=entry.recipe is not None)
            refuse_tiles(entry.spec, suite.corpus.stored_px or suite.corpus.tile_px)
            if isinstance(entry.recipe, DinoRecipe):
                refuse_crops(entry.spec, entry.recipe, suite.corpus.stored_px or suite.corpus.tile_px)
        except (CheckpointError, CorpusError, SuiteError) as error:
            faults.append(f"{suite.path}: [backbone.{entry.name}] {error}")
    return widths


@dataclasses.dataclass(frozen=True)
class VectorFacts:
    """How many vectors there are, of how many dimensions, and how many queries are held out; None: none are."""

    n: int
    d: int
    held_out: int | None


def vector_facts(suite: Suite, faults: list[str]) -> VectorFacts | None:
    """Facts of the suite's vectors; None where their file cannot be opened, or where its corpus is imagery."""
    if suite.corpus.source == SYNTHETIC:
        law = suite.corpus.synthetic
        return VectorFacts(law.n, law.d, law.queries)
    paths = [Path(suite.corpus.source), *filter(None, (suite.corpus.queries,))]
    if not suite.corpus.is_vectors or not all(path.exists() for path in paths):  # `CorpusSpec.faults` tells it
        return None
    try:
        vectors = suite.corpus.vectors()
        return VectorFacts(vectors.n, vectors.d, None if vectors.queries is None else len(vectors.queries))
    except CorpusError as error:
        faults.append(f"{suite.path}: [corpus] {error}")
        return None


def most_tiles(suite: Suite, faults: list[str]) -> int | None:
    """The largest number of tiles that the corpus can give, from headers alone; None where it cannot be opened."""
    corpus = suite.corpus
    where = f"{suite.path}: [corpus]"
    spec = corpus.tile_spec()
    if corpus.is_vectors:
        vectors = vector_facts(suite, [])  # `feature_widths` told its faults
        if vectors is None:
            return None
        cells = vectors.n
    elif corpus.source == LANDMARKS:
        cells = (corpus.scene_px // corpus.tile_px) ** 2
    elif corpus.source == SCENE:
        stride_px = corpus.stride_px or corpus.tile_px
        cells = ((corpus.scene_px - corpus.tile_px) // stride_px + 1) ** 2 * (2 if corpus.half_offset else 1)
    else:
        try:
            cells = count_cells(Path(corpus.source), spec)
        except (CorpusError, RasterError) as error:
            faults.append(f"{where} {error}")
            return None
    if corpus.sample is not None and corpus.sample > cells:
        things = "vectors" if corpus.is_vectors else f"tiles of {corpus.tile_px} px"
        faults.append(f"{where} sample = {corpus.sample}; the corpus gives at most {cells} {things}.")
    elif max(corpus.sizes, default=0) > (corpus.sample or cells):
        most = f"at most {corpus.sample or cells} vectors"
        faults.append(f"{where} sizes = {list(corpus.sizes)}; the corpus gives {most}. Lower or leave out larger ones.")
    return cells if corpus.sample is None else min(cells, corpus.sample)


def _held_out_tiles(suite: Suite, faults: list[str]) -> int | None:
    """How many tiles are queries alone; None where none is, or where a sample leaves it to chance."""
    try:
        return None if suite.corpus.is_vectors else count_held_out(suite.corpus)
    except CorpusError as error:
        faults.append(f"{suite.path}: [corpus] {error}")
        return None


def split_sizes(n: int, train_frac: float) -> tuple[int, int]:
    """Numbers of indexed and of training tiles; both are n where ``train_frac`` is 0."""
    trained = round(n * train_frac)
    return (n - trained, trained) if train_frac else (n, n)


def corpus_faults(
    suite: Suite, indexed: int, trained: int, widths: dict[str, int], asked: int | None = None
) -> list[str]:
    """What is impossible about a suite for a corpus of this size.

    Args:
        suite: The suite.
        indexed: Tiles that are indexed and queried; of several sizes of a corpus the largest.
        trained: Tiles that train.
        widths: Dimensions of the features of each backbone, where known.
        asked: Tiles that are held out as queries; None: indexed tiles are.
    """
    where = str(suite.path)
    sizes = sorted(suite.corpus.sizes) or [indexed]
    vectors = vector_facts(suite, [])
    held_out = asked if vectors is None else vectors.held_out
    faults = []
    if suite.throughput is not None:
        most = indexed + (trained if suite.corpus.train_frac else 0)
        faults = [f"{where}: [throughput] {fault}" for fault in _throughput_faults(suite, suite.throughput, most)]
    if not suite.engines:
        return faults  # nothing is searched, and nothing trained for it
    faults += [f"{where}: [queries] {fault}" for fault in _query_faults(suite, sizes[0], held_out)]
    for entry in suite.backbones:
        if entry.recipe is not None and trained < entry.recipe.batch:
            faults.append(
                f"{where}: [backbone.{entry.name}] train batch = {entry.recipe.batch}, but only {trained} tiles train. "
                "Lower batch, or train on more tiles."
            )
    grids = [(f"engine.{grid.name}", grid.backbones, (*grid.builds, *grid.queries)) for grid in suite.engines]
    grids += [(f"rerank.{grid.name}", grid.backbones, grid.points) for grid in suite.reranks]
    grids += [(f"regions.{grid.name}", grid.backbones, grid.points) for grid in suite.regions]
    for table, backbones, points in grids:
        taken = [entry for entry in suite.backbones if takes(backbones, entry)]
        wide = sorted({_width(entry, widths.get(entry.name)) for entry in taken}) or [_TYPICAL_WIDTH]
        for d, point, n in itertools.product(wide, points, sizes):
            faults.extend(f"{where}: [{table}] {fault}" for fault in point.params.faults(n, d))
    faults += [f"{where}: {fault}" for fault in _rerank_faults(suite)]
    faults += [f"{where}: {fault}" for fault in _region_faults(suite)]
    for entry in suite.backbones:
        faults += [f"{where}: {fault}" for fault in _space_faults(suite, entry, widths.get(entry.name))]
        faults += [f"{where}: {fault}" for fault in describing_faults(suite, entry)]
    return list(dict.fromkeys(faults))


def _rerank_faults(suite: Suite) -> Iterator[str]:
    """Re-rankers that the corpus does not serve: they are scored by judgments, and some look at pictures."""
    if suite.reranks and suite.corpus.sizes:
        yield "[rerank] needs judged queries, and nothing is judged in several sizes. Remove it, or corpus.sizes."
    for grid in suite.reranks:
        if suite.corpus.is_vectors and PIXELS in RERANKERS[grid.kind].needs:
            yield f"[rerank.{grid.name}] kind = {grid.kind!r} looks at pictures; vectors have none. Remove it."
        taken = [entry for entry in suite.backbones if takes(grid.backbones, entry)]
        flat = [entry.name for entry in taken if entry.spec.model in (COLOUR, VECTORS)]
        if flat and LOCAL in RERANKERS[grid.kind].needs:
            yield (
                f"[rerank.{grid.name}] kind = {grid.kind!r} needs a network's map, which {', '.join(flat)} has not. "
                "Name other backbones in its key backbones, or remove it."
            )


def _region_faults(suite: Suite) -> Iterator[str]:
    """Regions of what has no pictures, and boxes that cannot be read."""
    if suite.regions and suite.corpus.is_vectors:
        yield "[regions] are cut from pictures; vectors have none. Remove it."
        return
    points = [(grid.name, point.params) for grid in suite.regions for point in grid.points]
    boxes = {params.boxes: name for name, params in points if isinstance(params, BoxParams)}
    if OBJECTS in boxes and suite.corpus.source != SCENE and suite.corpus.classes is None:
        yield f"[regions] boxes = '{OBJECTS}' needs land cover. Name it as corpus.classes, or name a file of boxes."
    for path, name in boxes.items():
        try:
            if path != OBJECTS and path.is_file():  # `BoxParams.faults` tells of one that is not there
                BoxFile.read(path)
        except CorpusError as error:
            yield f"[regions.{name}] {error}"


def _space_faults(suite: Suite, entry: BackboneEntry, width: int | None) -> Iterator[str]:
    """A whitening that does not fit a backbone's features, or its raw queries; no fault while the width is unknown."""
    whiten = entry.space.whiten
    table = "space" if entry.space == suite.space else f"backbone.{entry.table}.space"
    if whiten is None or width is None:
        return
    if whiten > width:
        yield f"[{table}] whiten = {whiten}; {entry.name} has only {width} dimensions."
    elif whiten != width and AS_PUBLISHED in suite.queries.space:
        yield (
            f"[queries] space = {AS_PUBLISHED!r}: raw queries of {entry.name} have {width} dimensions, "
            f"the index {whiten}. Leave it out, or set [{table}] whiten = {width}."
        )


def _throughput_faults(suite: Suite, spec: ThroughputSpec, most: int) -> Iterator[str]:
    """What is impossible about ``[throughput]`` for a corpus of at most so many tiles."""
    recipes = [entry.recipe for entry in suite.backbones if isinstance(entry.recipe, DinoRecipe)]
    if TRAIN in spec.stages and not recipes:
        yield (
            f"stages = {list(spec.stages)}, but no backbone is trained by method = 'dino', which is what is timed. "
            "Give one such a train table, or leave out 'train'."
        )
    needed = max((recipe.batch * spec.steps for recipe in recipes), default=0)
    if TRAIN in spec.stages and needed > most:
        yield f"steps = {spec.steps}: a round of training takes {needed} tiles, the corpus gives {most}. Lower it."
    if EXTRACT in spec.stages and spec.tiles > most:
        yield f"tiles = {spec.tiles}: the corpus gives {most}. Lower it."
    source = Path(suite.corpus.source)
    if TILES in spec.stages and suite.corpus.source != SCENE and (source.is_dir() or source.suffix == ".zip"):
        yield f"stages = {list(spec.stages)}: the published way cuts one raster, not {source}. Leave out 'tiles'."
    if TILES in spec.stages and suite.corpus.stored_px not in (None, suite.corpus.tile_px):
        yield "stages: the published way stores tiles as they are. Leave out 'tiles', or corpus.stored_px."


def _query_faults(suite: Suite, indexed: int, held_out: int | None) -> Iterator[str]:
    """What is impossible about ``[queries]``; ``held_out`` of them are no tiles, None: all are."""
    queries = suite.queries
    thing, more = ("vector", "take more vectors") if suite.corpus.is_vectors else ("tile", "cut more or smaller tiles")
    own_too = held_out is None or suite.corpus.is_vectors  # judged vectors are indexed even where timed ones are not
    if queries.k > (most := indexed - own_too):
        own = f" and a {thing} is never its own neighbour" if held_out is None else ""
        yield (
            f"k = {queries.k}, but the index holds {indexed} {thing}s{own}; k must be at most {most}. "
            f"Lower k, or {more}."
        )
    if held_out is None and queries.count > indexed:
        yield f"count = {queries.count}; the index holds only {indexed} {thing}s."
    if held_out is not None and queries.count > held_out:
        yield f"count = {queries.count}; only {held_out} queries are held out. Lower count to {held_out}."


def _width(entry: BackboneEntry, d: int | None) -> int:
    """Dimensions that engines see; ViT-Tiny's where the backbone's are unknown, for hardly any fault rests on them."""
    d = _TYPICAL_WIDTH if d is None else d
    return d if entry.space.whiten is None else min(d, entry.space.whiten)


def _place(fault: str) -> str:
    """File, table and key of a fault: what stands before its value."""
    return fault.partition(" = ")[0]
