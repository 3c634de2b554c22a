"""Run files of any system scored against a qrels file, by the same measures as our own answers."""

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from tabulate import tabulate

from bench.judging.trec import QRELS_COLUMNS, RUN_COLUMNS, read_fields
from bench.scores.inference import holm, paired_permutation_test
from bench.scores.score import bootstrap_interval
from ris_core.artifacts import disk_error
from ris_core.errors import ArtifactError

QUALITIES, JUDGED = ("P", "AP", "R"), "judged"


@dataclasses.dataclass(frozen=True, eq=False)
class Scored:
    """Scores of several runs.

    Attributes:
        scores: One row a run, measure, k and topic: ``run``, ``measure``, ``k``, ``topic``, ``score``.
        notes: What a reader should know of the files, one sentence each.
    """

    scores: pd.DataFrame
    notes: tuple[str, ...]


def score_runs(qrels_file: Path, run_files: Sequence[Path], depths: Sequence[int]) -> Scored:
    """Scores of every run on every topic that has a relevant document.

    Topics and documents are any texts. A document is relevant with a grade of at least 1, judged with one of at least
    0. The order is trec_eval's: by score as float32, falling, ties by document, backwards; the rank column is ignored.
    A document that a list names again is removed, at its lower score. A topic that a run lacks scores 0.

    - ``P``: relevant documents among the first k, divided by k.
    - ``AP``: mean over all relevant documents of the precision where each is found; 0 below place k.
    - ``R``: share of all relevant documents among the first k.
    - ``judged``: share of the documents among the first k that were judged at all; 1 of an empty list.

    Args:
        qrels_file: Judgments.
        run_files: Answers, each file of one system.
        depths: Values of k.

    Raises:
        ArtifactError: If a file is missing or a line of it is damaged, one run is named twice, or no topic has a
            relevant document.

    Source:
        trec_eval, "P", "map_cut" and "recall"; "Judged" of ir_measures. Differs: topics are those of the qrels, as
        under trec_eval's ``-c``, without those that nothing is relevant to; doubles are removed, where it stops.
    """
    names = [path.name for path in run_files]
    names = names if len(set(names)) == len(names) else [str(path) for path in run_files]
    if len(set(names)) < len(names):
        raise ArtifactError(f"{', '.join(names)}: one run stands there twice. Name each once.")
    if bad := [k for k in depths if k < 1]:
        raise ArtifactError(f"k = {bad[0]}; it must be at least 1.")
    qrels = _read_grades(qrels_file)
    relevant = qrels[qrels["grade"] >= 1].groupby("topic").size()
    if relevant.empty:
        raise ArtifactError(f"{qrels_file}: no document is relevant (of a grade of at least 1). Check the grades.")
    empty = qrels["topic"].nunique() - len(relevant)
    notes = [f"{empty} topics without a relevant document were left out."] if empty else []
    if (qrels["grade"] > 0).all():
        notes.append("No document is judged wrong: what is not listed counts as wrong, and judged says nothing.")
    parts = []
    for name, path in zip(names, run_files, strict=True):
        ranked, said = _read_ranking(path, relevant.index)
        notes += [f"{name}: {note}" for note in said]
        judged = ranked.merge(qrels, on=["topic", "document"], how="left")
        for k in depths:
            parts.append(_score(judged[judged["place"] <= k], relevant, k).assign(run=name, k=k))
    scores = pd.concat(parts, ignore_index=True)
    return Scored(scores[["run", "measure", "k", "topic", "score"]], tuple(notes))


def score_page(scored: Scored) -> str:
    """The means with their intervals, and the differences of every two runs, as Markdown."""
    runs = {run: str(number) for number, run in enumerate(scored.scores["run"].unique(), start=1)}
    scores = scored.scores.assign(run=scored.scores["run"].map(runs))
    parts = ["\n".join(f"{number}. {run}" for run, number in runs.items()), _grid(_mean_rows(scores))]
    if len(runs) > 1:
        family = "p: paired permutation test over topics; Holm: adjusted for all differences of one measure and k."
        parts += [_grid(_difference_rows(scores)), family]
    parts.append("Square brackets: 95 % bootstrap intervals over topics.")
    return "\n\n".join([*parts, *scored.notes]) + "\n"


def write_scores(scored: Scored, path: Path) -> None:
    """Write the score of each topic as CSV.

    Raises:
        ArtifactError: If the disk cannot take it.
    """
    try:
        scored.scores.to_csv(path, index=False)
    except OSError as error:
        raise disk_error(path, error) from error


def _read_grades(path: Path) -> pd.DataFrame:
    """``topic``, ``document`` (str), ``grade`` (int); unjudged ones, below 0, left out."""
    qrels = read_fields(path, QRELS_COLUMNS)
    qrels["grade"] = _numbers(qrels["grade"], path, whole=True).astype(np.int64)
    twice = qrels.duplicated(["topic", "document"])
    if twice.any():
        line = int(twice.to_numpy().argmax())
        topic, document = qrels.loc[line, ["topic", "document"]]
        raise ArtifactError(f"{path}, line {line + 1}: topic {topic} judges {document} again. Keep one of them.")
    return qrels.loc[qrels["grade"] >= 0, ["topic", "document", "grade"]]


