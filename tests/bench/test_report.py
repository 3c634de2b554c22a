import dataclasses
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.figures import FIGURES, PICTURES
from bench.judging.judgments import Judgments
from bench.report import chosen_answers, write_report
from bench.report.page import CHAPTERS, compared_words, noise_words, status_words
from bench.results import OK, QueryResult, StageNote, read_results, read_run, write_result, write_run
from bench.tables.provenance_table import LOADED_CELLS, NOISY_CELLS
from bench.tables.table import read_table, write_table
from ris_core.errors import ArtifactError
from ris_core.records import Tiles
from tests.reliability.mutations import HOSTILE

MINUS = "\N{MINUS SIGN}"
VOID = {"meta", "img", "br", "link"}


class Page(HTMLParser):
    """Tags, links and text of a page; fails on tags that are not closed in order."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def report(whole_run_folder: Path) -> Path:
    """A report that was written once; do not write here."""
    return write_report(whole_run_folder)


@pytest.fixture
def without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures take seconds; tests of the rest leave them out."""
    monkeypatch.setattr("bench.figures.FIGURES", {})


def test_page_is_sound_html_and_needs_no_network(report: Path) -> None:
    page = Page(report)
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert not [link for link in page.links if "://" in link or link.startswith(("//", "/", "data:"))]
    assert "url(" not in report.read_text(encoding="utf-8")
    assert "@import" not in report.read_text(encoding="utf-8")


def test_every_link_of_the_page_leads_somewhere(report: Path) -> None:
    page = Page(report)
    text = report.read_text(encoding="utf-8")
    for link in page.links:
        if link.startswith("#"):
            assert f'id="{link[1:]}"' in text
        else:
            assert (report.parent / link).is_file(), link
    shown = {name for chapter in CHAPTERS for name in chapter.tables} | {"provenance"}
    full = {name for name in shown if len(read_table(report.parent / "tables" / f"{name}.csv"))}
    assert {Path(link).stem for link in page.links if link.endswith(".csv")} == full


