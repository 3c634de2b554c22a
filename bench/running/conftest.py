"""pytest glue: ``--suite`` turns a suite's cells into tests, and every cell's row is on disk before the next starts.

``pytest bench/running/bench_cells.py --suite suites/demo.toml -k falconn --lf --collect-only`` works as with any tests;
``python -m bench run`` starts the same with its own, shorter output.
"""

import contextlib
import os
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import pytest

from bench.machine import fingerprint
from bench.measured_cells.scoring import Scorer
from bench.pace.ways import WAYS
from bench.results import OK, SKIPPED, cell_slug, read_result, read_run, result_path
from bench.running.progress import Progress
from bench.running.run_folder import bare_result, finished_results, mark_ended, mark_started, new_run
from bench.running.session import Session
from bench.suites.cells import BuildCell, Cell, PaceCell, QueryCell, RegionCell, RerankCell, expand_cells
from bench.suites.suite_file import find_suite, read_suite
from ris_core.artifacts import LACKS, disk_error, written_whole
from ris_core.engines import ENGINES
from ris_core.errors import ArtifactError, ClusterError, CorpusError, RasterError, RisError, SuiteError
from ris_core.rerank import RERANKERS

SESSION = pytest.StashKey[Session]()
CELLS = pytest.StashKey[Sequence[Cell]]()
PROGRESS = pytest.StashKey[Progress]()
DONE = pytest.StashKey[bool]()
FATAL = pytest.StashKey[RisError]()  # an error that no other cell would survive either
_SEARCHING: dict[str, type[BuildCell | QueryCell | RerankCell | RegionCell]] = {  # by argument of a test
    "build_cell": BuildCell,
    "query_cell": QueryCell,
    "rerank_cell": RerankCell,
    "region_cell": RegionCell,
}
FATAL_ERRORS = (ArtifactError, ClusterError, CorpusError, RasterError, SuiteError)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the harness."""
    group = parser.getgroup("ris-bench")
    group.addoption("--suite", metavar="SUITE", help="suite file, or name of one in suites/")
    group.addoption("--set", dest="suite_set", action="append", default=[], metavar="KEY=VALUE", help="override a key")
    group.addoption("--cache", default=os.environ.get("RIS_CACHE", ".ris_cache"), metavar="DIR", help="artifacts")
    group.addoption("--reports", default="reports", metavar="DIR", help="folder of the runs")


def pytest_configure(config: pytest.Config) -> None:
    """Read the suite, unless ``python -m bench run`` has left a session already."""
    if SESSION in config.stash or config.getoption("suite") is None:
        return
    if hasattr(config, "workerinput") or config.getoption("numprocesses", None):
        raise pytest.UsageError(
            "cells that run side by side (-n of pytest-xdist) spoil each other's times: leave it out."
        )
    try:
        suite = read_suite(find_suite(config.getoption("suite")), config.getoption("suite_set"))
    except RisError as error:
        raise pytest.UsageError(str(error)) from error
    config.stash[CELLS] = cells = expand_cells(suite)
    config.stash[PROGRESS] = progress = Progress(None)
    folder = Path()  # made when the first cell starts
    cache = Path(config.getoption("cache"))
    config.stash[SESSION] = Session(suite, cells, folder, cache, progress.tell_stage, progress=True)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each cell and process."""
    for name, kind in _SEARCHING.items():
        if name in metafunc.fixturenames:
            mine = [(cell, number) for cell, number in _numbered(metafunc.config) if isinstance(cell, kind)]
            metafunc.parametrize(
                (name, "process", "scorer"),
                [(cell, number, cell.index.backbone) for cell, number in mine],
                ids=_ids(mine),
                indirect=["scorer"],
                scope="session",
            )
    if "pace_cell" in metafunc.fixturenames:
        rates = [(cell, number) for cell, number in _numbered(metafunc.config) if isinstance(cell, PaceCell)]
        metafunc.parametrize(("pace_cell", "process"), rates, ids=_ids(rates), scope="session")


