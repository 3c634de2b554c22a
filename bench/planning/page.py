"""A forecast for people, and as a CSV file."""

import math
from pathlib import Path

import pandas as pd

from bench.machine import describe, fingerprint
from bench.planning.forecast import Forecast
from bench.planning.growth_law import Seconds
from bench.planning.stage_cost import StageCost
from bench.suites.suite import Suite
from ris_core.artifacts import written_whole

_TIMES = (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0))
_BYTES = (("TB", 1e12), ("GB", 1e9), ("MB", 1e6))


def forecast_table(forecast: Forecast, workers: int = 1) -> pd.DataFrame:
    """One row a stage, units in the columns' names; empty where nothing is known."""
    return pd.DataFrame([_row(row, workers) for row in forecast.rows])


def _row(row: StageCost, workers: int) -> dict[str, object]:
    seconds = row.seconds or Seconds(math.nan, math.nan, math.nan)
    return {
        "stage": row.stage,
        "name": row.name,
        "n": row.n,
        "n_is_exact": row.is_exact,
        "is_cached": row.is_cached,
        "seconds": seconds.expected,
        "seconds_low": seconds.low,
        "seconds_high": seconds.high,
        "workers": workers if row.is_spread else 1,
        "seconds_per_worker": seconds.expected / (workers if row.is_spread else 1),
        "disk_bytes": row.disk_bytes,
        "memory_bytes": row.memory_bytes,
        "exponent": row.exponent,
        "note": row.note,
    }


def write_forecast(forecast: Forecast, path: Path, workers: int = 1) -> None:
    """Write the table as CSV.

    Raises:
        ArtifactError: If the disk cannot take it.
    """
    with written_whole(path) as unfinished:
        forecast_table(forecast, workers).to_csv(unfinished, index=False, float_format="%.6g")


def forecast_page(suite: Suite, forecast: Forecast, cache: Path, workers: int = 1) -> str:
    """Aligned lines: what a run of the suite will cost, what it cannot say, and what will not do."""
    head = ["stage", "of", "n", "time", "likely", "disk", "memory", "growth", ""]
    if workers > 1:
        head.insert(5, f"on {workers} workers")
    lines = [head, *(_line(row, workers) for row in forecast.rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(head))]
    text = [f"{suite.name}: what a run would cost with the cache {cache}", ""]
    text += ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    total = forecast.total
    unknown = [f"{row.stage} {row.name}".strip() for row in forecast.rows if row.seconds is None]
    text += [
        "",
        f"in all      {duration(total.expected)}, likely {_range(total)}; {size(forecast.disk_bytes)} to be written",
    ]
    if workers > 1:
        shared = forecast.on_workers(workers)
        text.append(
            f"on {workers} workers as fast as this machine: {duration(shared.expected)}, likely {_range(shared)}"
        )
    if unknown:
        text.append(f"not in it    {', '.join(unknown)}: cannot be forecast, see there")
    text += [f"warning      {warning}" for warning in forecast.warnings]
    if forecast.was_busy:
        text.append("warning      other programs computed on this machine meanwhile: a quiet one takes less time")
    text += [
        "",
        f"machine      {describe(fingerprint())}",
        f"measured in  {duration(forecast.measured_s)}",
        "",
        _LEGEND,
    ]
    return "\n".join(text)


def _line(row: StageCost, workers: int) -> list[str]:
    if row.is_cached:
        times = ["in the cache", ""]
    else:
        times = ["not forecast", ""] if row.seconds is None else [duration(row.seconds.expected), _range(row.seconds)]
    if workers > 1:
        each = "" if row.seconds is None else duration(row.seconds.expected / (workers if row.is_spread else 1))
        times.append(f"{each} each" if row.is_spread and each else each)
    count = "" if row.n is None else f"{'' if row.is_exact else '≤ '}{row.n:,}"
    memory = "" if row.memory_bytes is None else size(row.memory_bytes)
    growth = "" if row.exponent is None or math.isnan(row.exponent) else f"n^{row.exponent:.2f}"
    disk = size(row.disk_bytes) if row.disk_bytes else ""
    return [row.stage, row.name, count, *times, disk, memory, growth, row.note]


def duration(seconds: float) -> str:
    """``3.2 s``, ``14 min``, ``5.3 h``, ``9.1 d``."""
    for unit, length in _TIMES:
        if seconds >= 2 * length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:.1f} s"


def size(count: float) -> str:
    """``12 kB``, ``47.4 MB``, ``35.5 TB``."""
    for unit, length in _BYTES:
        if count >= length:
            return f"{count / length:,.1f} {unit}"
    return f"{count / 1e3:,.0f} kB"


def _range(seconds: Seconds) -> str:
    return f"{duration(seconds.low)} to {duration(seconds.high)}"


_LEGEND = """n: tiles, vectors or cells; with ≤ no more than that.
disk: arrays that the stage leaves in the cache, by their shapes; tables and JSON beside them come to little.
memory: of the stage's process at its peak, by formula where it was not measured; an index by its own definition.
growth: how time grows with n around this n.
likely: from 1/1.3 to 1.3 of the time, for the machine's moods; beyond the sizes measured, also from a straight line
to a power law."""
