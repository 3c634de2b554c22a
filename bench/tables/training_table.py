"""What training left: loss of each epoch, and one row a backbone."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from bench.tables.published import PUBLISHED_COLUMNS, add_published, beside, published_table
from bench.tables.table_schemas import SCHEMAS
from ris_core.errors import ArtifactError

_LOG_KEYS = {
    "epoch": "epoch",
    "loss": "train_loss",
    "lr": "train_lr",
    "weight_decay": "train_wd",
    "teacher_entropy": "teacher_entropy",
    "kl": "kl",
    "dominance": "dominance",
    "images_per_s": "images_per_s",
    "epoch_s": "epoch_s",
    "knn_10": "knn_10",
    "knn_20": "knn_20",
    "mfu": "mfu",
    "accuracy": "train_accuracy",
}


def loss_table(logs: Mapping[str, Path]) -> pd.DataFrame:
    """``losses``: one row for each backbone and epoch; beside those of DINO the thesis' losses of the same epoch.

    Args:
        logs: Name of each trained backbone and the ``log.txt`` of its checkpoint.

    Raises:
        ArtifactError: If a log cannot be read.
    """
    records = [(backbone, record) for backbone, path in logs.items() for record in read_log(path)]
    rows = [
        {"backbone": backbone, **{column: record.get(key) for column, key in _LOG_KEYS.items()}}
        for backbone, record in records
    ]
    table = pd.DataFrame(rows, columns=["backbone", *_LOG_KEYS]).astype({"epoch": "int64"})
    table = add_published(table, published_table("losses"), ["epoch"])[list(SCHEMAS["losses"])]
    has_labels = ["method" in record for _, record in records]  # DINO's log does not name its method
    table.loc[has_labels, list(PUBLISHED_COLUMNS)] = math.nan
    return table


def read_log(path: Path) -> list[dict[str, Any]]:
    """Records of a training log, one JSON object a line.

    An epoch that stands twice, because training went on from an earlier state, counts as logged last.

    Raises:
        ArtifactError: If the file is missing, or a line is not the record of an epoch.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path}: no training log to be read ({error}). Train again.") from error
    records: dict[int, dict[str, Any]] = {}
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            records[int(record["epoch"])] = record
        except (ValueError, KeyError, TypeError) as error:
            raise ArtifactError(f"{path}, line {number}: not the JSON record of an epoch ({error!r}).") from error
    return [records[epoch] for epoch in sorted(records)]


def model_table(notes: Mapping[str, Mapping[str, Any]], logs: Mapping[str, Path]) -> pd.DataFrame:
    """``models``: one row a backbone.

    Args:
        notes: For each backbone what its stages noted; keys that are columns of the table count, others do not.
        logs: As for `loss_table`; the training columns follow from them, unless the notes say otherwise.

    Raises:
        ArtifactError: If a log cannot be read.
    """
    columns = list(SCHEMAS["models"])
    rows = []
    for backbone, noted in notes.items():
        row: dict[str, Any] = {"backbone": backbone}
        if backbone in logs:
            row |= _training(read_log(logs[backbone]))
        row |= {key: value for key, value in noted.items() if key in columns and value is not None}
        rows.append(row)
    return pd.DataFrame(rows, columns=columns)


def models_page(models: pd.DataFrame) -> pd.DataFrame:
    """The backbones as people read them; columns of which nothing is known are left out."""
    knn = models[["knn_20", "knn_20_ci_low", "knn_20_ci_high"]].astype("float64").itertuples(index=False, name=None)
    norms = models[["norm_mean", "norm_std"]].astype("float64").itertuples(index=False, name=None)
    page = pd.DataFrame(
        {
            "backbone": models["backbone"],
            "network": models["model"],
            "weights": models["weights"],
            "parameters": models["parameters"],
            "GFLOP a tile": models["flops"].astype("float64") / 1e9,
            "d": models["d"],
            "epochs": models["train_epochs"],
            "training, s": models["train_s"],
            "an epoch, s": models["epoch_s"],
            "MFU, training": models["train_mfu"],
            "loss": models["final_loss"],
            "tiles/s": models["tiles_per_s"],
            "MFU": models["mfu"],
            "peak MB": models["extract_peak_mb"],
            "length": ["" if math.isnan(mean) else f"{mean:.4g} ± {spread:.2g}" for mean, spread in norms],
            "k-NN 10": models["knn_10"],
            "k-NN 20": [_knn_words(*row) for row in knn],
            "untrained": models["knn_20_start"],
        }
    )
    return page.loc[:, [bool((page[column].notna() & (page[column] != "")).any()) for column in page]]


def _knn_words(mean: float, low: float, high: float) -> str:
    """An accuracy with its interval, which one tile does not have."""
    if math.isnan(mean):
        return ""
    return f"{mean:.3f}" if math.isnan(low) else f"{mean:.3f} [{low:.3f}, {high:.3f}]"


def losses_page(losses: pd.DataFrame) -> pd.DataFrame:
    """The losses as people read them: a row an epoch, a column a backbone, the thesis' models beside."""
    page = losses.pivot_table(index="epoch", columns="backbone", values="loss", sort=False)
    own = list(page.columns)
    published = losses.groupby("epoch")[list(PUBLISHED_COLUMNS)].first()
    page = page.join(published.rename(columns=lambda name: name.replace("published_", "thesis ")))
    return page[beside(own)].dropna(axis="columns", how="all").reset_index()


def _training(log: list[dict[str, Any]]) -> dict[str, Any]:
    seconds, mfu = (pd.Series([e.get(key) for e in log], dtype="float64").dropna() for key in ("epoch_s", "mfu"))
    return {
        "train_epochs": len(log),
        "train_s": seconds.sum(min_count=1),
        "epoch_s": seconds.median(),
        "final_loss": log[-1].get("train_loss") if log else None,
        "train_mfu": mfu.median(),
    }
