"""One benchmark function per kind of cell; pytest collects them for ``--suite`` (see `bench.running.conftest`)."""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.measured_cells.scoring import Scorer
from bench.running.replay import enter_times, recorded_time
from bench.running.session import Session
from bench.suites.cells import BuildCell, PaceCell, QueryCell, RegionCell, RerankCell


@pytest.mark.benchmark(timer=recorded_time, group="build")
def test_build(
    build_cell: BuildCell, process: int, scorer: Scorer, session: Session, benchmark: BenchmarkFixture
) -> None:
    """Vectors in memory to an index that answers."""
    (times_s,) = session.measure_build(build_cell, scorer).build_s
    enter_times(benchmark, {"cell": build_cell.id, "process": process}, times_s)


@pytest.mark.benchmark(timer=recorded_time, group="query")
def test_query(
    query_cell: QueryCell, process: int, scorer: Scorer, session: Session, benchmark: BenchmarkFixture
) -> None:
    """All queries of the suite, asked in one way; the answers are checked and scored after the clock."""
    (times_s,) = session.measure_query(query_cell, scorer).times_s
    enter_times(benchmark, {"cell": query_cell.id, "process": process}, times_s)


@pytest.mark.benchmark(timer=recorded_time, group="rerank")
def test_rerank(
    rerank_cell: RerankCell, process: int, scorer: Scorer, session: Session, benchmark: BenchmarkFixture
) -> None:
    """Each judged query searched and re-ranked; the book has both together."""
    (times_s,) = session.measure_rerank(rerank_cell, scorer).times_s
    enter_times(benchmark, {"cell": rerank_cell.id, "process": process}, times_s)


@pytest.mark.benchmark(timer=recorded_time, group="regions")
def test_regions(
    region_cell: RegionCell, process: int, scorer: Scorer, session: Session, benchmark: BenchmarkFixture
) -> None:
    """Each judged query described with its crops, searched and merged; the book has all of it together."""
    (times_s,) = session.measure_regions(region_cell, scorer).times_s
    enter_times(benchmark, {"cell": region_cell.id, "process": process}, times_s)


@pytest.mark.benchmark(timer=recorded_time, group="throughput")
def test_throughput(pace_cell: PaceCell, process: int, session: Session, benchmark: BenchmarkFixture) -> None:
    """Rounds of one stage in one way."""
    (times_s,) = session.measure_pace(pace_cell).times_s
    enter_times(benchmark, {"cell": pace_cell.id, "process": process}, times_s)
