import shutil
from pathlib import Path

import numpy as np
import pytest

from bench.finished.finished_run import FinishedRun, Setting
from bench.finished.run_answers import Answers, find_answers, find_judged_answers
from ris_core.errors import SearchError, SuiteError
from ris_core.records import Features


@pytest.fixture(scope="module")
def run(finished_run: Path) -> FinishedRun:
    return FinishedRun.open(finished_run)


def by_hand(run: FinishedRun, backbone: str, tile: int) -> list[int]:
    """All searched tiles by distance in the space of the searched ones, without the package's own code."""
    raw = np.load(run.artifact("features", backbone) / "features.npy").astype(np.float64)
    searched = np.load(run.folder / "indexed_ids.npy")
    centred = raw - raw[searched].mean(axis=0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    distances = np.linalg.norm(unit[searched] - unit[tile], axis=1)
    return [int(other) for other in searched[np.argsort(distances, kind="stable")] if other != tile]


def searched(run: FinishedRun) -> np.ndarray:
    return Features.open(run.artifact("space", "micro")).ids


@pytest.mark.parametrize("backbone", ["micro", "colour"])
def test_neighbours_are_those_of_brute_force_for_any_tile(run: FinishedRun, backbone: str) -> None:
    judged = int(run.judgments.queries["query_id"].iloc[0])
    unjudged = next(tile for tile in searched(run) if tile % 4)
    trained = next(tile for tile in range(72) if tile not in searched(run))
    answers = find_answers(run, run.setting(backbone), [judged, int(unjudged), trained], 49)
    for row, tile in enumerate(answers.query_ids):
        assert answers.ids[row].tolist() == by_hand(run, backbone, int(tile))[:49]
        assert tile not in answers.ids[row]
    assert answers.is_judged.tolist() == [True, False, False]
    assert answers.strata.tolist()[1:] == ["", ""]


def test_relevance_is_what_the_judgments_say_at_every_depth(run: FinishedRun) -> None:
    queries = run.judgments.queries
    answers = find_answers(run, run.setting("micro"), queries["query_id"].tolist(), 49)
    same_class = answers.ids // 24 == answers.query_ids[:, None] // 24
    assert (answers.relevant == same_class).all()
    assert answers.strata.tolist() == queries["stratum"].tolist()
    assert answers.depths.tolist() == queries["depth"].tolist()
    assert answers.concepts.tolist() == queries["concept"].tolist()


def test_what_the_run_kept_and_what_is_asked_anew_agree(run: FinishedRun) -> None:
    tiles = run.judgments.queries["query_id"].tolist()
    for setting in run.settings:
        kept = find_answers(run, setting, tiles, 8)
        anew = find_answers(run, setting, [*tiles, int(next(t for t in searched(run) if t % 4))], 8)
        assert kept.ids.tolist() == anew.ids[:-1].tolist(), setting.name
        assert kept.relevant.tolist() == anew.relevant[:-1].tolist()
        assert kept.name == anew.name == f"backbone {setting.backbone}, engine {setting.name.replace('/', ' ')}"


def test_kept_answers_need_no_features(run: FinishedRun, tmp_path: Path) -> None:
    tiles = run.judgments.queries["query_id"].tolist()
    expected = find_answers(run, run.setting("micro"), tiles, 8).ids
    without_cache = FinishedRun.open(run.folder, tmp_path)
    assert find_answers(without_cache, without_cache.setting("micro"), tiles, 8).ids.tolist() == expected.tolist()


def test_queries_that_wait_for_their_judges_are_not_judged(run: FinishedRun, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run.folder, tmp_path / "reports" / "small" / "one"))
    shutil.copytree(run.artifact("tiles").parent, tmp_path / ".ris_cache")
    waiting = FinishedRun.open(folder)
    object.__setattr__(waiting.judgments, "is_decided", False)
    tiles = waiting.judgments.queries["query_id"].tolist()
    for k in (8, 40):  # kept, and asked anew
        answers = find_answers(waiting, waiting.setting("micro"), tiles, k)
        assert not answers.is_judged.any()
        assert answers.strata.tolist() == waiting.judgments.queries["stratum"].tolist()


def test_tile_that_is_the_query_of_two_concepts_is_judged_by_each(run: FinishedRun) -> None:
    queries = run.judgments.queries
    first, last = 0, len(queries) - 1
    twice = FinishedRun.open(run.folder)
    same = queries.assign(query_id=queries["query_id"].where(queries.index != last, queries["query_id"].iloc[first]))
    object.__setattr__(twice.judgments, "queries", same)
    answers = find_judged_answers(twice, Setting("micro"), [last, first], 40)
    assert answers.query_ids.tolist() == [queries["query_id"].iloc[first]] * 2
    assert answers.strata.tolist() == ["hard", "easy"]
    assert answers.ids[0].tolist() == answers.ids[1].tolist()
    is_wood = (answers.ids[0] // 24 == 2) & (answers.ids[0] != queries["query_id"].iloc[last])
    assert (answers.relevant[0] == is_wood).all()
    assert (answers.relevant[1] == (answers.ids[1] // 24 == 0)).all()
    kept = find_judged_answers(run, run.setting("micro"), [last, first], 8)
    assert kept.strata.tolist() == ["hard", "easy"]


def test_more_neighbours_than_tiles_and_foreign_tiles_are_refused(run: FinishedRun) -> None:
    n = len(searched(run))
    assert find_answers(run, run.setting("micro"), [1], n - 1).ids.shape == (1, n - 1)
    with pytest.raises(SearchError, match=f"k = {n}; of {n} searched tiles 1 to {n - 1} are allowed"):
        find_answers(run, run.setting("micro"), [1], n)
    with pytest.raises(SuiteError, match="tile 72 is not among"):
        find_answers(run, run.setting("micro"), [72], 5)


def test_part_cuts_rows_and_depth() -> None:
    answers = Answers(
        "a", np.array([7, 8]), np.array(["easy", "hard"]), np.array(["x", "y"]), np.array([2, 3]),
        np.array([[1, 2, 3], [4, 5, -1]]), np.array([[True, False, True], [False, True, True]]),
        np.array([[1.0, 2.0, 3.0], [4.0, 5.0, np.inf]]), np.ones(2, bool),
    )  # fmt: skip
    part = answers.part([1], 2, False)
    assert (part.query_ids.tolist(), part.ids.tolist(), part.relevant.tolist()) == ([8], [[4, 5]], [[False, True]])
    assert (part.strata.tolist(), part.is_judged.tolist(), len(part)) == (["hard"], [False], 1)
    assert part.distances.tolist() == [[4.0, 5.0]]
    assert answers.precision.tolist() == [0.5, 1 / 3]  # padding is no answer
