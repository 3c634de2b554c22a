"""Tables on disk: CSV with a checked schema, and beside it Markdown and LaTeX for people.

`build_tables` makes all tables of a run. The CSV holds everything, in the schema of `bench.tables.table_schemas`; the
page (Markdown, LaTeX) shows what a reader compares, with three significant digits.
"""

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from tabulate import tabulate

from bench.judging.judgments import Judgments
from bench.judging.spreadsheet import guarded, unguarded
from bench.results import BuildResult, PaceResult, QueryResult, RegionResult, RerankResult, Result
from bench.tables.cheapest_table import cheapest_page, cheapest_table
from bench.tables.class_table import class_table, classes_page
from bench.tables.cost_table import (
    memory_page,
    memory_table,
    runtime_table,
    runtimes_page,
    setting_table,
    settings_page,
)
from bench.tables.difference_table import (
    difference_table,
    differences_page,
    published_differences,
    published_differences_page,
)
from bench.tables.difficulty_table import (
    NOTHING_KNOWN,
    DataFacts,
    difficulty_page,
    difficulty_table,
    geometry_table,
    hygiene_page,
    hygiene_table,
    leakage_page,
    leakage_table,
    lid_page,
    lid_table,
)
from bench.tables.exact_or_lsh_table import exact_or_lsh_page, exact_or_lsh_table
from bench.tables.growth_table import growth_page, growth_points, growth_table
from bench.tables.hand_table import hand_averages_page, hand_page
from bench.tables.latex import alignments, latex_of
from bench.tables.precision_table import averages_page, precision_averages, precision_page, precision_table
from bench.tables.rank_table import rank_table, ranks_page
from bench.tables.ranking import ranking_page, ranking_table
from bench.tables.region_table import region_table, region_times_page, region_times_table, regions_page
from bench.tables.reranking_table import reranking_page, reranking_table
from bench.tables.revisited_table import revisited_page, revisited_table
from bench.tables.systems_table import systems_page
from bench.tables.table_schemas import SCHEMAS, TEXT, WHOLE
from bench.tables.throughput_table import throughput_page, throughput_table
from bench.tables.training_table import loss_table, losses_page, model_table, models_page
from bench.tables.variants_table import variants_page
from ris_core.artifacts import written_whole
from ris_core.errors import ArtifactError

# How a table is turned into the page that people read; the others are shown as they are.
PAGES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "runtimes": runtimes_page,
    "losses": losses_page,
    "nn_precision": precision_page,
    "nn_precision_averages": averages_page,
    "class_accuracy": classes_page,
    "hand_precision": hand_page,
    "hand_precision_averages": hand_averages_page,
    "lsh_parameters": settings_page,
    "cheapest_settings": cheapest_page,
    "engine_ranks": ranks_page,
    "growth": growth_page,
    "memory": memory_page,
    "differences": differences_page,
    "published_differences": published_differences_page,
    "exact_or_lsh": exact_or_lsh_page,
    "ranking": ranking_page,
    "recall_by_difficulty": difficulty_page,
    "recall_over_lid": lid_page,
    "spatial_leakage": leakage_page,
    "data_hygiene": hygiene_page,
    "reranking": reranking_page,
    "regions": regions_page,
    "region_times": region_times_page,
    "systems": systems_page,
    "revisited": revisited_page,
    "throughput": throughput_page,
    "models": models_page,
    "variants": variants_page,
}


