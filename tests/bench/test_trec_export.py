from pathlib import Path

import ir_measures
import numpy as np
import pandas as pd
import pytest
from ir_measures import P

from bench.judging.judgments import Judgments
from bench.judging.trec import read_qrels, read_run
from bench.results import QueryResult, write_result
from bench.trec_export import export_run
from ris_core.errors import ArtifactError


def judged(run_folder: Path) -> None:
    """Two queries over tiles 10, 20, 30, 40; one cell answered them, the first to depth 2, the second to depth 3."""
    queries = pd.DataFrame(
        {
            "query_id": [10, 40],
            "row": [0, 3],
            "stratum": ["easy", "hard"],
            "concept": ["water", "boat"],
            "depth": [2, 3],
            "relevant": [1, 2],
        }
    )
    relevant = np.array([[False, True, False, False], [True, False, True, False]])
    Judgments(queries, relevant).save(run_folder / "judgments")
    np.save(run_folder / "indexed_ids.npy", np.array([10, 20, 30, 40]))
    (run_folder / "hits").mkdir()
    np.savez(
        run_folder / "hits" / "a.npz",
        query_ids=np.array([10, 40]),
        ids=np.array([[30, 20, 40], [10, 20, 30]]),
        distances=np.array([[0.1, 0.2, 0.3], [0.1, 0.2, 0.3]], np.float32),
    )
    write_result(
        run_folder,
        QueryResult(
            cell="tiny/falconn/corrected/batch-1t", backbone="tiny", engine="falconn", kind="falconn", params={},
            query_params={}, space="corrected", mode="batch", threads=1, n=4, d=2, k=3, q=2, hits_file="hits/a.npz",
        ),
    )  # fmt: skip


def test_exported_files_give_others_the_same_precision(run_folder: Path, tmp_path: Path) -> None:
    judged(run_folder)
    target = export_run(run_folder, tmp_path / "trec")
    (answers,) = target.glob("*.run")
    qrels = list(ir_measures.read_trec_qrels(str(target / "judgments.qrels")))
    scores = {
        (m.query_id, str(m.measure)): m.value
        for m in ir_measures.iter_calc([P @ 2, P @ 3], qrels, list(ir_measures.read_trec_run(str(answers))))
    }
    assert scores["10", "P@2"] == 0.5  # 30 wrong, 20 right
    assert scores["40", "P@3"] == pytest.approx(2 / 3)  # 10 right, 20 wrong, 30 right
    assert set(read_qrels(target / "judgments.qrels")["iteration"]) == {"easy", "hard"}


def test_answers_below_a_stratums_depth_stay_out(run_folder: Path, tmp_path: Path) -> None:
    judged(run_folder)
    (answers,) = export_run(run_folder, tmp_path / "trec").glob("*.run")
    query_ids, hits = read_run(answers)
    assert query_ids.tolist() == [10, 40]
    assert hits.ids.tolist() == [[30, 20, -1], [10, 20, 30]]


def test_run_without_judgments_is_refused(run_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no judged answers"):
        export_run(run_folder, tmp_path / "trec")
