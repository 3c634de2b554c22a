"""One run from a suite file to a report: plan, cells under pytest, tables and figures."""

import contextlib
import dataclasses
import gc
import io
import os
import shlex
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.crew import Crew, open_crew
from bench.machine import fingerprint, is_busy
from bench.measuring.remote import death_words
from bench.report import write_report
from bench.results import CELLS, FAILED, read_results, read_run
from bench.running import bench_cells, conftest
from bench.running.progress import Progress, plan_lines
from bench.running.run_folder import DIED, LOCK, died_cells, find_run, new_run, update_run
from bench.running.session import Session
from bench.suites.cells import Cell, expand_cells
from bench.suites.suite import Suite
from bench.suites.suite_file import find_suite, read_suite
from bench.tables.run_tables import TABLES
from bench.timed_worker import TimedWorker
from ris_core.artifacts import disk_error, drop_unfinished, exclusive
from ris_core.cluster import IN_PROCESS
from ris_core.errors import ClusterError, RisError, SuiteError
from ris_core.worker_demands import drop_dead_marks

OK, CELL_FAILED, INTERRUPTED = 0, 1, 130
LAST = ""  # --resume without a name
_EXPECTED = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED)


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """The arguments of ``python -m bench run``.

    Attributes:
        suite: Path or name of the suite.
        overrides: ``--set`` arguments.
        resume: Id of the run to go on with; `LAST` for the last one, None for a new run.
        keyword: pytest's ``-k`` expression over the cells' ids, each with ``/process-1`` and so forth at its end; empty
            for all.
        stop_at_failure: pytest's ``-x``.
        cache: Folder of the artifacts.
        reports: Folder of the runs.
        run_id: Name of a new run; None for the time of day.
        cluster: Address of the cluster that computes the stages, see `ris_core.cluster.open_cluster`; None: no cluster.
    """

    suite: str
    overrides: tuple[str, ...] = ()
    resume: str | None = None
    keyword: str = ""
    stop_at_failure: bool = False
    cache: Path = Path(".ris_cache")
    reports: Path = Path("reports")
    run_id: str | None = None
    cluster: str | None = None


