from pathlib import Path

import ir_measures
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ir_measures import AP, Judged, P, R

from bench.__main__ import main
from bench.judging.trec_score import score_page, score_runs, write_scores
from ris_core.errors import ArtifactError

TOPICS = ["t1", "t2", "10"]
DOCUMENTS = ["a", "B", "d9", "d10", "é", "7", "70"]
REFERENCE = {"P": P, "AP": AP, "R": R, "judged": Judged}


def write(path: Path, rows: list[tuple]) -> Path:
    path.write_text("".join(" ".join(map(str, row)) + "\n" for row in rows), encoding="utf-8")
    return path


def run_file(path: Path, answers: dict[str, list[tuple[str, float]]]) -> Path:
    rows = [(topic, "Q0", doc, 1, score, "tag") for topic, found in answers.items() for doc, score in found]
    return write(path, rows)


def score_of(scores: pd.DataFrame, measure: str, k: int, topic: str, run: str | None = None) -> float:
    here = scores[(scores["measure"] == measure) & (scores["k"] == k) & (scores["topic"] == topic)]
    here = here if run is None else here[here["run"] == run]
    (value,) = here["score"]
    return float(value)


@st.composite
def files(draw: st.DrawFn) -> tuple[list[tuple], dict[str, list[tuple[str, float]]]]:
    """Judgments with something relevant to every topic, and a run with many ties, also of float32 alone."""
    grades = st.dictionaries(st.sampled_from(DOCUMENTS), st.sampled_from([-1, 0, 1, 2]), max_size=6)
    score = st.sampled_from([0.5, 0.25, 0.1, 0.1 + 1e-12, -3.0, 1e-30])
    found = st.dictionaries(st.sampled_from(DOCUMENTS), score, min_size=1)
    qrels, run = [], {}
    for topic in TOPICS:
        judged = {"a": 1, **draw(grades), draw(st.sampled_from(DOCUMENTS)): 1}
        qrels += [(topic, 0, document, grade) for document, grade in judged.items()]
        run[topic] = list(draw(found).items())
    return qrels, run


@settings(deadline=None)
@given(files(), st.sampled_from([1, 2, 3, 5, 10]))
def test_scores_agree_with_ir_measures(
    tmp_path_factory: pytest.TempPathFactory, made: tuple[list[tuple], dict], k: int
) -> None:
    folder = tmp_path_factory.mktemp("trec")
    rows, answers = made
    qrels, run = write(folder / "qrels", rows), run_file(folder / "run", answers)
    scores = score_runs(qrels, [run], [k]).scores
    judgments = list(ir_measures.read_trec_qrels(str(qrels)))
    for name in ("P", "AP", "R"):
        expected = ir_measures.iter_calc([REFERENCE[name] @ k], judgments, ir_measures.read_trec_run(str(run)))
        for metric in expected:
            assert score_of(scores, name, k, metric.query_id) == pytest.approx(metric.value, abs=1e-9), name


@settings(deadline=None)
@given(files(), st.sampled_from([1, 3, 10]))
def test_judged_agrees_with_ir_measures_without_ties(
    tmp_path_factory: pytest.TempPathFactory, made: tuple[list[tuple], dict], k: int
) -> None:
    folder = tmp_path_factory.mktemp("trec")
    rows = [row for row in made[0] if row[3] >= 0]  # a negative grade is none for us, as for trec_eval
    answers = {topic: [(doc, -place) for place, (doc, _) in enumerate(found)] for topic, found in made[1].items()}
    qrels, run = write(folder / "qrels", rows), run_file(folder / "run", answers)
    scores = score_runs(qrels, [run], [k]).scores
    judgments = list(ir_measures.read_trec_qrels(str(qrels)))
    for metric in ir_measures.iter_calc([Judged @ k], judgments, ir_measures.read_trec_run(str(run))):
        assert score_of(scores, "judged", k, metric.query_id) == pytest.approx(metric.value)


