"""One run under way: its suite, cells and folder, and the stages that it has asked for so far."""

import contextlib
import dataclasses
import resource
import shutil
import sys
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from bench.judging.judge import Judgments, judge_tiles, main_labels
from bench.judging.judgments import HARD
from bench.measured_cells.measure import Measurer
from bench.measured_cells.pacing import measure_pace
from bench.measured_cells.region_queries import Describer, measure_regions
from bench.measured_cells.reranking import measure_rerank
from bench.measured_cells.scoring import Scorer
from bench.queries.hygiene import examine_features, examine_tiles
from bench.queries.object_boxes import write_object_boxes
from bench.queries.query_facts import query_facts
from bench.queries.region_finding import QueryPictures, RegionFinder
from bench.results import (
    FAILED,
    HITS,
    OK,
    BuildResult,
    PaceResult,
    QueryResult,
    RegionResult,
    RerankResult,
    Result,
    StageNote,
    cell_slug,
    read_result,
    read_run,
    result_path,
    write_result,
)
from bench.running.run_folder import bare_result, mark_ended, now, update_run
from bench.scores.exclusion import excluded_rows
from bench.stages.base import Base, Cut, without_pixels
from bench.stages.flow import KNN, Cache, locate_corpus, prepare_base, prepare_checkpoint, prepare_tiles
from bench.stages.held_out import part_rows
from bench.stages.local_stage import needed_local, prepare_local
from bench.stages.training import label_faults
from bench.suites.cells import BuildCell, Cell, PaceCell, QueryCell, RegionCell, RerankCell
from bench.suites.suite import SELF, Suite
from bench.suites.suite_faults import corpus_faults, feature_widths
from bench.tables.run_tables import ANSWERS, JUDGMENTS, LOGS, QUERIES, REGIONS
from ris_core.artifacts import read_manifest, written_whole
from ris_core.cluster import IN_PROCESS, Cluster
from ris_core.errors import ArtifactError, CheckpointError, CorpusError, RisError, SearchError, SuiteError
from ris_core.records import Hits

_MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024  # Linux counts kibibytes