class _Bridge:
    """Hands the run to the cells' conftest, and hears how pytest ended."""

    def __init__(self, session: Session, progress: Progress, crew: Crew) -> None:
        self.session = session
        self.progress = progress
        self.crew = crew
        self.fatal: RisError | None = None
        self.interrupted = False
        self.selected = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        config.stash[conftest.SESSION] = self.session
        config.stash[conftest.CELLS] = self.session.cells
        config.stash[conftest.PROGRESS] = self.progress

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        self.interrupted = type(excinfo.value) is KeyboardInterrupt

    def pytest_warning_recorded(self, warning_message: warnings.WarningMessage) -> None:
        if warning_message.category.__module__.startswith("ris_core"):
            self.progress.say(f"warning: {warning_message.message}")

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        self.selected = self.selected or any(conftest.is_done(item) for item in items)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Have a crew make what the cells need; its processes end before cells run, unless one of them runs these."""
        if self.crew.is_alone:
            return None
        try:
            self._prepare([cell for item in session.items if (cell := conftest.cell_of(item)) is not None])
        except conftest.FATAL_ERRORS as error:
            session.config.stash[conftest.FATAL] = error
            raise session.Interrupted(str(error)) from error
        if self.crew.timed is not None:
            return True
        self.crew.dismiss()
        self.session.cluster = IN_PROCESS
        return None

    def _prepare(self, cells: list[Cell]) -> None:
        try:
            self.session.prepare_ahead(cells)
        except OSError as error:
            conftest.raise_fatal(self.session, error)
            raise

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self.fatal = session.config.stash.get(conftest.FATAL, None)


def run_suite(options: RunOptions) -> int:
    """Measure a suite's cells and write its report.

    Returns:
        0, or 1 if a cell failed, or 130 if it was interrupted.

    Raises:
        RisError: If the suite, the corpus, the disk or the machine forbid the run.
    """
    suite = read_suite(find_suite(options.suite), options.overrides)
    cells = expand_cells(suite)
    progress = Progress(sys.stdout)
    with open_crew(options.cluster, progress.say) as crew:
        folder = _run_folder(options, suite, cells, progress, crew)
        with exclusive(folder / LOCK, f"measuring {folder}"):
            code = _measure(options, suite, cells, folder, progress, crew)
        if crew.timed is not None and code != INTERRUPTED:
            code = _measure_there(options, folder, progress, crew.timed)
    if code == INTERRUPTED:
        progress.say(f"interrupted; everything measured is kept. Go on with: {_resume_command(options, folder)}")
        return code
    progress.say(f"report: {make_report(folder)}")
    return code


def _run_folder(options: RunOptions, suite: Suite, cells: list[Cell], progress: Progress, crew: Crew) -> Path:
    """Folder of the run that is to go on, or of a new one; its plan told."""
    machine = fingerprint() if crew.timed is None else crew.timed.ask(fingerprint)
    folder = None
    if options.resume is not None:
        folder = find_run(suite, options.reports, options.resume or None, machine)
        progress.say(f"going on with {folder}" if folder else f"no run of {suite.name} to go on with: a new one starts")
    if folder is None:
        folder = new_run(suite, cells, options.reports, options.run_id, machine)
    if not crew.is_alone:
        update_run(folder, cluster=crew.facts())
    for line in [*plan_lines(suite, cells, options.cache, folder), *crew.plan_lines()]:
        progress.say(line)
    if is_busy(machine):
        progress.say("  note       this machine is busy with other work: times will be too long")
    return folder


def measure_rest(options: RunOptions) -> int:
    """Measure what is left of a begun run's cells on this machine, with neither plan nor report; see `run_suite`.

    Raises:
        RisError: As `run_suite`; if there is no such run, or it was begun on another machine.
    """
    suite = read_suite(find_suite(options.suite), options.overrides)
    machine = fingerprint()
    folder = find_run(suite, options.reports, options.resume, machine)
    assert folder is not None
    if not any((folder / CELLS).glob("*.json")):
        update_run(folder, machine=machine)  # as the process sees it that measures
    with exclusive(folder / LOCK, f"measuring {folder}"):
        return _measure(options, suite, expand_cells(suite), folder, Progress(sys.stdout), Crew())


def _measure_there(options: RunOptions, folder: Path, progress: Progress, worker: TimedWorker) -> int:
    """`measure_rest` by a worker of the cluster; its lines are told here."""
    update_run(folder, status="interrupted")  # until it says more
    order = {**dataclasses.asdict(options), "cache": str(options.cache), "reports": str(options.reports)}
    order |= {"resume": folder.name, "cluster": None}
    code = INTERRUPTED
    with contextlib.suppress(KeyboardInterrupt):
        code = worker.measure(order, progress.relay)
    if code in (OK, CELL_FAILED, INTERRUPTED):
        return code
    how = "; its message stands above" if code > 0 else f" of {death_words(code)}"
    raise ClusterError(
        f"worker {worker.name}: the process that measured there ended{how}. Everything measured is kept; go on with: "
        f"{_resume_command(options, folder)}"
    )


def _resume_command(options: RunOptions, folder: Path) -> str:
    words = ["python", "-m", "bench", "run", options.suite]
    words += [word for text in options.overrides for word in ("--set", text)]
    words += ["-k", options.keyword] if options.keyword else []
    defaults = RunOptions(options.suite)
    words += ["--cache", str(options.cache)] if options.cache != defaults.cache else []
    words += ["--reports", str(options.reports)] if options.reports != defaults.reports else []
    words += ["--cluster", options.cluster] if options.cluster is not None else []
    return shlex.join([*words, "--resume", folder.name])


def make_report(folder: Path) -> Path:
    """Tables, figures and page of a run, drawn anew; the page.

    The tables are made from the cells; a published run, whose cells were left out, keeps the tables that it has.

    Raises:
        ArtifactError: If the folder is not a run, or the disk cannot take it.
    """
    read_run(folder)  # before a lock is left in what is no run
    with exclusive(folder / f".report{LOCK}", f"drawing the report of {folder}"):
        if any((folder / CELLS).glob("*.json")):
            for stale in (folder / TABLES).glob("*.csv"):
                stale.unlink()
        return write_report(folder)


def _measure(options: RunOptions, suite: Suite, cells: list[Cell], folder: Path, progress: Progress, crew: Crew) -> int:
    """The cells under pytest; its own output is swallowed unless it says what went wrong with pytest itself."""
    drop_unfinished(folder)
    drop_dead_marks(options.cache)
    session = Session(suite, cells, folder, options.cache, progress.tell_stage, progress=True, cluster=crew.cluster)
    for cell in died_cells(folder, cells):
        session.keep_failure(cell, DIED)
    bridge = _Bridge(session, progress, crew)
    swallowed = io.StringIO()
    with _pytest_alone(), contextlib.redirect_stdout(swallowed), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # outside of cells; within them `_Bridge` hears each warning
        try:
            code = pytest.main(_pytest_arguments(options, folder), plugins=[bridge])
        except OSError as error:  # pytest-benchmark could not write its file
            raise bridge.fatal or disk_error(folder, error) from error
    gc.collect()  # of the features and indexes, before the report is drawn
    if bridge.fatal is not None:
        raise bridge.fatal
    if bridge.interrupted:
        return INTERRUPTED
    if code == pytest.ExitCode.NO_TESTS_COLLECTED and not bridge.selected:
        raise SuiteError(f"-k {options.keyword!r} matches none of the {len(cells)} cells; `list` shows their ids.")
    if code not in _EXPECTED:
        sys.stderr.write(swallowed.getvalue())
        raise SuiteError(f"pytest could not run the cells (status {int(code)}); its output stands above.")
    return CELL_FAILED if any(result.status == FAILED for result in read_results(folder)) else OK


def _pytest_arguments(options: RunOptions, folder: Path) -> list[str]:
    """Our cells alone, under pytest's own defaults: no configuration file or plugin of the user's counts."""
    arguments = [bench_cells.__file__, "-c", os.devnull, "--rootdir", str(Path(bench_cells.__file__).parent)]
    arguments += ["--capture=no", "--collect-in-virtualenv", "-p", "pytest_benchmark.plugin", "-p", "no:cacheprovider"]
    arguments += ["--benchmark-quiet", "--benchmark-json", str(_benchmark_json(folder))]
    arguments += ["-k", options.keyword] if options.keyword else []
    arguments += ["-x"] if options.stop_at_failure else []
    return arguments


def _benchmark_json(folder: Path) -> Path:
    """``benchmark.json``; of a run that goes on, ``benchmark-2.json`` and so forth beside it."""
    path, number = folder / "benchmark.json", 1
    while path.exists():
        number += 1
        path = folder / f"benchmark-{number}.json"
    return path


@contextlib.contextmanager
def _pytest_alone() -> Iterator[None]:
    """Keep pytest from reading options and loading plugins that are meant for the user's own tests."""
    names = {"PYTEST_ADDOPTS": "", "PYTEST_PLUGINS": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
