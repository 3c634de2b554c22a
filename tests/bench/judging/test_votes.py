from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.judging.spreadsheet import guarded, in_one_line, unguarded
from bench.judging.votes import (
    agreement_table,
    cohens_kappa,
    conflicts,
    merge_votes,
    read_votes,
    sheet_rows,
    write_sheet_rows,
)
from ris_core.errors import ArtifactError

JUDGES, CONCEPTS = ["ann", "ben", "cyd"], ["road", "boat"]
VOTES = st.dictionaries(
    st.tuples(st.sampled_from(JUDGES), st.sampled_from(CONCEPTS), st.integers(0, 4)), st.integers(0, 1)
)
WORDS = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1).map(in_one_line).filter(bool)


def frame(said: dict[tuple[str, str, int], int]) -> pd.DataFrame:
    rows = [(concept, tile, grade, judge) for (judge, concept, tile), grade in said.items()]
    types = {"concept": str, "tile": np.int64, "grade": np.int64, "judge": str}
    return pd.DataFrame(rows, columns=list(types)).astype(types)


def pool_of(rows: list[tuple[str, int]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["concept", "tile"]).assign(queries="1 2").astype({"tile": np.int64})


def as_dict(merged: pd.DataFrame) -> dict[tuple[str, int], int]:
    return {(concept, tile): grade for concept, tile, grade in merged.iloc[:, :3].itertuples(index=False, name=None)}


def test_majority_counts_and_an_even_split_is_unjudged() -> None:
    votes = frame({("ann", "road", 1): 1, ("ben", "road", 1): 1, ("cyd", "road", 1): 0,
                   ("ann", "road", 2): 1, ("ben", "road", 2): 0,
                   ("ann", "boat", 2): 0})  # fmt: skip
    assert as_dict(merge_votes(votes)) == {("road", 1): 1, ("road", 2): -1, ("boat", 2): 0}
    assert conflicts(votes).to_numpy().tolist() == [["road", 1, "ann, ben", "cyd"], ["road", 2, "ann", "ben"]]


@settings(deadline=None)
@given(VOTES, st.randoms(use_true_random=False))
def test_merge_is_the_majority_in_whatever_order_votes_come(said: dict, random) -> None:
    shuffled = list(said.items())
    random.shuffle(shuffled)
    merged = merge_votes(frame(said))
    pd.testing.assert_frame_equal(merged, merge_votes(frame(dict(shuffled))))
    keys = {key[1:] for key in said}
    assert as_dict(merged).keys() == keys
    assert len(merged) == len(keys)
    for key, grade in as_dict(merged).items():
        grades = [given for (_, *rest), given in said.items() if tuple(rest) == key]
        yes, no = grades.count(1), grades.count(0)
        assert grade == (1 if yes > no else 0 if no > yes else -1)


@settings(deadline=None)
@given(VOTES)
def test_a_judge_who_agrees_with_the_merged_changes_nothing(said: dict) -> None:
    merged = as_dict(merge_votes(frame(said)))
    more = {("dan", *key): grade for key, grade in merged.items() if grade >= 0}
    assert as_dict(merge_votes(frame({**said, **more}))) == merged


@settings(deadline=None)
@given(st.dictionaries(st.tuples(WORDS, st.integers(0, 2**60)), st.sampled_from([-1, 0, 1]), min_size=1))
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, judged: dict) -> None:
    folder = tmp_path_factory.mktemp("votes")
    rows = pool_of(list(judged)).assign(grade=list(judged.values()))
    write_sheet_rows(rows, folder / "ann.csv")
    votes = read_votes(folder)
    assert as_dict(votes) == {key: grade for key, grade in judged.items() if grade >= 0}
    assert set(votes["judge"]) <= {"ann"}


def test_sheet_asks_for_the_new_and_keeps_what_was_judged() -> None:
    own = frame({("ann", "road", 2): 0, ("ann", "road", 9): 1})
    rows = sheet_rows(pool_of([("road", 1), ("road", 2)]), own)
    assert rows[["concept", "tile", "grade"]].to_numpy().tolist() == [["road", 1, -1], ["road", 2, 0], ["road", 9, 1]]
    nothing = sheet_rows(pool_of([("road", 1)]), frame({}))
    assert nothing["grade"].tolist() == [-1]


def test_spreadsheets_with_semicolons_marks_blanks_and_more_columns_are_read(tmp_path: Path) -> None:
    text = "\ufeffconcept;note;tile;relevant\r\n field  with road ;x;7; 1\r\n;;;\r\nroad;;8;\r\n"
    (tmp_path / "ann.csv").write_text(text, encoding="utf-8", newline="")
    assert as_dict(read_votes(tmp_path)) == {("field with road", 7): 1}


