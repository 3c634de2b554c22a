"""Suite files: found by name, overridden by ``--set``, read into a `Suite` with every fault told at once."""

import contextlib
import dataclasses
import difflib
import functools
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from bench.judging.judge import JudgeSpec
from bench.suites.suite import (
    EMBEDDED,
    FILE_KEYS,
    LANDMARKS,
    SCENE,
    SELF,
    SYNTHETIC,
    SYNTHETIC_KEYS,
    VECTORS,
    About,
    BackboneEntry,
    CorpusSpec,
    MeasureSpec,
    QuerySpec,
    SpaceSpec,
    Suite,
    ThroughputSpec,
)
from bench.suites.suite_faults import joint_faults
from bench.suites.suite_grids import read_engine, read_regions, read_rerank, read_system
from bench.suites.suite_reading import SuiteReading
from bench.suites.toml_record import (
    apply_override,
    expand_grid,
    inherit,
    list_keys,
    parse_override,
    read_record,
    unknown_key,
)
from ris_core.backbone import BackboneSpec
from ris_core.errors import CorpusError, SuiteError
from ris_core.feature_batches import DEFAULT_OPTIONS, ExtractOptions
from ris_core.tiling.corpus import find_corpus
from ris_core.tiling.image_folder import ImageFolder
from ris_core.tiling.virtual_path import is_virtual
from ris_core.training.label_recipe import LABEL_RECIPES, LabelRecipe
from ris_core.training.recipe import DinoRecipe
from ris_core.vector_files import ANGULAR, EUCLIDEAN, is_vector_file

T = TypeVar("T")

SECTIONS = (
    *("suite", "corpus", "backbone", "engine", "space", "queries", "judge", "measure", "extract", "throughput"),
    "rerank",
    "regions",
    "system",
)
CHOOSING = ("engine", "rerank", "regions")  # whose tables may be for some backbones alone
TRAINING: dict[str, type[DinoRecipe | LabelRecipe]] = {"dino": DinoRecipe, **LABEL_RECIPES}
_METRIC_SPACES = {ANGULAR: {"center": False, "normalize": True}, EUCLIDEAN: {"normalize": False}}
UNLABELLED = (
    "the tiles have no labels to train with. Name a CSV of labels (corpus.labels) or a land-cover raster "
    "(corpus.classes), take an image folder with one subfolder a class, or train by method = 'dino'."
)
_HERE = Path(__file__).parent


def suite_folders() -> tuple[Path, ...]:
    """Where a bare suite name is looked for: here, in the checkout, in the installed package."""
    return (Path("suites"), _HERE.parent.parent / "suites", _HERE)


