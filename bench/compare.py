"""Two runs side by side: scores always, times only where one machine measured both."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tabulate import tabulate

from bench.machine import commit_words, compare_machines, compare_versions, describe
from bench.results import RunRecord, read_run
from bench.run_tables import TABLES
from bench.score import bootstrap_interval
from bench.table import read_table
from ris_core.errors import ComparabilityError

_SETTING = ["cell", "n", "k"]
_VERDICT = "other is"
_ROUNDING = 1e-9  # means of equal shares differ in their last bits
_MODEL_SCORES = ("final_loss", "knn_accuracy")
_SAME, _HIGHER, _LOWER, _UNKNOWN = "same", "higher", "lower", "measured once"  # what can be told of a difference


def compare_runs(base: Path, other: Path, *, scores_only: bool = False) -> str:
    """Scores, and times, that two runs have in common, as Markdown.

    Precision is compared on the same queries, with a 95 % bootstrap interval of the paired difference; recall by its
    own intervals; times by the ratio of medians, which counts where the quartiles lie apart.

    Args:
        base: Folder of the run to compare with.
        other: Folder of the run that is compared.
        scores_only: Leave the times out, so that the machines may differ.

    Raises:
        ComparabilityError: If the machines differ and times are asked for, or the runs have no cell in common.
        ArtifactError: If a folder is no run, or its tables are missing or damaged.
    """
    records = read_run(base), read_run(other)
    differences = compare_machines(records[0].machine, records[1].machine)
    if differences and not scores_only:
        raise ComparabilityError(
            f"{base} and {other} were measured on different machines, so their times must not be compared. "
            f"{'; '.join(differences)}. Compare their scores alone with --scores-only, or measure both on one machine."
        )
    parts = {
        "Precision": _precision_rows(base, other),
        "Recall": _recall_rows(base, other),
        "Models": _model_rows(base, other),
    }
    if not scores_only:
        parts["Times (medians)"] = _time_rows(base, other)
    if all(part.empty for part in parts.values()):
        raise ComparabilityError(
            f"{base} and {other} have no cell of equal id, tiles and k in common. Compare runs of one suite, "
            "measured on one corpus."
        )
    lines = [*_head(*records), *_changes(*records, differences)]
    for title, part in parts.items():
        lines += ["", f"## {title}", "", _grid(part)]
    return "\n".join(lines) + "\n"


def _head(base: RunRecord, other: RunRecord) -> Iterator[str]:
    yield f"# {base.suite_name} {base.run_id} | {other.suite_name} {other.run_id}"
    yield ""
    for word, record in (("base", base), ("other", other)):
        tiles = record.corpus.get("indexed", "?")
        commit = commit_words(record.machine.get("commit"))
        yield f"- {word}: {record.started}, {tiles} tiles, {describe(record.machine)}, commit {commit}"


def _changes(base: RunRecord, other: RunRecord, machines: list[str]) -> Iterator[str]:
    """What differs between the runs besides their results; it may be the cause of a difference."""
    groups = {
        "Different machines": machines,
        "Different versions": compare_versions(base.machine, other.machine),
        "Different suites": [key for key, *_ in _changed(base.suite, other.suite)],
    }
    if base.corpus.get("tiles_key") != other.corpus.get("tiles_key"):
        groups["Different tiles"] = ["no difference below is the program's alone"]
    for title, found in groups.items():
        if found:
            yield f"- {title}: {'; '.join(found)}"


def _changed(base: Any, other: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Keys of nested settings whose values differ, such as ``queries.k``."""
    if isinstance(base, Mapping) and isinstance(other, Mapping):
        for key in sorted(base.keys() | other.keys()):
            yield from _changed(base.get(key), other.get(key), f"{path}.{key}".lstrip("."))
    elif base != other:
        yield path, base, other


def _read(run_folder: Path, name: str) -> pd.DataFrame:
    return read_table(run_folder / TABLES / f"{name}.csv")


