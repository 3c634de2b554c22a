"""Run folders: ``reports/<suite>/<run id>/``, made anew or found again to go on with."""

import contextlib
import dataclasses
import datetime
import importlib.metadata
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.machine import compare_machines
from bench.results import (
    CELLS,
    FAILED,
    OK,
    RUN,
    BuildResult,
    PaceResult,
    QueryResult,
    RegionResult,
    RerankResult,
    Result,
    RunRecord,
    cell_slug,
    read_result,
    read_run,
    write_run,
)
from bench.suites.cells import BuildCell, Cell, PaceCell, QueryCell, RegionCell, RerankCell
from bench.suites.suite import Suite
from ris_core.artifacts import exclusive
from ris_core.errors import ArtifactError, ComparabilityError, SuiteError

DIED = "the process died during this cell (killed, out of memory, or a crash of the engine)"
LOCK = ".lock"  # held by whoever measures
_FOLDER_NAME = re.compile(r"(?!\.)[\w .=+()@-]{1,100}")
_STARTED = ".started"
# Kind of cell -> what its row is; a query's also says how many tiles were asked for.
_RESULTS: dict[type, type[Result]] = {
    BuildCell: BuildResult,
    PaceCell: PaceResult,
    RerankCell: RerankResult,
    RegionCell: RegionResult,
}


def now() -> str:
    """ISO 8601 time to the second, with zone."""
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")


def new_run(suite: Suite, cells: Sequence[Cell], reports: Path, run_id: str | None, machine: dict[str, Any]) -> Path:
    """Folder of a new run, ``run.json`` written.

    Args:
        suite: The suite.
        cells: Its cells.
        reports: Folder of all suites' runs.
        run_id: Name of the run; None for the time of day.
        machine: Fingerprint of the machine.

    Raises:
        SuiteError: If a run of that name is there already.
        ArtifactError: If the disk cannot take it.
    """
    by_time = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    for what, part in (("the suite's name", suite.name), ("--run-id", run_id or by_time)):
        if not _FOLDER_NAME.fullmatch(part):
            raise SuiteError(
                f"{what} is {part!r:.80}; a folder is named after it: letters, digits, blanks and _ . = + @ ( ) - are "
                "allowed, and it must not begin with a dot. Choose another one."
            )
    for name in [run_id] if run_id else [by_time, *(f"{by_time}-{number}" for number in range(2, 100))]:
        folder = reports / suite.name / name
        if not (folder / RUN).exists():
            with _claimed(folder) as is_new:
                if is_new:
                    write_run(folder, _new_record(suite, cells, name, machine))
                    return folder
    raise SuiteError(f"{folder}: a run of that name is there. Choose another --run-id, or go on with --resume {name}.")


