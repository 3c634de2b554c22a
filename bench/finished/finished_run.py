"""A finished run opened again: the tiles, networks and settings that its record names, for who shows them or asks anew.

A run keeps records, judgments and answers; tiles, weights and features are artifacts, which the cache may have lost.
"""

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from bench.judging.judgments import Judgments
from bench.results import OK, QueryResult, RunRecord, StageNote, read_results, read_run
from bench.suites.suite import CORRECTED
from bench.suites.toml_record import read_record
from bench.tables.names import EXACT
from bench.tables.precision_table import first_of_searchers, setting_of
from bench.tables.run_tables import JUDGMENTS
from ris_core.backbone import RANDOM, BackboneSpec
from ris_core.errors import UNREADABLE, ArtifactError, SuiteError
from ris_core.records import Tiles

_NAMED_IDS = 3


@dataclasses.dataclass(frozen=True)
class Setting:
    """One way of asking one backbone's features: an engine with its parameters.

    Attributes:
        backbone: Name of the backbone.
        name: Engine and parameters as the run's cells name them, such as ``falconn/cross_polytope/probes20``.
        engine: Name of the engine in the suite.
        kind: Key of `ris_core.engines.ENGINES`.
        params: Build parameters.
        query_params: Query parameters.
        hits_file: The run's answers to its judged queries, relative to its folder; empty where it kept none.
        recall: Mean recall of the timed queries; None where none was measured.
        precision: Mean precision of the judged queries; None where nothing was judged.
    """

    backbone: str
    name: str = EXACT
    engine: str = EXACT
    kind: str = EXACT
    params: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    query_params: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    hits_file: str = ""
    recall: float | None = None
    precision: float | None = None

    @property
    def words(self) -> str:
        """Backbone and setting, for people."""
        return f"backbone {self.backbone}, engine {self.name.replace('/', ' ')}"


def spec_of(entry: Mapping[str, Any]) -> BackboneSpec:
    """The network of a backbone as ``run.json`` notes it."""
    noted = {key: value for key, value in entry["spec"].items() if value is not None}
    return read_record(BackboneSpec, noted, "run.json", [], check=False) or BackboneSpec()


