from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.judging.judge import JudgeSpec, judge_tiles
from bench.judging.judgments import Judgments
from ris_core.errors import ArtifactError, CorpusError
from ris_core.records import Tiles

TILES = Tiles(np.zeros((60, 1, 1, 3), np.uint8), pd.DataFrame({"id": np.arange(60) * 3}))
DEPTHS = {"easy_depth": 10, "medium_depth": 8, "hard_depth": 5}


@pytest.fixture
def queries(tmp_path: Path) -> Path:
    path = tmp_path / "queries.csv"
    path.write_text("tile,concept,difficulty\n9,greenhouse,hard\n6,plain field,easy\n", encoding="utf-8")
    return path


def test_queries_of_a_file_are_asked_and_nothing_is_decided(queries: Path, tmp_path: Path) -> None:
    judged = judge_tiles(TILES, JudgeSpec(queries=queries, **DEPTHS))
    assert judged is not None
    rows = [[6, 2, "easy", "plain field", 10, 0], [9, 3, "hard", "greenhouse", 5, 0]]
    assert judged.queries.to_numpy().tolist() == rows
    assert not judged.is_decided
    assert "to be judged by hand" in judged.notes[0]
    judged.save(tmp_path / "judgments")
    again = Judgments.open(tmp_path / "judgments")
    assert (again.is_decided, again.notes) == (False, judged.notes)


def test_hand_goes_before_labels_and_sources_may_be_named(queries: Path) -> None:
    labelled = Tiles(TILES.pixels, TILES.table.assign(label=["a", "b"] * 30))
    auto = judge_tiles(labelled, JudgeSpec(queries=queries, **DEPTHS))
    assert auto is not None
    assert not auto.is_decided
    named = judge_tiles(labelled, JudgeSpec(source="labels", queries=queries, label_depth=5))
    assert named is not None
    assert named.is_decided


def test_every_fault_of_the_queries_is_told(queries: Path) -> None:
    lines = [
        "tile,concept,difficulty",
        "7,road,easy",
        "x,road,easy",
        "6,,easy",
        "9,road,label",
        "12,a,hard",
        "12,b,hard",
    ]
    queries.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(CorpusError) as error:
        judge_tiles(TILES, JudgeSpec(queries=queries, **DEPTHS))
    told = str(error.value)
    for part in ("line 2: tile '7' is not the id of one of the 60 tiles", "line 3: tile 'x'", "line 4: concept ''",
                 "line 5: concept 'road', difficulty 'label'", "one of easy, medium, hard",
                 "line 7: tile 12 stands there again"):  # fmt: skip
        assert part in told


def test_empty_or_foreign_files_are_refused(queries: Path) -> None:
    queries.write_text("tile,concept,difficulty\n", encoding="utf-8")
    with pytest.raises(CorpusError, match="no query stands in it"):
        judge_tiles(TILES, JudgeSpec(queries=queries, **DEPTHS))
    queries.write_text("id,words\n", encoding="utf-8")
    with pytest.raises(ArtifactError, match="lacks tile, concept, difficulty"):
        judge_tiles(TILES, JudgeSpec(queries=queries, **DEPTHS))


def test_depths_beyond_the_corpus_are_refused(queries: Path) -> None:
    with pytest.raises(CorpusError, match="easy_depth = 100; a query has only 59"):
        judge_tiles(TILES, JudgeSpec(queries=queries))


def test_what_does_not_go_together_is_told_before_anything_runs(queries: Path, tmp_path: Path) -> None:
    assert not JudgeSpec(queries=queries).faults()
    assert "needs the path of a CSV of queries" in JudgeSpec(source="hand").faults()[0]
    assert "names both qrels and queries" in JudgeSpec(queries=queries, qrels=queries).faults()[0]
    assert not JudgeSpec(source="qrels", queries=queries, qrels=queries).faults()
    assert "does not exist" in JudgeSpec(queries=tmp_path / "missing.csv").faults()[0]