def test_page_escapes_titles_cells_reasons_concepts_and_suite(report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    for raw in ("<script>", "<i>broken", "<20 bits>", "<b>village", "<b>&", "R&D"):
        assert raw not in text
    shown = Page(report).text
    for told in ("An <script>alert(1)</script> run", "tiny/<i>broken</i>/build-1t", "<b>village</b>", "R&D"):
        assert told in shown


def test_page_tells_machine_date_tiles_and_what_went_wrong(report: Path) -> None:
    shown = Page(report).text
    assert "Abacus 3000, 2 logical cores · 8 GiB memory · no GPU · Linux" in shown
    assert "21 November 2026, 10:00" in shown
    assert "on 4,000 tiles of 64 px from the embedded scene" in shown
    assert "3 cells: 1 ok, 1 failed, 1 not measured" in shown
    assert "no room for <20 bits>" in shown
    assert "0123456789ab" in shown
    assert "machine: cores 2 physical, 2 logical, 2 usable" in shown
    assert "version numpy 2.0" in shown


def test_page_shows_every_figure_with_its_caption(report: Path) -> None:
    page = Page(report)
    shown = [link for link in page.links if link.endswith(".png") and link.startswith("figures/")]
    assert {Path(link).stem for link in shown} == set(FIGURES) - {"throughput"}  # the suite asks for no rates
    assert "Where the tiles lie" not in page.text
    assert "Tile map : no figure, because the tiles have no footprints" in page.text


@pytest.mark.usefixtures("without_figures")
def test_what_few_runs_have_stands_in_chapters_that_others_do_not_show(run_folder: Path) -> None:
    optional = [chapter for chapter in CHAPTERS if chapter.optional]
    assert {chapter.anchor for chapter in optional} == {
        "classes", "revisited", "systems", "reranking", "regions", "throughput"
    }  # fmt: skip
    shown = write_report(run_folder).read_text(encoding="utf-8")
    assert all((f'id="{c.anchor}"' in shown) == (c.anchor != "throughput") for c in optional)
    for name in (name for chapter in optional for name in chapter.tables):
        table = read_table(run_folder / "tables" / f"{name}.csv")
        write_table(table.iloc[:0], run_folder / "tables", name)
    shown = write_report(run_folder).read_text(encoding="utf-8")
    for chapter in optional:
        assert f"#{chapter.anchor}" not in shown
        assert f"<h2>{chapter.title}</h2>" not in shown
        assert not any(f"<b>{name.replace('_', ' ')}" in shown.lower() for name in (*chapter.figures, *chapter.tables))
    assert 'id="precision"' in shown


def test_page_names_no_folder_of_the_writer(report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    assert "/home/someone" not in text
    assert str(report.parent) not in text
    assert "imaginary.toml" in text


def test_report_gives_same_bytes_twice(report: Path) -> None:
    files = [path for path in report.parent.rglob("*") if path.suffix in (".html", ".png", ".svg", ".csv", ".md")]
    before = {path: path.read_bytes() for path in files}
    write_report(report.parent)
    assert len(files) > 20
    assert [path.name for path, content in before.items() if path.read_bytes() != content] == []


def test_tables_bear_captions_with_machine_and_tiles(report: Path) -> None:
    caption = (report.parent / "tables" / "runtimes.md").read_text(encoding="utf-8").splitlines()[0]
    assert "4,000 tiles" in caption
    assert "Abacus 3000" in caption
    assert "Run first, commit 0123456789ab, suite imaginary (SHA-256 " in caption


@pytest.mark.usefixtures("without_figures")
def test_page_says_how_many_cells_were_noisy_and_what_limits_times(run_folder: Path) -> None:
    assert "while other work took" not in Page(write_report(run_folder)).text
    (run_folder / "tables" / "provenance.csv").unlink()  # it is made again from the cells
    measured = next(result for result in read_results(run_folder) if result.status == OK)
    for cell, frac in (("tiny/falconn/never", 0.4), (measured.cell, 0.1)):
        write_result(run_folder, dataclasses.replace(measured, cell=cell, other_load_fracs=[frac]))
    record = read_run(run_folder)
    machine = record.machine | {"cpu": record.machine["cpu"] | {"turbo": True}}
    write_run(run_folder, dataclasses.replace(record, machine=machine))
    shown = Page(write_report(run_folder)).text
    assert "1 of 2 cells was measured while other work took more than 15 % of the cores" in shown
    assert "Turbo is on" in shown


def test_noise_words_agree_with_the_number_of_cells() -> None:
    def words(noisy: int, cells: int) -> str:
        rows = [(NOISY_CELLS, str(noisy)), (LOADED_CELLS, str(cells))]
        return noise_words(pd.DataFrame(rows, columns=["key", "value"]))

    assert words(0, 9) == ""
    assert words(2, 9).startswith("2 of 9 cells were measured")


@pytest.mark.usefixtures("without_figures")
def test_run_that_was_cut_off_before_its_first_cell_gets_a_page(run_folder: Path) -> None:
    shutil.rmtree(run_folder / "tables")
    shutil.rmtree(run_folder / "cells")
    changes = {"corpus": {}, "machine": {}, "status": "interrupted", "started": "", "finished": "", "suite_text": ""}
    write_run(run_folder, dataclasses.replace(read_run(run_folder), **changes))
    shown = Page(write_report(run_folder)).text
    assert "3 cells: 3 not measured; the run was interrupted" in shown
    assert "this run measured nothing for this table" in shown
    assert "Key results" not in shown


def test_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="Name the folder of a run"):
        write_report(tmp_path)


def add_tiles_and_answers(run_folder: Path) -> None:
    """Nine tiles in the cache, and answers of exact search and FALCONN on two backbones."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"id": np.arange(9), "raster": "r", "row": 0, "col": np.arange(9), "coverage_frac": 1.0})
    cache = run_folder / "cache"
    cache.mkdir()
    Tiles(rng.integers(0, 255, (9, 8, 8, 3), np.uint8), table).save(cache)
    note = StageNote("tiles", "", str(cache), "abc", True, 1.0, {"n": 9})
    write_run(run_folder, dataclasses.replace(read_run(run_folder), stages=[note.to_json()]))
    (run_folder / "hits").mkdir()
    cells = read_table(run_folder / "tables" / "lsh_parameters.csv")
    for number, (_, cell) in enumerate(cells[cells["mode"] == "single"].iterrows()):
        np.savez(
            run_folder / "hits" / f"{number}.npz",
            query_ids=np.array([0, 1]),
            stratum=np.array(["easy", "hard"]),
            concept=np.array(["wood", "boat"]),
            depth=np.array([2, 2]),
            ids=np.array([[1, 2], [3, -1]]),
            relevant=np.array([[True, False], [True, False]]),
            distances=np.array([[1.0, 2.0], [1.0, np.inf]]),
        )
        write_result(
            run_folder,
            QueryResult(
                **{name: cell[name] for name in ("cell", "backbone", "engine", "kind", "space", "mode")},
                params={}, query_params={}, threads=1, k=2, hits_file=f"hits/{number}.npz",
            ),
        )  # fmt: skip


@pytest.mark.usefixtures("without_figures")
def test_pictures_are_drawn_kept_without_the_cache_and_left_out_on_request(run_folder: Path) -> None:
    add_tiles_and_answers(run_folder)
    folder = run_folder / "figures" / PICTURES
    names = ["gallery_easy", "gallery_hard"]
    page = write_report(run_folder)
    assert sorted(path.stem for path in folder.glob("*.png")) == names
    assert "figures/pictures/gallery_easy.png" in Page(page).links

    shutil.rmtree(run_folder / "cache")
    page = write_report(run_folder)
    assert sorted(path.stem for path in folder.glob("*.png")) == names
    assert "Drawn by an earlier report" in Page(page).text

    page = write_report(run_folder, pictures=False)
    assert list(folder.glob("*")) == []
    assert not any(PICTURES in link for link in Page(page).links)


def test_answers_are_best_backbone_first_with_its_best_approximation_second(run_folder: Path) -> None:
    add_tiles_and_answers(run_folder)
    names = [answers.name for answers in chosen_answers(run_folder, read_results(run_folder))]
    assert names[0] == "tiny · exact"
    assert names[1].startswith("tiny · falconn")
    assert sorted(names[2:]) == ["colour · exact", "mini · exact"]


def test_page_passes_on_the_judges_notes(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.figures.FIGURES", {})
    queries = pd.DataFrame(
        {"query_id": [1], "row": [0], "stratum": ["easy"], "concept": ["wood"], "depth": [1], "relevant": [1]}
    )
    Judgments(queries, np.zeros((1, 3), bool), ("Only 1 of 10 <easy> queries were found.",)).save(
        run_folder / "judgments"
    )
    assert "Only 1 of 10 <easy> queries were found." in Page(write_report(run_folder)).text


def test_status_counts_every_cell_of_the_suite(run_folder: Path) -> None:
    record, results = read_run(run_folder), read_results(run_folder)
    assert status_words(record, results) == "3 cells: 1 ok, 1 failed, 1 not measured"
    assert status_words(record, [results[0]] * 3) == "all 3 cells ok"


def test_ground_that_trained_in_blocks_is_told(run_folder: Path) -> None:
    record, results = read_run(run_folder), read_results(run_folder)
    assert "(50 % of all tiles, drawn by seed, trained" in compared_words(record, results)
    record.suite["corpus"]["split_block_px"] = 1024
    assert "(50 % of all tiles, in blocks of 1,024 px drawn by seed, trained" in compared_words(record, results)


@pytest.mark.usefixtures("without_figures")
def test_vectors_are_no_tiles(run_folder: Path) -> None:
    record = read_run(run_folder)
    note = StageNote("features", "v", "/c/f", "k", False, 1.0, {"n": 4000, "d": 128, "held_out": 900})
    vectors = dataclasses.replace(
        record,
        suite={**record.suite, "corpus": {"source": "/home/someone/sift_base.fvecs", "tile_px": 512}},
        stages=[note.to_json()],
    )
    write_run(run_folder, vectors)
    words = compared_words(read_run(run_folder), read_results(run_folder))
    assert "2 search engines (exact, falconn) on 4,000 vectors of" in words
    assert "from sift_base.fvecs; 500 timed queries, held out from them, k = 100." in words
    write_report(run_folder)
    assert " 4,000 vectors; " in (run_folder / "tables" / "lsh_parameters.md").read_text()


def test_sizes_of_synthetic_vectors_are_told(run_folder: Path) -> None:
    record, results = read_run(run_folder), read_results(run_folder)
    record.suite["corpus"]["source"] = "synthetic"
    small = dataclasses.replace(results[0], n=1000)
    assert "on 4,000 vectors of 0 dimensions from synthetic" in compared_words(record, results[:1])
    assert "on 1,000 to 4,000 vectors of" in compared_words(record, [*results, small])


def test_compared_words_hide_where_a_corpus_lies(run_folder: Path) -> None:
    record, results = read_run(run_folder), read_results(run_folder)
    record.suite["corpus"]["source"] = "/home/someone/secret/ortho.tif"
    words = compared_words(record, results)
    assert "from ortho.tif (50 % of all tiles" in words
    assert words.startswith("3 backbones (tiny, mini, colour) under 2 search engines (exact, falconn) on 4,000 tiles")
    assert "secret" not in words


class Skeleton(HTMLParser):
    """Everything of a page but its words: tags and the names of their attributes; and all that could run or load."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, ...]] = []
        self.risky: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, *(name for name, _ in attrs)))
        named = {name: value or "" for name, value in attrs}
        self.risky += [f"{tag} {name}={value}" for name, value in named.items() if "script:" in value.lower()]
        self.risky += [f"{tag} {name}" for name in named if name.startswith("on")]


