"""Two runs side by side: scores always, times only where one machine measured both."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tabulate import tabulate

from bench.machine import commit_words, compare_machines, compare_versions, describe
from bench.results import RunRecord, read_run
from bench.scores.inference import ALPHA, holm, paired_permutation_test
from bench.scores.score import bootstrap_interval
from bench.tables.run_tables import TABLES
from bench.tables.table import read_table
from ris_core.errors import ComparabilityError

_SETTING = ["cell", "n", "k"]
_VERDICT = "other is"
_ROUNDING = 1e-9  # equal shares that were divided differently differ in their last bits
_MODEL_SCORES = ("final_loss", "knn_10", "knn_20")
_WORDS = ("higher", "lower", "no difference shown", "equal", "measured once")
_HIGHER, _LOWER, _SAME, _EQUAL, _UNKNOWN = _WORDS


def compare_runs(base: Path, other: Path, *, scores_only: bool = False) -> str:
    """Scores, and times, that two runs have in common, as Markdown.

    Precision is compared on the same queries: a 95 % bootstrap interval of the paired difference, and a paired
    permutation test, its p value adjusted by Holm for all rows in which any query differs, so that chance alone calls
    none higher or lower. Recall and times differ where their 95 % intervals lie apart.

    Args:
        base: Folder of the run to compare with.
        other: Folder of the run that is compared.
        scores_only: Leave the times out, so that the machines may differ.

    Raises:
        ComparabilityError: If the machines differ and times are asked for, or the runs have no cell in common.
        ArtifactError: If a folder is no run, or its tables are missing or damaged.
    """
    records = read_pair(base, other, scores_only=scores_only)
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
    names = (f"{record.suite_name} {record.run_id}" for record in records)
    lines = [f"# {' | '.join(names)}", "", *run_lines(*records)]
    for title, part in parts.items():
        lines += ["", f"## {title}", "", _grid(part)]
    return "\n".join(lines) + "\n"


def read_pair(base: Path, other: Path, *, scores_only: bool) -> tuple[RunRecord, RunRecord]:
    """The records of two runs.

    Raises:
        ComparabilityError: If the machines differ, unless only scores are asked for.
        ArtifactError: If a folder is no run.
    """
    records = read_run(base), read_run(other)
    differences = compare_machines(records[0].machine, records[1].machine)
    if differences and not scores_only:
        raise ComparabilityError(
            f"{base} and {other} were measured on different machines, so their times must not be compared. "
            f"{'; '.join(differences)}. Compare their scores alone with --scores-only, or measure both on one machine."
        )
    return records


def run_lines(base: RunRecord, other: RunRecord) -> Iterator[str]:
    """When and where both were measured, and what besides their results differs: it may be a difference' cause."""
    for word, record in (("base", base), ("other", other)):
        tiles = record.corpus.get("indexed", "?")
        commit = commit_words(record.machine.get("commit"))
        yield f"- {word}: {record.started}, {tiles} tiles, {describe(record.machine)}, commit {commit}"
    groups = {
        "Different machines": compare_machines(base.machine, other.machine),
        "Different versions": compare_versions(base.machine, other.machine),
        "Different suites": [key for key, *_ in changed_settings(base.suite, other.suite)],
    }
    if base.corpus.get("tiles_key") != other.corpus.get("tiles_key"):
        groups["Different tiles"] = ["no difference below is the program's alone"]
    for title, found in groups.items():
        if found:
            yield f"- {title}: {'; '.join(found)}"


def changed_settings(base: Any, other: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Keys of nested settings whose values differ, such as ``queries.k``, with both values.

    Items of a list that bear names are compared by name. Of paths the last name counts, so that two checkouts of one
    tree have the same settings; which tiles were cut is told by their key.
    """
    base, other = _by_name(base), _by_name(other)
    if isinstance(base, Mapping) and isinstance(other, Mapping):
        for key in [*base, *(key for key in other if key not in base)]:
            yield from changed_settings(base.get(key), other.get(key), f"{path}.{key}".lstrip("."))
    elif _last_name(base) != _last_name(other):
        yield path, base, other


def _last_name(setting: Any) -> Any:
    return Path(setting).name if isinstance(setting, str) else setting


def _by_name(settings: Any) -> Any:
    named = isinstance(settings, list) and all(isinstance(item, Mapping) and "name" in item for item in settings)
    return {item["name"]: item for item in settings} if named else settings


def _read(run_folder: Path, name: str) -> pd.DataFrame:
    return read_table(run_folder / TABLES / f"{name}.csv")


def _precision_rows(base: Path, other: Path) -> pd.DataFrame:
    """Mean precision of each stratum and searcher over the queries that both runs judged."""
    keys = ["stratum", "depth", "cell", "query_id"]
    both = _read(base, "nn_precision").merge(_read(other, "nn_precision"), on=keys, suffixes=("_base", "_other"))
    groups = list(both[both["cell"] != ""].groupby(["stratum", "depth", "cell"], sort=False))
    paired = [(part["precision_other"] - part["precision_base"]).to_numpy(np.float64) for _, part in groups]
    paired = [np.where(np.abs(each) < _ROUNDING, 0.0, each) for each in paired]
    # Equal answers are no test: nothing could have made their p value small (Tarone 1990).
    adjusted = holm([paired_permutation_test(each) if each.any() else np.nan for each in paired])
    rows = []
    for ((stratum, depth, cell), part), each, p in zip(groups, paired, adjusted, strict=True):
        low, high = bootstrap_interval(each)
        rows.append(
            {
                "precision": f"{stratum}@{depth} {cell}",
                "queries": len(part),
                "base": part["precision_base"].mean(),
                "other": part["precision_other"].mean(),
                "difference": each.mean(),
                "95 % interval": "" if np.isnan(low) else f"[{low:+.3f}, {high:+.3f}]",
                "p (Holm)": "" if np.isnan(p) else f"{p:.2g}",
                _VERDICT: _EQUAL if np.isnan(p) else _SAME if p >= ALPHA else _HIGHER if each.mean() > 0 else _LOWER,
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
    """Medians and their ratio; a ratio counts where the intervals over processes and rounds lie apart."""
    both = _both(base, other, "runtimes", ["quantity", "unit", "backbone", "cell", "n"])
    rows = []
    for _, row in both.iterrows():
        known = not any(pd.isna(row[f"{end}_{run}"]) for end in ("ci_low", "ci_high") for run in ("base", "other"))
        above = known and row["ci_low_other"] > row["ci_high_base"]
        below = known and row["ci_high_other"] < row["ci_low_base"]
        rows.append(
            {
                "time": f"{row['quantity']} {row['cell'] or row['backbone']}",
                "unit": row["unit"],
                "processes": f"{row['processes_base']}, {row['processes_other']}",
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
    summary = ", ".join(f"{counts[word]} {word}" for word in _WORDS if word in counts)
    grid = tabulate(text.to_numpy().tolist(), headers=list(text.columns), tablefmt="github", disable_numparse=True)
    return f"Of {len(rows)}: {summary}.\n\n{grid}" if summary else grid