def _read_ranking(path: Path, topics: pd.Index) -> tuple[pd.DataFrame, list[str]]:
    """``topic``, ``document`` and ``place`` (from 1) of a run's answers to these topics, and what was odd about it."""
    run = read_fields(path, RUN_COLUMNS)
    run["score"] = _numbers(run["score"], path).astype(np.float32)
    here = run[run["topic"].isin(topics)].sort_values(["score", "document"], ascending=False, kind="stable")
    again = here.duplicated(["topic", "document"])
    ranked = here.loc[~again, ["topic", "document"]]
    lost, foreign = len(topics) - here["topic"].nunique(), run.loc[~run["topic"].isin(topics), "topic"].nunique()
    notes = [f"{again.sum()} answers named a document again and were removed."] if again.any() else []
    notes += [f"{lost} of {len(topics)} topics have no answer and score 0."] if lost else []
    notes += [f"{foreign} topics are not judged and do not count."] if foreign else []
    return ranked.assign(place=ranked.groupby("topic").cumcount() + 1), notes


def _score(top: pd.DataFrame, relevant: pd.Series, k: int) -> pd.DataFrame:
    """``measure``, ``topic`` and ``score`` of the first k answers to each topic.

    Args:
        top: ``topic``, ``place`` and ``grade``, NaN where a document was not judged.
        relevant: Relevant documents of each topic that counts.
        k: Depth.
    """
    hits = top[top["grade"] >= 1]
    found = hits.groupby("topic").size().reindex(relevant.index, fill_value=0)
    precision = (hits.groupby("topic").cumcount() + 1) / hits["place"]  # where each relevant document is found
    gained = precision.groupby(hits["topic"]).sum().reindex(relevant.index, fill_value=0)
    judged = top["grade"].notna().groupby(top["topic"]).mean().reindex(relevant.index, fill_value=1)
    scores = {"P": found / k, "AP": gained / relevant, "R": found / relevant, "judged": judged}
    wide = pd.DataFrame({name: scores[name].astype(np.float64) for name in (*QUALITIES, JUDGED)})
    return wide.rename_axis("topic").reset_index().melt("topic", var_name="measure", value_name="score")


def _mean_rows(scores: pd.DataFrame) -> list[dict[str, str]]:
    rows = []
    for (run, k), part in scores.groupby(["run", "k"], sort=False):
        row = {"run": str(run), "k": str(k), "topics": str(part["topic"].nunique())}
        for measure, values in part.groupby("measure", sort=False)["score"]:
            row[str(measure)] = f"{values.mean():.4f}{_interval_words(values.to_numpy())}"
        rows.append(row)
    return rows


def _difference_rows(scores: pd.DataFrame) -> list[dict[str, str]]:
    """Every two runs on the same topics, first minus second."""
    rows = []
    compared = scores[scores["measure"] != JUDGED]
    for (measure, k), part in compared.groupby(["measure", "k"], sort=False):
        table = part.pivot(index="topic", columns="run", values="score")[list(part["run"].unique())]
        pairs = list(itertools.combinations(table.columns, 2))
        differences = [(table[first] - table[second]).to_numpy() for first, second in pairs]
        p_values = [paired_permutation_test(values) for values in differences]
        for (first, second), values, p, adjusted in zip(pairs, differences, p_values, holm(p_values), strict=True):
            mean = f"{values.mean():+.4f}{_interval_words(values, '+')}"
            of = {"runs": f"{first} - {second}", "measure": f"{measure}@{k}", "topics": str(len(values))}
            rows.append({**of, "difference": mean, "p": f"{p:.4f}", "p (Holm)": f"{adjusted:.4f}"})
    return rows


def _interval_words(values: np.ndarray, sign: str = "") -> str:
    low, high = bootstrap_interval(values)
    return "" if np.isnan(low) else f" [{low:{sign}.4f}, {high:{sign}.4f}]"


def _grid(rows: Sequence[dict[str, str]]) -> str:
    return tabulate([list(row.values()) for row in rows], list(rows[0]), tablefmt="github", disable_numparse=True)


def _numbers(texts: pd.Series, path: Path, whole: bool = False) -> pd.Series:
    numbers = pd.to_numeric(texts, errors="coerce")
    bad = ~(numbers % 1 == 0) if whole else numbers.isna()
    if bad.any():
        line, wanted = int(bad.to_numpy().argmax()), "a whole number" if whole else "a number"
        raise ArtifactError(f"{path}, line {line + 1}: {texts.name} {texts[line]!r} is not {wanted}.")
    return numbers
