"""A run's judgments and answers as TREC files, for trec_eval, ir_measures and their like."""

from pathlib import Path

import numpy as np

from bench.judging.judgments import Judgments
from bench.judging.trec import write_qrels, write_run
from bench.results import OK, QueryResult, cell_slug, read_results, read_run
from bench.tables.run_tables import JUDGMENTS
from ris_core.artifacts import disk_error
from ris_core.errors import UNREADABLE, ArtifactError
from ris_core.records import PADDING_ID, Hits


def export_run(run_folder: Path, target: Path) -> Path:
    """Write ``judgments.qrels`` and, for every query cell, ``<cell>.run``; the folder of both.

    Where pairs are judged, a query is asked once a set-up, and each set-up has files of its own, such as
    ``judgments-hard.qrels``. Ignored tiles are in none of them.

    Of queries that people are still to judge there are no judgments to write: ``pool`` writes them.
    Each query's answers are as deep as its stratum is judged, so ``P@100`` means something for easy queries alone:
    score the strata apart, by the qrels' second column.

    Raises:
        ArtifactError: If the folder is not a run with judged answers, or the disk cannot take the files.
    """
    read_run(run_folder)
    if not (run_folder / JUDGMENTS).is_dir() or not (run_folder / "indexed_ids.npy").is_file():
        raise ArtifactError(
            f"{run_folder}: has no judged answers. Export a run of a judged corpus that was measured here."
        )
    judgments = Judgments.open(run_folder / JUDGMENTS)
    try:
        indexed_ids = np.load(run_folder / "indexed_ids.npy", allow_pickle=False).astype(np.int64)
    except UNREADABLE as error:
        raise ArtifactError(f"{run_folder / 'indexed_ids.npy'}: cannot be read ({error}). Run again.") from error
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(target, error) from error
    parts = _parts(judgments)
    for end, places in parts.items() if judgments.is_decided else ():
        write_qrels(judgments.part(places).qrels(indexed_ids), target / f"judgments{end}.qrels")
    depths = judgments.queries["depth"].to_numpy(np.int64)
    for result in read_results(run_folder):
        if isinstance(result, QueryResult) and result.status == OK and result.hits_file:
            query_ids, ids, distances = _answers(run_folder / result.hits_file, depths)
            for end, places in parts.items():
                hits = Hits(ids[places], distances[places])
                write_run(hits, query_ids[places], target / f"{cell_slug(result.cell)}{end}.run", result.cell)
    return target


def _answers(path: Path, depths: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Query ids (j,), tile ids and distances (j, k) of a cell's answers, padded behind each query's depth."""
    try:
        with np.load(path, allow_pickle=False) as answers:
            too_deep = np.arange(answers["ids"].shape[1]) >= depths[:, None]
            ids = np.where(too_deep, PADDING_ID, answers["ids"]).astype(np.int64)
            distances = np.where(too_deep, np.inf, answers["distances"]).astype(np.float32)
            return answers["query_ids"].astype(np.int64), ids, distances
    except UNREADABLE as error:
        raise ArtifactError(f"{path}: no answers to be read ({error}). Run the cell again.") from error


def _parts(judgments: Judgments) -> dict[str, np.ndarray]:
    """Positions of the queries that share files, by what the files' names end in."""
    strata = judgments.queries["stratum"].to_numpy(str)
    if judgments.ignored is None:
        return {"": np.arange(len(strata))}
    return {f"-{stratum}": np.flatnonzero(strata == stratum) for stratum in dict.fromkeys(strata.tolist())}