def test_example_by_hand(tmp_path: Path) -> None:
    qrels = write(
        tmp_path / "q", [("1", 0, "a", 1), ("1", 0, "b", 0), ("1", 0, "c", 2), ("1", 0, "d", 1), ("1", 0, "x", -1)]
    )
    run = run_file(tmp_path / "r", {"1": [("x", 0.7), ("a", 0.9), ("c", 0.5), ("b", 0.8)]})  # a b x c
    scores = score_runs(qrels, [run], [4, 5]).scores
    assert score_of(scores, "P", 4, "1") == 2 / 4
    assert score_of(scores, "AP", 4, "1") == pytest.approx((1 / 1 + 2 / 4) / 3)
    assert score_of(scores, "R", 4, "1") == pytest.approx(2 / 3)
    assert score_of(scores, "judged", 4, "1") == 3 / 4
    assert score_of(scores, "P", 5, "1") == 2 / 5
    assert score_of(scores, "judged", 5, "1") == 3 / 4


def test_ties_go_to_the_last_document_and_ranks_are_ignored(tmp_path: Path) -> None:
    qrels = write(tmp_path / "q", [("1", 0, "d9", 1)])
    run = write(tmp_path / "r", [("1", "Q0", "d10", 1, 0.5, "x"), ("1", "Q0", "d9", 2, 0.5, "x")])
    assert score_of(score_runs(qrels, [run], [1]).scores, "P", 1, "1") == 1


def test_doubles_are_removed_and_gain_nothing(tmp_path: Path) -> None:
    qrels = write(tmp_path / "q", [("1", 0, "a", 1), ("1", 0, "b", 1)])
    run = run_file(tmp_path / "r", {"1": [("a", 0.9 - i / 10) for i in range(5)] + [("b", 0.1)]})
    scored = score_runs(qrels, [run], [2, 5])
    assert score_of(scored.scores, "P", 2, "1") == 1
    assert score_of(scored.scores, "P", 5, "1") == 2 / 5
    assert score_of(scored.scores, "AP", 5, "1") == 1
    assert "r: 4 answers named a document again and were removed." in scored.notes


def test_missing_topics_score_zero_and_count(tmp_path: Path) -> None:
    qrels = write(tmp_path / "q", [("1", 0, "a", 1), ("2", 0, "a", 1), ("3", 0, "a", 0)])
    run = run_file(tmp_path / "r", {"1": [("a", 1)], "9": [("a", 1)]})
    scored = score_runs(qrels, [run], [1])
    assert sorted(scored.scores["topic"].unique()) == ["1", "2"]
    assert [score_of(scored.scores, name, 1, "2") for name in ("P", "AP", "R", "judged")] == [0, 0, 0, 1]
    assert scored.notes == (
        "1 topics without a relevant document were left out.",
        "r: 1 of 2 topics have no answer and score 0.",
        "r: 1 topics are not judged and do not count.",
    )


def many(tmp_path: Path, n: int = 40) -> tuple[Path, Path, Path]:
    """Judgments, a good run and a bad one."""
    rng = np.random.default_rng(0)
    topics = [str(i) for i in range(n)]
    qrels = write(tmp_path / "q", [(topic, 0, f"d{i}", 1) for topic in topics for i in range(5)])
    runs = []
    for name, share in (("good", 0.9), ("bad", 0.3)):
        answers = {t: [(f"d{i}" if rng.random() < share else f"x{i}", -i) for i in range(5)] for t in topics}
        runs.append(run_file(tmp_path / name, answers))
    return qrels, runs[0], runs[1]


def test_two_runs_are_compared_on_the_same_topics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    qrels, good, bad = many(tmp_path)
    assert main(["score", str(qrels), str(good), str(bad), "--k", "5", "--csv", str(tmp_path / "s.csv")]) == 0
    page = capsys.readouterr().out
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines()]
    assert lines[:2] == [["1. good"], ["2. bad"]]
    assert ["run", "k", "topics", "P", "AP", "R", "judged"] in lines
    table = pd.read_csv(tmp_path / "s.csv")
    means = table[table["measure"] == "P"].groupby("run")["score"].mean()
    assert next(line for line in lines if line[:3] == ["1", "5", "40"])[3].startswith(f"{means['good']:.4f} [")
    ours = next(line for line in lines if line[:3] == ["1 - 2", "P@5", "40"])
    assert ours[3].startswith(f"{means['good'] - means['bad']:+.4f} [+")
    assert ours[4:] == ["0.0001", "0.0001"]
    assert len(table) == 2 * 4 * 40


