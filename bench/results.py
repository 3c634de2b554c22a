"""What a run leaves behind: one JSON file a cell under ``cells/``, and ``run.json`` for the run as a whole.

A cell's file appears by one atomic rename before the next cell starts, so nothing measured is ever lost.
Numbers stay raw (every round, every query): tables and figures are drawn from them later.
Long because it is the schema of those files: every number is explained once, here.
"""

import contextlib
import dataclasses
import json
import os
import re
import traceback
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Self

from bench.json_types import fits, wrong_fields
from ris_core.artifacts import LACKS, write_json
from ris_core.errors import UNREADABLE, ArtifactError

OK, FAILED, SKIPPED = "ok", "failed", "skipped"
STATUSES = (OK, FAILED, SKIPPED)
CELLS, HITS, RUN = "cells", "hits", "run.json"
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.=-]*")  # of a backbone: files are named after it
_LONGEST_NAME = 180  # characters; file systems allow 255, and a temporary name is longer than the final one


class _JsonRecord:
    """A frozen dataclass that goes to JSON and back unchanged."""

    RECORD: ClassVar[str] = ""

    def to_json(self) -> dict[str, Any]:
        """A JSON object with every field, and ``record`` naming the class."""
        return {"record": self.RECORD, **dataclasses.asdict(self)}  # type: ignore[call-overload]

    @classmethod
    def from_json(cls, content: Mapping[str, Any], where: str = "result") -> Self:
        """The record of such an object.

        Raises:
            ArtifactError: If a field is missing, unknown or of another type.
        """
        names = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
        given = {key: value for key, value in content.items() if key != "record"}
        if wrong := wrong_fields(cls, given):
            raise ArtifactError(f"{where}: {', '.join(wrong)} hold other values than a run writes. Run again.")
        if given.keys() - names:
            unknown = ", ".join(sorted(given.keys() - names))
            raise ArtifactError(f"{where}: unknown field {unknown}. It was written by another version: run again.")
        try:
            return cls(**given)
        except TypeError as error:
            raise ArtifactError(f"{where}: {error}. It was written by another version: run again.") from error


class _Measured(_JsonRecord):
    """What one cell's results have in common: they grow by one process after the other."""

    PER_PROCESS: ClassVar[tuple[str, ...]] = ()
    other_load_fracs: list[float | None]

    def joined(self, later: Self) -> Self:
        """This result with what a later process measured; everything else is the first process'."""
        grown = {name: [*getattr(self, name), *getattr(later, name)] for name in self.PER_PROCESS}
        return dataclasses.replace(self, **grown)  # type: ignore[type-var]

    @property
    def processes(self) -> int:
        """Processes in which the cell was measured."""
        return len(self.other_load_fracs)

    @property
    def other_load_frac(self) -> float | None:
        """The largest share of the cores that other work took, over the processes; None where none could tell."""
        return max((frac for frac in self.other_load_fracs if frac is not None), default=None)


