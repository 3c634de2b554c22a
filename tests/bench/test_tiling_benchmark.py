import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench import tiling_benchmark
from bench.tiling_benchmark import (
    OURS,
    PUBLISHED,
    Step,
    in_fresh_process,
    main,
    measure_tiling,
    spread_runs,
    visit_windows,
)
from fixtures.sparse_raster import SparseRaster, make_sparse_raster
from ris_core.tiles import TileSpec, cut_tiles

SPEC = TileSpec(size_px=64)


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits for the start of processes."""
    monkeypatch.setattr(
        tiling_benchmark, "in_fresh_process", lambda work, *given: tiling_benchmark._measure(work, given)
    )


@pytest.fixture(scope="module")
def raster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    blocks = np.random.default_rng(0).integers(1, 255, (2, 64, 64, 3)).astype(np.uint8)
    law = SparseRaster(width_px=64 * 40, height_px=64 * 30, block_px=64)
    return make_sparse_raster(tmp_path_factory.mktemp("raster") / "a.tif", law, blocks)


def test_both_ways_keep_the_same_tiles(raster: Path) -> None:
    kept = visit_windows(raster, SPEC, np.arange(40 * 30))
    assert kept.tolist() == cut_tiles(raster, SPEC).ids.tolist()
    assert 0.1 < len(kept) / 1200 < 0.4


@pytest.mark.usefixtures("in_this_process")
def test_steps_say_how_much_of_them_was_measured(raster: Path) -> None:
    steps = measure_tiling(raster, SPEC, sample=40, windows=300)
    assert [step.way for step in steps] == [OURS] * 2 + [PUBLISHED] * 3
    inspected, cut, every, drawn, both = steps
    assert (inspected.measured_frac, cut.measured_frac) == (1, 1)
    assert every.measured_frac == pytest.approx(256 / 1200)  # four runs of 64
    assert drawn.tiles == cut.tiles == both.tiles == 40
    assert cut.tile_bytes == 40 * 64 * 64 * 3
    assert both.seconds == every.seconds + drawn.seconds
    assert min(step.bytes_read for step in steps) > 0


def test_step_is_measured_in_a_process_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(3_000_000))
    step, result = in_fresh_process(Path.read_bytes, tmp_path / "a")
    assert len(result) == 3_000_000
    assert 3_000_000 <= step.bytes_read < 4_000_000
    assert step.peak_bytes > 10_000_000
    _, process_id = in_fresh_process(os.getpid)
    assert process_id != os.getpid()


def test_scaled_step_and_its_rates_by_hand() -> None:
    step = Step(OURS, "", seconds=2.0, cpu_s=1.0, bytes_read=6e6, peak_bytes=9.0, tiles=10, tile_bytes=3_000_000)
    four = step.scaled(4)
    assert (four.seconds, four.cpu_s, four.bytes_read, four.peak_bytes, four.measured_frac) == (8, 4, 24e6, 9, 0.25)
    row = step.row()
    assert (row["tiles_per_s"], row["read_mb_per_s"], row["read_amplification"]) == (5, 3, 2)
    assert step.scaled(0.5).measured_frac == 1


@pytest.mark.parametrize(("n", "windows", "expected"), [(10, 20, 10), (100_000, 640, 640), (65, 64, 64)])
def test_runs_lie_evenly(n: int, windows: int, expected: int) -> None:
    places = spread_runs(n, windows)
    assert len(places) == len(set(places.tolist())) == expected
    assert (places[0], places[-1] < n) == (0, True)
    if n == 100_000:
        assert places[-1] == n - 1
        assert np.diff(places).tolist()[:64] == [1] * 63 + [places[64] - 63]


@pytest.mark.usefixtures("in_this_process")
def test_command_writes_table_and_page(raster: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(raster), "--out", str(tmp_path / "r"), "--tile-px", "64", "--sample", "9", "--windows", "64"]
    assert main(arguments) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "r")
    table = pd.read_csv(tmp_path / "r" / "tiling.csv")
    assert table.way.tolist() == [OURS] * 2 + [PUBLISHED] * 3
    assert (table.read_amplification.dropna() > 0).all()
    page = (tmp_path / "r" / "README.md").read_text()
    assert "1,200 of 64 px" in page
    assert "of it, scaled" in page
    assert str(tmp_path) not in page
