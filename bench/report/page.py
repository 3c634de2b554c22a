"""What the index page shows, put together from a run's record, tables and figures; the template only lays it out."""

import dataclasses
import datetime
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

import jinja2
import pandas as pd
from PIL import Image

from bench.figures import Drawn
from bench.machine import blas_words, commit_words, describe, is_busy
from bench.report.sentences import Finding
from bench.results import OK, Result, RunRecord
from bench.table import page_of
from bench.table_schemas import CAPTIONS

_TEMPLATES = Path(__file__).parents[1] / "templates"
_OPEN_ROWS = 16  # a longer table is folded away until the reader asks for it
_WIDE, _MOST_TURNED = 12, 6  # columns, rows


@dataclasses.dataclass(frozen=True)
class Chapter:
    """One part of the page: its heading, and the figures and tables under it by name."""

    anchor: str
    title: str
    figures: tuple[str, ...]
    tables: tuple[str, ...]


CHAPTERS = (
    Chapter(
        "precision",
        "Precision",
        ("precision_by_difficulty", "precision_by_concept"),
        ("nn_precision_averages", "nn_precision"),
    ),
    Chapter("neighbours", "Queries and their neighbours", ("gallery_*",), ()),
    Chapter(
        "search",
        "Search",
        ("recall_over_query_time", "build_and_query_time", "query_slip"),
        ("lsh_parameters", "runtimes"),
    ),
    Chapter("training", "Training and backbones", ("training_losses",), ("models", "losses")),
    Chapter("corpus", "Corpus", ("mosaic", "tile_map"), ()),
)


@dataclasses.dataclass(frozen=True, eq=False)
class Contents:
    """All that a page is made of.

    Attributes:
        record: The run.
        results: Its cells.
        tables: Its tables by name.
        findings: Sentences for the top.
        figures: Its figures, drawn or not.
        notes: What a reader should know of the judgments.
        folder: The run's folder, which links are relative to.
    """

    record: RunRecord
    results: Sequence[Result]
    tables: dict[str, pd.DataFrame]
    findings: Sequence[Finding]
    figures: Sequence[Drawn]
    notes: Sequence[str]
    folder: Path


