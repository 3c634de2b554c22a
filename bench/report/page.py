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

from bench.crew import LOCAL
from bench.figures import Drawn
from bench.machine import describe, is_busy
from bench.measuring.cpu_settings import timing_limits
from bench.measuring.other_load import NOISY_FRAC
from bench.report.finding import Finding
from bench.results import OK, PaceResult, Result, RunRecord
from bench.suites.suite import SYNTHETIC
from bench.tables.provenance_table import LOADED_CELLS, NOISY_CELLS
from bench.tables.table import page_of
from bench.tables.table_schemas import CAPTIONS
from bench.tables.throughput_table import STAGE_WORDS
from ris_core.vector_files import is_vector_file

_TEMPLATES = Path(__file__).parents[1] / "templates"
_OPEN_ROWS = 16  # a longer table is folded away until the reader asks for it
_WIDE, _MOST_TURNED = 12, 6  # columns, rows
_SHORT_FACTS = ("seed", "artifact", "version")  # groups of provenance that read well in one line


@dataclasses.dataclass(frozen=True)
class Chapter:
    """One part of the page: its heading, and the figures and tables under it by name.

    An optional one is shown where the run has something of it; the others say what is missing.
    """

    anchor: str
    title: str
    figures: tuple[str, ...]
    tables: tuple[str, ...]
    optional: bool = False


CHAPTERS = (
    Chapter(
        "precision",
        "Precision",
        ("precision_by_difficulty", "exact_or_lsh", "precision_by_concept"),
        ("nn_precision_averages", "exact_or_lsh", "nn_precision"),
    ),
    Chapter("classes", "Accuracy by class", ("class_accuracy",), ("class_accuracy",), optional=True),
    Chapter("revisited", "The revisited protocol", ("revisited",), ("revisited",), optional=True),
    Chapter("systems", "Systems", ("systems",), ("systems",), optional=True),
    Chapter("reranking", "Re-ranking", ("reranking",), ("reranking",), optional=True),
    Chapter(
        "regions",
        "Queries by regions",
        ("regions", "region_query", "region_times"),
        ("regions", "region_times"),
        optional=True,
    ),
    Chapter("differences", "Differences", (), ("published_differences", "differences")),
    Chapter(
        "neighbours",
        "Queries and their neighbours",
        ("queries", "gallery_*", "neighbours", "nearest", "matches", "false_positives", "attention"),
        (),
    ),
    Chapter(
        "search",
        "Search",
        (
            "recall_over_query_time",
            "engine_ranks",
            "costs_over_recall",
            "growth",
            "build_and_query_time",
            "query_slip",
            "ranking",
        ),
        (
            "cheapest_settings",
            "engine_ranks",
            "growth",
            "lsh_parameters",
            "ranking",
            "memory",
            "runtimes",
            "growth_points",
        ),
    ),
    Chapter(
        "difficulty",
        "Difficulty and data",
        ("recall_over_lid", "spatial_leakage"),
        ("data_hygiene", "query_geometry", "spatial_leakage", "recall_by_difficulty", "recall_over_lid"),
    ),
    Chapter(
        "training",
        "Training and backbones",
        ("training_curves", "training_losses"),
        ("models", "variants", "losses"),
    ),
    Chapter("throughput", "Throughput", ("throughput",), ("throughput",), optional=True),
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
        chapters=_chapters(contents),
        noise=noise_words(contents.tables["provenance"]),
        limits=timing_limits(record.machine.get("cpu") or {}),
        cluster=cluster_words(record),
        provenance=_provenance(contents.tables["provenance"]),
        provenance_files=_table("provenance", contents.tables["provenance"], contents.folder)["files"],
        stages=record.stage_notes,
        notes=contents.notes,
    )


def _chapters(contents: Contents) -> list[dict[str, Any]]:
    """Those that say something of this run: one that searches nothing has nothing to say of search."""
    searches = contents.record.suite.get("engines", True)
    shown = []
    for chapter in CHAPTERS:
        laid_out = _chapter(chapter, contents)
        has_any = any(part["files"] for part in laid_out["figures"]) or any(part["rows"] for part in laid_out["tables"])
        if has_any if chapter.optional else searches or chapter.anchor == "corpus":
            shown.append(laid_out)
    return shown


