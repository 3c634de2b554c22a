"""One benchmark function per kind of cell; pytest collects them for ``--suite`` (see `bench.conftest`)."""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.cells import BuildCell, QueryCell
from bench.clock import Asking, time_builds, time_queries
from bench.session import Session
from bench.stages import Base
from ris_core.engines import ENGINES
from ris_core.engines.contract import Engine


@pytest.mark.benchmark(disable_gc=True, group="build")
def test_build(build_cell: BuildCell, base: Base, session: Session, benchmark: BenchmarkFixture) -> None:
    """Vectors in memory to an index that answers."""
    kind, params = ENGINES[build_cell.index.kind], build_cell.index.build.params
    session.built.clear()
    values = base.corrected.values
    timed = time_builds(benchmark, kind, values, params, build_cell.threads, session.suite.measure)
    session.built[build_cell.index] = timed.engine
    benchmark.extra_info["cell"] = build_cell.id
    session.keep(build_cell, session.build_result(build_cell, base, timed))


@pytest.mark.benchmark(disable_gc=True, group="query")
def test_query(
    query_cell: QueryCell, base: Base, engine: Engine, session: Session, benchmark: BenchmarkFixture
) -> None:
    """All queries of the suite, asked in one way; the answers are checked and scored after the clock."""
    queries = session.queries(query_cell, base, base.query_rows)
    k = session.suite.queries.k + 1  # the query's own tile is in the index
    asking = Asking(engine, queries, k, query_cell.query.params, query_cell.threads)
    timed = time_queries(benchmark, asking, query_cell.mode, session.suite.measure)
    result = session.query_result(query_cell, base, engine, timed)
    benchmark.extra_info["cell"] = query_cell.id
    session.keep(query_cell, result)
