"""The whole way of judging by hand on forty small pictures: run, pool, judge, score, a second model, a second judge."""

import csv
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bench.__main__ import main
from bench.judging.trec import read_qrels
from bench.results import QueryResult, read_results
from bench.running import run_suite
from bench.trec_export import export_run

SUITE = """
[corpus]
source = "pictures"
tile_px = 16

[backbone.colour]
model = "colour"
preprocess = "native"

[engine.exact]

[queries]
count = 5
k = 5

[judge]
queries = "queries.csv"
easy_depth = 6
medium_depth = 5
hard_depth = 4

[measure]
rounds = 1
processes = 1
modes = ["single"]
"""
FALCONN = ["--set", "engine.falconn.tables=2", "--set", "engine.falconn.hash_bits=4"]
MACHINE = {"cpu": {"model": "A processor", "usable_cores": 2}, "memory_gib": 4.0, "load_average": [0.0, 0.0, 0.0]}
WATER = range(20, 40)  # ids of the pictures whose folder comes second


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A desk with a run by exact search, and one that asks FALCONN as well; do not write here."""
    desk = tmp_path_factory.mktemp("desk")
    rng = np.random.default_rng(0)
    for label, colour in (("a", (80, 140, 60)), ("b", (40, 60, 150))):
        (desk / "pictures" / label).mkdir(parents=True)
        for i in range(20):
            pixels = np.clip(rng.normal(colour, 25, (16, 16, 3)), 1, 254).astype(np.uint8)
            Image.fromarray(pixels).save(desk / "pictures" / label / f"{i:02}.png")
    (desk / "small.toml").write_text(SUITE, encoding="utf-8")
    queries = "tile,concept,difficulty\n1,meadow,easy\n22,water,easy\n25,water,hard\n"
    (desk / "queries.csv").write_text(queries, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(desk)
        patch.setattr(run_suite, "write_report", lambda folder: folder / "index.html")
        patch.setattr(run_suite, "fingerprint", lambda: MACHINE)
        patch.delenv("RIS_CACHE", raising=False)
        assert main(["run", "small.toml", "--run-id", "first", "-k", "exact"]) == 0
        assert main(["run", "small.toml", "--run-id", "second", *FALCONN, "-k", "falconn"]) == 0
        yield desk


@pytest.fixture
def desk(measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one's own, with the runs; their tiles stay in the cache of the other one."""
    shutil.copytree(measured / "reports" / "small", tmp_path / "reports" / "small")
    shutil.copytree(measured / ".ris_cache", tmp_path / ".ris_cache")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def pool(desk: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs the command on the named runs; what it prints."""

    def run(*runs: str, judge: str = "judge", expected: int = 0, depth: int | None = None) -> str:
        capsys.readouterr()
        cut = ["--depth", str(depth)] if depth else []
        folders = [f"reports/small/{name}" for name in runs]
        assert main(["pool", *folders, "--out", "judging", "--judge", judge, *cut]) == expected
        return "".join(capsys.readouterr())

    return run


def fill(path: Path, relevant: Callable[[str, int], bool | None]) -> list[tuple[str, int]]:
    """Judge what is open, as a person would; the lines that were open. Lines of which nothing is said stay so."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    asked = [(row["concept"], int(row["tile"])) for row in rows if row["relevant"] == ""]
    for row in rows:
        said = relevant(row["concept"], int(row["tile"]))
        if row["relevant"] == "" and said is not None:
            row["relevant"] = str(int(said))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return asked


def truth(concept: str, tile: int) -> bool:
    return (tile in WATER) == (concept == "water")


def table(name: str) -> pd.DataFrame:
    return pd.read_csv(Path("judging") / "tables" / f"{name}.csv")


def answers(run: str) -> dict[int, list[int]]:
    """Each query's answers to its depth."""
    (cell,) = [r for r in read_results(Path("reports") / "small" / run) if isinstance(r, QueryResult)]
    with np.load(Path("reports") / "small" / run / cell.hits_file) as file:
        return {
            int(query): [int(tile) for tile in ids[:depth] if tile >= 0]
            for query, ids, depth in zip(file["query_ids"], file["ids"], file["depth"], strict=True)
        }


def test_run_to_be_judged_keeps_answers_and_claims_no_precision(desk: Path) -> None:
    results = read_results(desk / "reports" / "small" / "first")
    (cell,) = [result for result in results if isinstance(result, QueryResult)]
    assert cell.precision == {}
    assert {query: len(found) for query, found in answers("first").items()} == {1: 6, 22: 6, 25: 4}
    folder = export_run(desk / "reports" / "small" / "first", desk / "trec")
    assert not (folder / "judgments.qrels").exists()
    assert len(list(folder.glob("*.run"))) == 1


def test_whole_way_from_pool_to_precision(pool: Callable[..., str]) -> None:
    told = pool("first")
    found = answers("first")
    wanted = {("meadow", tile) for tile in found[1]} | {("water", tile) for tile in [*found[22], *found[25]]}
    assert f"The pool has {len(wanted)} tiles for 2 concepts; 0 are judged" in told
    assert f"judge has {len(wanted)} left to judge: open judging/judge.html" in told
    asked = fill(Path("judging/judge.csv"), truth)
    assert len(asked) == len(wanted)
    assert set(asked) == wanted
    told = pool("first")
    assert f"{len(wanted)} are judged" in told
    assert "judge has judged them all." in told
    scores = table("hand_precision").set_index("query_id")
    for query, tiles in found.items():
        concept = "meadow" if query == 1 else "water"
        right = sum(truth(concept, tile) for tile in tiles)
        for bound in ("precision_at_least", "precision_at_most", "condensed_precision"):
            assert scores.loc[query, bound] == pytest.approx(right / scores.loc[query, "depth"])
    assert (scores["judged_frac"] == 1).all()
    qrels = read_qrels(Path("judging/judged.qrels"))
    water = {*found[22], *found[25]}
    assert len(qrels) == len(found[1]) + len(water - {22}) + len(water - {25})  # both queries ask for water
    assert all(truth("meadow" if row.topic == 1 else "water", row.document) == row.grade for row in qrels.itertuples())


def test_partial_judging_is_told_and_never_counted_as_wrong(pool: Callable[..., str]) -> None:
    pool("first")
    fill(Path("judging/judge.csv"), lambda concept, tile: truth(concept, tile) if concept == "water" else None)
    told = pool("first")
    assert "judge has 6 left to judge" in told
    scores = table("hand_precision").set_index("query_id")
    assert np.isnan(scores.loc[1, "condensed_precision"])
    assert (scores.loc[1, "precision_at_least"], scores.loc[1, "precision_at_most"]) == (0, 1)
    assert (scores.loc[1, "unjudged"], scores.loc[1, "judged_frac"]) == (6, 0)
    assert "% judged" in told


def test_another_model_asks_only_for_the_new(pool: Callable[..., str]) -> None:
    pool("first")
    first = fill(Path("judging/judge.csv"), truth)
    pool("first", "second")
    new = fill(Path("judging/judge.csv"), truth)
    found = answers("second")
    wanted = {("meadow", tile) for tile in found[1]} | {("water", tile) for tile in [*found[22], *found[25]]}
    assert set(new) == wanted - set(first)
    pool("first", "second")
    scores = table("hand_precision")
    assert set(scores["run"]) == {"first", "second"}
    assert (scores["judged_frac"] == 1).all()
    pool("second")  # what was judged for other runs stays with the judge
    assert set(first) <= set(read_lines(Path("judging/judge.csv")))


def read_lines(path: Path) -> list[tuple[str, int]]:
    frame = pd.read_csv(path)
    return list(zip(frame["concept"], frame["tile"], strict=True))


def test_shallower_pool_leaves_answers_unjudged_and_says_so(pool: Callable[..., str]) -> None:
    pool("first", depth=2)
    fill(Path("judging/judge.csv"), truth)
    pool("first", depth=2)
    scores = table("hand_precision").set_index("query_id")
    assert scores.loc[1, "judged_frac"] == pytest.approx(2 / 6)
    assert scores.loc[1, "unjudged"] == 4


def test_two_judges_are_compared_and_their_conflicts_named(pool: Callable[..., str]) -> None:
    pool("first", judge="ann")
    pool("first", judge="ben")
    asked = fill(Path("judging/ann.csv"), truth)
    other = fill(Path("judging/ben.csv"), lambda concept, tile: truth(concept, tile) != (concept == "meadow"))
    assert asked == other  # the second is shown what the first has judged
    told = pool("first", judge="ann")
    meadows = sum(concept == "meadow" for concept, _ in asked)
    assert f"Judges said different things of {meadows} tiles" in told
    assert f"{meadows} of the pool are split evenly and count as unjudged" in told
    agreement = table("agreement").iloc[0]
    assert (agreement["first"], agreement["second"], agreement["tiles"]) == ("ann", "ben", len(asked))
    assert agreement["agreement"] == pytest.approx(1 - meadows / len(asked))
    assert len(table("conflicts")) == meadows
    assert np.isnan(table("hand_precision").set_index("query_id").loc[1, "condensed_precision"])


def test_judges_file_outlives_a_fault(pool: Callable[..., str]) -> None:
    pool("first")
    path = Path("judging/judge.csv")
    path.write_text(path.read_text(encoding="utf-8").replace(",\n", ",perhaps\n", 1), encoding="utf-8")
    before = path.read_text(encoding="utf-8")
    assert "judge.csv: line 2: relevant is 'perhaps'" in pool("first", expected=2)
    assert path.read_text(encoding="utf-8") == before


def test_runs_of_other_tiles_are_refused(pool: Callable[..., str]) -> None:
    pool("first")
    for name in ("first", "second"):
        path = Path("reports/small") / name / "indexed_ids.npy"
        if name == "second":
            np.save(path, np.load(path)[1:])
    assert "second searched other tiles than" in pool("first", "second", expected=2)
    assert "searched other tiles than judging" in pool("second", expected=2)


def test_run_without_answers_is_told_how_to_get_them(pool: Callable[..., str]) -> None:
    shutil.rmtree("reports/small/first/cells")
    told = pool("first", expected=2)
    assert (
        'keeps no answers to judge. Name the queries in its suite and run it again: [judge] queries = "queries.csv"'
        in told
    )
    assert not Path("judging").exists()


def test_without_pictures_the_csv_is_left(pool: Callable[..., str]) -> None:
    pool("first")
    shutil.rmtree(".ris_cache")
    assert "fill in judging/judge.csv (no run can show its tiles)" in pool("first")
    assert not Path("judging/judge.html").exists()


def test_names_and_depths_are_checked(pool: Callable[..., str]) -> None:
    told = pool("first", judge="../ann", depth=-1, expected=2)
    assert "--judge '../ann'" in told
    assert "--depth -1: it must be at least 1" in told


def test_damaged_folder_is_told(pool: Callable[..., str]) -> None:
    pool("first")
    Path("judging/pool.json").write_text("[]", encoding="utf-8")
    assert "pool.json: not readable" in pool("first", expected=2)


def test_runs_of_one_name_are_told_apart(desk: Path, pool: Callable[..., str]) -> None:
    shutil.copytree(desk / "reports" / "small" / "second", desk / "other" / "first")
    pool("first", "../../other/first")
    assert set(table("hand_precision")["run"]) == {"reports/small/first", "reports/small/../../other/first"}


def test_folder_that_is_no_run_is_refused(pool: Callable[..., str]) -> None:
    assert "run.json: not found" in pool("nowhere", expected=2)
