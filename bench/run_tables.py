"""The tables of one run, made from its folder alone: cells, stage notes, training logs, judgments."""

from pathlib import Path
from typing import Any

import pandas as pd

from bench.judgments import Judgments
from bench.results import RunRecord, StageNote, read_results, read_run
from bench.table import build_tables

LOGS, JUDGMENTS, TABLES = "logs", "judgments", "tables"


def run_tables(run_folder: Path) -> dict[str, pd.DataFrame]:
    """Every table of a run, by name.

    Raises:
        ArtifactError: If the folder is not a run, or a file of it is damaged.
    """
    record = read_run(run_folder)
    folder = run_folder / JUDGMENTS
    judgments = Judgments.open(folder) if folder.is_dir() else None
    return build_tables(read_results(run_folder), judgments, backbone_notes(record), training_logs(run_folder, record))


def backbone_notes(record: RunRecord) -> dict[str, dict[str, Any]]:
    """For each backbone that the run came to, what its stages noted, under the names of the table ``models``."""
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
            **features.notes,
            "knn_accuracy": None if space is None else space.notes.get("knn_accuracy"),
            "train_tiles": None if trained is None else trained.notes.get("n"),
        }
    return notes


def training_logs(run_folder: Path, record: RunRecord) -> dict[str, Path]:
    """The run's copy of the training log of each backbone that was trained in it."""
    paths = {entry["name"]: run_folder / LOGS / f"{entry['name']}.txt" for entry in record.suite["backbones"]}
    return {name: path for name, path in paths.items() if path.is_file()}


def _of(stages: list[StageNote], stage: str, backbone: str) -> StageNote | None:
    return next((note for note in stages if (note.stage, note.backbone) == (stage, backbone)), None)


def _weights_words(entry: dict[str, Any]) -> str:
    if entry["spec"]["model"] == "colour":
        return "none"
    start = entry["spec"]["weights"]
    start = start if start in ("random", "pretrained") else Path(start).name
    return start if entry["recipe"] is None else f"dino from {start}"
