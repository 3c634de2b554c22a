import ir_measures
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bench.judging.trec import read_qrels, read_run, write_qrels, write_run
from ris_core.errors import ArtifactError
from ris_core.records import PADDING_ID, Hits


def test_qrels_come_back_as_written(tmp_path):
    qrels = pd.DataFrame(
        {"topic": [3, 3, 7], "iteration": ["easy", "easy", "hard"], "document": [1, 2, 1], "grade": [1, 0, 2]}
    )
    write_qrels(qrels, tmp_path / "qrels.txt")
    assert (tmp_path / "qrels.txt").read_text() == "3 easy 1 1\n3 easy 2 0\n7 hard 1 2\n"
    pd.testing.assert_frame_equal(read_qrels(tmp_path / "qrels.txt"), qrels)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 0 2 1\n1 0 3\n", "line 2: 3 fields"),
        ("1 0 2 1\n1 0 x 1\n", "line 2: document 'x' is not a whole number"),
        ("1 0 2 0.5\n", "line 1: grade '0.5'"),
        ("1 0 2 1\n4 0 2 1\n1 0 2 0\n", "line 3: topic 1 judges tile 2 again"),
    ],
)
def test_qrels_with_a_fault_are_refused_by_line(tmp_path, text, message):
    path = tmp_path / "qrels.txt"
    path.write_text(text)
    with pytest.raises(ArtifactError, match=message):
        read_qrels(path)


def test_qrels_that_are_missing_or_no_text_are_refused(tmp_path):
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_qrels(tmp_path / "none.txt")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_qrels(tmp_path / "picture.png")


def test_run_leaves_out_padding_and_repeated_tiles(tmp_path):
    hits = Hits(np.array([[5, 5, 6, PADDING_ID]]), np.array([[1, 1, 2, np.inf]], dtype=np.float32))
    write_run(hits, np.array([9]), tmp_path / "run.txt", "exact tiny")
    assert (tmp_path / "run.txt").read_text() == "9 Q0 5 1 -1.e+00 exact_tiny\n9 Q0 6 2 -2.e+00 exact_tiny\n"


@given(
    arrays.arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(1, 6)), elements=st.floats(0, 1e6, width=32)),
    st.randoms(use_true_random=False),
)
def test_run_keeps_order_and_distances(tmp_path_factory, distances, random):
    distances = np.sort(distances, axis=1)
    ids = np.array([random.sample(range(100), distances.shape[1]) for _ in distances], dtype=np.int64)
    path = tmp_path_factory.mktemp("run") / "run.txt"
    write_run(Hits(ids, distances), np.arange(len(ids)), path, "lsh")
    topics, hits = read_run(path)
    np.testing.assert_array_equal(topics, np.arange(len(ids)))
    np.testing.assert_array_equal(hits.ids, ids)
    np.testing.assert_allclose(hits.distances, distances, rtol=1e-6, atol=1e-44)
    assert (np.diff(hits.distances.astype(np.float64), axis=1) > 0).all()  # no ties are left for a tool to break


def test_run_is_read_by_score_and_padded(tmp_path):
    path = tmp_path / "run.txt"
    path.write_text("4 Q0 8 1 -3.0 x\n4 Q0 9 2 -1.5 x\n2 Q0 8 1 0.0 x\n")
    topics, hits = read_run(path)
    assert topics.tolist() == [4, 2]
    assert hits.ids.tolist() == [[9, 8], [8, PADDING_ID]]
    assert hits.distances.tolist() == [[1.5, 3.0], [0.0, np.inf]]


@pytest.mark.parametrize(("line", "message"), [("1 Q0 2 1 far x", "score 'far'"), ("a Q0 2 1 -1 x", "topic 'a'")])
def test_run_with_a_fault_is_refused(tmp_path, line, message):
    path = tmp_path / "run.txt"
    path.write_text(f"1 Q0 1 1 -1 x\n{line}\n")
    with pytest.raises(ArtifactError, match=f"line 2: {message}"):
        read_run(path)


def test_ir_measures_reads_both_files(tmp_path):
    qrels = pd.DataFrame({"topic": [1, 1], "iteration": "easy", "document": [10, 12], "grade": 1})
    write_qrels(qrels, tmp_path / "qrels.txt")
    # Two ties: trec_eval would put the greater id first, which is the wrong one here.
    write_run(Hits(np.array([[10, 11, 12]]), np.zeros((1, 3), np.float32)), np.array([1]), tmp_path / "run.txt", "a")
    scores = ir_measures.calc_aggregate(
        [ir_measures.P @ 1, ir_measures.AP],
        ir_measures.read_trec_qrels(str(tmp_path / "qrels.txt")),
        ir_measures.read_trec_run(str(tmp_path / "run.txt")),
    )
    assert scores[ir_measures.P @ 1] == 1
    assert scores[ir_measures.AP] == pytest.approx((1 + 2 / 3) / 2)


def test_a_number_that_no_id_can_be_is_refused_with_its_line(tmp_path):
    path = tmp_path / "a.qrels"
    path.write_text(f"1 0 2 1\n{10**30} 0 3 1\n", encoding="utf-8")
    with pytest.raises(ArtifactError, match="line 2: topic"):
        read_qrels(path)
