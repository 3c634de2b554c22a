"""A forecast beside the run that followed it."""

import datetime
import shlex
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from bench.machine import describe
from bench.planning.artifact_bytes import array_bytes
from bench.planning.page import duration, size
from bench.results import BuildResult, RunRecord, StageNote, read_results, read_run
from ris_core.artifacts import MANIFEST, read_manifest, written_whole
from ris_core.errors import ArtifactError

COMPARISON = "plan.csv"
_CELLS = ("checks", "build cells", "query cells", "other cells")  # which a run's clock has together only
_TOGETHER = "checks and cells"
_ALL = "all"
_COLUMNS = ("n", "seconds", "disk_bytes", "memory_bytes")


def read_forecast(path: Path) -> pd.DataFrame:
    """A forecast that `bench.planning.page.write_forecast` wrote.

    Raises:
        ArtifactError: If it is none.
    """
    try:
        table = pd.read_csv(path, keep_default_na=False, na_values=[""], dtype={"stage": str, "name": str})
        table["name"] = table["name"].fillna("")
        numbers = table[[*_COLUMNS, "seconds_low", "seconds_high"]].astype(float)
        table["n_is_exact"], table["is_cached"] = (table[key].astype(bool) for key in ("n_is_exact", "is_cached"))
    except (OSError, ValueError, KeyError, pd.errors.ParserError) as error:
        raise ArtifactError(
            f"{path}: no forecast to be read ({error}). Write one by `python -m bench plan SUITE --csv {path}`."
        ) from error
    table[numbers.columns] = numbers
    return table


def compare_forecast(forecast: pd.DataFrame, run: Path) -> pd.DataFrame:
    """One row a stage: forecast, what the run took, and the ratio of both, measured by forecast.

    Stages that the run found in its cache, or that the forecast does not know, are left out. Checks and cells stand
    together, and the last row but one is the report: their parts are not told apart by what a run leaves.

    Args:
        forecast: See `read_forecast`.
        run: Folder of the run, with its cells.

    Raises:
        ArtifactError: If it is none, or was not finished.
    """
    record = read_run(run)
    if not record.finished or record.status == "interrupted":
        raise ArtifactError(f"{run}: is not finished (status {record.status}). Go on with it by --resume first.")
    made = {(note.stage, note.backbone): note for note in record.stage_notes if not note.reused}
    rows = [
        _row(line, _measured(made[line["stage"], line["name"]]))
        for _, line in forecast.iterrows()
        if (line["stage"], line["name"]) in made
    ]
    cells = forecast[forecast["stage"].isin(_CELLS)]
    rest = _wall_s(record) - sum(note.wall_s for note in made.values())
    rows.append(_row(_summed(cells, _TOGETHER), {"seconds": rest, "memory_bytes": _index_bytes(run)}))
    rows += [_row(line, {"seconds": _report_s(run)}) for _, line in forecast[forecast["stage"] == "report"].iterrows()]
    table = pd.DataFrame(rows)
    total: dict[str, object] = {"stage": _ALL, "name": ""}
    for column in table.columns.drop(["stage", "name", "n", "n_measured"]):
        if column.startswith(("seconds", "disk_bytes")):
            total[column] = table[column].sum()
    total["memory_bytes"], total["memory_bytes_measured"] = table["memory_bytes"].max(), float(record.peak_bytes)
    table = pd.concat([table, pd.DataFrame([total])], ignore_index=True)
    for column in ("seconds", "disk_bytes", "memory_bytes"):
        table[f"{column}_ratio"] = (table[f"{column}_measured"] / table[column].where(table[column] > 0)).astype(float)
    return table


def _row(line: Mapping[str, object] | pd.Series, measured: Mapping[str, float]) -> dict[str, object]:
    row: dict[str, object] = {"stage": line["stage"], "name": line["name"]}
    for column in _COLUMNS:
        row[column] = line[column]
        row[f"{column}_measured"] = measured.get(column, np.nan)
    return {**row, "seconds_low": line["seconds_low"], "seconds_high": line["seconds_high"]}


def _measured(note: StageNote) -> dict[str, float]:
    """What the run says of a stage."""
    found: dict[str, float] = {"seconds": note.wall_s}
    if "n" in note.notes:
        found["n"] = float(note.notes["n"])
    if note.notes.get("extract_peak_mb") is not None:
        found["memory_bytes"] = note.notes["extract_peak_mb"] * 1e6
    if (Path(note.folder) / MANIFEST).is_file():
        found["disk_bytes"] = float(array_bytes(read_manifest(Path(note.folder))["files"]))
    return found