def build_tables(
    results: Sequence[Result],
    judgments: Judgments | None,
    notes: Mapping[str, Mapping[str, Any]],
    logs: Mapping[str, Path],
    data: DataFacts = NOTHING_KNOWN,
    overhead: Mapping[str, Sequence[Sequence[float]]] = MappingProxyType({}),
) -> dict[str, pd.DataFrame]:
    """Every table of a run by name, in the order of a report.

    Args:
        results: The cells' results, in the suite's order.
        judgments: What the cells were judged by, or None.
        notes: For each backbone, facts under the names of the columns of ``models``, and ``unit_length``.
        logs: For each backbone that was trained, the ``log.txt`` of its checkpoint.
        data: What is known of its queries and tiles.
        overhead: What the harness itself takes, as `bench.results.RunRecord` has it.

    Raises:
        ArtifactError: If a log cannot be read.
    """
    builds = [result for result in results if isinstance(result, BuildResult)]
    queries = [result for result in results if isinstance(result, QueryResult)]
    reranked = [result for result in results if isinstance(result, RerankResult)]
    by_regions = [result for result in results if isinstance(result, RegionResult)]
    precision = precision_table(queries, judgments)
    settings = typed(setting_table(builds, queries, overhead), "lsh_parameters", "lsh_parameters")
    cheapest = typed(cheapest_table(settings), "cheapest_settings", "cheapest_settings")
    geometry, points = geometry_table(queries, data), growth_points(settings)
    unit_length = {backbone: bool(noted.get("unit_length")) for backbone, noted in notes.items()}
    tables = {
        "nn_precision_averages": precision_averages(precision),
        "nn_precision": precision,
        "class_accuracy": class_table(queries, judgments),
        "revisited": revisited_table(queries, reranked, judgments, data.distractors),
        "exact_or_lsh": exact_or_lsh_table(queries, judgments),
        "differences": difference_table(queries, _depths(judgments)),
        "published_differences": published_differences(_depths(judgments)),
        "lsh_parameters": settings,
        "cheapest_settings": cheapest,
        "engine_ranks": rank_table(cheapest),
        "growth": growth_table(points, settings, geometry, unit_length),
        "growth_points": points,
        "ranking": ranking_table(settings),
        "memory": memory_table(builds),
        "reranking": reranking_table(reranked, judgments),
        "regions": region_table(by_regions, judgments),
        "region_times": region_times_table(by_regions, notes),
        "throughput": throughput_table([result for result in results if isinstance(result, PaceResult)]),
        "runtimes": runtime_table(builds, queries, notes, logs),
        "recall_by_difficulty": difficulty_table(queries, data),
        "recall_over_lid": lid_table(queries, data),
        "spatial_leakage": leakage_table(queries, _depths(judgments)),
        "query_geometry": geometry,
        "data_hygiene": hygiene_table(data),
        "losses": loss_table(logs),
        "models": model_table(notes, logs),
    }
    return {name: typed(table, name, name) for name, table in tables.items()}


def _depths(judgments: Judgments | None) -> dict[str, int]:
    """For each stratum, how deep its answers are judged."""
    if judgments is None:
        return {}
    return dict(zip(judgments.queries["stratum"], judgments.queries["depth"], strict=True))


def write_table(table: pd.DataFrame, folder: Path, name: str, caption: str = "") -> None:
    """Write ``<name>.csv``, ``<name>.md`` and ``<name>.tex``.

    Args:
        table: Columns as in ``SCHEMAS[name]``; a name without a schema takes any columns.
        folder: Made if it is not there.
        name: Of the table and its files.
        caption: Stands above the Markdown and LaTeX tables: say the machine and the number of tiles.

    Raises:
        ArtifactError: If the columns are others, or the disk cannot take it.
    """
    table = typed(table, name, name)
    page = page_of(table, name)
    for ending, text in (("md", markdown_of(page, caption)), ("tex", latex_of(page, caption, name))):
        with written_whole(folder / f"{name}.{ending}") as unfinished:
            unfinished.write_text(text, encoding="utf-8")
    path = folder / f"{name}.csv"
    with written_whole(path) as unfinished, unfinished.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(table.columns)
        writer.writerows([_raw(value) for value in row] for row in table.itertuples(index=False, name=None))


