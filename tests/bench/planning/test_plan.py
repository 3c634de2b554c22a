"""A forecast of forty small pictures, held against the run that follows: counts and bytes are equal."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bench.__main__ import main
from bench.planning import forecast
from bench.planning.against import compare_forecast, read_forecast
from bench.planning.artifact_bytes import npy_bytes
from bench.planning.cell_rows import CellBill, other_cells
from bench.planning.corpus_sample import count_stored, sample_corpus
from bench.planning.growth_law import Law
from bench.planning.index_rates import AskedRate, CellCosts, HarnessRate, IndexRate, fewest_vectors, probe_sizes
from bench.planning.stage_cost import StageCost
from bench.planning.suite_counts import Counts
from bench.results import RunRecord, write_run
from bench.running import run_suite
from bench.suites.cells import BuildCell, IndexKey, QueryCell, expand_cells
from bench.suites.suite import CorpusSpec, MeasureSpec, ParamSet
from bench.suites.suite_file import find_suite, read_suite
from fixtures.sparse_raster import SparseRaster, make_sparse_raster
from ris_core.engines import ENGINES
from ris_core.errors import ArtifactError
from ris_core.tiles import cut_tiles

SUITE = """
[corpus]
source = "pictures"
tile_px = 16
seed = 3
train_frac = 0.4

[backbone.micro]
model = "vit_tiny_patch16_224"
arch = { img_size = 16, patch_size = 8, embed_dim = 16, depth = 1, num_heads = 2 }
preprocess = "native"

[backbone.micro.train]
method = "dino"
epochs = 1
warmup_epochs = 0
batch = 8
global_px = 16
local_px = 8
local_crops = 1
out_dim = 16
hidden_dim = 16
bottleneck_dim = 8

[engine.exact]

[engine.falconn]
tables = 2
hash_bits = 4

[queries]
count = 10
k = 5

[space]
whiten = 8

[judge]
per_label = 2
label_depth = 4