def said_everywhere(folder: Path, words: str) -> None:
    """Put words wherever a run's record and cells hold what a file, a name or a machine may say."""
    record = read_run(folder)
    suite = {**record.suite, "about": dict.fromkeys(record.suite["about"], words)}
    machine = {key: words if isinstance(value, str) else value for key, value in record.machine.items()}
    changed = {"suite_file": words, "suite_text": words, "version": words, "overrides": [words], "machine": machine}
    changed |= {"suite": suite, "suite_name": words, "run_id": words, "corpus": {**record.corpus, "source": words}}
    write_run(folder, dataclasses.replace(record, **changed))
    for result in read_results(folder)[:3]:
        write_result(folder, dataclasses.replace(result, status="failed", reason=words))


@pytest.mark.usefixtures("without_figures")
def test_page_and_tables_of_hostile_words_have_no_tag_more_than_those_of_harmless_ones(
    report: Path, whole_run_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(whole_run_folder, tmp_path / "hostile")
    said_everywhere(tmp_path / "hostile", " ".join(HOSTILE).replace("\0", ""))
    page = Skeleton(write_report(tmp_path / "hostile"))
    assert set(page.tags) <= set(Skeleton(report).tags)
    assert page.risky == []
    markdown = "\n".join(path.read_text(encoding="utf-8") for path in (tmp_path / "hostile").rglob("*.md"))
    assert "<script" not in markdown
    assert "<img" not in markdown
    assert "](javascript" not in markdown
