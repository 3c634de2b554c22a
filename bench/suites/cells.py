"""Cells: every combination that a suite asks for, in the order in which they are measured, each with a stable id.

An id says what the suite says: ``tiny/falconn/cross_polytope-tables10/probes_per_table5/corrected/batch-1t``.
It depends on the cell's own values alone, so adding a value to a grid renames nothing.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.pace.ways import WAYS
from bench.pace.work import TILES, TRAIN
from bench.suites.suite import SINGLE, BackboneEntry, EngineGrid, ParamSet, Suite, takes
from ris_core.regions.params import SOURCES, WHOLE
from ris_core.training.recipe import DinoRecipe

BUILD, QUERY, THROUGHPUT, RERANK, REGIONS = "build", "query", "throughput", "rerank", "regions"


@dataclasses.dataclass(frozen=True)
class IndexKey:
    """What makes one index: query cells with equal keys share one build."""

    backbone: str
    engine: str
    kind: str
    build: ParamSet

    @property
    def id(self) -> str:
        """The part of an id that its cells share."""
        return "/".join(filter(None, (self.backbone, self.engine, self.build.label())))

    def words(self) -> str:
        """The same for people: ``tiny falconn cross_polytope tables=10``."""
        return " ".join(filter(None, (self.backbone, self.engine, _words(self.build))))

    def named(self) -> dict[str, Any]:
        """What the rows of its cells say of it."""
        return {"backbone": self.backbone, "engine": self.engine, "kind": self.kind, "params": self.build.as_dict()}


@dataclasses.dataclass(frozen=True)
class BuildCell:
    """Time to build one index."""

    index: IndexKey
    threads: int

    @property
    def id(self) -> str:
        """Unique in its suite."""
        return f"{self.index.id}/{BUILD}-{self.threads}t"

    def words(self) -> str:
        """The cell for people, as progress lines show it."""
        return f"{self.index.words()} build{_thread_words(self.threads)}"

    def named(self) -> dict[str, Any]:
        """What its row says of it."""
        return {"cell": self.id, **self.index.named(), "threads": self.threads}


@dataclasses.dataclass(frozen=True)
class QueryCell:
    """Time and recall of one index asked in one way."""

    index: IndexKey
    query: ParamSet
    space: str
    mode: str
    threads: int

    @property
    def id(self) -> str:
        """Unique in its suite."""
        return "/".join(filter(None, (self.index.id, self.query.label(), self.space, f"{self.mode}-{self.threads}t")))

    def words(self) -> str:
        """The cell for people, as progress lines show it."""
        asked = _words(self.query)
        return " ".join(filter(None, (self.index.words(), asked, self.space, self.mode))) + _thread_words(self.threads)

    def named(self) -> dict[str, Any]:
        """What its row says of it."""
        how = {"query_params": self.query.as_dict(), "space": self.space, "mode": self.mode}
        return {"cell": self.id, **self.index.named(), **how, "threads": self.threads}


@dataclasses.dataclass(frozen=True)
class RerankCell:
    """Gain and time of re-ranking what one index answers to the judged queries, corrected, one at a time."""

    index: IndexKey
    query: ParamSet
    name: str
    kind: str
    point: ParamSet
    threads: int = 1

    @property
    def id(self) -> str:
        """Unique in its suite."""
        reranker = "-".join(filter(None, (RERANK, self.name, self.point.label())))
        return "/".join(filter(None, (self.index.id, self.query.label(), reranker, f"{SINGLE}-{self.threads}t")))

    def words(self) -> str:
        """The cell for people, as progress lines show it."""
        asked = f"{_words(self.query)} {RERANK} {self.name} {_words(self.point)}"
        return " ".join(f"{self.index.words()} {asked}".split())

    def named(self) -> dict[str, Any]:
        """What its row says of it."""
        how = {"query_params": self.query.as_dict(), "rerank": self.name, "rerank_kind": self.kind}
        own = {"rerank_params": self.point.as_dict(), "threads": self.threads}
        return {"cell": self.id, **self.index.named(), **how, **own}


@dataclasses.dataclass(frozen=True)
class PaceCell:
    """The rate of one stage in one way; tiling knows no backbone."""

    stage: str
    way: str
    backbone: str
    threads: int

    @property
    def id(self) -> str:
        """Unique in its suite."""
        return "/".join(filter(None, (THROUGHPUT, self.stage, self.backbone, f"{self.way}-{self.threads}t")))

    def words(self) -> str:
        """The cell for people, as progress lines show it."""
        words = " ".join(filter(None, (THROUGHPUT, self.stage, self.backbone, self.way)))
        return f"{words}{_thread_words(self.threads)}"

    def named(self) -> dict[str, Any]:
        """What its row says of it."""
        return {"cell": self.id, **dataclasses.asdict(self)}


@dataclasses.dataclass(frozen=True)
class RegionCell:
    """Gain and time of asking one index by whole pictures and their regions: judged queries, corrected, one by one."""

    index: IndexKey
    query: ParamSet
    name: str
    source: str
    point: ParamSet
    threads: int = 1

    @property
    def id(self) -> str:
        """Unique in its suite."""
        regions = "-".join(filter(None, (REGIONS, self.name, self.point.label())))
        return "/".join(filter(None, (self.index.id, self.query.label(), regions, f"{SINGLE}-{self.threads}t")))

    def words(self) -> str:
        """The cell for people, as progress lines show it."""
        asked = f"{_words(self.query)} {REGIONS} {self.name} {_words(self.point)}"
        return " ".join(f"{self.index.words()} {asked}".split())

    def named(self) -> dict[str, Any]:
        """What its row says of it."""
        params = {key: str(value) if isinstance(value, Path) else value for key, value in self.point.as_dict().items()}
        how = {"query_params": self.query.as_dict(), "regions": self.name, "source": self.source}
        own = {"region_params": params, "threads": self.threads}
        return {"cell": self.id, **self.index.named(), **how, **own}


Cell = BuildCell | QueryCell | PaceCell | RerankCell | RegionCell


def expand_cells(suite: Suite) -> list[Cell]:
    """All cells of a suite: the rates first, the ways of a stage side by side.

    Then backbone by backbone, index by index: the index' build, its queries, the re-ranking of their answers, and
    queries by regions.
    """
    cells: list[Cell] = list(_pace_cells(suite))
    for entry in suite.backbones:
        for grid in (grid for grid in suite.engines if takes(grid.backbones, entry)):
            for build in grid.builds:
                index = IndexKey(entry.name, grid.name, grid.kind, build)
                cells.extend(BuildCell(index, threads) for threads in suite.measure.threads)
                cells.extend(_query_cells(suite, grid, index))
                cells.extend(_rerank_cells(suite, entry, grid, index))
                cells.extend(_region_cells(suite, entry, grid, index))
    return cells


def _pace_cells(suite: Suite) -> Iterator[PaceCell]:
    spec = suite.throughput
    if spec is None:
        return
    for stage in spec.stages:
        able = [entry.name for entry in suite.backbones if stage != TRAIN or isinstance(entry.recipe, DinoRecipe)]
        for backbone in [""] if stage == TILES else able:
            for threads in suite.measure.threads:
                yield from (PaceCell(stage, way, backbone, threads) for way in spec.ways if stage in WAYS[way].stages)


def _query_cells(suite: Suite, grid: EngineGrid, index: IndexKey) -> Iterator[QueryCell]:
    for query in grid.queries:
        for space in suite.queries.space:
            for mode in suite.measure.modes:
                for threads in suite.measure.threads:
                    yield QueryCell(index, query, space, mode, threads)


def _rerank_cells(suite: Suite, entry: BackboneEntry, grid: EngineGrid, index: IndexKey) -> Iterator[RerankCell]:
    reranks = [rerank for rerank in suite.reranks if takes(rerank.backbones, entry)]
    for query in grid.queries:
        for rerank in reranks:
            yield from (RerankCell(index, query, rerank.name, rerank.kind, point) for point in rerank.points)


def _region_cells(suite: Suite, entry: BackboneEntry, grid: EngineGrid, index: IndexKey) -> Iterator[RegionCell]:
    """Whole pictures alone come first: regions are held against them."""
    chosen = [regions for regions in suite.regions if takes(regions.backbones, entry)]
    for query in grid.queries if chosen else ():
        yield RegionCell(index, query, WHOLE, WHOLE, ParamSet(SOURCES[WHOLE]()))
        for regions in chosen:
            yield from (RegionCell(index, query, regions.name, regions.source, point) for point in regions.points)


def _words(point: ParamSet) -> str:
    values = ((key, getattr(point.params, key)) for key in point.named)
    return " ".join(str(value) if isinstance(value, str) else f"{key}={value}" for key, value in values)


def _thread_words(threads: int) -> str:
    return f" {threads} threads" if threads > 1 else ""