@dataclasses.dataclass(frozen=True)
class BuildResult(_Measured):
    """One build cell: an engine built over one backbone's corrected features.

    Attributes:
        cell: The cell's id, unique in the run.
        backbone: Name of the backbone's variant in the suite.
        engine: Name of the engine's table in the suite.
        kind: Kind of engine, a key of `ris_core.engines.ENGINES`.
        params: Build parameters, defaults included.
        derived: What the engine derived from them.
        n: Tiles in the index.
        d: Dimensions of a feature in the index' space.
        threads: Threads that the engine, BLAS and OpenMP were given.
        build_s: For each process the seconds of each round, vectors in memory to an index.
        load_s: For each process the seconds to read the features from disk, whose pages are cached.
        transform_s: For each process the seconds to bring them into the space.
        ready_s: For each process the seconds that the first query of a fresh index takes, lazy set-up included.
        size_bytes: The index' own bytes, without the vectors.
        memory: What an untimed process of its own measured, by the columns of the table ``memory``.
        other_load_fracs: For each process the share of the usable cores, in [0, 1], that other work took while the cell
            was measured in it; None where that was too short to tell.
        slow_build: Whether the index is slow to build and was measured in one process alone.
        threads_seen: Pools that threadpoolctl found while measuring, and their threads.
        status: ``"ok"``, ``"failed"`` or ``"skipped"``.
        reason: Why it failed or was skipped, else empty.
    """

    RECORD: ClassVar[str] = "build"
    PER_PROCESS = ("build_s", "load_s", "transform_s", "ready_s", "other_load_fracs")

    cell: str
    backbone: str
    engine: str
    kind: str
    params: dict[str, Any]
    threads: int
    n: int = 0
    d: int = 0
    derived: dict[str, Any] = dataclasses.field(default_factory=dict)
    build_s: list[list[float]] = dataclasses.field(default_factory=list)
    load_s: list[float] = dataclasses.field(default_factory=list)
    transform_s: list[float] = dataclasses.field(default_factory=list)
    ready_s: list[float] = dataclasses.field(default_factory=list)
    size_bytes: int | None = None
    memory: dict[str, int | None] = dataclasses.field(default_factory=dict)
    other_load_fracs: list[float | None] = dataclasses.field(default_factory=list)
    slow_build: bool = False
    threads_seen: dict[str, int] = dataclasses.field(default_factory=dict)
    status: str = OK
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class QueryResult(_Measured):
    """One query cell: one index asked in one way.

    Attributes:
        cell: The cell's id, unique in the run.
        backbone: Name of the backbone's variant in the suite.
        engine: Name of the engine's table in the suite.
        kind: Kind of engine, a key of `ris_core.engines.ENGINES`.
        params: Build parameters, defaults included.
        query_params: Query parameters, defaults included.
        space: ``"corrected"``, or ``"as_published"``: raw queries on a corrected index.
        mode: ``"single"`` (one query at a time) or ``"batch"`` (all queries in one call).
        threads: Threads that the engine, BLAS and OpenMP were given.
        n: Tiles in the index.
        d: Dimensions of a feature in the index' space.
        k: Neighbours asked for, the query tile itself not counted.
        q: Timed queries.
        times_s: For each process its seconds: one a query in single mode, in the order of the run's timed queries;
            one a round over all queries in batch mode.
        chosen: What the engine chose before it was asked, such as the probes for a wanted recall; empty where nothing.
        prepare_s: For each process the seconds that choosing took, before warm-up and clock.
        recall_at_k: Recall of each timed query, ties at rank k counted as right.
        recall_ids_at_k: The same by ids alone.
        candidates_mean: Unique candidates examined for a query, where the engine can tell.
        shorter_than_k_frac: Share of timed queries answered with fewer than k tiles.
        self_first_frac: Share of timed queries whose own tile came first before it was dropped.
        self_missed_frac: Share of timed queries whose own tile is in the index and was not among the k + 1 answers.
        answer_digests: For each process a CRC-32 of its answer to each timed query.
        precision: For each stratum, precision at its depth of each judged query, in the judgments' order.
        average_precision: The same, average precision at the stratum's depth.
        vote_right: Whether most answers bear the query's label, of each query that labels judge, in the judgments'
            order.
        revisited: Where pairs are judged, scores of whole rankings by `bench.scores.revisited`, by their names, of each
            judged query in the judgments' order.
        judged_times_s: Single mode: for each process the seconds of each judged query, in the judgments' order.
        judged_recall: Single mode: recall at k of each judged query, in the judgments' order.
        recall_by_exclusion: For each exclusion but ``"self"``, the recall of each timed query with the excluded tiles
            taken from the truth and from the answers.
        precision_by_exclusion: The same for ``precision``: exclusion, then stratum.
        other_load_fracs: For each process the share of the usable cores, in [0, 1], that other work took while the cell
            was measured in it; None where that was too short to tell.
        slow_build: Whether the index is slow to build and was measured in one process alone.
        hits_file: Answers to the judged queries, relative to the run folder: an npz with query_ids (j,),
            stratum, concept, depth (j,), ids (j, depth) and distances padded with -1 and inf, relevant bool.
        threads_seen: Pools that threadpoolctl found while measuring, and their threads.
        status: ``"ok"``, ``"failed"`` or ``"skipped"``.
        reason: Why it failed or was skipped, else empty.
    """

    RECORD: ClassVar[str] = "query"
    PER_PROCESS = ("times_s", "prepare_s", "judged_times_s", "other_load_fracs", "answer_digests")

    cell: str
    backbone: str
    engine: str
    kind: str
    params: dict[str, Any]
    query_params: dict[str, Any]
    space: str
    mode: str
    threads: int
    k: int
    n: int = 0
    d: int = 0
    q: int = 0
    times_s: list[list[float]] = dataclasses.field(default_factory=list)
    chosen: dict[str, int | float] = dataclasses.field(default_factory=dict)
    prepare_s: list[float] = dataclasses.field(default_factory=list)
    recall_at_k: list[float] = dataclasses.field(default_factory=list)
    recall_ids_at_k: list[float] = dataclasses.field(default_factory=list)
    candidates_mean: float | None = None
    shorter_than_k_frac: float | None = None
    self_first_frac: float | None = None
    self_missed_frac: float | None = None
    answer_digests: list[list[int]] = dataclasses.field(default_factory=list)
    precision: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    average_precision: dict[str, list[float | None]] = dataclasses.field(default_factory=dict)
    vote_right: list[bool] = dataclasses.field(default_factory=list)
    revisited: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    judged_times_s: list[list[float]] = dataclasses.field(default_factory=list)
    judged_recall: list[float] = dataclasses.field(default_factory=list)
    recall_by_exclusion: dict[str, list[float | None]] = dataclasses.field(default_factory=dict)
    precision_by_exclusion: dict[str, dict[str, list[float]]] = dataclasses.field(default_factory=dict)
    other_load_fracs: list[float | None] = dataclasses.field(default_factory=list)
    slow_build: bool = False
    hits_file: str = ""
    threads_seen: dict[str, int] = dataclasses.field(default_factory=dict)
    status: str = OK
    reason: str = ""

    @property
    def unstable_frac(self) -> float | None:
        """Share of timed queries to which two processes gave different answers; None for fewer than two."""
        if len(self.answer_digests) < 2 or not self.answer_digests[0]:
            return None
        answers = list(zip(*self.answer_digests, strict=True))
        return sum(len(set(digests)) > 1 for digests in answers) / len(answers)


