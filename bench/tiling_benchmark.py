"""Tiling a raster of a country's size beside the published way: seconds, bytes read, memory.

    python -m fixtures.sparse_raster --out country.tif
    python -m bench.tiling_benchmark country.tif --out reports/reference/sparse_raster

The published way visits every window of the raster first and counts values, then cuts a sample of those that hold
information. On a raster of 45 million windows that takes days, so runs of windows that lie evenly over the raster are
measured and the whole is scaled from them; the table says so. Each step runs in a fresh process, with one thread.
"""

import argparse
import dataclasses
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import rasterio
from rasterio.windows import Window

from bench.machine import describe, fingerprint
from bench.measuring.process_memory import read_memory, reset_peak
from ris_core.tiles import TileSpec, count_cells, cut_tiles
from ris_core.tiling.rasters import describe_raster

_RUN = 64  # windows of the published way that follow one another
_MB = 1e6
OURS, PUBLISHED = "ours", "published"


@dataclasses.dataclass(frozen=True)
class Step:
    """One step of one way, as it was measured or scaled.

    Attributes:
        way: `OURS` or `PUBLISHED`.
        step: What was done.
        seconds: By the clock.
        cpu_s: Processor time.
        bytes_read: By the process' system calls, from the disk or its cache.
        peak_bytes: Most resident memory, with the interpreter and its libraries; not a number where it cannot be told.
        tiles: Tiles kept; 0 where the step keeps none.
        tile_bytes: Bytes of their pixels.
        measured_frac: Share of the work that was done; the rest is scaled from it.
    """

    way: str
    step: str
    seconds: float
    cpu_s: float
    bytes_read: float
    peak_bytes: float
    tiles: int = 0
    tile_bytes: int = 0
    measured_frac: float = 1.0

    def scaled(self, factor: float) -> "Step":
        """The same work done ``factor`` times, in the same memory."""
        return dataclasses.replace(
            self,
            seconds=self.seconds * factor,
            cpu_s=self.cpu_s * factor,
            bytes_read=self.bytes_read * factor,
            measured_frac=min(1.0, 1 / factor),
        )

    def row(self) -> dict[str, Any]:
        """A line of the table: with tiles and megabytes a second, and bytes read for each byte kept."""
        return {
            **dataclasses.asdict(self),
            "tiles_per_s": self.tiles / self.seconds if self.tiles else np.nan,
            "read_mb_per_s": self.bytes_read / _MB / self.seconds,
            "read_amplification": self.bytes_read / self.tile_bytes if self.tiles else np.nan,
        }


def measure_tiling(raster: Path, spec: TileSpec, sample: int, windows: int) -> list[Step]:
    """Steps of both ways on one raster.

    Args:
        raster: The file.
        spec: How it is cut.
        sample: How many tiles are drawn.
        windows: How many windows of the published way's first pass are visited, about.

    Raises:
        RisError: As `cut_tiles`.
    """
    cells = count_cells(raster, spec)
    size = {"tiles": sample, "tile_bytes": sample * 3 * spec.output_px**2}
    inspected, _ = in_fresh_process(_inspect, raster, spec)
    cut, _ = in_fresh_process(_cut, raster, dataclasses.replace(spec, sample=sample))
    places = spread_runs(cells, windows)
    pass_part, kept = in_fresh_process(visit_windows, raster, spec, places)
    again = np.random.default_rng(spec.seed).permutation(kept)[:sample]
    cut_part, _ = in_fresh_process(visit_windows, raster, spec, again)
    every = pass_part.scaled(cells / len(places))
    drawn = cut_part.scaled(sample / max(1, len(again)))
    both = dataclasses.replace(
        every,
        seconds=every.seconds + drawn.seconds,
        cpu_s=every.cpu_s + drawn.cpu_s,
        bytes_read=every.bytes_read + drawn.bytes_read,
        peak_bytes=max(every.peak_bytes, drawn.peak_bytes),
    )
    named = dataclasses.replace
    return [
        named(inspected, way=OURS, step="inspect, and count the tiles that may hold information"),
        named(cut, way=OURS, step="draw and cut the tiles, and write them", **size),
        named(every, way=PUBLISHED, step="visit every window"),
        named(drawn, way=PUBLISHED, step="cut the tiles from those that hold information", **size),
        named(both, way=PUBLISHED, step="both passes", **size),
    ]