@dataclasses.dataclass(frozen=True, eq=False)
class FinishedRun:
    """A run's folder, and the artifacts that it names.

    Attributes:
        folder: Folder of the run.
        record: Its ``run.json``.
        cache: Where its artifacts lie now; None: where they were made.
    """

    folder: Path
    record: RunRecord
    cache: Path | None = None

    @classmethod
    def open(cls, folder: Path, cache: Path | None = None) -> Self:
        """The run of a folder.

        Raises:
            ArtifactError: If the folder is none of a run.
        """
        return cls(folder, read_run(folder), cache)

    @cached_property
    def tiles(self) -> Tiles:
        """All tiles of the corpus, pixels memory-mapped.

        Raises:
            ArtifactError: If the run searched vectors, or its tiles are gone.
        """
        if any(note.stage == "features" for note in self.record.stage_notes) and not self._note("tiles"):
            raise ArtifactError(f"{self.folder}: this run searched vectors, not tiles: there is nothing to be seen.")
        return Tiles.open(self.artifact("tiles"))

    @cached_property
    def judgments(self) -> Judgments | None:
        """The judged queries; None where nothing was judged."""
        folder = self.folder / JUDGMENTS
        return Judgments.open(folder) if folder.is_dir() else None

    @property
    def backbones(self) -> tuple[str, ...]:
        """Names of the backbones whose features the run indexed, in the suite's order."""
        names = [entry["name"] for entry in self.record.suite.get("backbones", [])]
        return tuple(name for name in names if self._note("space", name))

    @property
    def best_backbone(self) -> str:
        """The one whose exact neighbours are most precise, or else the first; baselines count only among themselves.

        Raises:
            SuiteError: If none was indexed.
        """
        learned = [name for name in self.backbones if self._has_learned(name)] or list(self.backbones)
        exact = [s for s in self.settings if s.kind == EXACT and s.precision is not None and s.backbone in learned]
        if exact:
            return max(exact, key=lambda s: s.precision or 0.0).backbone
        return self.known_backbone(next(iter(learned), None))

    def _has_learned(self, backbone: str) -> bool:
        entry = self._entry(backbone)
        return entry["recipe"] is not None or entry["spec"]["weights"] != RANDOM

    def known_backbone(self, name: str | None) -> str:
        """The name, if the run indexed such a backbone; None stands for the first.

        Raises:
            SuiteError: If it did not.
        """
        known = self.backbones
        if not known:
            raise SuiteError(f"{self.folder}: no backbone was indexed. Go on with it: {self._command(resumed=True)}")
        if name is not None and name not in known:
            raise SuiteError(
                f"{self.folder}: has no backbone {name!r}; known: {', '.join(known)}. Name one of them with --backbone."
            )
        return known[0] if name is None else name

    def artifact(self, stage: str, backbone: str = "") -> Path:
        """Folder of what a stage left in the cache.

        Raises:
            ArtifactError: If the run did not make it, or it is gone; with the command that makes it again.
        """
        note, what = self._note(stage, backbone), f"{stage} of {backbone}" if backbone else stage
        if note is None:
            raise ArtifactError(f"{self.folder}: made no {what}. Go on with it: {self._command(resumed=True)}")
        folder = self._folder(note)
        if not folder.is_dir():
            raise ArtifactError(
                f"{folder} ({what}) is not in the cache any more. Name the cache that holds {folder.name} with "
                f"--cache, or fill it again by a new run of the suite: {self._command(resumed=False)}"
            )
        return folder

    def _note(self, stage: str, backbone: str = "") -> StageNote | None:
        return next((n for n in self.record.stage_notes if (n.stage, n.backbone) == (stage, backbone)), None)

    def _folder(self, note: StageNote) -> Path:
        return Path(note.folder) if self.cache is None else self.cache / Path(note.folder).name

    def _command(self, *, resumed: bool) -> str:
        """The command that measures the same suite on the same cache."""
        record, notes = self.record, self.record.stage_notes
        words = ["python", "-m", "bench", "run", record.suite_file]
        words += [word for text in record.overrides for word in ("--set", text)]
        words += ["--cache", str(self._folder(notes[0]).parent)] if notes else []
        return shlex.join([*words, "--resume", record.run_id] if resumed else words)

    def spec(self, backbone: str) -> BackboneSpec:
        """The network as the run used it: with the weights that it had after training.

        Raises:
            SuiteError: If the run has no such backbone.
            ArtifactError: If its weights are gone.
        """
        name = self.known_backbone(backbone)
        entry = self._entry(name)
        spec = spec_of(entry)
        if entry["recipe"] is None:
            return spec
        return dataclasses.replace(spec, weights=str(self.artifact("checkpoint", name) / "model.safetensors"))

    def _entry(self, backbone: str) -> dict[str, Any]:
        """What the suite says of a backbone."""
        return next(entry for entry in self.record.suite["backbones"] if entry["name"] == backbone)

    @cached_property
    def settings(self) -> tuple[Setting, ...]:
        """The settings that the run measured with corrected queries, each once."""
        cells = [r for r in read_results(self.folder) if isinstance(r, QueryResult) and r.status == OK]
        return tuple(self._setting(r) for r in first_of_searchers([r for r in cells if r.space == CORRECTED]))

    def _setting(self, result: QueryResult) -> Setting:
        precision = [value for values in result.precision.values() for value in values]
        return Setting(
            result.backbone,
            setting_of(result.cell, result.backbone, result.engine).replace(" ", "/"),
            result.engine,
            result.kind,
            result.params,
            result.query_params,
            result.hits_file if (self.folder / result.hits_file).is_file() else "",
            float(np.mean(result.recall_at_k)) if result.recall_at_k else None,
            float(np.mean(precision)) if precision else None,
        )

    def setting(self, backbone: str | None = None, engine: str | None = None) -> Setting:
        """A setting by name: of an engine alone, its setting of highest recall; exact search needs no cell.

        Args:
            backbone: One of `backbones`; None: `best_backbone`.
            engine: Name of an engine, or of a setting as its cells' ids have it; None: exact search.

        Raises:
            SuiteError: If the run has no such backbone or setting.
        """
        name = self.best_backbone if backbone is None else self.known_backbone(backbone)
        known = [setting for setting in self.settings if setting.backbone == name]
        wanted = EXACT if engine is None else engine.strip("/").replace(" ", "/")
        named = [setting for setting in known if wanted in (setting.name, setting.engine)]
        if named:
            return max(named, key=lambda setting: setting.recall or 0.0)
        if wanted == EXACT:
            return Setting(name)
        names = dict.fromkeys([EXACT, *(part for s in known for part in (s.engine, s.name))])
        raise SuiteError(
            f"{self.folder}: {name} was not searched by {engine!r}; known: {', '.join(names)}. Name one with --engine."
        )

    def random_tile(self, seed: int | None = None) -> int:
        """Id of one of the searched tiles, each as likely; the same for the same seed.

        Raises:
            ArtifactError: If the run came to no tiles.
        """
        path = self.folder / "indexed_ids.npy"
        try:
            return int(np.random.default_rng(seed).choice(np.load(path, allow_pickle=False)))
        except UNREADABLE as error:
            raise ArtifactError(f"{path}: cannot be read ({error}). {self._command(resumed=True)} makes it.") from error

    def places(self, ids: Sequence[int]) -> np.ndarray:
        """(j,) positions of tiles in `tiles`.

        Raises:
            SuiteError: If one is no tile of the corpus.
        """
        known = self.tiles.ids
        order = np.argsort(known, kind="stable")
        found = order[np.minimum(np.searchsorted(known, ids, sorter=order), len(known) - 1)]
        foreign = [tile for tile, place in zip(ids, found, strict=True) if known[place] != tile]
        if foreign:
            near = known[np.argsort(np.abs(known - foreign[0]), kind="stable")[:_NAMED_IDS]]
            raise SuiteError(
                f"{self.folder}: tile {foreign[0]} is not among the run's {len(known):,} tiles, whose ids lie between "
                f"{known.min()} and {known.max()}; nearest: {', '.join(map(str, sorted(near)))}. Name one with --tile."
            )
        return found
