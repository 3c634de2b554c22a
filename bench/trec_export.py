"""A run's judgments and answers as TREC files, for trec_eval, ir_measures and their like."""

from pathlib import Path

import numpy as np

from bench.judging.judgments import Judgments
from bench.judging.trec import write_qrels, write_run
from bench.results import OK, QueryResult, cell_slug, read_results, read_run
from bench.tables.run_tables import JUDGMENTS
from ris_core.artifacts import disk_error
from ris_core.errors import ArtifactError
from ris_core.records import PADDING_ID, Hits


def export_run(run_folder: Path, target: Path) -> Path:
    """Write ``judgments.qrels`` and, for every query cell, ``<cell>.run``; the folder of both.

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
    indexed_ids = np.load(run_folder / "indexed_ids.npy", allow_pickle=False)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(target, error) from error
    if judgments.is_decided:
        write_qrels(judgments.qrels(indexed_ids), target / "judgments.qrels")
    depths = judgments.queries["depth"].to_numpy(np.int64)
    for result in read_results(run_folder):
        if isinstance(result, QueryResult) and result.status == OK and result.hits_file:
            with np.load(run_folder / result.hits_file, allow_pickle=False) as answers:
                query_ids = answers["query_ids"]
                too_deep = np.arange(answers["ids"].shape[1]) >= depths[:, None]
                ids = np.where(too_deep, PADDING_ID, answers["ids"])
                hits = Hits(ids, np.where(too_deep, np.inf, answers["distances"]).astype(np.float32))
            write_run(hits, query_ids, target / f"{cell_slug(result.cell)}.run", result.cell)
    return target