def render_page(contents: Contents) -> str:
    """The page as HTML that needs no network and no script; whatever the run holds is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    record = contents.record
    return environment.get_template("index.html").render(
        style=(_TEMPLATES / "page.css").read_text(encoding="utf-8"),
        title=record.suite.get("about", {}).get("title") or record.suite_name,
        about=record.suite.get("about", {}),
        record=record,
        started=_date(record.started),
        compared=compared_words(record, contents.results),
        machine=describe(record.machine),
        busy=is_busy(record.machine),
        status=status_words(record, contents.results),
        complete=record.status == OK,
        findings=contents.findings,
        troubles=[r for r in contents.results if r.status != OK],
        chapters=[_chapter(chapter, contents) for chapter in CHAPTERS],
        provenance=_provenance(record),
        versions=sorted((record.machine.get("versions") or {}).items()),
        stages=record.stage_notes,
        notes=contents.notes,
    )


def compared_words(record: RunRecord, results: Sequence[Result]) -> str:
    """One sentence: what was compared with what, on how many tiles of which corpus."""
    suite, corpus = record.suite, record.suite.get("corpus", {})
    backbones = [entry["name"] for entry in suite.get("backbones", [])]
    engines = [entry["name"] for entry in suite.get("engines", [])]
    n = max((result.n for result in results), default=0)
    source = "the embedded scene" if corpus.get("source") == "scene" else PurePath(str(corpus.get("source", "?"))).name
    split = ""
    if corpus.get("train_frac"):
        split = f" ({corpus['train_frac'] * 100:g} % of all tiles, drawn by seed, trained and are not searched)"
    queries = suite.get("queries", {})
    return (
        f"{_counted(backbones, 'backbone')} under {_counted(engines, 'search engine')} on {n:,} tiles of "
        f"{corpus.get('tile_px', '?')} px from {source}{split}; {queries.get('count', 0):,} timed queries, "
        f"k = {queries.get('k', 0):,}."
    )


def status_words(record: RunRecord, results: Sequence[Result]) -> str:
    """How many cells went how, and how the run ended where it did not end well."""
    counts = {status: sum(r.status == status for r in results) for status in ("ok", "failed", "skipped")}
    counts["not measured"] = max(0, len(record.cells) - len(results))
    parts = [f"{number:,} {word}" for word, number in counts.items() if number]
    total = sum(counts.values())
    words = f"all {total:,} cells ok" if counts["ok"] == total else f"{total:,} cells: {', '.join(parts)}"
    endings = {"running": "; the run is not finished", "interrupted": "; the run was interrupted"}
    return words + endings.get(record.status, "")


def _counted(names: list[str], noun: str) -> str:
    return f"{len(names)} {noun}{'' if len(names) == 1 else 's'} ({', '.join(names)})"


def _date(text: str) -> str:
    """An ISO time as people write it; as it is where it is none."""
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        return text or "unknown"
    return f"{moment.day} {moment:%B %Y, %H:%M}"


def _chapter(chapter: Chapter, contents: Contents) -> dict[str, Any]:
    figures = [
        _figure(figure, contents.folder)
        for pattern in chapter.figures
        for figure in contents.figures
        if PurePath(figure.name).match(pattern)
    ]
    tables = [
        _table(name, contents.tables[name], contents.folder) for name in chapter.tables if name in contents.tables
    ]
    return {"anchor": chapter.anchor, "title": chapter.title, "figures": figures, "tables": tables}


def _figure(figure: Drawn, folder: Path) -> dict[str, Any]:
    if not figure.files:
        return {"caption": figure.caption, "reason": figure.reason, "files": [], "name": figure.name}
    png = next(path for path in figure.files if path.suffix == ".png")
    with Image.open(png) as image:
        width, height = image.size
    files = [{"href": _href(path, folder), "kind": path.suffix[1:].upper()} for path in figure.files]
    return {
        "name": figure.name, "caption": figure.caption, "reason": "", "files": files,
        "src": _href(png, folder), "width": width, "height": height,
    }  # fmt: skip


def _table(name: str, table: pd.DataFrame, folder: Path) -> dict[str, Any]:
    page = page_of(table, name)
    if len(page) <= _MOST_TURNED and len(page.columns) > _WIDE:  # few things with many properties read better turned
        page = page.set_index(page.columns[0]).T.rename_axis(None, axis=1).reset_index(names="")
    rows = page.to_numpy().tolist() if len(page) else []
    paths = [folder / "tables" / f"{name}{ending}" for ending in (".csv", ".md", ".tex")]
    kinds = {".csv": "CSV", ".md": "Markdown", ".tex": "LaTeX"}
    return {
        "name": name,
        "caption": CAPTIONS.get(name, name),
        "columns": list(zip(page.columns, _sides(page), strict=True)),
        "rows": rows,
        "folded": len(rows) > _OPEN_ROWS,
        "files": [{"href": _href(path, folder), "kind": kinds[path.suffix]} for path in paths if path.is_file()],
    }


def _sides(page: pd.DataFrame) -> Iterable[str]:
    """The class of each column: numbers stand to the right."""

    def is_number(text: str) -> bool:
        return text[:1].isdigit() or text[:1] in "-." or text in ("inf", "nan")

    return ["number" if all(is_number(text) for text in page[c] if text) else "words" for c in page]


def _href(path: Path, folder: Path) -> str:
    return quote(path.relative_to(folder).as_posix())


def _provenance(record: RunRecord) -> list[tuple[str, str]]:
    machine, about = record.machine, record.suite.get("about", {})
    cpu, gpu = machine.get("cpu") or {}, machine.get("gpu")
    cores = [f"{cpu.get(f'{kind}_cores')} {kind}" for kind in ("physical", "logical", "usable")]
    rows = [
        ("Run", record.run_id),
        ("Suite", PurePath(record.suite_file).name),
        ("Source", str(about.get("source") or "")),
        ("Meant for", ", ".join(filter(None, (about.get("hardware"), about.get("duration"))))),
        ("Expected", str(about.get("expected") or "")),
        ("Overrides", ", ".join(record.overrides)),
        ("Started", record.started),
        ("Finished", record.finished),
        ("ris-bench", record.version),
        ("Commit", commit_words(machine.get("commit"))),
        ("Processor", f"{cpu.get('model')} ({cpu.get('architecture')})"),
        ("Instruction sets", " ".join(cpu.get("flags") or [])),
        ("Cores", ", ".join(cores)),
        ("Frequency governor", str(cpu.get("governor") or "not readable")),
        ("Memory", f"{machine.get('memory_gib')} GiB"),
        ("GPU", f"{gpu['count']} x {gpu['name']}, driver {gpu['driver']}, CUDA {gpu['cuda']}" if gpu else "none"),
        ("Load when it began", " ".join(f"{load:g}" for load in machine.get("load_average") or [])),
        ("System", f"{machine.get('system')} {machine.get('kernel')}, {machine.get('python')}"),
        ("BLAS and OpenMP", blas_words(machine)),
        ("How it was measured", record.measuring),
    ]
    return [(name, words) for name, words in rows if words]