[measure]
rounds = 1
processes = 1
modes = ["batch"]
"""


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a corpus and a suite; nothing is drawn, and no process is started to be timed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_suite, "write_report", lambda folder: folder / "index.html")
    for name in ("start_cost", "report_cost"):
        monkeypatch.setattr(forecast, name, lambda: StageCost("report"))
    rng = np.random.default_rng(0)
    for label, colour in (("field", (80, 140, 60)), ("water", (40, 60, 150))):
        folder = tmp_path / "pictures" / label
        folder.mkdir(parents=True)
        for i in range(20):
            pixels = np.clip(rng.normal(colour, 25, (16, 16, 3)), 1, 254).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{i:02}.png")
    (tmp_path / "small.toml").write_text(SUITE, encoding="utf-8")
    return tmp_path


def test_forecast_counts_what_the_run_makes(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = ["plan", "small.toml", "--cache", "cache"]
    assert main([*plan, "--csv", "forecast.csv", "--workers", "4"]) == 0
    assert not (desk / "cache").exists()  # a forecast leaves nothing behind
    page = capsys.readouterr().out
    assert "checkpoint   micro" in page
    assert "on 4 workers" in page
    planned = read_forecast(desk / "forecast.csv").set_index(["stage", "name"])
    assert planned.loc[("checkpoint", "micro"), "n"] == 16
    assert planned.loc[("space", "micro"), "n"] == 24
    assert planned.loc[("query cells", "falconn"), "n"] == 1
    assert planned["n_is_exact"].all()
    timed = planned.drop(index=("report", ""))
    assert (timed["seconds_low"] <= timed["seconds"]).all()
    assert (timed["seconds"] <= timed["seconds_high"]).all()
    shared = timed["workers"] == 4
    assert shared[shared].index.get_level_values("stage").tolist() == ["tiles", "features", "truth"]
    assert (timed["seconds_per_worker"][shared] * 4).tolist() == pytest.approx(
        timed["seconds"][shared].tolist(), rel=1e-4
    )

    assert main(["run", "small.toml", "--cache", "cache", "--run-id", "a"]) == 0
    assert main(["plan", "forecast.csv", "--against", "reports/small/a", "--out", "out"]) == 0
    table = pd.read_csv(desk / "out" / "plan.csv", keep_default_na=False, na_values=[""]).set_index("stage")
    stages = ["tiles", "checkpoint", "features", "space", "truth"]
    assert table.index.tolist() == [*stages, "checks and cells", "report", "report", "all"]
    assert table.loc[stages, "disk_bytes"].tolist() == table.loc[stages, "disk_bytes_measured"].tolist()
    counted = ["tiles", "checkpoint", "features", "space", "truth"]
    assert table.loc[counted, "n"].tolist() == table.loc[counted, "n_measured"].tolist()
    assert "--cache EMPTY" in (desk / "out" / "README.md").read_text(encoding="utf-8")

    capsys.readouterr()
    assert main(plan) == 0  # now everything is there
    page = capsys.readouterr().out
    assert page.split("\n\n")[1].count("in the cache") == len(stages)
    assert "0 kB to be written" in page


def test_cells_that_are_not_forecast_are_counted() -> None:
    (row,) = other_cells(read_suite(find_suite("throughput")))
    assert row.seconds is None
    assert row.n == len(expand_cells(read_suite(find_suite("throughput"))))


def test_unfinished_run_is_not_held_against_a_forecast(tmp_path: Path) -> None:
    record = RunRecord("a", "small", "", "", {}, started="2026-01-01T00:00:00+00:00")
    write_run(tmp_path, record)
    with pytest.raises(ArtifactError, match=r"is not finished \(status running\)"):
        compare_forecast(pd.DataFrame(), tmp_path)


def test_file_that_is_no_forecast_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("stage,n\ntiles,4\n", encoding="utf-8")
    with pytest.raises(ArtifactError, match="no forecast to be read"):
        read_forecast(tmp_path / "a.csv")


@pytest.fixture(scope="module")
def raster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    blocks = np.random.default_rng(0).integers(1, 255, (2, 64, 64, 3)).astype(np.uint8)
    law = SparseRaster(width_px=64 * 40, height_px=64 * 30, block_px=64)
    return make_sparse_raster(tmp_path_factory.mktemp("raster") / "a.tif", law, blocks)


def test_stored_places_are_counted_and_a_square_of_them_is_cut(raster: Path, tmp_path: Path) -> None:
    corpus = CorpusSpec(str(raster), tile_px=64)
    counted = count_stored(corpus)
    assert counted is not None
    assert (counted.n, counted.cells) == (len(cut_tiles(raster, corpus.tile_spec())), 1200)
    assert not counted.is_sampled
    sample = sample_corpus(corpus, tmp_path)
    table = sample.cut.tiles.table
    assert table["row"].max() - table["row"].min() < 16
    assert table["col"].max() - table["col"].min() < 16
    assert sample.tiles.n[-1] == len(table) > 16


def test_sampled_raster_gives_a_sample(raster: Path, tmp_path: Path) -> None:
    sample = sample_corpus(CorpusSpec(str(raster), tile_px=64, sample=100), tmp_path)
    assert sample.tiles.n == (16, 100)
    assert count_stored(CorpusSpec("scene")) is None


def test_npy_bytes_are_those_of_the_file(tmp_path: Path) -> None:
    for array in (np.zeros((3, 5), np.float32), np.zeros((70_000, 2), np.uint8), np.zeros(11, np.int64)):
        np.save(tmp_path / "a.npy", array)
        assert npy_bytes(array.shape, array.dtype.str) == (tmp_path / "a.npy").stat().st_size


def test_probing_starts_where_parameters_allow_and_ends_at_the_corpus() -> None:
    assert probe_sizes(1000, 0) == [1000]
    assert probe_sizes(10_000, 0) == [2048, 8192]
    assert probe_sizes(10**6, 2**17) == [2**17, 2**19]
    index = IndexKey("a", "falconn", "falconn", ParamSet(ENGINES["falconn"].build_params(hash_bits=16)))
    fewest = fewest_vectors(index, [], 10**6, 64)
    assert fewest is not None
    assert not index.build.params.faults(fewest, 64)
    assert index.build.params.faults(fewest // 2, 64)


def cell_costs(is_slow: bool) -> CellCosts:
    """Seconds that are easily told apart: a build takes 1, its harness 10, a query 100, and so forth."""
    fixed = [Law((1, 2), (seconds, seconds), is_linear=True) for seconds in (1, 10, 20, 30, 40, 0.1, 0.01, 1000)]
    build, first_build, build_again, first_query, query_again, choose, single, batch = fixed
    query = ParamSet(ENGINES["exact"].query_params())
    rate = IndexRate(build, {query: AskedRate(choose, single, batch)})
    harness = HarnessRate(first_build, build_again, first_query, query_again)
    spec = MeasureSpec(processes=3, rounds=5, warmup=1, slow_rounds=2)
    return CellCosts(rate, harness, spec, timed=50, judged=10, d=4, is_slow=is_slow)


def build_rows(share: float) -> list[StageCost]:
    """Rows of the demo's builds, each of which takes that share of the limit from which an index is slow."""
    suite = read_suite(find_suite("demo"))
    n, limit_s = 1000, suite.measure.slow_build_s
    build = Law((1, n), (share * limit_s / n, share * limit_s), is_linear=True)
    free = Law((1, 2), (0, 0), is_linear=True)
    keys = {cell.index for cell in expand_cells(suite) if isinstance(cell, BuildCell)}
    asked = {cell.query: AskedRate(free, free, free) for cell in expand_cells(suite) if isinstance(cell, QueryCell)}
    widths = dict.fromkeys([entry.name for entry in suite.backbones], 4)
    bill = CellBill(
        suite, Counts(n, True, n, n, 0, 64, widths), widths, 1,
        dict.fromkeys(keys, IndexRate(build, asked)), HarnessRate(free, free, free, free),
    )  # fmt: skip
    return [row for row in bill.rows() if row.stage == "build cells"]