@dataclasses.dataclass(frozen=True)
class PaceResult(_Measured):
    """One throughput cell: one stage done in one way.

    Attributes:
        cell: The cell's id, unique in the run.
        stage: ``"tiles"``, ``"train"`` or ``"extract"``.
        way: A key of `bench.pace.ways.WAYS`.
        backbone: Name of the backbone's variant; empty for tiling.
        threads: Threads that torch, OpenMP and our decoding were given.
        n: Tiles of a round.
        batch: Tiles of a step or a pass; 0 for tiling.
        workers: Processes that load images; 0 where the process itself does.
        device: ``"cpu"`` or ``"cuda"``.
        precision: ``"fp32"``, ``"fp16"`` or ``"bf16"``; empty for tiling.
        times_s: For each process the seconds of each round.
        prepare_s: For each process the seconds that making the network's input of a round takes alone; None for tiling.
        flops_per_tile: Of the network, or of a training step; None for tiling.
        peak_flops: For each process the FLOP/s of a large product of matrices; None for tiling.
        peak_rss_bytes: For each process the most memory that it held; None where the system does not tell.
        peak_device_bytes: For each process the most memory on the GPU; None on the CPU.
        other_load_fracs: For each process the share of the usable cores, in [0, 1], that other work took while the cell
            was measured in it; None where that was too short to tell.
        threads_seen: Pools that threadpoolctl found while measuring, and their threads.
        status: ``"ok"``, ``"failed"`` or ``"skipped"``.
        reason: Why it failed or was skipped, else empty.
    """

    RECORD: ClassVar[str] = "pace"
    PER_PROCESS = ("times_s", "prepare_s", "peak_flops", "peak_rss_bytes", "peak_device_bytes", "other_load_fracs")
    slow_build: ClassVar[bool] = False

    cell: str
    stage: str
    way: str
    backbone: str
    threads: int
    n: int = 0
    batch: int = 0
    workers: int = 0
    device: str = ""
    precision: str = ""
    times_s: list[list[float]] = dataclasses.field(default_factory=list)
    prepare_s: list[float | None] = dataclasses.field(default_factory=list)
    flops_per_tile: int | None = None
    peak_flops: list[float | None] = dataclasses.field(default_factory=list)
    peak_rss_bytes: list[int | None] = dataclasses.field(default_factory=list)
    peak_device_bytes: list[int | None] = dataclasses.field(default_factory=list)
    other_load_fracs: list[float | None] = dataclasses.field(default_factory=list)
    threads_seen: dict[str, int] = dataclasses.field(default_factory=dict)
    status: str = OK
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class RerankResult(_Measured):
    """One re-ranking cell: the judged queries, each searched and re-ranked alone, with corrected queries.

    Attributes:
        cell: The cell's id, unique in the run.
        backbone: Name of the backbone's variant in the suite.
        engine: Name of the engine's table in the suite.
        kind: Kind of engine, a key of `ris_core.engines.ENGINES`.
        params: Build parameters, defaults included.
        query_params: Query parameters, defaults included.
        rerank: Name of the re-ranker's table in the suite.
        rerank_kind: Kind of re-ranker, a key of `ris_core.rerank.RERANKERS`.
        rerank_params: Its parameters, defaults included.
        threads: Threads that the engine, BLAS and OpenMP were given.
        n: Tiles in the index.
        d: Dimensions of a feature in the index' space.
        q: Judged queries.
        offline_s: For each process the seconds of the re-ranker's offline part, the index' build not counted.
        size_bytes: Bytes of what the re-ranker keeps once all queries were asked, beside the index and the vectors.
        search_s: For each process the seconds of the index' search of each query, in the judgments' order.
        rerank_s: For each process the seconds of the re-ranking of each query.
        precision: For each stratum, precision at its depth of each query after re-ranking, in the judgments' order.
        average_precision: The same, average precision at the stratum's depth.
        precision_before: The same of the very answers that were re-ranked.
        average_precision_before: The same.
        revisited: As in `QueryResult`, after re-ranking.
        answer_digests: For each process a CRC-32 of its answer to each query.
        other_load_fracs: For each process the share of the usable cores, in [0, 1], that other work took while the cell
            was measured in it; None where that was too short to tell.
        slow_build: Whether the index or the offline part is slow to build: measured in one process alone.
        hits_file: Answers after re-ranking, as in `QueryResult`.
        threads_seen: Pools that threadpoolctl found while measuring, and their threads.
        status: ``"ok"``, ``"failed"`` or ``"skipped"``.
        reason: Why it failed or was skipped, else empty.
    """

    RECORD: ClassVar[str] = "rerank"
    PER_PROCESS = ("offline_s", "search_s", "rerank_s", "answer_digests", "other_load_fracs")

    cell: str
    backbone: str
    engine: str
    kind: str
    params: dict[str, Any]
    query_params: dict[str, Any]
    rerank: str
    rerank_kind: str
    rerank_params: dict[str, Any]
    threads: int
    n: int = 0
    d: int = 0
    q: int = 0
    offline_s: list[float] = dataclasses.field(default_factory=list)
    size_bytes: int | None = None
    search_s: list[list[float]] = dataclasses.field(default_factory=list)
    rerank_s: list[list[float]] = dataclasses.field(default_factory=list)
    precision: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    average_precision: dict[str, list[float | None]] = dataclasses.field(default_factory=dict)
    precision_before: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    average_precision_before: dict[str, list[float | None]] = dataclasses.field(default_factory=dict)
    revisited: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    answer_digests: list[list[int]] = dataclasses.field(default_factory=list)
    other_load_fracs: list[float | None] = dataclasses.field(default_factory=list)
    slow_build: bool = False
    hits_file: str = ""
    threads_seen: dict[str, int] = dataclasses.field(default_factory=dict)
    status: str = OK
    reason: str = ""

    @property
    def times_s(self) -> list[list[float]]:
        """For each process the seconds of search and re-ranking together."""
        return [
            [sum(pair) for pair in zip(*both, strict=True)] for both in zip(self.search_s, self.rerank_s, strict=True)
        ]