def _numbered(config: pytest.Config) -> list[tuple[Cell, int]]:
    """Every cell in each of its processes."""
    cells: Sequence[Cell] = config.stash.get(CELLS, ())
    numbers = range(1, config.stash[SESSION].suite.measure.processes + 1) if cells else ()
    return [(cell, number) for number in numbers for cell in cells]


def _ids(numbered: Sequence[tuple[Cell, int]]) -> list[str]:
    return [f"{cell.id}/process-{number}" for cell, number in numbered]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The suite's order, all of it once before any second process; no time limit, warnings as warnings.

    So the processes of a cell lie minutes apart and see the machine in several moods, and a run that is cut off has
    measured everything in fewer processes. What is done is left out.
    """
    cells: Sequence[Cell] = config.stash.get(CELLS, ())
    places = {cell.id: place for place, cell in enumerate(cells)}
    ours = [item for item in items if cell_of(item) is not None]
    others = [item for item in items if cell_of(item) is None]
    ours.sort(key=lambda item: (_process_of(item), places[cell_of(item).id]))  # type: ignore[union-attr]
    for item in ours:
        item.add_marker(pytest.mark.timeout(0))
        item.add_marker(pytest.mark.filterwarnings("default"))
    session = config.stash.get(SESSION, None)
    done = finished_results(session.folder) if session is not None and session.folder != Path() else {}
    for item in ours:
        before = done.get(cell_of(item).id)  # type: ignore[union-attr]
        item.stash[DONE] = before is not None and (before.slow_build or before.processes >= _process_of(item))
    left = [item for item in ours if not is_done(item)]
    if len(left) < len(ours):
        config.hook.pytest_deselected(items=[item for item in ours if item not in left])
        config.stash[PROGRESS].say(f"{len(ours) - len(left)} of {len(ours)} measurements are done already")
    config.stash.get(PROGRESS, Progress(None)).expect(len(left))
    items[:] = [*others, *left]


def is_done(item: pytest.Item) -> bool:
    """Whether an earlier process of this run has measured the item's cell."""
    return item.stash.get(DONE, False)


def cell_of(item: pytest.Item) -> Cell | None:
    """The cell that an item measures; None for an item of somebody else's."""
    parameters: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
    cells = (parameters.get(name) for name in (*_SEARCHING, "pace_cell"))
    return next((cell for cell in cells if isinstance(cell, Cell)), None)  # pytest's own mark where a kind has none


def _process_of(item: pytest.Item) -> int:
    return item.callspec.params["process"]  # type: ignore[attr-defined]


def open_session(config: pytest.Config) -> Session | None:
    """The run under way, its folder made now unless there is one; None without ``--suite``."""
    found = config.stash.get(SESSION, None)
    if found is not None and found.folder == Path():
        found.folder = new_run(found.suite, found.cells, Path(config.getoption("reports")), None, fingerprint())
        config.stash[PROGRESS].say(f"run folder: {found.folder}")
    return found


@pytest.fixture(scope="session")
def session(pytestconfig: pytest.Config) -> Session:
    """The run under way."""
    found = open_session(pytestconfig)
    if found is None:
        pytest.skip("no --suite was given")  # plain pytest over this folder: there is no cell to measure
    return found


