"""What a change of a backbone is worth: each one that a suite calls like another, beside that other."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.scores.score import bootstrap_interval
from bench.tables.table_schemas import SCHEMAS

_KEYS, _COSTS = ["backbone", "stratum", "query_id"], ["train_s", "final_loss"]


def variants_table(
    entries: Sequence[Mapping[str, Any]],
    models: pd.DataFrame,
    answers: Mapping[str, pd.DataFrame],
    precision: pd.DataFrame,
) -> pd.DataFrame:
    """``variants``: one row a backbone; of one that is like another what differs, and what that does. Else empty.

    Differences are the backbone's value less the other's, on the same tiles or queries, with a 95 % bootstrap interval
    as if it were the only one. Precision is that of exact search over all judged queries, corrected.

    Args:
        entries: The suite's backbones, as ``run.json`` has them.
        models: The table ``models``.
        answers: For each backbone what k-NN predicts: ``tile``, ``label`` and ``knn_20``.
        precision: The table ``nn_precision``.
    """
    if not any(entry.get("like") for entry in entries):
        return pd.DataFrame(columns=list(SCHEMAS["variants"]))
    by_name = {entry["name"]: entry for entry in entries}
    right = {name: _right(table) for name, table in answers.items()}
    judged = {str(name): part for name, part in _judged(precision).groupby("backbone")}
    known = models.set_index("backbone")[_COSTS].astype("float64")
    rows = []
    for entry in entries:
        name, like = entry["name"], entry.get("like", "")
        if name not in known.index:  # the run did not come to it
            continue
        row = {"backbone": name, "like": like}
        row |= {key: known[key][name] for key in _COSTS}
        row |= _scored("knn_20", right.get(name), right.get(like))
        row |= _scored("precision", judged.get(name), judged.get(like))
        if like in by_name:
            row["changed"] = ", ".join(_changes(by_name[like], entry))
            row["times_train_s"] = row["train_s"] / known["train_s"].get(like, np.nan)
        rows.append(row)
    return pd.DataFrame(rows, columns=list(SCHEMAS["variants"]))


def variants_page(variants: pd.DataFrame) -> pd.DataFrame:
    """The variants as people read them."""
    return pd.DataFrame(
        {
            "backbone": variants["backbone"],
            "like": variants["like"],
            "but": variants["changed"],
            "k-NN 20": _words(variants, "knn_20"),
            "k-NN, change": _words(variants, "knn_20_difference", "+"),
            "precision": _words(variants, "precision"),
            "precision, change": _words(variants, "precision_difference", "+"),
            "training, s": variants["train_s"],
            "times as long": variants["times_train_s"],
        }
    )


def _right(answers: pd.DataFrame) -> pd.Series:
    """Of each tile whether k-NN found its label: 1 or 0."""
    return (answers["knn_20"] == answers["label"]).astype("float64").set_axis(answers["tile"])


def _judged(precision: pd.DataFrame) -> pd.Series:
    """Precision of each backbone's judged queries under exact search, corrected."""
    exact = precision[(precision["engine"] == "exact") & (precision["space"] == "corrected")]
    return exact.drop_duplicates(_KEYS).set_index(_KEYS)["precision"].astype("float64")


def _scored(name: str, own: pd.Series | None, other: pd.Series | None) -> dict[str, float]:
    """Mean, and mean difference to another, each with its interval."""
    if own is None:
        return {}
    row = _mean(name, own)
    if other is not None:
        paired = own.droplevel("backbone") - other.droplevel("backbone") if own.index.nlevels > 1 else own - other
        row |= _mean(f"{name}_difference", paired.dropna())
    return row


def _mean(name: str, values: pd.Series) -> dict[str, float]:
    low, high = bootstrap_interval(values.to_numpy())
    return {name: float(values.mean()), f"{name}_ci_low": low, f"{name}_ci_high": high}


def _changes(base: Mapping[str, Any], entry: Mapping[str, Any]) -> Iterator[str]:
    """What differs between two backbones of a suite: ``train.epochs=3``."""
    if entry["recipe"] is None and base["recipe"] is not None:
        yield "not trained"
    before, after = _settings(base), _settings(entry)
    for key, value in after.items():
        if key not in before or before[key] != value:
            yield f"{key}={value}"


def _settings(entry: Mapping[str, Any]) -> dict[str, Any]:
    spec, recipe = dict(entry["spec"]), entry["recipe"] or {}
    arch = {f"arch.{key}": value for key, value in spec.pop("arch").items()}
    return spec | arch | {f"train.{key}": value for key, value in recipe.items()}


def _words(table: pd.DataFrame, name: str, sign: str = "") -> list[str]:
    """``0.54 [0.50, 0.57]`` for each row; empty without a value."""
    values = table[[name, f"{name}_ci_low", f"{name}_ci_high"]].astype("float64").itertuples(index=False, name=None)
    return [
        "" if np.isnan(mean) else f"{mean:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]" for mean, low, high in values
    ]
