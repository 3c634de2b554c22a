"""Re-ranking cells of whole runs over forty small pictures: their rows, and whatever happens on the way."""

import dataclasses
import importlib
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.__main__ import main
from bench.figures.reranking import draw_reranking
from bench.judging.judgments import Judgments
from bench.measuring.rerank_worker import others
from bench.report.reranking_sentences import reranking_results
from bench.results import QueryResult, RerankResult, read_results, read_run, result_path
from bench.running import run_suite
from bench.suites.cells import RerankCell, expand_cells
from bench.suites.suite_file import read_suite
from bench.tables.run_tables import run_tables
from bench.tables.table import page_of, write_table
from ris_core.errors import SuiteError
from ris_core.records import Tiles
from ris_core.rerank import RERANKERS

SUITE = """
[corpus]
source = "pictures"
tile_px = 16

[backbone.colour]
model = "colour"
preprocess = "native"

[engine.exact]

[rerank.alpha]
kind = "query_expansion"
top = [6, 12]
neighbours = 3

[queries]
count = 10
k = 5

[judge]
per_label = 3
label_depth = 8

[measure]
rounds = 2
processes = 2
modes = ["single"]
"""
MACHINE = {"cpu": {"model": "A processor", "usable_cores": 2}, "memory_gib": 4.0, "load_average": [0.0, 0.0, 0.0]}
CELLS = [f"colour/exact/rerank-alpha-top{top}-neighbours3/single-1t" for top in (6, 12)]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a corpus and a suite; reports are not drawn."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_suite, "write_report", lambda folder: folder / "index.html")
    monkeypatch.setattr(run_suite, "fingerprint", lambda: MACHINE)
    monkeypatch.delenv("RIS_CACHE", raising=False)
    rng = np.random.default_rng(0)
    for label, colour in (("field", (90, 110, 80)), ("water", (80, 100, 100))):
        folder = tmp_path / "pictures" / label
        folder.mkdir(parents=True)
        for i in range(20):
            pixels = np.clip(rng.normal(colour, 25, (16, 16, 3)) + rng.normal(0, 12, 3), 1, 254).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{i:02}.png")
    (tmp_path / "small.toml").write_text(SUITE, encoding="utf-8")
    return tmp_path


