import dataclasses
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.figures import FIGURES, PICTURES
from bench.judgments import Judgments
from bench.report import chosen_answers, write_report
from bench.report.page import compared_words, status_words
from bench.report.sentences import difference_words, key_results
from bench.results import QueryResult, StageNote, read_results, read_run, write_result, write_run
from bench.table import read_table, write_table
from ris_core.errors import ArtifactError
from ris_core.records import Tiles

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
    assert len([link for link in page.links if link.endswith(".csv")]) == 6
    assert len([link for link in page.links if link.endswith(".tex")]) == 6


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
    assert "Cores 2 physical, 2 logical, 2 usable" in shown


def test_page_shows_every_figure_with_its_caption(report: Path) -> None:
    page = Page(report)
    shown = [link for link in page.links if link.endswith(".png") and link.startswith("figures/")]
    assert {Path(link).stem for link in shown} == set(FIGURES)
    assert "Where the tiles lie" not in page.text
    assert "Tile map : no figure, because the tiles have no footprints" in page.text


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


def test_compared_words_hide_where_a_corpus_lies(run_folder: Path) -> None:
    record, results = read_run(run_folder), read_results(run_folder)
    record.suite["corpus"]["source"] = "/home/someone/secret/ortho.tif"
    words = compared_words(record, results)
    assert "from ortho.tif (50 % of all tiles" in words
    assert words.startswith("3 backbones (tiny, mini, colour) under 2 search engines (exact, falconn) on 4,000 tiles")
    assert "secret" not in words


def test_difference_of_paired_scores_by_hand() -> None:
    assert difference_words(np.array([0.2, 0.2, 0.2])) == ("+0.20 [+0.20, +0.20]", True)
    words, differs = difference_words(np.array([0.5, -0.5, 0.5, -0.5]))
    assert words.startswith("0.00 [\N{MINUS SIGN}0.50, +0.50]")
    assert not differs
    assert difference_words(np.array([0.3])) == ("+0.30", False)
    assert difference_words(np.full(5, 0.001)) == ("+0.001 [+0.001, +0.001]", True)


def found_about(tables: Path, word: str) -> str:
    return " ".join(finding.text for finding in key_results(tables) if word in finding.about)


def test_sentences_state_best_backbone_with_interval_and_bounds(whole_tables: Path) -> None:
    text = found_about(whole_tables, "Easy queries (10, depth 100)")
    assert text.startswith("Best is tiny, precision 0.8")
    assert "mini reaches 0.7" in text
    assert "Random answers reach 0.08" in text
    assert "significant" not in text
    averages = read_table(whole_tables / "nn_precision_averages.csv")
    (ceiling,) = averages.query("engine == 'ceiling' and stratum == 'hard'")["precision"]
    assert f"more than {ceiling:.2f} is not possible here" in found_about(whole_tables, "Hard")


def test_equal_backbones_are_called_not_significantly_different(tables: Path) -> None:
    each = read_table(tables / "nn_precision.csv")
    exact = each["engine"] == "exact"
    tiny = each[exact & (each["backbone"] == "tiny")]
    each.loc[exact & (each["backbone"] == "mini"), "precision"] = tiny["precision"].to_numpy()
    write_table(each, tables, "nn_precision")
    assert "paired difference 0.00 [0.00, 0.00], which is no significant difference" in found_about(tables, "Medium")


def test_sentences_say_when_training_did_not_pay(tables: Path) -> None:
    models = read_table(tables / "models.csv")
    models["train_epochs"] = models["train_epochs"].where(models["backbone"] == "colour")
    models.loc[models["backbone"] == "colour", "train_epochs"] = 3
    write_table(models, tables, "models")
    text = found_about(tables, "Trained or not")
    assert "colour, the best backbone trained in this run, falls short of tiny" in text


def test_sentences_name_fastest_good_setting_or_say_there_is_none(tables: Path) -> None:
    cells = read_table(tables / "lsh_parameters.csv")
    here = (cells["backbone"] == "tiny") & (cells["mode"] == "single") & (cells["space"] == "corrected")
    good = cells[here & (cells["engine"] == "falconn") & (cells["recall"] >= 0.9)]
    fastest = good.loc[good["query_ms_median"].idxmin()]
    text = found_about(tables, "Search: single queries")
    assert f"{fastest['tables']} tables, 12 bits, {fastest['probes_per_table']} probes per table" in text
    assert "Exact search takes 2.1 ms" in text

    cells["recall"] = cells["recall"].where(cells["engine"] == "exact", 0.5)
    write_table(cells, tables, "lsh_parameters")
    assert "no setting finds 90 % of the exact neighbours" in found_about(tables, "Search: single queries")


def test_sentences_admit_that_exact_search_is_faster(tables: Path) -> None:
    cells = read_table(tables / "lsh_parameters.csv")
    cells.loc[cells["engine"] == "exact", "query_ms_median"] = 0.001
    write_table(cells, tables, "lsh_parameters")
    assert "exact search is faster here" in found_about(tables, "Search: single queries")


def test_no_tables_make_no_sentences(tmp_path: Path) -> None:
    assert key_results(tmp_path) == []