def read_table(path: Path) -> pd.DataFrame:
    """A CSV table with the types of its schema: text "" and numbers NaN (whole ones <NA>) where missing.

    Args:
        path: A file named after its table, such as ``tables/runtimes.csv``.

    Raises:
        ArtifactError: If there is none, its columns are others, or a number is none.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
        if not isinstance(table.index, pd.RangeIndex):  # pandas takes what is too much for names of the rows
            raise ValueError("its lines have more fields than its heading")
        table = table.map(unguarded)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: no table to be read ({error}). Make it again with `report RUN`.") from error
    return typed(table.replace("", None), path.stem, str(path))


def typed(table: pd.DataFrame, name: str, where: str) -> pd.DataFrame:
    """The table with the types of its schema, see `read_table`; a name without a schema stays as it is.

    Raises:
        ArtifactError: If the columns are others, or a number is none; ``where`` begins the message.
    """
    if name not in SCHEMAS:
        return table
    _check_columns(list(table.columns), name, where)
    columns: dict[str, pd.Series] = {}
    for column, kind in SCHEMAS[name].items():
        if kind == TEXT:
            columns[column] = table[column].astype(object).where(table[column].notna(), "").astype(str)
            continue
        try:
            numbers = pd.to_numeric(table[column]).astype("float64")
        except (ValueError, TypeError) as error:
            raise ArtifactError(f"{where}: column {column} must hold a {kind} in each row ({error}).") from error
        if kind == WHOLE and (numbers.dropna() % 1 != 0).any():
            raise ArtifactError(f"{where}: column {column} must hold a {kind} in each row.")
        columns[column] = numbers.astype("Int64") if kind == WHOLE else numbers
    return pd.DataFrame(columns)


def page_of(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """What people read of a table: every cell a text."""
    page = PAGES.get(name, lambda same: same)(table) if len(table) else pd.DataFrame()
    return pd.DataFrame({column: [readable(value) for value in page[column]] for column in page}, columns=page.columns)


def readable(value: object) -> str:
    """A value for people: three significant digits, thousands set apart, nothing for what is missing."""
    if _is_missing(value):
        return ""
    if isinstance(value, int | np.integer):
        return f"{int(value):,}"
    if not isinstance(value, float | np.floating):
        return " ".join(str(value).split())
    number = float(value)
    if abs(number) >= 1000:
        return f"{number:,.0f}"
    return f"{number:#.3g}".rstrip(".") if abs(number) >= 0.001 else f"{number:.3g}"


def markdown_of(page: pd.DataFrame, caption: str = "") -> str:
    """A GitHub table under its caption; numbers to the right."""
    caption = caption.replace("<", "&lt;").replace("](", "]\\(")  # it may hold what a run's record calls its machine
    if page.empty:
        return f"{caption}\n\nNothing to show.\n".lstrip()
    cells = [[in_markdown(text) for text in row] for row in page.to_numpy().tolist()]
    table = tabulate(
        cells, headers=list(page.columns), tablefmt="github", disable_numparse=True, colalign=alignments(page)
    )
    return f"{caption}\n\n{table}\n".lstrip()


def in_markdown(text: str) -> str:
    """A text as a cell of a GitHub table shows it: no tag, link, code or other cell begins in it."""
    for sign, instead in (("\\", "&#92;"), ("|", "\\|"), ("<", "&lt;"), ("](", "]\\("), ("`", "\\`")):
        text = text.replace(sign, instead)
    return text


def _is_missing(value: object) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float | np.floating) and bool(np.isnan(value)))


def _raw(value: object) -> str:
    """A value as the CSV holds it: up to ten significant digits, empty where missing."""
    if _is_missing(value):
        return ""
    if isinstance(value, float | np.floating):
        return f"{value:.10g}"
    return guarded(value) if isinstance(value, str) else str(value)


def _check_columns(found: list[str], name: str, where: str) -> None:
    if name not in SCHEMAS or found == list(SCHEMAS[name]):
        return
    lacking = [column for column in SCHEMAS[name] if column not in found]
    foreign = [column for column in found if column not in SCHEMAS[name]]
    told = [f"lacks {', '.join(lacking)}"] * bool(lacking) + [f"has {', '.join(foreign)}"] * bool(foreign)
    raise ArtifactError(
        f"{where}: not the table {name!r}: it {' and '.join(told) or 'has its columns in another order'}. "
        "It was written by another program or version: make it again with `report RUN`."
    )
