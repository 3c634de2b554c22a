"""A run made fit for version control: what the report shows, without pictures, paths, or files of this machine."""

import dataclasses
import json
import shutil
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from bench.report import write_report
from bench.results import CELLS, HITS, RunRecord, read_run, write_run
from bench.tables.provenance_table import without_path
from bench.tables.run_tables import REGIONS
from ris_core.artifacts import disk_error, drop_unfinished, written_whole
from ris_core.errors import ArtifactError

# Large, or of use on the machine that measured alone.
_LEFT_OUT = (CELLS, HITS, REGIONS, "failures", "indexed_ids.npy")
_NEVER_COPIED = (".*", "benchmark*.json")


def publish_run(run_folder: Path, target: Path) -> Path:
    """Copy a run's tables, figures, logs, judgments and page, without pictures and without paths; the new page.

    Imagery may have an owner, numbers do not: ``figures/pictures`` stays behind, and paths shrink to file names.

    Args:
        run_folder: A run that has its cells.
        target: A folder that does not exist yet.

    Raises:
        ArtifactError: If the folder is not a run with cells, ``target`` exists, or the disk cannot take it.
    """
    record = read_run(run_folder)
    if not any((run_folder / CELLS).glob("*.json")):
        raise ArtifactError(f"{run_folder}: has no measured cells to publish. Name a run that was measured here.")
    if target.exists():
        raise ArtifactError(f"{target}: exists already. Remove it, or publish to another folder.")
    try:
        drop_unfinished(target.parent, f".*.{target.name}")
        with written_whole(target) as unfinished:
            page = _publish(run_folder, record, unfinished)
    except OSError as error:
        raise disk_error(target, error) from error
    return target / page.name


def _publish(run_folder: Path, record: RunRecord, target: Path) -> Path:
    """The page of a copy that has neither pictures nor paths."""
    shutil.copytree(run_folder, target, ignore=shutil.ignore_patterns(*_NEVER_COPIED))
    named = dataclasses.replace(record, **_without_paths(record))
    write_run(target, named)
    page = write_report(target, pictures=False)
    for name in _LEFT_OUT:
        path = target / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    stages = [{**stage, "folder": str(target / Path(stage["folder"]).name)} for stage in named.stages]
    write_run(target, dataclasses.replace(named, stages=stages))
    return page


def _without_paths(record: RunRecord) -> dict[str, Any]:
    """The fields of a run record, its stages apart, in which paths occur; every path is cut to its last name."""
    suite = json.loads(json.dumps(record.suite))
    for key in ("source", "queries", "labels", "classes"):
        if suite["corpus"].get(key):
            suite["corpus"][key] = Path(suite["corpus"][key]).name
    for key in ("qrels", "queries"):
        if suite.get("judge", {}).get(key):
            suite["judge"][key] = Path(suite["judge"][key]).name
    for entry in suite.get("backbones", []):
        if "weights" in entry["spec"]:
            entry["spec"]["weights"] = Path(entry["spec"]["weights"]).name
    suite = _without_absolute(suite)
    return {
        "suite_file": Path(record.suite_file).name,
        "overrides": [without_path(override) for override in record.overrides],
        "corpus": {**record.corpus, "source": Path(record.corpus.get("source", "")).name},
        "suite": suite,
    }


def _without_absolute(value: Any) -> Any:
    """The same, however deep, absolute paths cut to their last names: of boxes, weights, distractors."""
    if isinstance(value, dict):
        return {key: _without_absolute(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_without_absolute(part) for part in value]
    is_path = isinstance(value, str) and (PurePosixPath(value).is_absolute() or PureWindowsPath(value).is_absolute())
    return PureWindowsPath(value).name if is_path else value  # a Windows path takes both slashes