@pytest.fixture
def rerankers(desk: Path, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """Adds the re-rankers ``trouble``, ``looker``, and ``absent``, which cannot run here."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1])
    module = importlib.import_module("trouble_reranker")
    monkeypatch.setitem(RERANKERS, "trouble", module.trouble_kind())
    monkeypatch.setitem(RERANKERS, "looker", module.LOOKER)
    monkeypatch.setitem(RERANKERS, "absent", module.trouble_kind("the package x is not installed."))
    return module


def rows_of(desk: Path) -> dict[str, RerankResult]:
    (folder,) = (path.parent for path in (desk / "reports" / "small").glob("*/run.json"))
    return {result.cell: result for result in read_results(folder) if isinstance(result, RerankResult)}


def test_whole_chain_leaves_rows_hits_table_figure_and_sentence(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "small.toml", "--run-id", "one"]) == 0
    folder = desk / "reports" / "small" / "one"
    rows, record = rows_of(desk), read_run(folder)
    assert list(rows) == CELLS == record.cells[2:]
    (searched,) = (result for result in read_results(folder) if isinstance(result, QueryResult))
    for row in rows.values():
        assert (row.status, row.n, row.d, row.q, row.processes) == ("ok", 40, 6, 6, 2)
        assert [len(times) for times in (*row.search_s, *row.rerank_s)] == [6] * 4
        assert min(min(row.offline_s), *map(min, row.search_s), *map(min, row.rerank_s)) >= 0
        assert row.precision_before == searched.precision
        assert row.average_precision_before == searched.average_precision
        assert row.answer_digests[0] == row.answer_digests[1]
        assert row.times_s[1][2] == pytest.approx(row.search_s[1][2] + row.rerank_s[1][2])
        hits, judgments = np.load(folder / row.hits_file), Judgments.open(folder / "judgments")
        assert hits["ids"].shape == (6, 8)
        assert not (hits["ids"] == hits["query_ids"][:, None]).any()
        assert np.array_equal(hits["relevant"], judgments.relevant[np.arange(6)[:, None], hits["ids"]])
        assert row.precision["label"] == pytest.approx(hits["relevant"].mean(axis=1))
    table = run_tables(folder)["reranking"]
    assert table["parameters"].tolist() == ["top=6 neighbours=3", "top=12 neighbours=3"]
    gain = np.mean(rows[CELLS[1]].precision["label"]) - np.mean(searched.precision["label"])
    assert table["precision_difference"][1] == pytest.approx(gain)
    write_table(table, folder / "tables", "reranking")
    assert draw_reranking(folder / "tables") is not None
    (finding,) = reranking_results(folder / "tables")
    assert finding.text.startswith("On colour, alpha, of 2 settings of all re-rankers the one of highest gain, changes")
    told = capsys.readouterr().out.splitlines()
    assert told[2].startswith("[3/8] colour exact rerank alpha top=6 neighbours=3  +")
    assert " ms/query precision 0." in told[2]


FAULTS = {
    "none": "",
    "offline": "nothing can be made of this corpus.",
    "raise": "ValueError: a bug",
    "lose": "answered with 1 rows that it was not given, and lost 1 that it was",  # the one that it gave is padding
    "invent": "answered with 1 rows that it was not given, and lost 1 that it was",
    "repeat": "answered a row twice",
    "crash": "died of SIGSEGV (Segmentation fault) while searching and re-ranking",
}


@pytest.mark.usefixtures("rerankers")
def test_failing_reranker_is_a_failed_row_and_the_others_are_measured(desk: Path) -> None:
    table = (
        f'[rerank.bad]\nkind = "trouble"\ntop = 3\nfault = {list(FAULTS)}\n\n[rerank.absent]\ntop = 3\n\n[rerank.alpha]'
    )
    (desk / "small.toml").write_text(SUITE.replace("[rerank.alpha]", table), encoding="utf-8")
    arguments = ["--set", "measure.processes=1", "-k", "bad or absent or corrected"]
    assert main(["run", "small.toml", *arguments, "--run-id", "r"]) == 1
    folder, rows = desk / "reports" / "small" / "r", rows_of(desk)
    for fault, reason in FAULTS.items():
        row = rows[f"colour/exact/rerank-bad-top3-{fault}/single-1t"]
        assert row.status == ("failed" if reason else "ok")
        assert reason in row.reason
    skipped = rows["colour/exact/rerank-absent-top3/single-1t"]
    assert (skipped.status, skipped.reason) == ("skipped", "the package x is not installed.")
    (searched,) = (result for result in read_results(folder) if isinstance(result, QueryResult))
    files = searched.hits_file, rows["colour/exact/rerank-bad-top3-none/single-1t"].hits_file
    before, after = (np.load(folder / name)["ids"] for name in files)
    assert np.array_equal(after, np.concatenate([before[:, 2::-1], before[:, 3:]], axis=1))  # the first three alone
    table = run_tables(folder)["reranking"]
    assert table["status"].tolist() == ["ok", *["failed"] * 6, "skipped"]
    assert "lost 1 that it was" in page_of(table, "reranking")["not measured because"][3]


def test_run_that_was_killed_goes_on_where_it_was(desk: Path) -> None:
    assert main(["run", "small.toml", "-k", "rerank and top6 and process-1", "--run-id", "r"]) == 0
    folder = desk / "reports" / "small" / "r"
    (kept,) = rows_of(desk).values()
    died = result_path(folder, CELLS[1]).with_suffix(".started")
    died.touch()  # as a process leaves it that is killed while it measures the cell
    assert main(["run", "small.toml", "--resume", "r", "-k", "process-1 and not rerank"]) == 1
    assert "the process died" in rows_of(desk)[CELLS[1]].reason
    assert main(["run", "small.toml", "--resume", "r"]) == 0
    rows = rows_of(desk)
    assert {row.processes for row in rows.values()} == {2}
    grown = rows[CELLS[0]]
    assert dataclasses.replace(grown, **{name: getattr(grown, name)[:1] for name in grown.PER_PROCESS}) == kept


def test_slow_offline_part_is_made_in_one_process(desk: Path) -> None:
    arguments = ["--set", "measure.slow_build_s=0.0000001", "--set", "rerank.alpha.top=6"]
    assert main(["run", "small.toml", "-k", "rerank", *arguments]) == 0
    (row,) = rows_of(desk).values()
    assert (row.slow_build, row.processes) == (True, 1)


@pytest.mark.parametrize("queries", ["", 'queries = "asked"'])
def test_pictures_of_tiles_and_queries_reach_who_needs_them(
    desk: Path, rerankers: types.ModuleType, queries: str
) -> None:
    rng = np.random.default_rng(1)
    if queries:
        for label, level in (("field", 60), ("water", 150)):
            folder = desk / "pictures" / "asked" / label
            folder.mkdir(parents=True)
            for i in range(3):
                pixels = np.clip(rng.normal(level, 25, (16, 16, 3)), 1, 254).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{i:02}.png")
    suite = SUITE.replace("tile_px = 16", f"tile_px = 16\n{queries}").replace("count = 10", "count = 5")
    suite = suite.replace('kind = "query_expansion"\ntop = [6, 12]\nneighbours = 3', 'kind = "looker"\ntop = 8')
    (desk / "small.toml").write_text(suite, encoding="utf-8")
    assert main(["run", "small.toml", "-k", "rerank", "--set", "measure.processes=1", "--run-id", "r"]) == 0
    (row,) = rows_of(desk).values()
    hits = np.load(desk / "reports" / "small" / "r" / row.hits_file)
    (tiles_folder,) = (desk / ".ris_cache").glob("tiles-*")
    tiles = Tiles.open(tiles_folder)
    place = {int(tile): number for number, tile in enumerate(tiles.ids)}
    assert row.size_bytes == len(np.unique(hits["ids"]))  # what it knows once all were asked
    for query, ids in zip(hits["query_ids"], hits["ids"], strict=True):
        own = tiles.pixels[place[int(query)]].astype(np.int64)
        apart = [np.abs(tiles.pixels[place[int(tile)]] - own).mean() for tile in ids]
        assert len(set(ids.tolist())) == 8
        assert apart == sorted(apart)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("query_expansion", "query_expansoin"), "is no re-ranker. Did you mean 'query_expansion'?"),
        (("top = [6, 12]", "top = [6, 400]"), "[rerank.alpha] top = 400; allowed: 1 to 40. Lower it."),
        (("top = [6, 12]", "top = [6, 6]"), "[rerank.alpha] names a value twice."),
        (("neighbours = 3", "neighbors = 3"), "unknown key 'neighbors'. Did you mean 'neighbours'?"),
        (("neighbours = 3", 'backbones = ["color"]'), "'color' is no backbone. Did you mean 'colour'?"),
    ],
)
def test_faults_of_a_suite_are_told_before_anything_runs(desk: Path, change: tuple[str, str], message: str) -> None:
    (desk / "small.toml").write_text(SUITE.replace(*change), encoding="utf-8")
    with pytest.raises(SuiteError) as error:
        read_suite(Path("small.toml"))
    assert message in str(error.value)


def test_corpus_without_judged_queries_is_refused_before_anything_is_described(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(desk / "vectors.npy", np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32))
    assert main(["run", "small.toml", "--set", "corpus.source=vectors.npy"]) == 2
    assert "[rerank] needs judged queries, and there are none." in capsys.readouterr().err
    assert not list((desk / ".ris_cache").glob("features-*"))


def test_vectors_are_reranked_but_not_by_their_pictures(desk: Path, rerankers: types.ModuleType) -> None:
    np.save(desk / "vectors.npy", np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32))
    read_suite(Path("small.toml"), ["corpus.source=vectors.npy"])
    (desk / "small.toml").write_text(SUITE.replace("query_expansion", "looker").replace("neighbours = 3", ""), "utf-8")
    with pytest.raises(SuiteError, match="looks at pictures; vectors have none"):
        read_suite(Path("small.toml"), ["corpus.source=vectors.npy"])


def test_cells_follow_their_index_and_keep_to_the_backbones_they_name(desk: Path) -> None:
    more = '\n[backbone.other]\nlike = "colour"\n\n[rerank.one]\nkind = "superglobal"\nbackbones = ["other"]\ntop = 9\n'
    (desk / "small.toml").write_text(SUITE + more, encoding="utf-8")
    cells = expand_cells(read_suite(Path("small.toml")))
    ids = [cell.id for cell in cells if isinstance(cell, RerankCell)]
    assert ids == [
        *CELLS,
        *(cell.replace("colour", "other") for cell in CELLS),
        "other/exact/rerank-one-top9/single-1t",
    ]
    assert cells[-1].words() == "other exact rerank one top=9"
    assert [type(cell).__name__ for cell in cells[:4]] == ["BuildCell", "QueryCell", "RerankCell", "RerankCell"]


def test_own_row_leaves_an_answer_and_padding_fills_it() -> None:
    rows = np.array([[3, 5, 1, -1], [2, 4, 0, 6]])
    assert others(rows, np.array([5, -1]), 3).tolist() == [[3, 1, -1], [2, 4, 0]]
    assert others(rows[:1, :2], np.array([3]), 4).tolist() == [[5, -1, -1, -1]]
