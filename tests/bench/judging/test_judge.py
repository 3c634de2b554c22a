import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.judging.judge import JudgeSpec, judge_tiles, main_labels
from bench.judging.trec import write_qrels
from ris_core.errors import CorpusError
from ris_core.records import Tiles

N = 300


def tiles_with(columns: dict[str, np.ndarray | list[str | None]], n: int = N) -> Tiles:
    """Tiles without anything to see, ids 3, 6, 9, ..."""
    table = pd.DataFrame({"id": np.arange(1, n + 1) * 3, **columns})
    return Tiles(np.zeros((n, 1, 1, 3), np.uint8), table)


@pytest.fixture(scope="module")
def land_cover() -> Tiles:
    """A third field, a third field and wood, a third water; a boat on every tenth water."""
    part, row = np.arange(N) // 100, np.arange(N)
    boat = np.where((part == 2) & (row % 10 == 0), 0.02, 0.0)
    field = np.choose(part, [0.95, 0.5, 0.0])
    wood = np.choose(part, [0.05, 0.5, 0.0])
    water = np.choose(part, [0.0, 0.0, 1.0]) - boat
    shares = {"field": field, "wood": wood, "water": water, "boat": boat}
    return tiles_with({f"frac_{name}": share.astype(np.float32) for name, share in shares.items()})


SMALL = JudgeSpec(easy=4, medium=3, hard=2, easy_depth=20, medium_depth=10, hard_depth=5)


def test_land_cover_is_judged_in_three_strata(land_cover):
    judged = judge_tiles(land_cover, SMALL)
    assert judged is not None
    counts = judged.queries.groupby(["stratum", "concept", "depth", "relevant"]).size().to_dict()
    assert counts == {
        ("easy", "field", 20, 99): 2,
        ("easy", "water", 20, 99): 2,
        ("medium", "field + wood", 10, 99): 3,
        ("hard", "boat", 5, 9): 2,
    }
    assert judged.notes == ("Objects by rule: boat.",)


def test_query_is_never_relevant_to_itself_and_counts_agree(land_cover):
    judged = judge_tiles(land_cover, SMALL)
    assert judged is not None
    rows = judged.queries["row"].to_numpy()
    assert not judged.relevant[np.arange(len(judged)), rows].any()
    np.testing.assert_array_equal(judged.relevant.sum(axis=1), judged.queries["relevant"])
    np.testing.assert_array_equal(land_cover.ids[rows], judged.queries["query_id"])


def test_judgments_follow_the_seed(land_cover):
    first, again, other = (judge_tiles(land_cover, dataclasses.replace(SMALL, seed=s)) for s in (0, 0, 1))
    assert first is not None
    assert again is not None
    assert other is not None
    pd.testing.assert_frame_equal(first.queries, again.queries)
    assert first.queries["query_id"].tolist() != other.queries["query_id"].tolist()


def test_judge_takes_fewer_queries_where_there_are_no_more_and_says_so(land_cover):
    judged = judge_tiles(land_cover, dataclasses.replace(SMALL, hard=50, hard_depth=15))
    assert judged is not None
    assert (judged.queries["stratum"] == "hard").sum() == 10
    assert "10 of 50 hard queries could be found in 300 tiles." in judged.notes
    assert any("10 of 17 queries have fewer relevant tiles" in note for note in judged.notes)


def test_objects_and_groups_come_from_the_suite_where_it_names_them(land_cover):
    named = dataclasses.replace(SMALL, objects=("wood",), hard_part=0.1, groups={"land": ["field", "wood"]}, easy=0)
    judged = judge_tiles(land_cover, named)
    assert judged is not None
    assert set(judged.queries["stratum"]) == {"hard"}  # field and wood are one class now, so nothing is medium
    assert set(judged.queries["concept"]) == {"wood"}


def test_ignored_classes_make_no_concept(land_cover):
    judged = judge_tiles(land_cover, dataclasses.replace(SMALL, ignore=("water",)))
    assert judged is not None
    assert set(judged.queries["concept"]) == {"field", "field + wood", "boat"}


def test_judge_refuses_classes_that_the_land_cover_lacks(land_cover):
    with pytest.raises(CorpusError, match=r"lacks: lava, ship\. Its classes are field, wood, water, boat"):
        judge_tiles(land_cover, dataclasses.replace(SMALL, objects=("ship",), groups={"hot": ["lava"]}))


def test_judge_refuses_depths_beyond_the_corpus(land_cover):
    with pytest.raises(CorpusError, match="easy_depth = 300; a query has only 299") as error:
        judge_tiles(land_cover, JudgeSpec(easy_depth=300, medium_depth=1000))
    assert "medium_depth" in str(error.value)