def _summed(rows: pd.DataFrame, name: str) -> pd.Series:
    """Several rows as one."""
    summed = rows[["seconds", "seconds_low", "seconds_high"]].sum()
    most = rows.loc[rows["stage"] != "checks", "memory_bytes"].max()
    return pd.Series({"stage": name, "name": "", "n": np.nan, "disk_bytes": np.nan, "memory_bytes": most, **summed})


def _wall_s(record: RunRecord) -> float:
    """From the start of a run to the end of its last cell."""
    start, end = (datetime.datetime.fromisoformat(text) for text in (record.started, record.finished))
    return (end - start).total_seconds()


def _index_bytes(run: Path) -> float:
    """Most memory of a process that built an index and asked it."""
    peaks = [result.memory.get("peak_rss_bytes") for result in read_results(run) if isinstance(result, BuildResult)]
    return float(max((peak for peak in peaks if peak is not None), default=np.nan))


def _report_s(run: Path) -> float:
    """Seconds from a report's first table to its page."""
    tables, page = list((run / "tables").glob("*.csv")), run / "index.html"
    if not tables or not page.is_file():
        return np.nan
    return page.stat().st_mtime - min(table.stat().st_mtime for table in tables)


def write_comparison(table: pd.DataFrame, record: RunRecord, out: Path) -> Path:
    """Write ``plan.csv``, and ``README.md`` with the same for people; the latter.

    Raises:
        ArtifactError: If the disk cannot take them.
    """
    with written_whole(out / COMPARISON) as unfinished:
        table.to_csv(unfinished, index=False, float_format="%.6g")
    suite = record.suite_name
    asked = shlex.join([suite, *(word for text in record.overrides for word in ("--set", text))])
    shown, machine = comparison_table(table), describe(record.machine)
    page = _PAGE.format(suite=suite, table=shown, machine=machine, asked=asked)
    with written_whole(out / "README.md") as unfinished:
        unfinished.write_text(page, encoding="utf-8")
    return out / "README.md"


def comparison_table(table: pd.DataFrame) -> str:
    """The table in Markdown, for people."""
    shown = pd.DataFrame(
        {
            "stage": [f"{stage} {name}".strip() for stage, name in zip(table["stage"], table["name"], strict=True)],
            "forecast": _shown(table["seconds"], duration),
            "likely": [
                "" if pd.isna(low) else f"{duration(low)} to {duration(high)}"
                for low, high in zip(table["seconds_low"], table["seconds_high"], strict=True)
            ],
            "measured": _shown(table["seconds_measured"], duration),
            "measured / forecast": _shown(table["seconds_ratio"], "{:.2f}".format),
            "n forecast": _shown(table["n"], "{:,.0f}".format),
            "n": _shown(table["n_measured"], "{:,.0f}".format),
            "disk forecast": _shown(table["disk_bytes"].where(table["disk_bytes"] > 0), size),
            "disk": _shown(table["disk_bytes_measured"].where(table["disk_bytes"] > 0), size),
            "memory forecast": _shown(table["memory_bytes"], size),
            "memory": _shown(table["memory_bytes_measured"], size),
        }
    )
    return str(shown.to_markdown(index=False, disable_numparse=True))


def _shown(values: pd.Series, words: object) -> list[str]:
    return ["" if pd.isna(value) else words(value) for value in values]  # type: ignore[operator]


_PAGE = """# A forecast beside the run that followed: `{suite}`

{table}

*forecast* was said by `python -m bench plan` before the run, from about a minute of measuring, with nothing in the
cache; *likely* is its range. *measured* are the seconds that the run notes of each stage; checks and cells are what is
left between its start and the end of its last cell; the report, from its first table to its page. *n* and *disk* count
what the artifacts hold: before tiles are cut, n is the most that there can be. *memory*: of a stage's process at its
peak, as far as a run notes it: while features are extracted, of an index' process, and, in the last row, of the run's
own process over all stages.

Machine: {machine}.

    python -m bench plan {asked} --cache EMPTY --csv forecast.csv
    python -m bench run {asked} --cache EMPTY
    python -m bench plan forecast.csv --against RUN --out plan
"""