def _precision_rows(base: Path, other: Path) -> pd.DataFrame:
    """Mean precision of each stratum and searcher over the queries that both runs judged."""
    keys = ["stratum", "depth", "cell", "query_id"]
    both = _read(base, "nn_precision").merge(_read(other, "nn_precision"), on=keys, suffixes=("_base", "_other"))
    rows = []
    for (stratum, depth, cell), part in both[both["cell"] != ""].groupby(["stratum", "depth", "cell"], sort=False):
        paired = (part["precision_other"] - part["precision_base"]).to_numpy(float)
        low, high = bootstrap_interval(paired)
        verdict = _UNKNOWN if np.isnan(low) else _HIGHER if low > _ROUNDING else _LOWER if high < -_ROUNDING else _SAME
        rows.append(
            {
                "precision": f"{stratum}@{depth} {cell}",
                "queries": len(part),
                "base": part["precision_base"].mean(),
                "other": part["precision_other"].mean(),
                "difference": paired.mean(),
                "95 % interval": "" if np.isnan(low) else f"[{low:+.3f}, {high:+.3f}]",
                _VERDICT: verdict,
            }
        )
    return pd.DataFrame(rows)


def _recall_rows(base: Path, other: Path) -> pd.DataFrame:
    both = _both(base, other, "lsh_parameters", _SETTING)
    both = both.dropna(subset=["recall_base", "recall_other"]) if len(both) else both
    rows = []
    for _, row in both.iterrows():
        above = row["recall_ci_low_other"] > row["recall_ci_high_base"]
        below = row["recall_ci_high_other"] < row["recall_ci_low_base"]
        rows.append(
            {
                f"recall@{row['k']}": row["cell"],
                "queries": row["q_other"],
                "base": row["recall_base"],
                "other": row["recall_other"],
                "difference": row["recall_other"] - row["recall_base"],
                _VERDICT: _HIGHER if above else _LOWER if below else _SAME,
            }
        )
    return pd.DataFrame(rows)


def _model_rows(base: Path, other: Path) -> pd.DataFrame:
    both = _both(base, other, "models", ["backbone"])
    rows = [
        {
            "score": f"{score} {row['backbone']}",
            "base": row[f"{score}_base"],
            "other": row[f"{score}_other"],
            "difference": row[f"{score}_other"] - row[f"{score}_base"],
        }
        for _, row in both.iterrows()
        for score in _MODEL_SCORES
        if not pd.isna(row[f"{score}_base"]) and not pd.isna(row[f"{score}_other"])
    ]
    return pd.DataFrame(rows)


def _time_rows(base: Path, other: Path) -> pd.DataFrame:
    """Medians and their ratio; a ratio counts where the quartiles of one lie outside those of the other."""
    both = _both(base, other, "runtimes", ["quantity", "unit", "backbone", "cell", "n"])
    rows = []
    for _, row in both.iterrows():
        known = not any(pd.isna(row[f"{end}_{run}"]) for end in ("q1", "q3") for run in ("base", "other"))
        above, below = known and row["q1_other"] > row["q3_base"], known and row["q3_other"] < row["q1_base"]
        rows.append(
            {
                "time": f"{row['quantity']} {row['cell'] or row['backbone']}",
                "unit": row["unit"],
                "rounds": f"{row['rounds_base']}, {row['rounds_other']}",
                "base": row["median_base"],
                "other": row["median_other"],
                "other / base": row["median_other"] / row["median_base"] if row["median_base"] else np.nan,
                _VERDICT: _HIGHER if above else _LOWER if below else _SAME if known else _UNKNOWN,
            }
        )
    return pd.DataFrame(rows)


def _both(base: Path, other: Path, name: str, keys: list[str]) -> pd.DataFrame:
    return _read(base, name).merge(_read(other, name), on=keys, suffixes=("_base", "_other"))


def _grid(rows: pd.DataFrame) -> str:
    """The rows under a line that counts what came of them."""
    if rows.empty:
        return "Nothing in common."
    text = rows.astype(object).map(lambda value: f"{value:.4g}" if isinstance(value, float) else str(value))
    if "difference" in rows:
        text["difference"] = [f"{value:+.3f}" for value in rows["difference"]]
    counts = rows[_VERDICT].value_counts().to_dict() if _VERDICT in rows else {}
    summary = ", ".join(f"{counts[word]} {word}" for word in (_HIGHER, _LOWER, _SAME, _UNKNOWN) if word in counts)
    grid = tabulate(text.to_numpy().tolist(), headers=list(text.columns), tablefmt="github", disable_numparse=True)
    return f"Of {len(rows)} the other run is: {summary}.\n\n{grid}" if summary else grid
