"""One benchmark function per kind of cell; pytest collects them for ``--suite`` (see `bench.conftest`)."""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.cells import BuildCell, QueryCell
from bench.replay import enter_times, recorded_time
from bench.scoring import Scorer
from bench.session import Session


@pytest.mark.benchmark(timer=recorded_time, group="build")
def test_build(build_cell: BuildCell, scorer: Scorer, session: Session, benchmark: BenchmarkFixture) -> None:
    """Vectors in memory to an index that answers."""
    result = session.measure_build(build_cell, scorer)
    enter_times(benchmark, build_cell.id, result.build_s)


@pytest.mark.benchmark(timer=recorded_time, group="query")
def test_query(query_cell: QueryCell, scorer: Scorer, session: Session, benchmark: BenchmarkFixture) -> None:
    """All queries of the suite, asked in one way; the answers are checked and scored after the clock."""
    result = session.measure_query(query_cell, scorer)
    enter_times(benchmark, query_cell.id, result.times_s)