@dataclasses.dataclass(eq=False)
class Session:
    """A run under way.

    Attributes:
        suite: The suite.
        cells: Its cells, in order.
        folder: The run's folder.
        cache_root: Folder of the artifacts.
        tell_stage: Told about each heavy stage.
        progress: Whether stages show progress bars.
        cluster: Who computes what a stage can have done in pieces.
    """

    suite: Suite
    cells: list[Cell]
    folder: Path
    cache_root: Path
    tell_stage: Callable[[StageNote], None]
    progress: bool = False
    cluster: Cluster = IN_PROCESS
    _unfit: dict[str, RisError] = dataclasses.field(default_factory=dict, init=False)
    _noted: set[tuple[str, str, str]] = dataclasses.field(default_factory=set, init=False)

    @property
    def cache(self) -> Cache:
        """The cache, whose notes go to ``run.json`` and to people."""
        return Cache(self.cache_root, self._note, self.progress, self.cluster)

    @cached_property
    def measurer(self) -> Measurer:
        """Who measures the cells."""
        return Measurer(self.suite.measure)

    def _note(self, note: StageNote) -> None:
        if _identity(note) in self._noted:
            return  # a later pass comes by again: what the first one made stays told
        self._noted.add(_identity(note))
        stages = read_run(self.folder).stage_notes
        before = next((stage for stage in stages if _identity(stage) == _identity(note)), None)
        was_made = before is not None and before.key == note.key and not before.reused  # by this run, earlier
        kept = dataclasses.replace(note, reused=note.reused and not was_made)
        update_run(self.folder, stages=[*(s.to_json() for s in stages if s is not before), kept.to_json()])
        if note.stage == "checkpoint":
            self._copy(Path(note.folder) / "log.txt", LOGS, note.backbone)
        if note.stage == "space" and (Path(note.folder) / KNN).is_file():
            self._copy(Path(note.folder) / KNN, ANSWERS, note.backbone)
        self.tell_stage(note)

    def refuse_losses(self) -> None:
        """Refuse to go on without an artifact that the cache has lost since it was made or found.

        Raises:
            ArtifactError: If there is such a one, or ``run.json`` cannot be read.
        """
        lost = [note.folder for note in read_run(self.folder).stage_notes if not Path(note.folder).is_dir()]
        if lost:
            raise ArtifactError(
                f"{lost[0]}: is gone from the cache. Put it back, or run again with --resume, which makes it again; "
                "what was measured is kept."
            )

    def _copy(self, source: Path, kind: str, backbone: str) -> None:
        """Keep a file of an artifact with the run, whose tables then need no cache."""
        with written_whole(self.folder / kind / f"{backbone}{source.suffix}") as unfinished:
            shutil.copyfile(source, unfinished)

    @cached_property
    def cut(self) -> Cut:
        """The tiles; every fault that needs their number is told here, before anything is trained.

        Raises:
            SuiteError: With all such faults.
        """
        cut = prepare_tiles(self.cache, self.suite.corpus)
        self._refuse_other_tiles(cut)
        indexed, trained = len(cut.base_rows), len(cut.train_rows)
        asked = len(cut.asked_rows) or None
        faults = corpus_faults(self.suite, indexed, trained, feature_widths(self.suite, []), asked)
        self._judged = None
        try:
            if self.suite.engines:
                if not cut.sizes:  # a smaller corpus has fewer relevant tiles: precision would follow the size
                    searched, held_out = (without_pixels(cut.tiles, rows) for rows in (cut.base_rows, cut.asked_rows))
                    self._judged = judge_tiles(searched, self.suite.judge, held_out if asked else None, cut.truth)
                self._check_exclusions(cut)
                asking = {"rerank": self.suite.reranks, "regions": self.suite.regions}
                for section in (name for name, grids in asking.items() if grids):
                    if self._judged is None or not self._judged.is_decided:
                        faults.append(
                            f"{self.suite.path}: [{section}] needs judged queries, and there are none. Remove it."
                        )
        except CorpusError as error:
            faults.append(f"{self.suite.path}: {error}")
        faults += [] if faults else label_faults(self.suite, cut)
        if faults:
            shown = "\n".join(f"  {fault.removeprefix(f'{self.suite.path}: ')}" for fault in faults)
            raise SuiteError(f"{self.suite.path} does not fit its corpus of {len(cut.tiles)} tiles:\n{shown}")
        corpus = {
            "source": self.suite.corpus.source,
            "tiles_key": cut.key,
            "tiles": len(cut.tiles),
            "trained": trained,
            "indexed": indexed,
            **({"held_out": asked} if asked else {}),
            **({"distractors": distractors} if (distractors := len(part_rows(cut.tiles)[2])) else {}),
        }
        update_run(self.folder, corpus=corpus)
        with written_whole(self.folder / "indexed_ids.npy") as unfinished:
            np.save(unfinished, cut.tiles.ids[cut.base_rows])
        if self._judged is not None:
            self._judged.save(self.folder / JUDGMENTS)
        if self.suite.engines and cut.tiles.size_px > 1:  # vectors have no pixels
            self._note_hygiene("", lambda: self._examine_tiles(cut))
        return cut

    def _refuse_other_tiles(self, cut: Cut) -> None:
        """Refuse to go on with a run that has measured other tiles than the corpus gives now.

        Raises:
            CorpusError: If so.
        """
        before = read_run(self.folder).corpus.get("tiles_key", cut.key)
        if before != cut.key:
            raise CorpusError(
                f"{self.suite.corpus.source}: has changed since {self.folder} was begun, whose cells were measured on "
                "other tiles. Put the old one back, or start a new run without --resume."
            )

    def _check_exclusions(self, cut: Cut) -> None:
        """Refuse exclusions by place for a corpus whose tiles have none, before anything is trained."""
        tiles, queries = without_pixels(cut.tiles, cut.base_rows), self.suite.queries
        for how in queries.exclude:
            if how != SELF:
                excluded_rows(tiles, np.zeros(1, np.int64), how, self.suite.corpus.tile_px, queries.block_px)

    def _examine_tiles(self, cut: Cut) -> list[dict[str, Any]]:
        queries = self.suite.queries
        rows = cut.timed_rows(queries.count, queries.seed)
        return examine_tiles(cut.tiles, rows, self.suite.corpus.tile_px, queries.block_px)

    @property
    def judgments(self) -> Judgments | None:
        """Judged queries over the searched tiles; None where there is nothing to judge from."""
        self.cut  # noqa: B018 - judged with the tiles
        return self._judged

    def prepare_ahead(self, cells: Sequence[Cell]) -> None:
        """Make all that cells need before the first is measured; what is wrong with a backbone is told in its cells."""
        searching = [cell for cell in cells if not isinstance(cell, PaceCell)]
        if cells:
            self.cut  # noqa: B018 - made now
        for backbone in dict.fromkeys(cell.index.backbone for cell in searching):
            try:
                self.prepare(backbone)
            except (CheckpointError, SearchError) as error:
                self._unfit[backbone] = error
        for cell in searching:
            if isinstance(cell, RerankCell) and cell.index.backbone not in self._unfit:
                with contextlib.suppress(CheckpointError, SearchError):  # told again in the cell
                    self._local(cell)

    def prepare(self, backbone: str) -> Scorer:
        """The features of one backbone, trained first where the suite says so, and what is known of their queries."""
        if backbone in self._unfit:
            raise self._unfit[backbone]
        entry, suite = self.suite.backbone(backbone), self.suite
        cut = self.cut.of_size(entry.size)
        base = prepare_base(self.cache, entry, cut, suite.queries, suite.judge.knn_every)
        tiles = without_pixels(cut.tiles, cut.base_rows)
        path = self.folder / QUERIES / f"{backbone}.parquet"
        if not path.is_file():
            self._examine(base, path)
        return Scorer(suite, base, tiles, self.judgments)

    def _examine(self, base: Base, path: Path) -> None:
        """Note what is wrong with a backbone's vectors, and write what is known of its queries: last, and whole."""
        k = self.suite.queries.k
        facts = query_facts(base, k, main_labels(self.cut.tiles), self.judgments)
        self._note_hygiene(base.name, lambda: examine_features(base, facts, k))
        with written_whole(path) as unfinished:
            facts.to_parquet(unfinished, index=False)

    def _note_hygiene(self, backbone: str, examine: Callable[[], list[dict[str, Any]]]) -> None:
        """Put findings about the data into ``run.json``, once a run."""
        known = read_run(self.folder).hygiene
        if not any(finding["backbone"] == backbone for finding in known):
            order = {name: place for place, name in enumerate(["", *(entry.name for entry in self.suite.backbones)])}
            found = sorted([*known, *examine()], key=lambda finding: order[finding["backbone"]])
            update_run(self.folder, hygiene=found)  # in the suite's order, whichever was made first

    def measure_build(self, cell: BuildCell, scorer: Scorer) -> BuildResult:
        """Measure a build cell in one more process and put its row on disk; what that process measured."""
        before = self.measured(cell)
        result = self.measurer.measure_build(cell, scorer, first=before is None)
        self.keep(cell, result if before is None else before.joined(result))
        return result

    def measure_query(self, cell: QueryCell, scorer: Scorer) -> QueryResult:
        """Measure a query cell in one more process, put its row and judged answers on disk; what that process measured.

        The harness' own overhead comes first.
        """
        self._measure_overhead(cell, scorer)
        before = self.measured(cell)
        result, judged = self.measurer.measure_query(cell, scorer, first=before is None)
        if judged is not None:
            result = dataclasses.replace(result, hits_file=self._write_hits(cell, judged.hits, judged.relevant))
        self.keep(cell, result if before is None else before.joined(result))
        return result

    def measure_rerank(self, cell: RerankCell, scorer: Scorer) -> RerankResult:
        """Measure a re-ranking cell in one more process, put its row and its answers on disk; what was measured."""
        self.measurer.close()  # an index that is kept would take memory beside the one that is built now
        before = self.measured(cell)
        pixels = self.cut.folder / "pixels.npy"
        local = self._local(cell)
        result, judged = measure_rerank(cell, scorer, self.suite.measure, pixels if pixels.is_file() else None, local)
        if before is None:
            result = dataclasses.replace(result, hits_file=self._write_hits(cell, judged.hits, judged.relevant))
        self.keep(cell, result if before is None else before.joined(result))
        return result

    def _local(self, cell: RerankCell) -> Path | None:
        """Folder of the local descriptors that a re-ranking cell needs; None where it needs none."""
        wanted, entry = needed_local(cell), self.suite.backbone(cell.index.backbone)
        if wanted is None:
            return None
        return prepare_local(self.cache, entry, self.cut, wanted, self.suite.judge.knn_every)

    def measure_regions(self, cell: RegionCell, scorer: Scorer) -> RegionResult:
        """Measure a region cell in one more process, put its row and its answers on disk; what was measured."""
        self.measurer.close()  # an index that is kept would take memory beside the one that is built now
        before, entry = self.measured(cell), self.suite.backbone(cell.index.backbone)
        spec, _ = prepare_checkpoint(self.cache, entry, self.cut, self.suite.judge.knn_every)
        describer = Describer(entry, spec, self.region_finder)
        result, judged, crops = measure_regions(cell, scorer, self.suite.measure, describer)
        if before is None:
            crops_file = f"{REGIONS}/{cell_slug(cell.id)}.npz"
            crops.save(self.folder / crops_file)
            hits_file = self._write_hits(cell, judged.hits, judged.relevant)
            result = dataclasses.replace(result, hits_file=hits_file, crops_file=crops_file)
        self.keep(cell, result if before is None else before.joined(result))
        return result

    @cached_property
    def region_finder(self) -> RegionFinder:
        """Who finds the regions of the judged queries."""
        assert self.judgments is not None
        source, spec, key = locate_corpus(self.cache, self.suite.corpus)
        if key not in read_manifest(self.cut.folder)["parents"]:
            raise CorpusError(f"{source}: has changed since its tiles were cut. Put the old one back, or run anew.")
        tiles, queries = self.cut.tiles, self.judgments.queries
        order = np.argsort(tiles.ids, kind="stable")
        rows = order[np.searchsorted(tiles.ids, queries["query_id"].to_numpy(np.int64), sorter=order)]

        def write_objects() -> Path:
            path = self.folder / REGIONS / "objects.csv"
            path.parent.mkdir(exist_ok=True)
            write_object_boxes(path, Path(spec.classes), tiles, queries, spec.size_px)
            return path

        is_hard = (queries["stratum"] == HARD).to_numpy()
        return RegionFinder(QueryPictures(source, spec, tiles, rows, is_hard), write_objects)

    def measure_pace(self, cell: PaceCell) -> PaceResult:
        """Measure a throughput cell in one more process and put its row on disk; what that process measured."""
        before = self.measured(cell)
        result = measure_pace(cell, self.suite, self.cut, self.cache, self.folder)
        self.keep(cell, result if before is None else before.joined(result))
        return result

    def keep_failure(self, cell: Cell, reason: str) -> None:
        """Put a failed row on disk; what earlier processes measured stays in it."""
        before = self.measured(cell)
        failed = bare_result(cell, self.suite, FAILED, reason)
        self.keep(cell, failed if before is None else dataclasses.replace(before, status=FAILED, reason=reason))

    def measured(self, cell: Cell) -> Any:
        """The good result of earlier processes; None where there is none."""
        path = result_path(self.folder, cell.id)
        found = read_result(path) if path.is_file() else None
        return found if found is not None and found.status == OK else None

    def _measure_overhead(self, cell: QueryCell, scorer: Scorer) -> None:
        """Ask an engine that does nothing, once a run for each way of asking."""
        known, way = read_run(self.folder).overhead, f"{cell.mode}-{cell.threads}t"
        if way not in known:
            update_run(self.folder, overhead={**known, way: self.measurer.measure_overhead(cell, scorer)})

    def keep(self, cell: Cell, result: Result) -> None:
        """Put a result on disk before the next cell starts."""
        write_result(self.folder, result)
        mark_ended(self.folder, cell)

    def close(self, status: str) -> None:
        """End what still runs, and say in ``run.json`` how the run ended."""
        self.measurer.close()
        peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_BYTES
        most = max(peak_bytes, read_run(self.folder).peak_bytes)  # of all processes that the run had
        update_run(self.folder, status=status, finished=now(), peak_bytes=most)

    def _write_hits(self, cell: QueryCell | RerankCell | RegionCell, hits: Hits, relevant: np.ndarray) -> str:
        assert self.judgments is not None
        queries = self.judgments.queries
        path = self.folder / HITS / f"{cell_slug(cell.id)}.npz"
        with written_whole(path) as unfinished:
            np.savez_compressed(
                unfinished,
                query_ids=queries["query_id"].to_numpy(np.int64),
                stratum=queries["stratum"].to_numpy(str),
                concept=queries["concept"].to_numpy(str),
                depth=queries["depth"].to_numpy(np.int64),
                ids=hits.ids,
                distances=hits.distances,
                relevant=relevant,
            )
        return f"{HITS}/{path.name}"


def _identity(note: StageNote) -> tuple[str, str, str]:
    """What is told of once a run: a stage of a backbone, which may have local descriptors of several kinds."""
    return note.stage, note.backbone, note.key if note.stage == "local" else ""