def compared_words(record: RunRecord, results: Sequence[Result]) -> str:
    """One sentence: what was compared with what, on how many tiles of which corpus."""
    suite, corpus = record.suite, record.suite.get("corpus", {})
    backbones = [entry["name"] for entry in suite.get("backbones", [])]
    engines = [entry["name"] for entry in suite.get("engines", [])]
    n = max((result.n for result in results), default=0)
    source = "the embedded scene" if corpus.get("source") == "scene" else PurePath(str(corpus.get("source", "?"))).name
    if not engines and suite.get("throughput"):
        paced = suite["throughput"]
        words = f"{', '.join(STAGE_WORDS[stage] for stage in paced['stages'])} by {_counted(paced['ways'], 'way')}"
        words += f", {_counted(backbones, 'backbone')}"
        return f"{words}, on up to {n:,} tiles of {corpus.get('tile_px', '?')} px from {source}."
    split = ""
    if corpus.get("train_frac"):
        block_px = corpus.get("split_block_px")
        drawn = f"in blocks of {block_px:,} px drawn by seed" if block_px else "drawn by seed"
        split = f" ({corpus['train_frac'] * 100:g} % of all tiles, {drawn}, trained and are not searched)"
    queries = suite.get("queries", {})
    searched = (
        f"{_counted(backbones, 'backbone')} under {_counted(engines, 'search engine')} on {n:,} tiles of "
        f"{corpus.get('tile_px', '?')} px from {source}{split}"
    )
    asked = "timed queries"
    if searched_things(record) == "vectors":
        held_out = any(note.notes.get("held_out") for note in record.stage_notes)
        d = max((result.d for result in results if not isinstance(result, PaceResult)), default=0)
        least = min((result.n for result in results if result.n), default=n)
        sizes = f"{n:,}" if least == n else f"{least:,} to {n:,}"
        searched = f"{_counted(engines, 'search engine')} on {sizes} vectors of {d:,} dimensions from {source}"
        asked = "timed queries, held out from them" if held_out else "timed queries among them"
    return f"{searched}; {queries.get('count', 0):,} {asked}, k = {queries.get('k', 0):,}."


def cluster_words(record: RunRecord) -> str:
    """Which stages workers of a cluster computed, and where cells were measured; empty where no worker did anything."""
    shared = [note for note in record.stage_notes if "workers" in note.notes]
    if not shared and not record.cluster:
        return ""
    each = [f"{f'{note.stage} {note.backbone}'.strip()} by {note.notes['workers']}" for note in shared]
    words = f"Stages whose pieces workers computed: {', '.join(each) or 'none'}; all others one process."
    if not record.cluster:
        return words  # of an artifact that an earlier run made
    n, machines = _number(record.cluster["workers"], "worker"), _number(record.cluster["machines"], "machine")
    if record.cluster["kind"] == LOCAL:
        return f"{words} The cluster was {n} on this machine, which ended before the first cell was measured."
    return (
        f"{words} The cluster had {n} on {machines}; one of them measured all cells, on the machine named here, and "
        "did nothing else meanwhile."
    )


def _number(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def searched_things(record: RunRecord) -> str:
    """What the run's indexes hold, for people."""
    source = str(record.suite.get("corpus", {}).get("source", ""))
    return "vectors" if source == SYNTHETIC or is_vector_file(Path(source)) else "tiles"


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


def _provenance(table: pd.DataFrame) -> list[tuple[str, str]]:
    """The rows of ``provenance``; groups of many short facts are one row each."""
    rows: dict[str, str] = {}
    for key, value in zip(table["key"], table["value"], strict=True):
        group, _, name = key.partition(".")
        heading = group if group in _SHORT_FACTS else f"{group}: {name}"
        fact = f"{name} {value}" if group in _SHORT_FACTS else value
        rows[heading] = f"{rows[heading]} · {fact}" if heading in rows else fact
    return list(rows.items())


def noise_words(table: pd.DataFrame) -> str:
    """How many cells the table ``provenance`` calls noisy, in a sentence; empty where none is."""
    facts = dict(zip(table["key"], table["value"], strict=True))
    noisy, cells = int(facts.get(NOISY_CELLS, 0)), int(facts.get(LOADED_CELLS, 0))
    if not noisy:
        return ""
    return (
        f"{noisy:,} of {cells:,} cells {'was' if noisy == 1 else 'were'} measured while other work took more than "
        f"{NOISY_FRAC * 100:g} % of the cores: their times are marked as noisy."
    )
