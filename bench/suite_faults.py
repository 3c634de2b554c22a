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
from bench.suite import AS_PUBLISHED, SCENE, SYNTHETIC, Suite, ThroughputSpec
from ris_core.backbone import RANDOM, build_backbone, refuse_tiles
from ris_core.errors import CheckpointError, CorpusError, RasterError, SuiteError
from ris_core.tiles import count_cells
from ris_core.train import refuse_crops
from ris_core.weights import read_weights

_TYPICAL_WIDTH = 192


def joint_faults(suite: Suite, known: Sequence[str]) -> list[str]:
    """Faults between sections, before any pixel is read; a key that is at fault already is not named again."""
    found: list[str] = []
    widths = feature_widths(suite, found)
    corpus = f"{suite.path}: [corpus] "
    corpus_is_known = all(f.startswith(f"{corpus}has unknown key") for f in known if f.startswith(corpus))
    most = _most_tiles(suite, found) if corpus_is_known else None
    if most is not None:
        indexed, trained = split_sizes(most, suite.corpus.train_frac)
        found.extend(corpus_faults(suite, indexed, trained, widths))
    told = {_place(fault) for fault in known}
    return [fault for fault in found if _place(fault) not in told]


def feature_widths(suite: Suite, faults: list[str]) -> dict[str, int]:
    """Dimensions of each backbone's features, from its shape alone: no weights are made or downloaded.

    Told on the way: whether a file's weights fit, and the network takes the corpus' tiles and the recipe's crops.

    Args:
        suite: The suite.
        faults: An architecture that timm refuses, weights that do not fit and tiles that do not are appended here.
    """
    if suite.corpus.is_vectors:
        vectors = _vectors(suite, faults)
        return {} if vectors is None else {entry.name: vectors.d for entry in suite.backbones}
    widths = {}
    for entry in suite.backbones:
        try:
            with torch.device("meta"):
                backbone = build_backbone(dataclasses.replace(entry.spec, weights=RANDOM))
            widths[entry.name] = backbone.d
            if Path(entry.spec.weights).is_file():
                read_weights(backbone, Path(entry.spec.weights))
            refuse_tiles(entry.spec, suite.corpus.stored_px or suite.corpus.tile_px)
            if entry.recipe is not None:
                refuse_crops(entry.spec, entry.recipe, suite.corpus.stored_px or suite.corpus.tile_px)
        except (CheckpointError, CorpusError, SuiteError) as error:
            faults.append(f"{suite.path}: [backbone.{entry.name}] {error}")
    return widths


@dataclasses.dataclass(frozen=True)
class _VectorFacts:
    """How many vectors there are, of how many dimensions, and how many queries are held out; None: none are."""

    n: int
    d: int
    held_out: int | None


def _vectors(suite: Suite, faults: list[str]) -> _VectorFacts | None:
    """Facts of the suite's vectors; None where their file cannot be opened, or where its corpus is imagery."""
    if suite.corpus.source == SYNTHETIC:
        law = suite.corpus.synthetic
        return _VectorFacts(law.n, law.d, law.queries)
    paths = [Path(suite.corpus.source), *filter(None, (suite.corpus.queries,))]
    if not suite.corpus.is_vectors or not all(path.exists() for path in paths):  # `CorpusSpec.faults` tells it
        return None
    try:
        vectors = suite.corpus.vectors()
        return _VectorFacts(vectors.n, vectors.d, None if vectors.queries is None else len(vectors.queries))
    except CorpusError as error:
        faults.append(f"{suite.path}: [corpus] {error}")
        return None


def _most_tiles(suite: Suite, faults: list[str]) -> int | None:
    """The largest number of tiles that the corpus can give, from headers alone; None where it cannot be opened."""
    corpus = suite.corpus
    where = f"{suite.path}: [corpus]"
    spec = corpus.tile_spec()
    if corpus.is_vectors:
        vectors = _vectors(suite, [])  # `feature_widths` told its faults
        if vectors is None:
            return None
        cells = vectors.n
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


def split_sizes(n: int, train_frac: float) -> tuple[int, int]:
    """Numbers of indexed and of training tiles; both are n where ``train_frac`` is 0."""
    trained = round(n * train_frac)
    return (n - trained, trained) if train_frac else (n, n)


def corpus_faults(suite: Suite, indexed: int, trained: int, widths: dict[str, int]) -> list[str]:
    """What is impossible about a suite for a corpus of this size.

    Args:
        suite: The suite.
        indexed: Tiles that are indexed and queried; of several sizes of a corpus the largest.
        trained: Tiles that train.
        widths: Dimensions of the features of each backbone, where known.
    """
    where = str(suite.path)
    sizes = sorted(suite.corpus.sizes) or [indexed]
    vectors = _vectors(suite, [])
    held_out = None if vectors is None else vectors.held_out
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
    for d in sorted({_width(suite, widths.get(entry.name)) for entry in suite.backbones} or {_width(suite, None)}):
        for grid in suite.engines:
            for point, n in itertools.product((*grid.builds, *grid.queries), sizes):
                faults.extend(f"{where}: [engine.{grid.name}] {fault}" for fault in point.params.faults(n, d))
    for entry in suite.backbones:
        width = widths.get(entry.name)
        if suite.space.whiten is not None and width is not None and suite.space.whiten > width:
            faults.append(f"{where}: [space] whiten = {suite.space.whiten}; {entry.name} has only {width} dimensions.")
        elif suite.space.whiten not in (None, width) and width is not None and AS_PUBLISHED in suite.queries.space:
            faults.append(
                f"{where}: [queries] space = {AS_PUBLISHED!r}: raw queries of {entry.name} have {width} dimensions, "
                f"the index {suite.space.whiten}. Leave it out, or set [space] whiten = {width}."
            )
    return list(dict.fromkeys(faults))


def _throughput_faults(suite: Suite, spec: ThroughputSpec, most: int) -> Iterator[str]:
    """What is impossible about ``[throughput]`` for a corpus of at most so many tiles."""
    recipes = [entry.recipe for entry in suite.backbones if entry.recipe is not None]
    if TRAIN in spec.stages and not recipes:
        yield f"stages = {list(spec.stages)}, but no backbone is trained. Give one a train table, or leave out 'train'."
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
    if queries.k >= indexed:  # judged queries are tiles of the index even where the timed ones are held out
        own = f" and a {thing} is never its own neighbour" if held_out is None else ""
        yield (
            f"k = {queries.k}, but the index holds {indexed} {thing}s{own}; k must be at most {indexed - 1}. "
            f"Lower k, or {more}."
        )
    if held_out is None and queries.count > indexed:
        yield f"count = {queries.count}; the index holds only {indexed} {thing}s."
    if held_out is not None and queries.count > held_out:
        yield f"count = {queries.count}; only {held_out} queries are held out. Lower count to {held_out}."


def _width(suite: Suite, d: int | None) -> int:
    """Dimensions that engines see; ViT-Tiny's where the backbone's are unknown, for hardly any fault rests on them."""
    d = _TYPICAL_WIDTH if d is None else d
    return d if suite.space.whiten is None else min(d, suite.space.whiten)


def _place(fault: str) -> str:
    """File, table and key of a fault: what stands before its value."""
    return fault.partition(" = ")[0]