def test_growth_is_that_of_the_work_and_not_of_measuring_a_slow_index_once() -> None:
    rows = build_rows(0.95)  # twice as many would be slow, and measured in one process
    assert [row.exponent for row in rows] == pytest.approx([1] * len(rows), abs=0.01)
    assert not any(row.note for row in rows)


def test_indexes_that_are_slow_to_build_are_told() -> None:
    assert all(f"{row.n} of indexes that take over" in row.note for row in build_rows(1.05))


def test_cells_cost_what_a_run_does_in_them() -> None:
    quick, slow = cell_costs(False), cell_costs(True)
    assert quick.build(9).expected == pytest.approx(10 + 2 * 20 + 3 * (1 + 5) + 1)
    assert slow.build(9).expected == pytest.approx(20 + 2)
    index = IndexKey("a", "exact", "exact", ParamSet(ENGINES["exact"].build_params()))
    single, batch = (
        QueryCell(index, ParamSet(ENGINES["exact"].query_params()), "corrected", mode, 1)
        for mode in ("single", "batch")
    )
    untimed = 1000 * (1 + 10 / 50)
    assert quick.query(single, 9).expected == pytest.approx(30 + 2 * 40 + 3 * (0.01 * 62 + 0.1 + 1) + untimed)
    assert quick.query(batch, 9).expected == pytest.approx(30 + 2 * 40 + 3 * (6 * 1000 + 0.1 + 1) + untimed)
    assert slow.query(batch, 9).expected == pytest.approx(30 + 6 * 1000 + 0.1 + untimed)  # it finds its index built