@dataclasses.dataclass(frozen=True)
class RegionResult(_Measured):
    """One region cell: the judged queries, each asked by its whole picture and its regions, corrected, one by one.

    Attributes:
        cell: The cell's id, unique in the run.
        backbone: Name of the backbone's variant in the suite.
        engine: Name of the engine's table in the suite.
        kind: Kind of engine, a key of `ris_core.engines.ENGINES`.
        params: Build parameters, defaults included.
        query_params: Query parameters, defaults included.
        regions: Name of the regions' table in the suite; ``"whole"``: whole pictures alone.
        source: Where they come from, a key of `ris_core.regions.params.SOURCES`.
        region_params: Their parameters, defaults included.
        threads: Threads that the engine, the backbone, BLAS and OpenMP were given.
        n: Tiles in the index.
        d: Dimensions of a feature in the index' space.
        q: Judged queries.
        crops: Number of regions of each query, in the judgments' order; so for all lists below.
        find_s: Seconds that finding the regions of each query took, measured once a run.
        describe_s: For each process the seconds of cutting and describing each query, its picture in memory.
        search_s: For each process the seconds of the index' search of each query, all its vectors in one call.
        merge_s: For each process the seconds of merging the answers to each query.
        precision: For each stratum, precision of the merged ranking at its depth of each query.
        average_precision: The same, average precision at the stratum's depth.
        descriptor_bytes: Bytes of the corpus' features in the index' space.
        answer_digests: For each process a CRC-32 of the merged ranking of each query.
        other_load_fracs: For each process the share of the usable cores, in [0, 1], that other work took while the cell
            was measured in it; None where that was too short to tell.
        slow_build: Whether the index is slow to build: measured in one process alone.
        hits_file: The merged rankings, as in `QueryResult`; distances are those to the whole picture.
        crops_file: The first answers to each vector, relative to the run folder: an npz with query (v,), boxes (v, 4),
            ids (v, per_crop) padded with -1, relevant bool; the first vector of a query is its whole picture.
        threads_seen: Pools that threadpoolctl found while searching, and their threads.
        status: ``"ok"``, ``"failed"`` or ``"skipped"``.
        reason: Why it failed or was skipped, else empty.
    """

    RECORD: ClassVar[str] = "regions"
    PER_PROCESS = ("describe_s", "search_s", "merge_s", "answer_digests", "other_load_fracs")

    cell: str
    backbone: str
    engine: str
    kind: str
    params: dict[str, Any]
    query_params: dict[str, Any]
    regions: str
    source: str
    region_params: dict[str, Any]
    threads: int
    n: int = 0
    d: int = 0
    q: int = 0
    crops: list[int] = dataclasses.field(default_factory=list)
    find_s: list[float] = dataclasses.field(default_factory=list)
    describe_s: list[list[float]] = dataclasses.field(default_factory=list)
    search_s: list[list[float]] = dataclasses.field(default_factory=list)
    merge_s: list[list[float]] = dataclasses.field(default_factory=list)
    precision: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    average_precision: dict[str, list[float | None]] = dataclasses.field(default_factory=dict)
    descriptor_bytes: int | None = None
    answer_digests: list[list[int]] = dataclasses.field(default_factory=list)
    other_load_fracs: list[float | None] = dataclasses.field(default_factory=list)
    slow_build: bool = False
    hits_file: str = ""
    crops_file: str = ""
    threads_seen: dict[str, int] = dataclasses.field(default_factory=dict)
    status: str = OK
    reason: str = ""

    @property
    def times_s(self) -> list[list[float]]:
        """For each process the seconds of each query, from the picture in memory to the merged ranking."""
        parts = zip(self.describe_s, self.search_s, self.merge_s, strict=True)
        return [[sum(each) for each in zip(self.find_s, *process, strict=True)] for process in parts]