def test_differences_are_adjusted_for_all_pairs_of_a_measure(tmp_path: Path) -> None:
    qrels, good, bad = many(tmp_path)
    other = run_file(tmp_path / "other", {"0": [("d0", 1)]})
    page = score_page(score_runs(qrels, [good, bad, other], [5]))
    rows = [line.split("|")[1:-1] for line in page.splitlines() if "| P@5" in line]
    assert [row[0].strip() for row in rows] == ["1 - 2", "1 - 3", "2 - 3"]
    assert [float(row[4]) for row in rows] == [0.0001] * 3
    assert [float(row[5]) for row in rows] == [0.0003] * 3
    assert "Holm" not in score_page(score_runs(qrels, [good], [5]))


def test_judgments_of_the_relevant_alone_are_told(tmp_path: Path) -> None:
    qrels, good, _ = many(tmp_path)
    assert "judged says nothing" in score_page(score_runs(qrels, [good], [5]))
    with qrels.open("a") as file:
        file.write("0 0 x 0\n")
    assert "judged says nothing" not in score_page(score_runs(qrels, [good], [5]))


def test_one_topic_has_no_interval(tmp_path: Path) -> None:
    qrels = write(tmp_path / "q", [("1", 0, "a", 1)])
    page = score_page(score_runs(qrels, [run_file(tmp_path / "r", {"1": [("a", 1)]})], [1]))
    assert "| 1     | 1   | 1        | 1.0000 | 1.0000 | 1.0000 | 1.0000   |" in page


def test_runs_of_one_name_are_told_apart_by_folder(tmp_path: Path) -> None:
    qrels, good, _ = many(tmp_path)
    (tmp_path / "x").mkdir()
    again = tmp_path / "x" / "good"
    again.write_bytes(good.read_bytes())
    assert score_runs(qrels, [good, again], [1]).scores["run"].unique().tolist() == [str(good), str(again)]
    with pytest.raises(ArtifactError, match="stands there twice"):
        score_runs(qrels, [good, good], [1])


@pytest.mark.parametrize(
    ("qrels", "run", "k", "finding"),
    [
        ("1 0 a x\n", "", 1, "q, line 1: grade 'x' is not a whole number"),
        ("1 0 a 0.5\n", "", 1, "grade '0.5' is not a whole number"),
        ("1 0 a 1\n1 0 a 0\n", "", 1, "q, line 2: topic 1 judges a again"),
        ("1 0 a 0\n", "", 1, "q: no document is relevant"),
        ("", "", 1, "q: no document is relevant"),
        ("1 0 a\n", "", 1, "q, line 1: 3 fields, not 4"),
        ("1 0 a 1\n", "1 Q0 a 1 far x\n", 1, "r, line 1: score 'far' is not a number"),
        ("1 0 a 1\n", "1 Q0 a 1 nan x\n", 1, "score 'nan' is not a number"),
        ("1 0 a 1\n", "1 Q0 a 1\n", 1, "r, line 1: 4 fields, not 6"),
        ("1 0 a 1\n", "", 0, "k = 0; it must be at least 1"),
    ],
)
def test_fault_names_file_and_line(tmp_path: Path, qrels: str, run: str, k: int, finding: str) -> None:
    (tmp_path / "q").write_text(qrels)
    (tmp_path / "r").write_text(run)
    with pytest.raises(ArtifactError) as caught:
        score_runs(tmp_path / "q", [tmp_path / "r"], [k])
    assert finding in str(caught.value)


def test_empty_run_scores_zero(tmp_path: Path) -> None:
    (tmp_path / "r").write_text("")
    scores = score_runs(write(tmp_path / "q", [("1", 0, "a", 1)]), [tmp_path / "r"], [1]).scores
    assert score_of(scores, "P", 1, "1") == 0


def test_scores_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    qrels, good, _ = many(tmp_path, 2)
    with pytest.raises(ArtifactError, match="cannot be written"):
        write_scores(score_runs(qrels, [good], [1]), tmp_path / "no" / "folder.csv")
