"""TREC files: judgments as qrels, answers as runs, so that other tools can score ours and we theirs.

A topic is the id of a query tile, a document the id of a tile. One judgment a line: ``topic iteration document
grade``; tools ignore the iteration, so we keep the query's stratum there. One answer a line: ``topic Q0 document
rank score tag``.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from ris_core.artifacts import disk_error
from ris_core.errors import ArtifactError
from ris_core.records import PADDING_ID, Hits

QRELS_COLUMNS = ("topic", "iteration", "document", "grade")
_TOO_LARGE = 2.0**63
RUN_COLUMNS = ("topic", "q0", "document", "rank", "score", "tag")


def write_qrels(qrels: pd.DataFrame, path: Path) -> None:
    """Write judgments.

    Args:
        qrels: Columns ``topic``, ``iteration``, ``document``, ``grade``; one row a judgment.
        path: File to write.

    Raises:
        ArtifactError: If the disk cannot take it.
    """
    _write(qrels[list(QRELS_COLUMNS)], path)


def read_qrels(path: Path) -> pd.DataFrame:
    """Judgments of a file: ``topic`` (int64), ``iteration`` (str), ``document`` (int64), ``grade`` (int64).

    Raises:
        ArtifactError: If the file is missing, or a line is not a judgment of a tile, or a tile is judged twice.
    """
    qrels = read_fields(path, QRELS_COLUMNS)
    frame = pd.DataFrame(
        {
            "topic": _whole(qrels, "topic", path),
            "iteration": qrels["iteration"],
            "document": _whole(qrels, "document", path),
            "grade": _whole(qrels, "grade", path),
        }
    )
    twice = frame.duplicated(["topic", "document"])
    if twice.any():
        line = int(twice.to_numpy().argmax())
        topic, document = frame.loc[line, ["topic", "document"]]
        raise ArtifactError(f"{path}, line {line + 1}: topic {topic} judges tile {document} again. Keep one of them.")
    return frame


def write_run(hits: Hits, query_ids: np.ndarray, path: Path, tag: str) -> None:
    """Write ranked answers with strictly falling scores.

    The score is minus the squared distance. trec_eval ignores ranks and sorts tied scores by document, backwards; a
    tie therefore loses one more float32 step a rank, which keeps the order. Padding and the second mention of a tile,
    which trec_eval refuses, are left out.

    Args:
        hits: (q, k) answers.
        query_ids: (q,) tile ids of the queries.
        path: File to write.
        tag: Name of the system, without blanks.

    Raises:
        ArtifactError: If the disk cannot take it.
    """
    rows: list[tuple[int, int, int, str]] = []
    for topic, ids, distances in zip(query_ids, hits.ids, hits.distances, strict=True):
        kept = np.sort(np.unique(ids, return_index=True)[1])
        kept = kept[ids[kept] != PADDING_ID]
        score = _strictly_falling(-distances[kept])
        texts = [np.format_float_scientific(value, unique=True) for value in score]
        rows += zip([int(topic)] * len(kept), ids[kept].tolist(), range(1, len(kept) + 1), texts, strict=True)
    frame = pd.DataFrame(rows, columns=["topic", "document", "rank", "score"])
    frame = frame.assign(q0="Q0", tag="_".join(tag.split()) or "run")
    _write(frame[list(RUN_COLUMNS)], path)


def read_run(path: Path) -> tuple[np.ndarray, Hits]:
    """Query ids (q,) and answers (q, k) of a run file, padded to the longest list.

    As trec_eval does, the order comes from the scores, not from the rank column. Distances are minus the scores.

    Raises:
        ArtifactError: If the file is missing, or a line is not an answer that names a tile.
    """
    run = read_fields(path, RUN_COLUMNS)
    score = pd.to_numeric(run["score"], errors="coerce")
    if score.isna().any():
        line = int(score.isna().to_numpy().argmax())
        raise ArtifactError(f"{path}, line {line + 1}: score {run['score'][line]!r} is not a number.")
    frame = pd.DataFrame(
        {"topic": _whole(run, "topic", path), "document": _whole(run, "document", path), "score": score}
    )
    lists = [(topic, rows.sort_values("score", ascending=False)) for topic, rows in frame.groupby("topic", sort=False)]
    k = max((len(rows) for _, rows in lists), default=0)
    ids = np.full((len(lists), k), PADDING_ID, dtype=np.int64)
    distances = np.full((len(lists), k), np.inf, dtype=np.float32)
    for i, (_, rows) in enumerate(lists):
        ids[i, : len(rows)] = rows["document"]
        distances[i, : len(rows)] = -rows["score"]
    return np.array([topic for topic, _ in lists], dtype=np.int64), Hits(ids, distances)


def read_fields(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """The fields of each line as text, under these names.

    Raises:
        ArtifactError: If the file is missing or no text, or a line has another number of fields.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path}: cannot be read as text ({error}). Check the path.") from error
    fields = [line.split() for line in lines]
    for number, parts in enumerate(fields, start=1):
        if len(parts) != len(columns):
            raise ArtifactError(f"{path}, line {number}: {len(parts)} fields, not {len(columns)}: {' '.join(columns)}.")
    return pd.DataFrame(fields, columns=list(columns), dtype=str)


def _strictly_falling(scores: np.ndarray) -> np.ndarray:
    """Float32 scores, each at least one float below the one before."""
    falling = scores.astype(np.float32).copy()
    for i in range(1, len(falling)):
        falling[i] = min(falling[i], np.nextafter(falling[i - 1], np.float32(-np.inf)))
    return falling


def _write(frame: pd.DataFrame, path: Path) -> None:
    try:
        frame.to_csv(path, sep=" ", header=False, index=False)
    except OSError as error:
        raise disk_error(path, error) from error


def _whole(frame: pd.DataFrame, column: str, path: Path) -> pd.Series:
    """A column as int64."""
    try:
        return frame[column].astype(np.int64)
    except (ValueError, OverflowError) as error:
        numbers = pd.to_numeric(frame[column], errors="coerce").astype(np.float64)
        is_whole = (numbers % 1 == 0) & (numbers.abs() < _TOO_LARGE)  # NaN % 1 is NaN, which is unequal to 0
        line = int(is_whole.to_numpy().argmin())
        raise ArtifactError(
            f"{path}, line {line + 1}: {column} {frame[column][line]!r} is not a whole number; ids of tiles are."
        ) from error