@dataclasses.dataclass(frozen=True)
class StageNote(_JsonRecord):
    """What one heavy stage made or reused.

    Attributes:
        stage: ``"scene"``, ``"tiles"``, ``"checkpoint"``, ``"features"``, ``"space"``, ``"truth"`` or ``"local"``.
        backbone: Name of the backbone's variant; empty for stages that all share.
        folder: The artifact's folder, absolute; on disk relative to the run's.
        key: The artifact's key.
        reused: Whether it was in the cache already.
        wall_s: Seconds that it took when it was made: its last attempt, where earlier ones were cut off.
        notes: Counts and rates of the stage, such as n, d, tiles_per_s.
    """

    RECORD: ClassVar[str] = "stage"

    stage: str
    backbone: str
    folder: str
    key: str
    reused: bool
    wall_s: float
    notes: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class RunRecord(_JsonRecord):
    """``run.json``: what was measured, where, with what.

    Attributes:
        run_id: Name of the run's folder.
        suite_name: Name of the suite: its file's stem.
        suite_file: Path of the suite file.
        suite_text: The suite file as it was.
        suite: The suite as resolved, overrides and defaults included.
        overrides: The ``--set`` arguments, in order.
        version: Version of ris-bench.
        machine: Fingerprint of the machine.
        corpus: Identity of the corpus: source, fingerprint, tiles, train and index counts.
        stages: Notes of the heavy stages, in the order in which they ran.
        cells: Ids of all cells of the suite, in order.
        started: ISO 8601 time with zone.
        finished: The same; empty while the run goes on or when it was cut off.
        status: ``"running"``, ``"ok"``, ``"failed"`` (a cell failed) or ``"interrupted"``.
        measuring: What the clock did in words: warm-up, rounds, garbage collection.
        peak_bytes: Most memory that the process held up to the end of the last cell, training included.
        overhead: For each mode and number of threads, such as ``"single-1t"``, the seconds that asking an engine that
            does nothing takes: one list a process, as in ``QueryResult.times_s``.
        hygiene: What was found out about the data, as `bench.queries.hygiene` says it.
        cluster: Where stages were computed, as `bench.crew.Crew.facts` says it; empty where by the run's own process.
    """

    RECORD: ClassVar[str] = "run"

    run_id: str
    suite_name: str
    suite_file: str
    suite_text: str
    suite: dict[str, Any]
    overrides: list[str] = dataclasses.field(default_factory=list)
    version: str = ""
    machine: dict[str, Any] = dataclasses.field(default_factory=dict)
    corpus: dict[str, Any] = dataclasses.field(default_factory=dict)
    stages: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    cells: list[str] = dataclasses.field(default_factory=list)
    started: str = ""
    finished: str = ""
    status: str = "running"
    measuring: str = ""
    peak_bytes: int = 0
    overhead: dict[str, list[list[float]]] = dataclasses.field(default_factory=dict)
    hygiene: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    cluster: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def stage_notes(self) -> list[StageNote]:
        """The stages as records."""
        return [StageNote.from_json(stage, "run.json stages") for stage in self.stages]


