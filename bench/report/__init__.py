"""A run's folder made readable: tables with captions, figures, and an index page that opens offline."""

import shutil
from pathlib import Path

import pandas as pd

from bench.figures import PICTURES, Drawn, draw_figures, draw_pictures, draw_places
from bench.figures.precision import read_averages
from bench.figures.style import CORRECTED, EXACT, read_cells
from bench.figures.thesis import ON_PAGE, draw_thesis
from bench.finished.finished_run import FinishedRun
from bench.finished.run_answers import Answers
from bench.judging.judgments import Judgments
from bench.machine import describe
from bench.report.hygiene_sentences import hygiene_results
from bench.report.page import Contents, render_page, searched_things
from bench.report.sentences import key_results
from bench.results import CELLS, OK, QueryResult, Result, RunRecord, read_results, read_run
from bench.tables.provenance_table import trace_words
from bench.tables.run_tables import JUDGMENTS, TABLES, run_tables
from bench.tables.table import read_table, write_table
from bench.tables.table_schemas import CAPTIONS, PUBLISHED_TABLES
from ris_core.artifacts import disk_error, written_whole
from ris_core.errors import ArtifactError
from ris_core.records import Tiles

PAGE, FIGURES = "index.html", "figures"
_PAGE_PICTURES = ("mosaic.*g", "gallery_*.*g", *(f"{name}.png" for name in ON_PAGE))


def write_report(run_folder: Path, *, pictures: bool = True) -> Path:
    """Write tables, figures and page of a run, and return the page.

    Tables that are there are taken as they are, so that a published run, whose cells were left out, can still be
    drawn; the others are made from the cells.

    Args:
        run_folder: Folder of the run, finished or not.
        pictures: Whether to draw what shows the imagery. Without, earlier pictures are removed.

    Raises:
        ArtifactError: If the folder is not a run, a file of it is damaged, or the disk cannot take the report.
    """
    record, results = read_run(run_folder), read_results(run_folder)
    tables = _write_tables(run_folder, record)
    try:
        figures = _draw_all(run_folder, record, results, pictures)
        findings = [*key_results(run_folder / TABLES), *hygiene_results(run_folder / TABLES)]
        notes = _judge_notes(run_folder)
        page = render_page(Contents(record, results, tables, findings, figures, notes, run_folder))
        with written_whole(run_folder / PAGE) as unfinished:
            unfinished.write_text(page, encoding="utf-8")
    except OSError as error:
        raise disk_error(run_folder, error) from error
    return run_folder / PAGE


def _write_tables(run_folder: Path, record: RunRecord) -> dict[str, pd.DataFrame]:
    """The run's tables, each under a caption that says where, on how many tiles and by which run it was measured."""
    folder = run_folder / TABLES
    paths = {name: folder / f"{name}.csv" for name in CAPTIONS}
    kept = {name: path for name, path in paths.items() if path.is_file()}
    if len(kept) == len(paths) or (kept and not any((run_folder / CELLS).glob("*.json"))):
        tables = {name: read_table(path) for name, path in kept.items()}  # published before a table was thought of
    else:
        tables = run_tables(run_folder)
    n = record.corpus.get("indexed")
    searched = f"{n:,} {searched_things(record)}; " if n else ""
    traced = f"{searched}{describe(record.machine)}. {trace_words(record)}"
    for name, table in tables.items():
        where = "" if name in PUBLISHED_TABLES else traced
        write_table(table, folder, name, f"{CAPTIONS.get(name, '')} {where}".strip())
    return tables


def _draw_all(run_folder: Path, record: RunRecord, results: list[Result], pictures: bool) -> list[Drawn]:
    """All figures; pictures as well, unless they are not wanted."""
    folder = run_folder / FIGURES
    for path in [*folder.glob("*.png"), *folder.glob("*.svg")]:
        path.unlink()
    tiles, answers = open_tiles(record), chosen_answers(run_folder, results)
    drawn = draw_figures(run_folder / TABLES, folder)
    drawn.append(draw_places(tiles, folder, answers[0].query_ids if answers else None))
    if not pictures:
        shutil.rmtree(folder / PICTURES, ignore_errors=True)
        return drawn
    if tiles is None:
        return drawn + _earlier_pictures(folder)
    for path in (path for pattern in _PAGE_PICTURES for path in (folder / PICTURES).glob(pattern)):
        path.unlink()  # and no others: `bench figure` may have drawn them
    return drawn + draw_pictures(tiles, answers, folder) + draw_thesis(FinishedRun(run_folder, record), folder)


def open_tiles(record: RunRecord) -> Tiles | None:
    """The run's tiles, pixels memory-mapped; None where the cache does not hold them any more."""
    for note in record.stage_notes:
        if note.stage == "tiles" and Path(note.folder).is_dir():
            try:
                return Tiles.open(Path(note.folder))
            except ArtifactError:
                return None
    return None


def chosen_answers(run_folder: Path, results: list[Result]) -> list[Answers]:
    """Answers worth looking at: exact search on each backbone, best first, and the best approximate one beside it.

    The approximate setting is the one of highest recall on the best backbone.
    """
    cells, averages = read_cells(run_folder / TABLES), read_averages(run_folder / TABLES)
    if cells.empty or averages.empty:
        return []
    cells = cells[cells["space"] == CORRECTED]
    exact = averages[averages["variant"] == EXACT].groupby("backbone", sort=False)["precision"].mean()
    order = list(exact.sort_values(ascending=False, kind="stable").index) or list(dict.fromkeys(cells["backbone"]))
    wanted = [cells[(cells["variant"] == EXACT) & (cells["backbone"] == backbone)].head(1) for backbone in order]
    approximate = cells[(cells["variant"] != EXACT) & (cells["backbone"] == order[0])]
    wanted.insert(1, approximate.sort_values("recall", ascending=False, kind="stable").head(1))
    files = {r.cell: r.hits_file for r in results if isinstance(r, QueryResult) and r.status == OK and r.hits_file}
    return [
        Answers.open(run_folder / files[row["cell"]], f"{row['backbone']} · {row['variant']}")
        for _, row in pd.concat(wanted).iterrows()
        if (run_folder / files.get(row["cell"], "missing")).is_file()
    ]


def _judge_notes(run_folder: Path) -> tuple[str, ...]:
    folder = run_folder / JUDGMENTS
    return Judgments.open(folder).notes if folder.is_dir() else ()


def _earlier_pictures(folder: Path) -> list[Drawn]:
    """Pictures of an earlier report, still good where the tiles are gone."""
    stems = dict.fromkeys(path.with_suffix("") for path in sorted((folder / PICTURES).glob("*.png")))
    return [
        Drawn(stem.name, "Drawn by an earlier report; the tiles are no longer in the cache.", tuple(files))
        for stem in stems
        if (files := [path for path in (stem.with_suffix(".png"), stem.with_suffix(".svg")) if path.is_file()])
    ]