def find_suite(name: str) -> Path:
    """The suite file of a path or a bare name.

    Raises:
        SuiteError: If there is none; the known names stand in the message.
    """
    given = Path(name)
    candidates = [given, *(folder / f"{name}.toml" for folder in suite_folders())]
    for path in candidates:
        if path.is_file():
            return path
    known = sorted({path.stem for folder in suite_folders() for path in folder.glob("*.toml")})
    near = difflib.get_close_matches(given.stem, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise SuiteError(f"{name}: no such suite file.{hint} Give a path, or one of: {', '.join(known) or 'none found'}.")


def read_suite(path: Path, overrides: Sequence[str] = ()) -> Suite:
    """The suite of a file, with overrides applied.

    Raises:
        SuiteError: With all faults, one a line: file, key, what was found, what is allowed.
    """
    try:
        text = path.read_text(encoding="utf-8")
        table = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise SuiteError(f"{path}: cannot be read ({error}). Give the path of a suite file.") from error
    except tomllib.TOMLDecodeError as error:
        raise SuiteError(f"{path}: not valid TOML: {error}. Mend that line.") from error
    faults: list[str] = []
    for override in overrides:
        try:
            apply_override(table, *parse_override(override))
        except ValueError as error:
            faults.append(str(error))
    faults.extend(unknown_key(str(path), key, SECTIONS) for key in table if key not in SECTIONS)
    try:
        suite = _SuiteReader(path, table, faults).read(text, tuple(overrides))
        if suite is not None:
            faults.extend(joint_faults(suite, faults))
    except OSError as error:  # of a path that it names: too long, or in a folder that may not be read
        raise SuiteError(f"{path}: names a path that cannot be looked at ({error}). Correct it.") from error
    if faults or suite is None:
        raise SuiteError(_listed(path, faults))
    return suite


def _listed(path: Path, faults: Sequence[str]) -> str:
    if len(faults) == 1:
        return faults[0]
    lines = "\n".join(f"  {fault.removeprefix(f'{path}: ')}" for fault in faults)
    return f"{path} has {len(faults)} faults:\n{lines}"


class _SuiteReader(SuiteReading):
    """Reads all sections of one file, tables of grids by `bench.suites.suite_grids`."""

    def read(self, text: str, overrides: tuple[str, ...]) -> Suite | None:
        unused = self._drop_unused()
        corpus = self._corpus()
        about = self._about(overrides, corpus)
        space = self._space(corpus)
        if corpus is not None and corpus.is_vectors:
            backbones = [dataclasses.replace(entry, space=space or SpaceSpec()) for entry in _vector_entries(corpus)]
        else:
            extract = self.section("extract", ExtractOptions) or DEFAULT_OPTIONS
            named = self.named("backbone", functools.partial(self._backbones, space=space or SpaceSpec()))
            backbones = [dataclasses.replace(entry, extract=extract) for entry in named]
            twice = [name for name, count in Counter(entry.name for entry in named).items() if count > 1]
            self.faults.extend(f"{self.where('backbone')} {name!r} names several. Rename one." for name in twice)
        paced = "throughput" in self.table
        engines = self._grids("engine", read_engine) if "engine" in self.table or not paced else ()
        reranks = self._grids("rerank", read_rerank) if "rerank" in self.table else ()
        regions = self._grids("regions", read_regions) if "regions" in self.table else ()
        systems = self._grids("system", read_system) if "system" in self.table else ()
        throughput = self.section("throughput", ThroughputSpec) if paced else None
        if corpus is not None:
            self._refuse_unlabelled(corpus, backbones)
        queries = self.section("queries", QuerySpec)
        judge, measure = self._judge(corpus), self.section("measure", MeasureSpec)
        if about is None or corpus is None or space is None or queries is None or judge is None or measure is None:
            return None
        return Suite(
            self.path.stem, self.path, text, overrides,
            about, corpus, tuple(backbones), engines, space, queries, judge, measure, throughput, reranks, regions,
            systems, unused,
        )  # fmt: skip

    def _grids(self, section: str, read: Callable[[SuiteReading, str, dict[str, Any]], Sequence[T]]) -> tuple[T, ...]:
        return tuple(self.named(section, functools.partial(read, self)))

    def _drop_unused(self) -> tuple[str, ...]:
        """Take out what the corpus has no use for, so that any suite runs on it; the names of what was taken.

        Vectors are neither cut nor described; neither they nor pictures in folders lie anywhere on the ground. In
        several sizes nothing is judged.
        """
        corpus, queries = self.table.get("corpus", {}), self.table.get("queries", {})
        source = corpus.get("source", SCENE) if isinstance(corpus, Mapping) else SCENE
        if not isinstance(source, str) or source == SCENE:
            return ()
        path, unused = self.found(source, ()), []
        wanted = SYNTHETIC_KEYS if source == SYNTHETIC else FILE_KEYS
        if source == SYNTHETIC or is_vector_file(path):
            known = [field.name for field in dataclasses.fields(CorpusSpec)]
            keys = [key for key in corpus if key in known and key not in wanted]
            self.table["corpus"] = {key: value for key, value in corpus.items() if key not in keys}
            unused += [f"[backbone.{name}]" for name in self.table.pop("backbone", {})]
            unused += [f"corpus.{key}" for key in keys]
            sections = [name for name in ("extract", "throughput", "system") if self.table.pop(name, None) is not None]
            unused += [f"[{name}]" for name in sections]
            unused += ["[judge]"] if corpus.get("sizes") and self.table.pop("judge", None) else []
            unused += self._drop_choices()
        if not _has_places(path) and isinstance(queries, Mapping) and queries.get("exclude", [SELF]) != [SELF]:
            self.table["queries"] = {key: value for key, value in queries.items() if key != "exclude"}
            unused.append("queries.exclude")
        return tuple(unused)

    def _drop_choices(self) -> list[str]:
        """Take out which backbones the tables are for; the names of these keys."""
        dropped = []
        for section in CHOOSING:
            tables = self.table.get(section, {})
            for name, table in tables.items() if isinstance(tables, Mapping) else ():
                if isinstance(table, dict) and table.pop("backbones", None) is not None:
                    dropped.append(f"{section}.{name}.backbones")
        return dropped

    def _about(self, overrides: tuple[str, ...], corpus: CorpusSpec | None) -> About | None:
        """``[suite]``, which says nothing of a corpus that was named by ``--set``."""
        about = self.section("suite", About)
        given = {override.partition("=")[0].strip() for override in overrides}
        if about is None or corpus is None or "corpus.source" not in given:
            return about
        title = about.title if "suite.title" in given else f"{self.path.stem} on {Path(corpus.source).name}"
        return About(title=title)

    def _space(self, corpus: CorpusSpec | None) -> SpaceSpec | None:
        """``[space]``; what it leaves open of a file of vectors that names its metric follows from that metric."""
        table, metric = self.table.get("space", {}), ""
        if corpus is not None and corpus.is_vectors and corpus.source != SYNTHETIC:
            with contextlib.suppress(CorpusError):  # `joint_faults` tells it
                metric = corpus.vectors().metric
        if isinstance(table, Mapping):
            table = {**_METRIC_SPACES.get(metric, {}), **table}
        return read_record(SpaceSpec, table, self.where("space"), self.faults)

    def _corpus(self) -> CorpusSpec | None:
        table = self.table.get("corpus", {})
        if isinstance(table, Mapping):
            table = dict(table)
            source = table.get("source", SCENE)
            if isinstance(source, str) and source not in EMBEDDED and not is_virtual(source):
                table["source"] = str(self.found(source, ()))
            is_file = is_vector_file(Path(str(table.get("source", SCENE))))  # queries of images are a folder's name
            for key in ("labels", "classes", "ground_truth", *(("queries",) if is_file else ())):
                if isinstance(table.get(key), str):
                    table[key] = str(self.found(table[key], self._beside_source(table)))
            if isinstance(table.get("distractors"), list):
                beside = self._beside_source(table)
                table["distractors"] = [p for name in table["distractors"] for p in self.all_found(str(name), beside)]
        return read_record(CorpusSpec, table, self.where("corpus"), self.faults)

    def _judge(self, corpus: CorpusSpec | None) -> JudgeSpec | None:
        table = self.table.get("judge", {})
        if isinstance(table, Mapping):
            beside = self._beside_source({"source": corpus.source} if corpus else {})
            named = {key: table[key] for key in ("qrels", "queries") if isinstance(table.get(key), str)}
            table = {**table, **{key: str(self.found(path, beside)) for key, path in named.items()}}
        return read_record(JudgeSpec, table, self.where("judge"), self.faults)

    def _beside_source(self, table: Mapping[str, Any]) -> tuple[Path, ...]:
        source = table.get("source", SCENE)
        if not isinstance(source, str) or source in EMBEDDED:
            return ()
        path = Path(source)
        return (path,) if path.is_dir() else (path.parent,)

    def _backbones(self, name: str, table: dict[str, Any], space: SpaceSpec) -> list[BackboneEntry]:
        where, before_all = self.where(f"backbone.{name}"), len(self.faults)
        like, train = table.pop("like", ""), table.pop("train", None)
        space = self._own_space(f"backbone.{name}.space", table.pop("space", {}), space)
        if isinstance(table.get("weights"), str) and table["weights"].endswith((".safetensors", ".pth", ".pt", ".bin")):
            table["weights"] = str(self.found(table["weights"], ()))
        if unknown := set(table) - {f.name for f in dataclasses.fields(BackboneSpec)}:
            known = [*(f.name for f in dataclasses.fields(BackboneSpec)), "train", "like", "space"]
            self.faults.extend(unknown_key(where, key, known) for key in sorted(unknown))
            table = {key: value for key, value in table.items() if key not in unknown}
        recipes = self._recipes(f"{where} train", train)
        entries: list[BackboneEntry] = []
        for choice, flat in expand_grid(table, BackboneSpec):
            before = len(self.faults)
            spec = read_record(BackboneSpec, flat, where, self.faults)
            if spec is None or len(self.faults) > before:
                continue
            for recipe_choice, recipe in recipes:
                if recipe is not None and spec.model == "colour":
                    self.faults.append(f"{where} model 'colour' has nothing to train. Remove train.")
                chosen = choice | {f"train.{key}" if key in choice else key: v for key, v in recipe_choice.items()}
                other = _variant(like, {key: v for key, v in chosen.items() if key in self._axes(like)})
                entries.append(BackboneEntry(_variant(name, chosen), spec, recipe, like=other, table=name, space=space))
        if not entries and len(self.faults) == before_all:
            self.faults.append(f"{where} has an empty list; name at least one value.")
        return entries

    def _refuse_unlabelled(self, corpus: CorpusSpec, backbones: Sequence[BackboneEntry]) -> None:
        """Tell of trainings with labels on rasters for which nothing names any; images have their folders."""
        if corpus.source == SCENE or corpus.is_vectors or corpus.labels or corpus.classes:
            return
        try:
            is_labelled = isinstance(find_corpus(Path(corpus.source)), ImageFolder)
        except CorpusError:  # `joint_faults` tells it
            is_labelled = True
        if is_labelled:
            return
        for name in dict.fromkeys(entry.table for entry in backbones if isinstance(entry.recipe, LabelRecipe)):
            self.faults.append(f"{self.where(f'backbone.{name}')} train: {UNLABELLED}")

    def _own_space(self, section: str, table: object, space: SpaceSpec) -> SpaceSpec:
        """The suite's space with the keys of a backbone's own table put over it."""
        own = read_record(SpaceSpec, table, self.where(section), self.faults)
        named = [f.name for f in dataclasses.fields(SpaceSpec) if isinstance(table, Mapping) and f.name in table]
        return dataclasses.replace(space, **{key: getattr(own, key) for key in named})

    def _axes(self, name: str) -> set[str]:
        """What differs between the variants of a backbone's table, as their names have it."""
        table = inherit(self.table["backbone"], "", []).get(name, {})
        recipe = table.get("train")
        axes = list_keys({key: v for key, v in table.items() if key != "train"}, BackboneSpec)
        trained = list_keys(recipe, _recipe_class(recipe)) if isinstance(recipe, Mapping) else []
        return {*axes, *(f"train.{key}" if key in axes else key for key in trained)}

    def _recipes(self, where: str, table: object) -> list[tuple[dict[str, Any], DinoRecipe | LabelRecipe | None]]:
        if table is None or table is False:  # false: not trained, though the one that it is like is
            return [({}, None)]
        if not isinstance(table, Mapping):
            allowed = 'must be a table, such as { method = "dino", epochs = 3 }, or false.'
            self.faults.append(f"{where} = {table!r} {allowed}")
            return []
        settings, record = dict(table), _recipe_class(table)
        if (method := settings.pop("method", None)) not in [*TRAINING]:
            self.faults.append(f"{where} method = {method!r}; it must be one of {', '.join(map(repr, TRAINING))}.")
        recipes: list[tuple[dict[str, Any], DinoRecipe | LabelRecipe | None]] = []
        for choice, flat in expand_grid(settings, record):
            before = len(self.faults)
            recipe = read_record(record, flat, where, self.faults)
            if recipe is not None and len(self.faults) == before:
                recipes.append((choice, recipe))
        return recipes


def _recipe_class(train: Mapping[str, Any]) -> type[DinoRecipe | LabelRecipe]:
    """The record of the method that a table ``train`` names; DINO's where there is no such method."""
    return next((record for method, record in TRAINING.items() if method == train.get("method")), DinoRecipe)


def _has_places(source: Path) -> bool:
    """Whether tiles of a corpus lie somewhere on the ground; of one that cannot be opened others tell."""
    if str(source) in (LANDMARKS, SYNTHETIC) or is_vector_file(source):
        return False
    try:
        return not isinstance(find_corpus(source), ImageFolder)
    except CorpusError:
        return True


def _vector_entries(corpus: CorpusSpec) -> list[BackboneEntry]:
    """What stands where backbones stand: a file of vectors by its name, in each of its sizes."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", Path(corpus.source).stem).lstrip(".-") or VECTORS
    spec = BackboneSpec(VECTORS, weights=corpus.source)
    if not corpus.sizes:
        return [BackboneEntry(name, spec, table=name)]
    return [BackboneEntry(f"{name}-n{size}", spec, size=size, table=name) for size in corpus.sizes]


def _variant(name: str, choice: Mapping[str, Any]) -> str:
    """Name of a backbone's variant: the table's, followed by what differs between its variants."""
    parts = [f"{key}{value}" if not isinstance(value, str) else Path(value).stem for key, value in choice.items()]
    return "-".join([name, *(re.sub(r"[^A-Za-z0-9_.]+", "_", part).strip("_") for part in parts)])
