"""The tables of one run, made from its folder alone: cells, stage notes, training logs, judgments, query facts."""

from pathlib import Path
from typing import Any

import pandas as pd

from bench.judging.judgments import Judgments
from bench.results import RunRecord, StageNote, read_results, read_run
from bench.tables.difficulty_table import DataFacts
from bench.tables.provenance_table import provenance_table
from bench.tables.systems_table import systems_table
from bench.tables.table import build_tables
from bench.tables.variants_table import variants_table
from ris_core.errors import UNREADABLE, ArtifactError

_KNN = ("knn_10", "knn_20", "knn_20_ci_low", "knn_20_ci_high")
_KNN_START = ("knn_10_start", "knn_20_start")
LOGS, ANSWERS, JUDGMENTS, QUERIES, TABLES = "logs", "knn", "judgments", "queries", "tables"
REGIONS = "regions"  # what single crops of the queries were answered


def run_tables(run_folder: Path) -> dict[str, pd.DataFrame]:
    """Every table of a run, by name.

    Raises:
        ArtifactError: If the folder is not a run, or a file of it is damaged.
    """
    record = read_run(run_folder)
    folder = run_folder / JUDGMENTS
    judgments = Judgments.open(folder) if folder.is_dir() else None
    notes, logs, data = backbone_notes(record), training_logs(run_folder, record), data_facts(run_folder, record)
    results = read_results(run_folder)
    tables = build_tables(results, judgments, notes, logs, data, record.overhead)
    variants = variants_table(
        record.suite["backbones"], tables["models"], knn_answers(run_folder, record), tables["nn_precision"]
    )
    systems = systems_table(record.suite, results, judgments, tables["models"])
    return {**tables, "variants": variants, "systems": systems, "provenance": provenance_table(record, results)}


def backbone_notes(record: RunRecord) -> dict[str, dict[str, Any]]:
    """For each backbone that the run came to, what its stages noted, under the names of the table ``models``.

    ``unit_length``: whether its vectors were scaled to length 1.
    """
    stages = record.stage_notes
    notes: dict[str, dict[str, Any]] = {}
    for entry in record.suite["backbones"]:
        features = _of(stages, "features", entry["name"])
        if features is None:
            continue
        space, trained = (_of(stages, stage, entry["name"]) for stage in ("space", "checkpoint"))
        notes[entry["name"]] = {
            "model": entry["spec"]["model"],
            "weights": _weights_words(entry),
            "tiles": features.notes.get("n"),
            "unit_length": entry.get("space", record.suite.get("space", {})).get("normalize", False),
            **features.notes,
            **{name: None if space is None else space.notes.get(name) for name in _KNN},
            **{name: None if trained is None else trained.notes.get(name) for name in _KNN_START},
            "train_tiles": None if trained is None else trained.notes.get("n"),
        }
    return notes


def training_logs(run_folder: Path, record: RunRecord) -> dict[str, Path]:
    """The run's copy of the training log of each backbone that was trained in it."""
    paths = {entry["name"]: run_folder / LOGS / f"{entry['name']}.txt" for entry in record.suite["backbones"]}
    return {name: path for name, path in paths.items() if path.is_file()}


def knn_answers(run_folder: Path, record: RunRecord) -> dict[str, pd.DataFrame]:
    """What k-NN predicts by the features of each backbone, where tiles have labels.

    Raises:
        ArtifactError: If a file is damaged.
    """
    paths = {entry["name"]: run_folder / ANSWERS / f"{entry['name']}.csv" for entry in record.suite["backbones"]}
    try:
        return {
            name: pd.read_csv(path, dtype=str, keep_default_na=False).astype({"tile": "int64"})
            for name, path in paths.items()
            if path.is_file()
        }
    except UNREADABLE as error:
        raise ArtifactError(f"{run_folder / ANSWERS}: no k-NN answers to be read ({error}). Run again.") from error


def data_facts(run_folder: Path, record: RunRecord) -> DataFacts:
    """What the run knows of the queries of each backbone, and of its data.

    Raises:
        ArtifactError: If a file of query facts is damaged.
    """
    names = [entry["name"] for entry in record.suite["backbones"]]
    paths = {name: run_folder / QUERIES / f"{name}.parquet" for name in names}
    try:
        queries = {name: pd.read_parquet(path) for name, path in paths.items() if path.is_file()}
    except UNREADABLE as error:
        raise ArtifactError(f"{run_folder / QUERIES}: no query facts to be read ({error}). Run again.") from error
    return DataFacts(queries, record.hygiene, record.corpus.get("distractors", 0))


def _of(stages: list[StageNote], stage: str, backbone: str) -> StageNote | None:
    return next((note for note in stages if (note.stage, note.backbone) == (stage, backbone)), None)


def _weights_words(entry: dict[str, Any]) -> str:
    if entry["spec"]["model"] == "colour":
        return "none"
    start = entry["spec"]["weights"]
    start = start if start in ("random", "pretrained") else Path(start).name
    return start if entry["recipe"] is None else f"{entry['recipe'].get('method', 'dino')} from {start}"