def spread_runs(n: int, windows: int) -> np.ndarray:
    """About so many of the numbers 0..n-1, ascending: runs of 64 that lie evenly, or all of them."""
    if windows >= n:
        return np.arange(n)
    starts = np.linspace(0, n - _RUN, max(1, windows // _RUN)).astype(np.int64)
    return np.unique(np.clip(starts[:, None] + np.arange(_RUN), 0, n - 1))


def visit_windows(raster: Path, spec: TileSpec, ids: np.ndarray) -> np.ndarray:
    """Which of these windows hold information, each read by itself, with the thesis' rule in plain NumPy."""
    size = spec.size_px
    kept = []
    with rasterio.open(raster) as dataset:
        n_cols = dataset.width // size
        for window_id in ids.tolist():
            row, col = divmod(window_id, n_cols)
            tile = dataset.read([1, 2, 3], window=Window(col * size, row * size, size, size))
            if ((tile == 0) | (tile == 255)).mean() < 1 - spec.min_coverage:
                kept.append(window_id)
    return np.array(kept, np.int64)


def _inspect(raster: Path, spec: TileSpec) -> str:
    return describe_raster(raster, spec.size_px)


def _cut(raster: Path, spec: TileSpec) -> None:
    with tempfile.TemporaryDirectory() as folder:
        cut_tiles(raster, spec, Path(folder), threads=1)


def in_fresh_process(work: Callable[..., Any], *arguments: Any) -> tuple[Step, Any]:
    """What a call costs in a process of its own, without its start, and what it returns."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measure, work, arguments).result()


def _measure(work: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Step, Any]:
    reset_peak()
    before, cpu, start = _bytes_read(), time.process_time(), time.perf_counter()
    result = work(*arguments)
    seconds, cpu_s = time.perf_counter() - start, time.process_time() - cpu
    return Step("", "", seconds, cpu_s, _bytes_read() - before, float(read_memory().peak_rss_bytes or np.nan)), result


def _bytes_read() -> float:
    """Bytes that this process has read so far; not a number where the system does not count them (macOS)."""
    process = psutil.Process()
    return float(getattr(process.io_counters(), "read_chars", np.nan)) if hasattr(process, "io_counters") else np.nan


def write_report(out: Path, raster: Path, tile_px: int, steps: Sequence[Step], command: str) -> None:
    """Write ``tiling.csv``, and ``README.md`` with the same for people.

    Raises:
        RasterError: If the raster cannot be read any more.
    """
    out.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame([step.row() for step in steps])
    table.to_csv(out / "tiling.csv", index=False, float_format="%.6g")
    read = pd.DataFrame(
        {
            "way": table.way,
            "step": table.step,
            "time": [_duration(seconds) for seconds in table.seconds],
            "processor": [_duration(seconds) for seconds in table.cpu_s],
            "tiles/s": table.tiles_per_s.map("{:.3g}".format).replace("nan", ""),
            "read, MB": (table.bytes_read / _MB).map("{:,.0f}".format),
            "read, MB/s": table.read_mb_per_s.map("{:,.0f}".format),
            "read / kept": table.read_amplification.map("{:.3g}".format).replace("nan", ""),
            "peak memory, MB": (table.peak_bytes / _MB).map("{:,.0f}".format),
            "measured": [_share(share) for share in table.measured_frac],
        }
    )
    sizes = raster.stat()
    facts = describe_raster(raster, tile_px).split("\n", 1)[1].rstrip()
    page = _PAGE.format(
        command=command,
        machine=describe(fingerprint()),
        table=read.to_markdown(index=False, disable_numparse=True),
        facts=facts,
        file_mb=sizes.st_size / _MB,
        disk_mb=sizes.st_blocks * 512 / _MB,
    )
    (out / "README.md").write_text(page, encoding="utf-8")


def _duration(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


def _share(share: float) -> str:
    return "all" if share == 1 else f"{share:.2g} of it, scaled"


_PAGE = """# Tiling a sparse raster of a country's size

{table}

*time* by the clock, *processor* the time that it computed; *read / kept*: bytes read from the file for each byte of
the pixels kept (below 1 where blocks are packed well); *peak memory* with Python and its libraries. One thread, each
step in a fresh process. Where not all was measured, runs of 64 windows that lie evenly over the raster were, and the
rest is scaled from them: it is an estimate.

The file has {file_mb:,.0f} MB, of which {disk_mb:,.0f} MB are on disk: a block table of 12 bytes a block, and a few
real blocks that it names again and again. So blocks come from the system's cache rather than from a disk, for both
ways alike; each is decoded anew.

```
{facts}
```

Machine: {machine}. Where time and processor differ, other programs had the processor, or the disk was waited for.

    python -m fixtures.sparse_raster --out country.tif
    {command}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: ``python -m bench.tiling_benchmark RASTER --out DIR``."""
    parser = argparse.ArgumentParser("python -m bench.tiling_benchmark", description=__doc__.split("\n", 1)[0])
    parser.add_argument("raster", type=Path, metavar="RASTER")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for tiling.csv and README.md")
    parser.add_argument("--tile-px", type=int, default=512, metavar="N", help="side of a tile (default: %(default)s)")
    parser.add_argument("--sample", type=int, default=4000, metavar="N", help="tiles drawn (default: %(default)s)")
    help_windows = "windows of the published way's first pass that are visited (default: %(default)s)"
    parser.add_argument("--windows", type=int, default=8192, metavar="N", help=help_windows)
    options = parser.parse_args(arguments)
    steps = measure_tiling(options.raster, TileSpec(size_px=options.tile_px), options.sample, options.windows)
    counts = f"--tile-px {options.tile_px} --sample {options.sample} --windows {options.windows}"
    command = f"python -m bench.tiling_benchmark {options.raster.name} --out {options.out.name} {counts}"
    write_report(options.out, options.raster, options.tile_px, steps, command)
    sys.stdout.write(f"{options.out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
