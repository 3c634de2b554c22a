"""A suite that takes seconds and has every stage, the run of it that nothing disturbs, and what another must equal."""

import dataclasses
import functools
import json
import re
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import rasterio

from bench.tables.run_tables import run_tables
from tests.reliability.launcher import launch
from tests.reliability.scenario import expect
from tests.reliability.strike import Strike

Journal = list[tuple[float, str]]
CACHE, RUN_ID = ".ris_cache", "r"
SUITE = """
[suite]
title = "A tiny raster"

[corpus]
source = "ortho.tif"
classes = "classes.tif"
tile_px = 16
train_frac = 0.4

[backbone.trained]
model = "vit_tiny_patch16_224"
arch = { img_size = 16, patch_size = 8, embed_dim = 16, depth = 1, num_heads = 2 }
preprocess = "native"

[backbone.trained.train]
method = "dino"
epochs = 3
warmup_epochs = 0
batch = 16
global_px = 16
local_px = 8
local_crops = 1
out_dim = 16
hidden_dim = 16
bottleneck_dim = 8

[backbone.random]
like = "trained"
train = false

[engine.exact]

[engine.falconn]
tables = 2
hash_bits = 6
query.probes_per_table = 4

[rerank.expanded]
kind = "query_expansion"
top = 10

[queries]
count = 10
k = 8

[judge]
easy = 1
medium = 0
hard = 0

[measure]
rounds = 1
processes = 2
"""
_SIDE_PX, _FIELD_PX = 256, 32
# What a clock or a meter of memory said, by the names of columns, and tables whose rows follow from it.
_MEASURED = re.compile(
    r"_s$|_ms$|_(s|ms)_ci_|_ms_(median|mean|max|ci)|_per_s$|mfu$|_mb$|_load_frac$|_(growth|rss)_bytes$"
)
_SECONDS = ["median", "mean", "q1", "q3", "min", "ci_low", "ci_high"]  # in the table of run times
_BY_TIME = ("cheapest_settings", "exact_or_lsh", "engine_ranks", "ranking", "throughput", "provenance")
_BOOKS = re.compile(r"benchmark(-\d+)?\.json|\.lock")


def lay_out(folder: Path) -> Path:
    """The folder, with the suite ``tiny.toml``, its raster and its classes."""
    rng = np.random.default_rng(0)
    side = _SIDE_PX // _FIELD_PX
    classes = np.kron(rng.integers(1, 5, (side, side)), np.ones((_FIELD_PX, _FIELD_PX), int)).astype(np.uint8)
    colours = rng.integers(40, 200, (5, 3))[classes].transpose(2, 0, 1)
    pixels = np.clip(colours + rng.normal(0, 20, colours.shape), 1, 254).astype(np.uint8)
    shape = {"driver": "GTiff", "width": _SIDE_PX, "height": _SIDE_PX, "dtype": "uint8", "crs": "EPSG:3857"}
    shape |= {"transform": rasterio.Affine(0.5, 0, 0, 0, -0.5, 0), "tiled": True, "blockxsize": 64, "blockysize": 64}
    for name, bands in (("ortho", pixels), ("classes", classes[None])):
        with rasterio.open(folder / f"{name}.tif", "w", count=len(bands), **shape) as file:
            file.write(bands)
    (folder / "tiny.toml").write_text(SUITE, encoding="utf-8")
    return folder


def run_arguments(folder: Path, *extra: str) -> list[str]:
    """``run`` of the tiny suite there: on with the run where it has begun."""
    begun = (run_folder(folder) / "run.json").is_file()
    return ["run", "tiny.toml", *extra, "--resume" if begun else "--run-id", RUN_ID]


def run_folder(folder: Path, name: str = RUN_ID) -> Path:
    """Where the tiny suite's run lies."""
    return folder / "reports" / "tiny" / name


@dataclasses.dataclass(frozen=True, eq=False)
class Reference:
    """The undisturbed run.

    Attributes:
        folder: Where suite, cache and run lie.
        journal: Its file operations.
    """

    folder: Path
    journal: Journal


@functools.cache
def reference(draws: bool = False) -> Reference:
    """The undisturbed run, with a report or without, made once a process; its folder goes with the process."""
    folder = lay_out(Path(_kept(draws).name))
    run = launch(run_arguments(folder), folder, Strike(journal=str(folder / "journal")), draws=draws)
    expect(run.wait() == 0, f"an undisturbed run fails: {run.said()[-500:]}")
    return Reference(folder, read_journal(folder))


def read_journal(folder: Path) -> Journal:
    """The file operations that were noted there: seconds since the start, and path."""
    lines = (folder / "journal").read_text(encoding="utf-8").splitlines()
    return [(float(line.split(" ", 1)[0]), line.split(" ", 1)[1]) for line in lines]


@functools.cache
def _kept(draws: bool) -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="ris-undisturbed-")


def check_equal(folder: Path, undisturbed: Path, name: str = RUN_ID) -> None:
    """Hold a run of some name and its cache against the undisturbed ones.

    Raises:
        Failure: If a table differs in anything but measured times and memory, an artifact in anything but its log, or
            a file is there that is not there, or the other way round.
    """
    expected, found = _tables(run_folder(undisturbed)), _tables(run_folder(folder, name))
    expect(expected.keys() == found.keys(), f"other tables: {expected.keys() ^ found.keys()}")
    different = [name for name, table in expected.items() if not table.equals(found[name])]
    expect(not different, f"other values in {', '.join(different)}")
    _check_files(_files(run_folder(folder, name)), _files(run_folder(undisturbed)))
    _check_files(_files(folder / CACHE), _files(undisturbed / CACHE))
    contents = [_contents(each / CACHE) for each in (undisturbed, folder)]
    expect(contents[0] == contents[1], f"other bytes in {sorted(dict(contents[0].items() ^ contents[1].items()))}")


def _tables(run: Path) -> dict[str, pd.DataFrame]:
    found = {name: table for name, table in run_tables(run).items() if name not in _BY_TIME}
    times = found["runtimes"].drop(columns=_SECONDS)
    found["runtimes"] = times[times["quantity"] != "extract_features"].reset_index(drop=True)  # whole extractions tell
    return {name: table.drop(columns=[c for c in table if _MEASURED.search(str(c))]) for name, table in found.items()}


def _files(folder: Path) -> set[str]:
    """All files and folders, but for locks and the books of pytest-benchmark, which grow by one a process."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not _BOOKS.search(path.name)}


def _check_files(found: set[str], expected: set[str]) -> None:
    expect(not found - expected, f"left over: {', '.join(sorted(found - expected))}")
    expect(not expected - found, f"missing: {', '.join(sorted(expected - found))}")


def _contents(cache: Path) -> dict[str, str]:
    """Hash of every file of every artifact, but for logs, which hold seconds."""
    manifests = {
        path.parent.name: json.loads(path.read_text(encoding="utf-8")) for path in cache.glob("*/manifest.json")
    }
    return {
        f"{folder}/{name}": facts["sha256"]
        for folder, manifest in manifests.items()
        for name, facts in manifest["files"].items()
        if not name.endswith((".txt", ".json"))
    }