@pytest.fixture(scope="session")
def scorer(session: Session, request: pytest.FixtureRequest) -> Scorer:
    """Features of one backbone; pytest drops those of the backbone before, and keeps an error for all its cells."""
    return session.prepare(request.param)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, before anything is made for it, a cell whose engine cannot run here or that needs no more processes."""
    cell, session = cell_of(item), open_session(item.config)
    if cell is None or session is None:
        return
    path = result_path(session.folder, cell.id)
    before = read_result(path) if _process_of(item) > 1 and path.is_file() else None
    if before is not None and (before.status != OK or before.slow_build):
        item.stash[DONE] = True
        pytest.skip("measured in one process alone")  # slow to build, or failed before: its row stands already
    reason = _unavailable(cell)
    if reason is not None:
        session.keep(cell, bare_result(cell, session.suite, SKIPPED, reason))
        pytest.skip(reason)  # the row just written says so in the report
    if item.config.getoption("benchmark_disable"):
        pytest.skip("the clock is disabled (--benchmark-disable)")  # the user asked for no times, and a cell is one


def _unavailable(cell: Cell) -> str | None:
    """Why the cell cannot be measured here; None when it can."""
    if isinstance(cell, PaceCell):
        return WAYS[cell.way].unavailable()
    reranker = RERANKERS[cell.kind].unavailable() if isinstance(cell, RerankCell) else None
    return ENGINES[cell.index.kind].unavailable() or reranker


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Leave a mark while a cell runs, which stays if the process dies in it."""
    cell, session = cell_of(item), item.config.stash.get(SESSION, None)
    if cell is None or session is None:
        return (yield)
    mark_started(session.folder, cell)
    try:
        return (yield)
    finally:
        mark_ended(session.folder, cell)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Give a failed cell its row, say how each cell went, and stop where no other cell could go better."""
    report = yield
    cell, session = cell_of(item), item.config.stash.get(SESSION, None)
    if cell is None or session is None or report.when == "teardown" or is_done(item):
        return report
    error = call.excinfo.value if call.excinfo is not None else None
    try:
        raise_fatal(session, error)
        if report.failed and error is not None:
            session.keep_failure(cell, _reason(error))
            _write_traceback(session.folder, cell, report)
        if report.when == "call" and report.passed:
            _forget_failure(session.folder, cell)
        if report.when == "call" or not report.passed:
            item.config.stash[PROGRESS].tell_cell(cell, read_result(result_path(session.folder, cell.id)))
    except FATAL_ERRORS as fatal:
        item.config.stash[FATAL] = fatal
        item.session.shouldstop = str(fatal)
    return report


def raise_fatal(session: Session, error: BaseException | None) -> None:
    """Raise what no other cell would survive either: a full disk, say, or an artifact that is gone."""
    if isinstance(error, FATAL_ERRORS):
        raise error
    if isinstance(error, OSError) and error.errno in LACKS:
        raise disk_error(session.folder, error) from error
    if error is not None:
        session.refuse_losses()


def _reason(error: BaseException) -> str:
    return str(error) if isinstance(error, RisError) else f"{type(error).__name__}: {error}"


def _write_traceback(folder: Path, cell: Cell, report: pytest.TestReport) -> None:
    """Leave the traceback of what is no user's error for whoever looks for the cause."""
    with written_whole(_traceback_path(folder, cell)) as unfinished:
        unfinished.write_text(report.longreprtext, encoding="utf-8")


def _forget_failure(folder: Path, cell: Cell) -> None:
    """Remove the traceback of an earlier attempt at a cell that is measured now."""
    path = _traceback_path(folder, cell)
    path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # those of other cells are there still, or there never was one
        path.parent.rmdir()


def _traceback_path(folder: Path, cell: Cell) -> Path:
    return folder / "failures" / f"{cell_slug(cell.id)}.txt"


def pytest_benchmark_generate_machine_info(config: pytest.Config) -> dict[str, Any] | None:
    """Our fingerprint in ``benchmark.json`` too; pytest-benchmark's own would name the host."""
    session = config.stash.get(SESSION, None)
    return None if session is None or session.folder == Path() else read_run(session.folder).machine


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Say in ``run.json`` how it ended."""
    found = session.config.stash.get(SESSION, None)
    if found is None or found.folder == Path() or session.config.getoption("collectonly"):
        return
    ends = {int(pytest.ExitCode.OK): "ok", int(pytest.ExitCode.NO_TESTS_COLLECTED): "ok", 1: "failed"}
    found.close(ends.get(int(exitstatus), "interrupted"))