Result = BuildResult | QueryResult | PaceResult | RerankResult | RegionResult


def cell_slug(cell: str) -> str:
    """File name, without ending, of a cell: its id where slashes become double underscores."""
    slug = re.sub(r"[^A-Za-z0-9_.=+-]", "_", cell.replace("/", "__"))
    if slug != cell.replace("/", "__") or len(slug) > _LONGEST_NAME:
        slug = f"{slug[:_LONGEST_NAME]}-{sha256(cell.encode()).hexdigest()[:8]}"
    return slug


def result_path(run_folder: Path, cell: str) -> Path:
    """Where a cell's result stands."""
    return run_folder / CELLS / f"{cell_slug(cell)}.json"


def write_result(run_folder: Path, result: Result) -> None:
    """Put a cell's result on disk, whole.

    Raises:
        ArtifactError: If the disk cannot take it.
    """
    path = result_path(run_folder, result.cell)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, result.to_json())


def read_result(path: Path) -> Result:
    """The result of one cell file.

    Raises:
        ArtifactError: If it is damaged or of another version.
    """
    content = _read_json(path)
    classes: dict[str, type[Result]] = {
        record.RECORD: record for record in (BuildResult, QueryResult, PaceResult, RerankResult, RegionResult)
    }
    record = content.get("record")
    if not isinstance(record, str) or record not in classes:
        raise ArtifactError(f"{path}: record {record!r} is no kind of cell. Delete it and run again.")
    result = classes[record].from_json(content, str(path))
    for name in ("hits_file", "crops_file"):
        if not _is_below(getattr(result, name, "")):
            raise ArtifactError(f"{path}: its {name} leads out of the run's folder. Be wary of where it came from.")
    return result