def test_missing_land_cover_counts_as_none():
    share = np.where(np.arange(N) < 5, np.nan, 1.0).astype(np.float32)
    judged = judge_tiles(tiles_with({"frac_field": share}), SMALL)
    assert judged is not None
    assert not judged.relevant[:, :5].any()
    assert judged.queries["row"].min() >= 5


def test_labels_are_judged_by_label():
    labels = ["forest"] * 150 + ["river"] * 140 + ["lonely"] + [None] * 9
    judged = judge_tiles(tiles_with({"label": labels}), JudgeSpec(per_label=4, label_depth=20))
    assert judged is not None
    counts = judged.queries.groupby(["stratum", "concept", "depth", "relevant"]).size().to_dict()
    assert counts == {("label", "forest", 20, 149): 4, ("label", "river", 20, 139): 4}
    assert not judged.relevant[:, 290:].any()  # neither another label nor no label
    assert judged.notes == ("0 of 4 label queries of lonely could be found in 300 tiles.",)


def test_qrels_of_our_own_judgments_give_them_back(land_cover, tmp_path):
    judged = judge_tiles(land_cover, SMALL)
    assert judged is not None
    path = tmp_path / "qrels.txt"
    write_qrels(judged.qrels(land_cover.ids), path)
    again = judge_tiles(land_cover, dataclasses.replace(SMALL, qrels=path))
    assert again is not None
    columns = ["query_id", "row", "stratum", "depth", "relevant"]
    pd.testing.assert_frame_equal(again.queries[columns], judged.queries[columns])
    np.testing.assert_array_equal(again.relevant, judged.relevant)


def test_foreign_qrels_keep_what_belongs_to_the_corpus(land_cover, tmp_path):
    path = tmp_path / "qrels.txt"
    path.write_text("3 0 6 2\n3 0 9 0\n3 0 3 1\n3 0 4 1\n5 0 6 1\n")
    judged = judge_tiles(land_cover, dataclasses.replace(SMALL, source="qrels", qrels=path))
    assert judged is not None
    row = judged.queries.iloc[0]
    assert (row["query_id"], row["stratum"], row["concept"], row["depth"], row["relevant"]) == (
        3,
        "qrels",
        "topic 3",
        20,
        1,
    )
    assert np.flatnonzero(judged.relevant[0]).tolist() == [1]  # grade 0, the query itself and tile 4 do not count
    assert len(judged.notes) == 2
    path.write_text("1 0 2 1\n")
    with pytest.raises(CorpusError, match="none of its topics"):
        judge_tiles(land_cover, dataclasses.replace(SMALL, qrels=path))


def test_judge_has_nothing_to_say_without_a_source(land_cover):
    assert judge_tiles(tiles_with({}), JudgeSpec()) is None
    with pytest.raises(CorpusError, match=r'source = "labels".*corpus\.labels'):
        judge_tiles(land_cover, JudgeSpec(source="labels"))
    with pytest.raises(CorpusError, match=r"corpus\.classes"):
        judge_tiles(tiles_with({}), JudgeSpec(source="classes"))


def test_main_labels_prefer_labels_to_land_cover(land_cover):
    labels = main_labels(land_cover)
    assert labels is not None
    assert labels[[0, 250]].tolist() == ["field", "water"]
    named = main_labels(tiles_with({"label": ["x"] * N, "frac_field": np.ones(N, np.float32)}))
    assert named is not None
    assert set(named) == {"x"}
    assert main_labels(tiles_with({})) is None


def test_spec_is_without_fault_by_default():
    assert JudgeSpec().faults() == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"source": "moon"}, "source = 'moon'; it must be one of auto, classes, labels, qrels"),
        ({"source": "qrels"}, "needs the path of a qrels file"),
        ({"easy": -1}, "easy = -1; it must be at least 0"),
        ({"hard_depth": 0}, "hard_depth = 0; it must be at least 1"),
        ({"knn_every": -1}, "knn_every = -1; it must be at least 0"),
        ({"easy_fill": 90.0}, "easy_fill = 90.0; a share must lie above 0 and be at most 1"),
        ({"easy_hit": 0.95}, "easy_hit = 0.95 is above easy_fill = 0.9"),
        ({"hard_min": 0.5}, "hard_min = 0.5 is above hard_max"),
        ({"objects": ("a",), "ignore": ("a",)}, "objects and ignore both name a"),
        ({"groups": {"g": ["a"], "h": ["a"]}}, "groups name a more than once"),
        ({"groups": {"g": "a"}}, "groups must hold a list"),
    ],
)
def test_spec_names_its_fault(changes, words):
    faults = dataclasses.replace(JudgeSpec(), **changes).faults()
    assert len(faults) == 1
    assert words in faults[0]


def test_spec_names_all_faults_at_once():
    assert len(JudgeSpec(easy=-1, medium=-1, hard_depth=0, qrels=Path("x"), easy_hit=2.0).faults()) == 5