@contextlib.contextmanager
def _claimed(folder: Path) -> Iterator[bool]:
    """Whether a folder, made now, is free for a new run; nobody else is told so meanwhile."""
    try:
        (folder / CELLS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArtifactError(
            f"{folder}: cannot be made ({error.strerror}). Choose another place with --reports."
        ) from error
    with exclusive(folder / LOCK, f"beginning {folder}"):
        yield not (folder / RUN).exists()


def _new_record(suite: Suite, cells: Sequence[Cell], name: str, machine: dict[str, Any]) -> RunRecord:
    return RunRecord(
        run_id=name,
        suite_name=suite.name,
        suite_file=str(suite.path),
        suite_text=suite.text,
        suite=suite.to_json(),
        overrides=list(suite.overrides),
        version=_version(),
        machine=machine,
        cells=[cell.id for cell in cells],
        started=now(),
        measuring=_measuring(suite),
    )


def find_run(suite: Suite, reports: Path, run_id: str | None, machine: dict[str, Any]) -> Path | None:
    """Folder of the named or the last run of a suite; None if there is none and none was named.

    Raises:
        SuiteError: If the named run is not there, or the suite has changed since.
        ComparabilityError: If the run was begun on another machine.
    """
    if run_id is not None:
        named = (reports / suite.name / run_id, Path(run_id))
        folder = next((path for path in named if (path / RUN).is_file()), None)
        if folder is None:
            known = ", ".join(path.name for path in _runs(suite, reports)) or "none"
            raise SuiteError(f"--resume {run_id}: no such run of {suite.name} in {reports}. Runs there: {known}.")
    else:
        folder = next(iter(_runs(suite, reports)[::-1]), None)
        if folder is None:
            return None
    record = read_run(folder)
    changed = _changed_keys(record.suite, suite.to_json())
    if changed:
        raise SuiteError(
            f"{folder}: was begun with another suite; changed: {', '.join(changed)}. "
            "Give the same --set arguments, or start a new run without --resume."
        )
    differences = compare_machines(record.machine, machine)
    if differences:
        raise ComparabilityError(
            f"{folder}: was begun on another machine ({'; '.join(differences)}). Times of two machines do not "
            "belong in one table: start a new run without --resume."
        )
    return folder


def _runs(suite: Suite, reports: Path) -> list[Path]:
    """Runs of a suite, oldest first."""
    folders = [path.parent for path in (reports / suite.name).glob(f"*/{RUN}")]
    return sorted(folders, key=lambda folder: (folder / RUN).stat().st_mtime)


def _changed_keys(old: Any, new: Any, path: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(old.keys() | new.keys())
        return [k for key in keys for k in _changed_keys(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))]
    return [] if old == new else [path]


def finished_results(folder: Path) -> dict[str, Result]:
    """Results of a run that need not be measured again, by cell; failed and damaged ones are measured again."""
    done = {}
    for path in sorted((folder / CELLS).glob("*.json")):
        try:
            result = read_result(path)
        except ArtifactError:
            path.unlink()
            continue
        if result.status == OK:
            done[result.cell] = result
    return done


def mark_started(folder: Path, cell: Cell) -> None:
    """Leave a mark that `died_cells` finds if the process does not live to write the cell's result."""
    _mark(folder, cell).touch()


def mark_ended(folder: Path, cell: Cell) -> None:
    """Take the mark away."""
    _mark(folder, cell).unlink(missing_ok=True)


def died_cells(folder: Path, cells: Sequence[Cell]) -> list[Cell]:
    """Cells during which an earlier process died; they get a failed row once, and are tried again after that."""
    died = [cell for cell in cells if _mark(folder, cell).exists()]
    for cell in died:
        mark_ended(folder, cell)
    return died


def _mark(folder: Path, cell: Cell) -> Path:
    return folder / CELLS / f"{cell_slug(cell.id)}{_STARTED}"


def bare_result(cell: Cell, suite: Suite, status: str = FAILED, reason: str = "") -> Result:
    """A row that names the cell and its parameters, with nothing measured."""
    named: dict[str, Any] = {**cell.named(), "status": status, "reason": reason}
    if isinstance(cell, QueryCell):
        return QueryResult(**named, k=suite.queries.k)
    return _RESULTS[type(cell)](**named)


def update_run(folder: Path, **changes: Any) -> RunRecord:
    """Change fields of ``run.json``; the record as it is now."""
    record = dataclasses.replace(read_run(folder), **changes)
    write_run(folder, record)
    return record


def _version() -> str:
    try:
        return importlib.metadata.version("ris-bench")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _measuring(suite: Suite) -> str:
    measure = suite.measure
    paced = "" if suite.throughput is None else _pacing(suite)
    if not suite.engines:
        return paced
    return (
        f"Each cell was measured in {measure.processes} fresh processes, one in each pass over the suite; an index "
        f"that takes over {measure.slow_build_s:g} s to build in one, which then answers all its query cells. "
        "Clock: perf_counter_ns, garbage collection off, threads held at the cell's number. "
        f"Warm caches: {measure.warmup} untimed round(s) first. Builds: {measure.rounds} rounds a process, slow ones "
        f"{measure.slow_rounds}, the very first included. Batch: {measure.rounds} passes over all "
        f"{suite.queries.count} queries in one call. "
        "Single: each query timed once a process, one a call. Where queries are tiles of the index, k + 1 neighbours "
        "are asked for and the query's own tile is dropped. Memory was read in another process, of slow builds in the "
        "one that built them."
        f"{paced and ' '}{paced}"
    )


def _pacing(suite: Suite) -> str:
    measure = suite.measure
    return (
        f"Rates: each way of a stage in {measure.processes} fresh processes, the ways taking turns, {measure.warmup} "
        f"untimed and {measure.rounds} timed rounds in each, threads held at the cell's number; what its preparation "
        "takes alone, and the FLOP/s of a large product of matrices, measured there after."
    )