def _is_below(name: str) -> bool:
    """Whether a path, relative to a folder, stays in it."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\0" not in name


def read_results(run_folder: Path) -> list[Result]:
    """All results of a run, in the suite's order; cells that ``run.json`` does not list come last, by name."""
    results = [read_result(path) for path in sorted((run_folder / CELLS).glob("*.json"))]
    places = {cell: place for place, cell in enumerate(read_run(run_folder).cells)}
    return sorted(results, key=lambda result: places.get(result.cell, len(places)))


@contextlib.contextmanager
def refusing_damage(*folders: Path) -> Iterator[None]:
    """Whatever the content of run folders makes the program stumble over becomes an `ArtifactError`.

    Records are checked by their types when they are read, but what they say must also fit together, over hundreds of
    places: a backbone that no stage knows, a list that is shorter than another.
    """
    try:
        yield
    except UNREADABLE as error:
        if isinstance(error, OSError) and error.errno in LACKS:
            raise
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise ArtifactError(
            f"{', '.join(map(str, folders))}: not what a run of this version leaves: {type(error).__name__}: {error} "
            f"({Path(place.filename).name}, line {place.lineno}). Copy the folder again, or run again; if nobody "
            "changed it, this is a fault of the program."
        ) from error


def write_run(run_folder: Path, record: RunRecord) -> None:
    """Put ``run.json`` on disk, whole; the artifacts' folders stand there relative to the run's."""
    run_folder.mkdir(parents=True, exist_ok=True)
    here = run_folder.resolve()
    stages = [{**stage, "folder": os.path.relpath(stage["folder"], here)} for stage in record.stages]
    write_json(run_folder / RUN, dataclasses.replace(record, stages=stages).to_json())


def read_run(run_folder: Path) -> RunRecord:
    """The ``run.json`` of a run folder.

    Raises:
        ArtifactError: If the folder is not a run.
    """
    path = run_folder / RUN
    record = RunRecord.from_json(_read_json(path), str(path))
    here = run_folder.resolve()
    faulty = [stage for stage in record.stages if not isinstance(stage.get("folder"), str)]
    names = [backbone.get("name") for backbone in _backbones(record, path)]
    odd = [name for name in names if not isinstance(name, str) or not _PLAIN_NAME.fullmatch(name)]
    if faulty or odd:
        what = f"stage {faulty[0]!r:.60} has no folder" if faulty else f"backbone {odd[0]!r:.60} has no plain name"
        raise ArtifactError(f"{path}: its {what}. It is damaged: copy it again, or run again.")
    stages = [{**stage, "folder": os.path.normpath(here / stage["folder"])} for stage in record.stages]
    return dataclasses.replace(record, stages=stages)


def _backbones(record: RunRecord, path: Path) -> list[dict[str, Any]]:
    found = record.suite.get("backbones", [])
    if not fits(found, list[dict[str, Any]]):
        raise ArtifactError(f"{path}: its suite's backbones are no list of records. It is damaged: copy it again.")
    return list(found)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: not found. Name the folder of a run, such as reports/demo/<run_id>.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactError(f"{path}: not readable ({error}). Delete it and run again with --resume.") from error
    if not isinstance(content, dict):
        raise ArtifactError(f"{path}: not a JSON object. Delete it and run again with --resume.")
    return content