def test_every_fault_of_a_file_is_told(tmp_path: Path) -> None:
    lines = ["concept,tile,relevant", "road,x,1", "road,1,maybe", "road,2,1", "road,2,0", ",3,1"]
    (tmp_path / "ann.csv").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(ArtifactError) as error:
        read_votes(tmp_path)
    told = str(error.value)
    assert "ann.csv" in told
    assert "line 2: tile 'x'" in told
    assert "line 3: relevant is 'maybe'; it must be 1 (yes), 0 (no), or empty" in told
    assert "line 5: tile 2 is judged for 'road' again" in told
    assert "line 6: tile '3' of concept ''" in told


def test_second_download_is_no_second_judge(tmp_path: Path) -> None:
    (tmp_path / "ann (1).csv").write_text("concept,tile,relevant\nroad,1,1\n", encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"'ann \(1\)' is no name of a judge"):
        read_votes(tmp_path)


def test_of_many_faults_the_first_ten_are_told(tmp_path: Path) -> None:
    (tmp_path / "ann.csv").write_text("concept,tile,relevant\n" + "road,x,1\n" * 13, encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"line 11: [^\n]*\n- and 3 more\.$"):
        read_votes(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"concept,tile\nroad,1\n", "lacks relevant"), (b"", "lacks concept, tile, relevant"), (b"\xff\xfe", "in UTF-8")],
)
def test_foreign_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "ann.csv").write_bytes(content)
    with pytest.raises(ArtifactError, match=message):
        read_votes(tmp_path)


def test_kappa_is_that_computed_by_hand() -> None:
    # Of 50 tiles both said yes to 20 and no to 15, the first alone yes to 5, the second alone to 10.
    first = np.repeat([True, True, False, False], [20, 5, 10, 15])
    second = np.repeat([True, False, True, False], [20, 5, 10, 15])
    found = cohens_kappa(first, second)
    assert found == pytest.approx(
        {"agreement": 0.7, "first_yes": 0.5, "second_yes": 0.6, "expected": 0.5, "kappa": 0.4}
    )


def test_kappa_of_judges_who_never_differ_or_never_decide() -> None:
    same = np.array([True, False, True])
    assert cohens_kappa(same, same)["kappa"] == 1
    always = np.array([True, True])
    assert np.isnan(cohens_kappa(always, always)["kappa"])
    assert cohens_kappa(always, always)["agreement"] == 1
    assert np.isnan(list(cohens_kappa(always[:0], always[:0]).values())).all()


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1))
def test_kappa_is_symmetric_and_at_most_one(pairs: list[tuple[bool, bool]]) -> None:
    first, second = (np.array(side) for side in zip(*pairs, strict=True))
    kappa, back = cohens_kappa(first, second)["kappa"], cohens_kappa(second, first)["kappa"]
    assert np.isnan(kappa) == np.isnan(back)
    if not np.isnan(kappa):
        assert kappa == pytest.approx(back)
        assert -1 - 1e-9 <= kappa <= 1 + 1e-9


def test_agreement_counts_shared_tiles_alone() -> None:
    votes = frame({("ann", "road", 1): 1, ("ann", "road", 2): 0, ("ann", "road", 3): 1,
                   ("ben", "road", 1): 1, ("ben", "road", 2): 1, ("cyd", "boat", 1): 1})  # fmt: skip
    table = agreement_table(votes)
    assert table[["first", "second", "tiles", "agreement"]].to_numpy().tolist() == [["ann", "ben", 2, 0.5]]
    assert list(agreement_table(frame({})).columns) == list(table.columns)


def test_half_written_file_of_a_killed_process_is_no_second_judge(tmp_path: Path) -> None:
    (tmp_path / "ann.csv").write_text("concept,tile,relevant\nroad,7,1\n", encoding="utf-8")
    (tmp_path / ".4711.ann.csv").write_text("concept,tile,relevant\nroad,7,0\nro", encoding="utf-8")
    votes = read_votes(tmp_path)
    assert votes[["judge", "tile", "grade"]].to_numpy().tolist() == [["ann", 7, 1]]


@given(st.text())
def test_a_guarded_text_is_no_formula_and_comes_back(text: str) -> None:
    assert unguarded(guarded(text)) == text
    assert not guarded(text).startswith(("=", "+", "@", "\t", "\r"))


@pytest.mark.parametrize("concept", ["=1+1", "@SUM(A1)", "+x", "-2+3", "'=x"])
def test_a_concept_that_a_spreadsheet_would_compute_is_guarded_in_its_file(tmp_path: Path, concept: str) -> None:
    path = tmp_path / "ann.csv"
    rows = pd.DataFrame({"concept": [concept], "queries": ["1"], "tile": [3], "grade": [1]})
    write_sheet_rows(rows, path)
    assert f"\n'{concept}," in path.read_text(encoding="utf-8")
    assert read_votes(tmp_path)["concept"].tolist() == [concept]


def test_a_tile_that_no_id_can_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ann.csv").write_text(f"concept,tile,relevant\nwood,{2**63},1\n", encoding="utf-8")
    with pytest.raises(ArtifactError, match="line 2"):
        read_votes(tmp_path)
