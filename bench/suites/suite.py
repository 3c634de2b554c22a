"""The suite as records: what one suite file says, every default resolved, nothing impossible left.

The dataclasses are the schema of the TOML tables; `suite_file` reads them, `suite_faults` says what does not go
together. Long because each key is explained here and nowhere else.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

from bench.judging.judge import JudgeSpec
from bench.suites.system_spec import SystemSpec
from fixtures.vectors import SyntheticVectors
from ris_core.backbone import BackboneSpec
from ris_core.device import device_faults
from ris_core.engines import ENGINES
from ris_core.feature_batches import DEFAULT_OPTIONS, ExtractOptions
from ris_core.tiling.tile_spec import TileSpec
from ris_core.tiling.virtual_path import is_virtual
from ris_core.training.label_recipe import LabelRecipe
from ris_core.training.recipe import DinoRecipe
from ris_core.vector_files import Vectors, is_vector_file, read_vectors

SCENE = "scene"  # the embedded corpus
LANDMARKS = "landmarks"  # pictures of it with a ground truth, as `fixtures.landmarks` makes them
SYNTHETIC = "synthetic"  # vectors of a stated intrinsic dimension
EMBEDDED = (SCENE, LANDMARKS, SYNTHETIC)  # sources that are no paths
VECTORS = "vectors"  # in place of a backbone's model: its features come from a file
FILE_KEYS = ("source", "queries", "sample", "seed", "labels", "sizes")  # of [corpus], where it is a file of vectors
SYNTHETIC_KEYS = ("source", "seed", "sizes", "synthetic")  # the same, where it is synthetic
SMALLEST_SCENE_PX = 512
CORRECTED: Final = "corrected"
AS_PUBLISHED: Final = "as_published"  # raw queries on a corrected index
SINGLE: Final = "single"
BATCH: Final = "batch"
LEARNED: Final = "learned"
SELF: Final = "self"
OVERLAP: Final = "overlap"
BLOCK: Final = "block"
ExclusionName = Literal["self", "overlap", "block"]
SpaceName = Literal["corrected", "as_published"]
Mode = Literal["single", "batch"]
StageName = Literal["tiles", "train", "extract"]  # of `bench.pace`, which lives up to them
WayName = Literal["ours", "published", "lightly"]


@dataclasses.dataclass(frozen=True)
class About:
    """``[suite]``: what a reader wants to know before he runs it."""

    title: str = ""
    purpose: str = ""
    source: str = ""
    hardware: str = ""
    duration: str = ""
    expected: str = ""


@dataclasses.dataclass(frozen=True)
class CorpusSpec:
    """``[corpus]``: the images, how they are cut, and which part trains.

    Attributes:
        source: ``"scene"``, or ``"landmarks"``: pictures of the scene of ``tile_px``, with a ground truth; or the path
            of a GeoTIFF, a folder of them, an image folder or a zip of one; or of a file of vectors (see
            `ris_core.vector_files`), which are neither cut nor described; or ``"synthetic"``: vectors made by the law
            ``synthetic``. A relative path is looked for in the working directory, then beside the suite file.
        queries: Held-out queries, which neither train nor are indexed. Of images: the name of the folder, at any depth,
            below which they lie, such as ``test``; None: the indexed tiles are queries themselves. For a file of
            vectors: another such file; None: those that it brings or that lie beside it.
        scene_px: Side of the embedded scene.
        scene_seed: Seed of the embedded scene.
        tile_px: See `ris_core.tiles.TileSpec`, as all keys down to ``percentiles``; paths are looked for
            beside the source first.
        stride_px: See ``tile_px``.
        half_offset: See ``tile_px``.
        stored_px: See ``tile_px``.
        min_coverage: See ``tile_px``.
        sample: See ``tile_px``.
        seed: Of the sample and of the split.
        bands: See ``tile_px``.
        percentiles: See ``tile_px``.
        labels: See ``tile_px``; of a file of vectors a CSV with the column ``label``, one line a vector.
        classes: See ``tile_px``; the scene brings its own.
        ground_truth: Of images: which of them are searched and which ask, by which box, and what is right for each: a
            file as the revisited Oxford and Paris benchmarks have it, see `ris_core.tiling.ground_truth`.
        distractors: Beside images: shards of further ones that are searched and never right, tar or zip files or
            folders, by path or pattern such as ``shards/*.tar``; see `ris_core.tiling.image_shards`.
        sizes: Of vectors: index so many of them, each number in the place of a backbone; smaller ones are parts of
            larger ones, and all are asked by the same queries. Empty: index all. What varies with the size is no
            precision, so nothing is judged then.
        synthetic: The law of synthetic vectors.
        train_frac: 0: train on all tiles and search all of them. Else the share of the tiles, drawn by seed, that
            trains; the others are indexed and queried, so no tile is in both halves.
        split_block_px: Side of the square blocks of ground, in pixels of the raster, that fall into one half as a
            whole, so that near tiles are not torn apart; None: single tiles are drawn.
    """

    source: str = SCENE
    queries: Path | None = None
    scene_px: int = 8192
    scene_seed: int = 0
    tile_px: int = 512
    stride_px: int | None = None
    half_offset: bool = False
    stored_px: int | None = None
    min_coverage: float = 0.9
    sample: int | None = None
    seed: int = 0
    bands: tuple[int, int, int] = (1, 2, 3)
    percentiles: tuple[float, float] = (2.0, 98.0)
    labels: Path | None = None
    classes: Path | None = None
    ground_truth: Path | None = None
    distractors: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()
    synthetic: SyntheticVectors = dataclasses.field(default_factory=SyntheticVectors)
    train_frac: float = 0.0
    split_block_px: int | None = None

    def faults(self) -> list[str]:
        """What is impossible before any pixel is read."""
        faults = [f"{fault}." for fault in self.tile_spec().faults()]
        if not 0 <= self.train_frac < 1:
            faults.append(f"train_frac = {self.train_frac}; it must be in [0, 1): 0 trains on and searches all tiles.")
        if self.split_block_px is not None and self.split_block_px < self.tile_px:
            faults.append(
                f"split_block_px = {self.split_block_px}; a block must hold a tile, tile_px = {self.tile_px}."
            )
        if self.source in (SCENE, LANDMARKS) and self.scene_px < SMALLEST_SCENE_PX:
            faults.append(f"scene_px = {self.scene_px}; it must be at least {SMALLEST_SCENE_PX}.")
        if self.source in (SCENE, LANDMARKS) and self.scene_px < self.tile_px:
            faults.append(f"tile_px = {self.tile_px} is larger than the scene, scene_px = {self.scene_px}.")
        return faults + self._size_faults() + self._folder_faults() + self._path_faults()

    def _size_faults(self) -> list[str]:
        """Sizes below one, given twice, or of what is no vectors."""
        faults = []
        if self.sizes and not self.is_vectors:
            faults.append(
                f"sizes = {list(self.sizes)}; only vectors are indexed in several sizes. Remove the key, or run on the "
                "features of the tiles: corpus.source=features.npy."
            )
        if any(size < 1 for size in self.sizes):
            faults.append(f"sizes = {list(self.sizes)}; each must be at least 1.")
        return faults + (_choice_faults("sizes", self.sizes) if self.sizes else [])

    def _folder_faults(self) -> list[str]:
        """Held-out queries and distractors where there is no folder of images that could have them."""
        faults, embedded = [], self.source in EMBEDDED
        if self.queries is not None and embedded:
            faults.append("queries belong to files of vectors and folders of images. Remove the key.")
        if self.distractors and embedded:
            faults.append("distractors belong to folders of images. Remove the key.")
        if self.ground_truth is not None and (embedded or self.is_vectors):
            faults.append("ground_truth belongs to folders of images. Remove the key.")
        if self.ground_truth is not None and self.queries is not None:
            faults.append("ground_truth names the queries, and so does queries. Remove one of the two.")
        return faults

    def _path_faults(self) -> list[str]:
        """Files and folders that are not there."""
        faults = []
        if self.source not in EMBEDDED and not is_virtual(self.source) and not Path(self.source).exists():
            embedded = " or ".join(map(repr, EMBEDDED))
            faults.append(f"source = {self.source!r} does not exist. Name a file or folder, or {embedded}.")
        for shard in self.distractors:
            if not Path(shard).exists():
                faults.append(
                    f"distractors: '{shard}' matches nothing, neither beside the source nor here. Name tar or zip "
                    "files, or folders."
                )
        for key in ("queries", "labels", "classes", "ground_truth"):
            path = getattr(self, key) if key != "queries" or self.is_vectors else None  # of images a folder's name
            if path is not None and not path.exists():
                faults.append(f"{key} = '{path}' does not exist, neither beside the source nor here. Name a file.")
        return faults

    @property
    def is_vectors(self) -> bool:
        """Whether it is a file of vectors, or synthetic ones."""
        return self.source == SYNTHETIC or is_vector_file(Path(self.source))

    def vectors(self) -> Vectors:
        """The file of vectors that it is; synthetic ones are no file until they are made.

        Raises:
            CorpusError: If it is none, or is damaged.
        """
        return read_vectors(Path(self.source), self.queries)

    def tile_spec(self) -> TileSpec:
        """The part of it that tiling reads."""
        return TileSpec(
            size_px=self.tile_px,
            stride_px=self.stride_px,
            half_offset=self.half_offset,
            stored_px=self.stored_px,
            min_coverage=self.min_coverage,
            sample=self.sample,
            seed=self.seed,
            bands=self.bands,
            percentiles=self.percentiles,
            labels=self.labels,
            classes=self.classes,
            ground_truth=self.ground_truth,
            distractors=tuple(Path(path) for path in self.distractors),
        )


@dataclasses.dataclass(frozen=True)
class SpaceSpec:
    """``[space]``, and ``[backbone.NAME.space]`` where one differs: see `ris_core.space.fit_space`.

    Attributes:
        center: See `fit_space`.
        normalize: See `fit_space`.
        whiten: Dimensions that a whitening leaves; None: ``"pca"`` does nothing, ``"learned"`` leaves all.
        whitening: ``"pca"``: fitted on the searched tiles. ``"learned"``: on the labels of the tiles that train, see
            `ris_core.learned_whitening`.
    """

    center: bool = True
    normalize: bool = True
    whiten: int | None = None
    whitening: Literal["pca", "learned"] = "pca"

    def faults(self) -> list[str]:
        """A whitening to fewer than one dimension, or without a centre."""
        faults = []
        if self.whiten is not None and self.whiten < 1:
            faults.append(f"whiten = {self.whiten}; it must be at least 1 dimension, or left out.")
        if self.whitening == LEARNED and not self.center:
            faults.append("whitening = 'learned' needs center = true: it turns vectors around their mean.")
        return faults


@dataclasses.dataclass(frozen=True)
class BackboneEntry:
    """``[backbone.NAME]``: one variant of a backbone, trained within the run or not.

    Attributes:
        name: Unique in its suite.
        spec: The network, or `VECTORS`.
        recipe: How it is trained; None: it is not.
        size: How many of the vectors are indexed, where a corpus has several sizes; None: all.
        like: The backbone whose keys it took over, of variants that of the same lists; empty: it is written out.
        extract: How its features are computed: ``[extract]``, the same for all.
        table: NAME, which all variants of one table share.
        space: ``[space]``, with the keys of its own table ``[backbone.NAME.space]`` put over it.
    """

    name: str
    spec: BackboneSpec
    recipe: DinoRecipe | LabelRecipe | None = None
    size: int | None = None
    like: str = ""
    extract: ExtractOptions = DEFAULT_OPTIONS
    table: str = ""
    space: SpaceSpec = dataclasses.field(default_factory=SpaceSpec)

    @property
    def method(self) -> str:
        """How it is trained, for people: ``DINO``, or the recipe's own method; empty where it is not."""
        return "" if self.recipe is None else getattr(self.recipe, "method", "DINO")


def takes(backbones: Sequence[str], entry: BackboneEntry) -> bool:
    """Whether a table of a suite that names the ``backbones`` that it is for is for this one; naming none means all."""
    return not backbones or entry.table in backbones


@dataclasses.dataclass(frozen=True)
class ParamSet:
    """One point of a grid: an engine's parameters, and the keys that the suite names, which make its label."""

    params: Any
    named: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """All parameters, defaults included."""
        return dataclasses.asdict(self.params)

    def label(self) -> str:
        """The named values, such as ``cross_polytope-tables10-hash_bits12``; empty where none is named."""
        parts = []
        for key in self.named:
            value = getattr(self.params, key)
            if isinstance(value, bool):
                parts.append(key if value else f"no_{key}")
            else:
                parts.append(value if isinstance(value, str) else f"{key}{_short(value)}")
        return "-".join(parts).replace(" ", "_")


def _short(value: object) -> str:
    """A value within an id: ``0.5_0.25`` of several, a file's name without folder and ending."""
    if isinstance(value, tuple):
        return "_".join(map(str, value))
    return value.stem if isinstance(value, Path) else str(value)


@dataclasses.dataclass(frozen=True)
class EngineGrid:
    """``[engine.NAME]``: an engine kind, its builds, and the query parameters that each build is asked with.

    Attributes:
        name: Unique in its suite.
        kind: Key of `ris_core.engines.ENGINES`.
        builds: The grid of build parameters.
        queries: The grid of query parameters.
        backbones: Tables of backbones whose features it indexes; none named: all, see `takes`.
    """

    name: str
    kind: str
    builds: tuple[ParamSet, ...]
    queries: tuple[ParamSet, ...]
    backbones: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class RerankGrid:
    """``[rerank.NAME]``: a kind of re-ranker, and the parameters that the answers of every index are re-ranked with.

    Attributes:
        name: Unique in its suite.
        kind: Key of `ris_core.rerank.RERANKERS`.
        points: The grid of its parameters.
        backbones: Tables of backbones whose indexes it re-ranks; none named: all, see `takes`.
    """

    name: str
    kind: str
    points: tuple[ParamSet, ...]
    backbones: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class RegionGrid:
    """``[regions.NAME]``: regions by which every judged query is asked, besides its whole picture.

    Attributes:
        name: Unique in its suite; ``whole`` is the whole picture alone, which is measured in any case.
        source: Key of `ris_core.regions.params.SOURCES`.
        points: The grid of its parameters.
        backbones: Tables of backbones that describe them; none named: all, see `takes`.
    """

    name: str
    source: str
    points: tuple[ParamSet, ...]
    backbones: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class QuerySpec:
    """``[queries]``: the timed queries, drawn by seed among the indexed tiles, and their k.

    Attributes:
        count: Timed queries.
        k: Neighbours, the query tile itself not counted.
        seed: Of the draw.
        space: ``"corrected"``: queries go through the index' space. ``"as_published"``: they go in raw, as the
            thesis' code did; recall is still against the corrected truth.
        exclude: Which tiles are no answers besides the query's own. ``"self"``: none. ``"overlap"``: those that
            overlap it on the ground. ``"block"``: those of its own square block of ``block_px``. Each
            one is scored, so that both numbers stand side by side; only ``"self"`` is timed.
        block_px: Side of a block, in pixels of the raster.
    """

    count: int = 500
    k: int = 100
    seed: int = 0
    space: tuple[SpaceName, ...] = (CORRECTED,)
    exclude: tuple[ExclusionName, ...] = (SELF,)
    block_px: int = 2048

    def faults(self) -> list[str]:
        """Numbers below one, spaces and exclusions given twice or not at all."""
        least = ("count", "k", "block_px")
        faults = [f"{key} = {v}; it must be at least 1." for key in least if (v := getattr(self, key)) < 1]
        return faults + _choice_faults("space", self.space) + _choice_faults("exclude", self.exclude)


@dataclasses.dataclass(frozen=True)
class MeasureSpec:
    """``[measure]``: what the clock does.

    Attributes:
        processes: Fresh processes that measure each cell anew, one in each pass over the whole suite.
        rounds: In each process, builds of an index, and passes over all queries in batch mode. In single mode every
            query is timed once in each process.
        slow_build_s: A first build that takes longer than this is slow: it counts, no warm-up comes before, it is timed
            ``slow_rounds`` times in one process alone, and that process then answers all query cells of the index.
        slow_rounds: Rounds of slow builds.
        warmup: Untimed rounds before the timed ones (in single mode: queries).
        timeout_s: A cell that has taken longer in one of its processes is given up, and is a failed row.
        threads: Threads of the engine, BLAS and OpenMP; each number makes its own cells.
        modes: ``"single"``: one query a call. ``"batch"``: all queries in one call.
    """

    processes: int = 3
    rounds: int = 5
    slow_build_s: float = 10.0
    slow_rounds: int = 1
    warmup: int = 1
    timeout_s: float = 3600.0
    threads: tuple[int, ...] = (1,)
    modes: tuple[Mode, ...] = (SINGLE, BATCH)

    def faults(self) -> list[str]:
        """Numbers below one, lists empty or with doubles."""
        least = ("processes", "rounds", "slow_rounds")
        faults = [f"{key} = {v}; it must be at least 1." for key in least if (v := getattr(self, key)) < 1]
        if self.timeout_s <= 0:
            faults.append(f"timeout_s = {self.timeout_s:g}; it must be above 0.")
        if self.warmup < 0:
            faults.append(f"warmup = {self.warmup}; it must be at least 0.")
        if any(threads < 1 for threads in self.threads):
            faults.append(f"threads = {list(self.threads)}; each must be at least 1.")
        return faults + _choice_faults("threads", self.threads) + _choice_faults("modes", self.modes)


@dataclasses.dataclass(frozen=True)
class ThroughputSpec:
    """``[throughput]``: the rates of stages by several ways, which take turns; the clock is that of ``[measure]``.

    Attributes:
        stages: ``"tiles"``: the corpus is cut. ``"train"``: a DINO training, of each backbone that has a recipe.
            ``"extract"``: features, of each backbone.
        ways: ``"ours"``; ``"published"``: what the thesis' code does; ``"lightly"``: its DINO, which trains alone.
        steps: Steps of a round of training, with the recipe's batch.
        tiles: Tiles of a round of extraction.
        batch: Tiles of one pass of the extraction.
        workers: Processes that load images for other ways than ours where a GPU computes. On a CPU, from whose cores
            they would take away, the process loads them itself.
        device: ``"auto"`` (CUDA where it is there), ``"cpu"`` or ``"cuda"``.
    """

    stages: tuple[StageName, ...] = ("tiles", "train", "extract")
    ways: tuple[WayName, ...] = ("ours", "published", "lightly")
    steps: int = 1
    tiles: int = 64
    batch: int = 64
    workers: int = 10
    device: str = "auto"

    def faults(self) -> list[str]:
        """Numbers below one, lists empty or with doubles, a device that is not there."""
        least = ("steps", "tiles", "batch")
        faults = [f"{key} = {v}; it must be at least 1." for key in least if (v := getattr(self, key)) < 1]
        if self.workers < 0:
            faults.append(f"workers = {self.workers}; it must be at least 0.")
        faults += _choice_faults("stages", self.stages) + _choice_faults("ways", self.ways)
        return faults + device_faults(self.device, "auto", None)


@dataclasses.dataclass(frozen=True)
class Suite:
    """One suite: what to compare, on which corpus, measured how.

    Attributes:
        name: The file's stem.
        path: The file.
        text: The file as it was read.
        overrides: The ``--set`` arguments that were applied to it.
        about: ``[suite]``.
        corpus: ``[corpus]``.
        backbones: ``[backbone.*]``, lists expanded to variants; of a file of vectors one that bears its name.
        engines: ``[engine.*]``, lists expanded to grids.
        space: ``[space]``, which each backbone's own is made of; who works on a backbone's features takes that one.
        queries: ``[queries]``.
        judge: ``[judge]``.
        measure: ``[measure]``.
        throughput: ``[throughput]``, if it has one; it needs no engines then.
        reranks: ``[rerank.*]``, if it has any, lists expanded to grids.
        regions: ``[regions.*]``, if it has any, lists expanded to grids.
        systems: ``[system.*]``, if it has any.
        unused: Sections and keys that the file has and its corpus has no use for; they were left out.
    """

    name: str
    path: Path
    text: str
    overrides: tuple[str, ...]
    about: About
    corpus: CorpusSpec
    backbones: tuple[BackboneEntry, ...]
    engines: tuple[EngineGrid, ...]
    space: SpaceSpec
    queries: QuerySpec
    judge: JudgeSpec
    measure: MeasureSpec
    throughput: ThroughputSpec | None = None
    reranks: tuple[RerankGrid, ...] = ()
    regions: tuple[RegionGrid, ...] = ()
    systems: tuple[SystemSpec, ...] = ()
    unused: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The suite as resolved, for ``run.json``; two runs with equal ones measure the same cells.

        Choices of single tables stand there only where they were made, so that older runs remain comparable.
        """
        parts = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        for key in ("path", "text", "overrides", "unused"):
            del parts[key]
        plain = {key: _plain(value) for key, value in parts.items()}
        for entry, backbone in zip(plain["backbones"], self.backbones, strict=True):
            del entry["table"]
            entry["spec"] = _plain(backbone.spec.named())
            if entry["space"] == plain["space"]:
                del entry["space"]
        for grid in (*plain["engines"], *plain["reranks"], *plain["regions"]):
            if not grid["backbones"]:
                del grid["backbones"]
        for section in ("reranks", "regions", "systems"):
            if not plain[section]:
                del plain[section]
        for space in (plain["space"], *(entry["space"] for entry in plain["backbones"] if "space" in entry)):
            if space["whitening"] != LEARNED:
                del space["whitening"]
        return dict(json.loads(json.dumps(plain, default=str)))

    def backbone(self, name: str) -> BackboneEntry:
        """The variant of that name."""
        return next(entry for entry in self.backbones if entry.name == name)


def _choice_faults(key: str, values: tuple[Any, ...]) -> list[str]:
    if not values:
        return [f"{key} is empty; name at least one."]
    return [f"{key} = {list(values)} names one twice."] if len(set(values)) < len(values) else []


def _plain(value: Any) -> Any:
    """Dataclasses and tuples of them as dicts and lists; Path and Mapping become JSON-able."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


def engine_kinds() -> tuple[str, ...]:
    """Names of the engines that a suite may ask for."""
    return tuple(sorted(ENGINES))
