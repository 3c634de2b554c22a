"""One run under way: its suite, cells and folder, and the stages that it has asked for so far."""

import dataclasses
import resource
import shutil
import sys
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from bench.answers import check_answers
from bench.cells import BuildCell, Cell, IndexKey, QueryCell
from bench.clock import TimedBuild, TimedQueries
from bench.judge import Judgments, judge_tiles
from bench.results import HITS, BuildResult, QueryResult, Result, StageNote, cell_slug, read_run, write_result
from bench.run_folder import mark_ended, now, update_run
from bench.run_tables import JUDGMENTS, LOGS
from bench.score import id_recall_at_k, precision_at_k, recall_at_k
from bench.stages import Base, Cache, Cut, prepare_base, prepare_tiles, without_pixels
from bench.suite import AS_PUBLISHED, Suite
from bench.suite_faults import corpus_faults, feature_widths
from ris_core.artifacts import disk_error
from ris_core.engines import ENGINES
from ris_core.engines.contract import Engine
from ris_core.errors import CorpusError, SuiteError
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
        built: Engines that build cells have just built, for the query cells after them.
    """

    suite: Suite
    cells: list[Cell]
    folder: Path
    cache_root: Path
    tell_stage: Callable[[StageNote], None]
    progress: bool = False
    built: dict[IndexKey, Engine] = dataclasses.field(default_factory=dict)

    @cached_property
    def cache(self) -> Cache:
        """The cache, whose notes go to ``run.json`` and to people."""
        return Cache(self.cache_root, self._note, self.progress)

    def _note(self, note: StageNote) -> None:
        known = [s for s in read_run(self.folder).stages if (s["stage"], s["backbone"]) != (note.stage, note.backbone)]
        update_run(self.folder, stages=[*known, note.to_json()])
        if note.stage == "checkpoint":
            self._copy_log(note)
        self.tell_stage(note)

    def _copy_log(self, note: StageNote) -> None:
        """Keep the training log with the run, whose tables then need no cache."""
        target = self.folder / LOGS / f"{note.backbone}.txt"
        try:
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(Path(note.folder) / "log.txt", target)
        except OSError as error:
            raise disk_error(target, error) from error

    @cached_property
    def cut(self) -> Cut:
        """The tiles; every fault that needs their number is told here, before anything is trained.

        Raises:
            SuiteError: With all such faults.
        """
        cut = prepare_tiles(self.cache, self.suite.corpus)
        indexed, trained = len(cut.base_rows), len(cut.train_rows)
        faults = corpus_faults(self.suite, indexed, trained, feature_widths(self.suite, []))
        try:
            self._judged = judge_tiles(without_pixels(cut.tiles, cut.base_rows), self.suite.judge)
        except CorpusError as error:
            faults.append(f"{self.suite.path}: {error}")
        if faults:
            shown = "\n".join(f"  {fault.removeprefix(f'{self.suite.path}: ')}" for fault in faults)
            raise SuiteError(f"{self.suite.path} does not fit its corpus of {len(cut.tiles)} tiles:\n{shown}")
        corpus = {
            "source": self.suite.corpus.source,
            "tiles_key": cut.key,
            "tiles": len(cut.tiles),
            "trained": trained,
            "indexed": indexed,
        }
        update_run(self.folder, corpus=corpus)
        try:
            np.save(self.folder / "indexed_ids.npy", cut.tiles.ids[cut.base_rows])
        except OSError as error:
            raise disk_error(self.folder, error) from error
        if self._judged is not None:
            self._judged.save(self.folder / JUDGMENTS)
        return cut

    @property
    def judgments(self) -> Judgments | None:
        """Judged queries over the searched tiles; None where there is nothing to judge from."""
        self.cut  # noqa: B018 - judged with the tiles
        return self._judged

    def prepare(self, backbone: str) -> Base:
        """The features of one backbone, trained first where the suite says so."""
        cut = self.cut
        return prepare_base(self.cache, self.suite.backbone(backbone), cut, self.suite.space, self.suite.queries)

    def engine(self, index: IndexKey, base: Base) -> Engine:
        """The index that a build cell left, or else one built now, off the clock."""
        if index not in self.built:
            self.built.clear()
            kind = ENGINES[index.kind]
            self.built[index] = kind.build(base.corrected.values, index.build.params, max(self.suite.measure.threads))
        return self.built[index]

    def keep(self, cell: Cell, result: Result) -> None:
        """Put a result on disk before the next cell starts."""
        write_result(self.folder, result)
        mark_ended(self.folder, cell)

    def close(self, status: str) -> None:
        """Say in ``run.json`` how the run ended."""
        peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_BYTES
        update_run(self.folder, status=status, finished=now(), peak_bytes=peak_bytes)

    def build_result(self, cell: BuildCell, base: Base, timed: TimedBuild) -> BuildResult:
        """The row of a measured build."""
        return BuildResult(
            **_names(cell),
            n=len(base.corrected),
            d=base.corrected.values.shape[1],
            derived=dict(timed.engine.derived()),
            build_s=timed.times_s,
            load_s=base.load_s,
            transform_s=base.transform_s,
            size_bytes=int(timed.engine.size_bytes()),
            threads_seen=timed.threads_seen,
        )

    def queries(self, cell: QueryCell, base: Base, rows: np.ndarray) -> np.ndarray:
        """(q, d) float32 vectors of some base rows, as this cell hands them to the index."""
        features = base.raw if cell.space == AS_PUBLISHED else base.corrected
        return np.ascontiguousarray(features.values[rows])

    def query_result(self, cell: QueryCell, base: Base, engine: Engine, timed: TimedQueries) -> QueryResult:
        """The row of a measured query cell, checked and scored; writes its judged hits."""
        k, rows = self.suite.queries.k, base.query_rows
        answers = check_answers(timed.rows, base.corrected, base.corrected.values[rows], rows, k)
        own = base.corrected.ids[rows]
        examined = engine.candidates(self.queries(cell, base, rows), cell.query.params)
        precision, hits_file = self._judge(cell, base, engine)
        return QueryResult(
            **_names(cell),
            query_params=cell.query.as_dict(),
            space=cell.space,
            mode=cell.mode,
            k=k,
            n=len(base.corrected),
            d=base.corrected.values.shape[1],
            q=len(rows),
            times_s=timed.times_s,
            recall_at_k=recall_at_k(answers.hits, base.truth, k, own).tolist(),
            recall_ids_at_k=id_recall_at_k(answers.hits, base.truth, k, own).tolist(),
            candidates_mean=None if examined is None else float(np.mean(examined)),
            shorter_than_k_frac=answers.shorter_than_k_frac,
            self_first_frac=answers.self_first_frac,
            precision=precision,
            hits_file=hits_file,
            threads_seen=timed.threads_seen,
        )

    def _judge(self, cell: QueryCell, base: Base, engine: Engine) -> tuple[dict[str, list[float]], str]:
        """Precision of the judged queries by stratum, and the file of their answers."""
        judgments = self.judgments
        if judgments is None or not len(judgments):
            return {}, ""
        rows, depths = (judgments.queries[name].to_numpy(np.int64) for name in ("row", "depth"))
        deepest = int(depths.max())
        found, _ = engine.search(self.queries(cell, base, rows), deepest + 1, cell.query.params, cell.threads)
        hits = check_answers(found, base.corrected, base.corrected.values[rows], rows, deepest).hits
        relevant = judgments.relevance_of(hits, base.corrected.ids)
        strata = judgments.queries["stratum"].to_numpy(str)
        precision: dict[str, list[float]] = {}
        for stratum in dict.fromkeys(strata.tolist()):
            places = np.flatnonzero(strata == stratum)
            precision[stratum] = [self._precision(hits, relevant, int(place), int(depths[place])) for place in places]
        return precision, self._write_hits(cell, hits, relevant)

    def _precision(self, hits: Hits, relevant: np.ndarray, place: int, depth: int) -> float:
        one = slice(place, place + 1)
        return float(precision_at_k(Hits(hits.ids[one], hits.distances[one]), relevant[one], depth)[0])

    def _write_hits(self, cell: QueryCell, hits: Hits, relevant: np.ndarray) -> str:
        assert self.judgments is not None
        queries = self.judgments.queries
        path = self.folder / HITS / f"{cell_slug(cell.id)}.npz"
        try:
            path.parent.mkdir(exist_ok=True)
            np.savez_compressed(
                path,
                query_ids=queries["query_id"].to_numpy(np.int64),
                stratum=queries["stratum"].to_numpy(str),
                concept=queries["concept"].to_numpy(str),
                depth=queries["depth"].to_numpy(np.int64),
                ids=hits.ids,
                distances=hits.distances,
                relevant=relevant,
            )
        except OSError as error:
            path.unlink(missing_ok=True)
            raise disk_error(path, error) from error
        return f"{HITS}/{path.name}"


def _names(cell: Cell) -> dict[str, Any]:
    """What every row says of its cell."""
    index = cell.index
    return {
        "cell": cell.id,
        "backbone": index.backbone,
        "engine": index.engine,
        "kind": index.kind,
        "params": index.build.as_dict(),
        "threads": cell.threads,
    }
