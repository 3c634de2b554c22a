"""A suite of rates from its file to its rows: parsed, refused, measured in processes, failed, skipped, gone on with."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from bench.__main__ import main
from bench.figures.throughput import draw_throughput
from bench.pace.ways import WAYS
from bench.report.throughput_sentences import throughput_results
from bench.results import PaceResult, read_results
from bench.running import run_suite
from bench.suites.cells import expand_cells
from bench.suites.suite_file import find_suite, read_suite
from bench.tables.run_tables import run_tables
from bench.tables.table import write_table
from bench.tables.throughput_table import throughput_table
from ris_core.errors import SuiteError

SUITE = """
[corpus]
source = "wide.tif"
tile_px = 16
[backbone.micro]
model = "vit_tiny_patch16_224"
arch = { img_size = 16, patch_size = 8, embed_dim = 16, depth = 1, num_heads = 2 }
preprocess = "native"
[backbone.micro.train]
method = "dino"
batch = 4
global_px = 16
local_px = 8
local_crops = 1
out_dim = 16
hidden_dim = 16
bottleneck_dim = 8
[backbone.colour]
model = "colour"
preprocess = "native"
[throughput]
tiles = 8
batch = 4
[measure]
processes = 1
rounds = 2
"""
MACHINE = {"cpu": {"model": "A processor", "usable_cores": 2}, "memory_gib": 4.0, "load_average": [0.0, 0.0, 0.0]}


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A raster of 16 bits, which the published way cannot read, and a suite."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_suite, "write_report", lambda folder: folder / "index.html")
    monkeypatch.setattr(run_suite, "fingerprint", lambda: MACHINE)
    monkeypatch.delenv("RIS_CACHE", raising=False)
    values = np.random.default_rng(0).integers(1, 2000, (3, 64, 64), dtype=np.uint16)
    place = {"crs": "EPSG:3857", "transform": Affine(0.5, 0, 900_000, 0, -0.5, 7_900_000)}
    shape = {"count": 3, "height": 64, "width": 64, "dtype": "uint16"}
    with rasterio.open("wide.tif", "w", driver="GTiff", **shape, **place) as dataset:
        dataset.write(values)
    Path("rates.toml").write_text(SUITE, encoding="utf-8")
    return tmp_path


def cells(*overrides: str) -> list[str]:
    return [cell.id for cell in expand_cells(read_suite(Path("rates.toml"), overrides))]


def test_cells_are_what_each_way_can_do(desk: Path) -> None:
    assert cells() == [
        "throughput/tiles/ours-1t", "throughput/tiles/published-1t",
        "throughput/train/micro/ours-1t", "throughput/train/micro/published-1t", "throughput/train/micro/lightly-1t",
        "throughput/extract/micro/ours-1t", "throughput/extract/micro/published-1t",
        "throughput/extract/colour/ours-1t", "throughput/extract/colour/published-1t",
    ]  # fmt: skip
    assert cells('throughput.stages=["tiles"]', 'throughput.ways=["ours"]', "measure.threads=[1, 2]") == [
        "throughput/tiles/ours-1t",
        "throughput/tiles/ours-2t",
    ]


def test_suite_that_searches_too_measures_rates_first(desk: Path) -> None:
    found = cells("engine.exact.kind=exact", "queries.count=4", "queries.k=3")
    assert found[0] == "throughput/tiles/ours-1t"
    assert "micro/exact/build-1t" in found


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("throughput.stages=[]", "stages is empty; name at least one"),
        ('throughput.stages=["sing"]', "'sing'"),
        ('throughput.ways=["ours", "ours"]', "names one twice"),
        ("throughput.steps=0", "steps = 0; it must be at least 1"),
        ("throughput.workers=-1", "workers = -1; it must be at least 0"),
        ("throughput.device=tpu", "device = 'tpu' is unknown"),
        ("throughput.speed=1", "unknown key 'speed'"),
        ("throughput.tiles=17", "tiles = 17: the corpus gives 16"),
        ("throughput.steps=5", "steps = 5: a round of training takes 20 tiles, the corpus gives 16"),
        ("backbone.micro.train=false", "no backbone is trained"),
        ("corpus.stored_px=8", "the published way stores tiles as they are"),
        ("corpus.source=.", "the published way cuts one raster"),
    ],
)
def test_faults_are_told_before_anything_runs(desk: Path, override: str, fault: str) -> None:
    with pytest.raises(SuiteError) as caught:
        cells(override)
    assert fault in str(caught.value)


def test_suite_without_rates_needs_an_engine(desk: Path) -> None:
    Path("rates.toml").write_text(SUITE.replace("[throughput]\ntiles = 8\nbatch = 4\n", ""), encoding="utf-8")
    with pytest.raises(SuiteError, match="at least one engine is needed"):
        cells()


def test_shipped_suite_is_sound() -> None:
    suite = read_suite(find_suite("throughput"))
    assert suite.throughput is not None
    assert suite.about.duration
    assert len(expand_cells(suite)) == 7


def test_sizes_for_a_gpu_are_such_as_the_corpus_has() -> None:
    """Those that the suite's head names, and those of the script; on one with ten workers each loads two batches."""
    script = (Path(__file__).parents[3] / ".ci" / "gpu.sh").read_text(encoding="utf-8")
    told = re.findall(r"--set ([\w.]+=\w+)", find_suite("throughput").read_text(encoding="utf-8"))
    scripted = re.findall(
        r"(?:throughput|backbone|corpus)\.[\w.]+=\w+", "".join(re.findall(r"^sizes.*$", script, re.M))
    )
    assert sorted(told) == sorted(scripted)
    suite = read_suite(find_suite("throughput"), told)
    assert suite.throughput is not None
    for batches in (suite.throughput.steps, suite.throughput.tiles / suite.throughput.batch):
        assert batches % suite.throughput.workers == 0
        assert batches >= 2 * suite.throughput.workers


def test_what_cannot_be_measured_is_a_row_and_the_rest_goes_on(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = dataclasses.replace(WAYS["lightly"], package="no_such_package_here")
    monkeypatch.setitem(WAYS, "lightly", absent)
    arguments = ["run", "rates.toml", "--run-id", "a", "-k", "tiles or lightly"]
    assert main(arguments) == 1
    folder = desk / "reports" / "rates" / "a"
    ours, published, lightly = read_results(folder)
    assert isinstance(ours, PaceResult)
    assert (ours.status, ours.n, ours.processes, [len(times) for times in ours.times_s]) == ("ok", 16, 1, [2])
    assert ours.joined(ours).processes == 2
    assert (published.status, lightly.status) == ("failed", "skipped")
    assert "holds uint16; the published way reads 8 bits alone" in published.reason
    assert "no_such_package_here is not installed" in lightly.reason
    assert not list(folder.glob("pace-*"))
    table = run_tables(folder)["throughput"]
    assert table["status"].tolist() == ["ok", "failed", "skipped"]
    kept = (folder / "cells" / "throughput__tiles__ours-1t.json").read_bytes()
    assert main([*arguments[:2], "--resume", "a", "-k", "tiles and ours"]) == 1  # the failed row stands
    assert (folder / "cells" / "throughput__tiles__ours-1t.json").read_bytes() == kept


def rates(folder: Path, *paces: PaceResult) -> Path:
    write_table(throughput_table(paces), folder, "throughput")
    return folder


def pace(way: str, seconds: float, **changes: object) -> PaceResult:
    named = {"cell": way, "stage": "train", "way": way, "backbone": "tiny", "threads": 1, "device": "cpu"}
    known = {"n": 10, "flops_per_tile": 100, "prepare_s": [0.1] * 2, "peak_flops": [2000.0] * 2}
    return PaceResult(**{**named, **known, "times_s": [[seconds] * 2] * 2, "other_load_fracs": [0, 0], **changes})  # type: ignore[arg-type]


def test_sentence_gives_rates_ratio_and_where_time_goes(tmp_path: Path) -> None:
    folder = rates(tmp_path, pace("ours", 1.0), pace("published", 4.0), pace("lightly", 5.0))
    (finding,) = throughput_results(folder)
    assert finding.about == "Training rate"
    assert finding.text == (
        "10 tiles/s for tiny against 2.5 of the published way (1 thread): 4 times as fast [4, 4]; lightly 2: 0.8 times "
        "as fast [0.8, 0.8]. Preparing the input, done alone, takes 10 % of the whole's time (published: 2 %); the "
        "network runs at 50 % of what a product of matrices reaches here (published: 12 %)."
    )


def test_sentence_of_tiling_tells_of_no_network(tmp_path: Path) -> None:
    plain = {"stage": "tiles", "backbone": "", "flops_per_tile": None, "prepare_s": [None] * 2}
    (finding,) = throughput_results(rates(tmp_path, pace("ours", 1.0, **plain), pace("published", 4.0, **plain)))
    assert finding.about == "Tiling rate"
    assert finding.text == "10 tiles/s against 2.5 of the published way (1 thread): 4 times as fast [4, 4]."


def test_single_times_are_given_no_interval_in_words_or_figure(tmp_path: Path) -> None:
    once = {"prepare_s": [0.1], "peak_flops": [2000.0], "other_load_fracs": [0]}
    folder = rates(tmp_path, pace("ours", 1.0, times_s=[[1.0]], **once), pace("published", 1, times_s=[[4.0]], **once))
    text = throughput_results(folder)[0].text
    assert "4 times as fast, timed too seldom for an interval." in text
    assert text.endswith("Measured in one process, whose interval tells nothing of others: ours, published.")
    figure = draw_throughput(folder)
    assert figure is not None
    assert [words.get_text() for words in figure.axes[0].texts] == ["10\nx 4", "2.5"]
    assert any("Medians over 1 process," in words.get_text() for words in figure.texts)


def test_sentence_calls_no_difference_that_the_interval_does_not(tmp_path: Path) -> None:
    folder = rates(tmp_path, pace("ours", 1.0, times_s=[[1.0], [3.0]]), pace("published", 2.0))
    assert "which shows no difference" in throughput_results(folder)[0].text
    assert throughput_results(rates(tmp_path / "alone", pace("ours", 1.0))) == []
    assert throughput_results(tmp_path / "nothing") == []


def test_figure_has_a_panel_for_each_stage_and_a_bar_for_each_way(tmp_path: Path) -> None:
    tiling = pace("ours", 1.0, stage="tiles", backbone="", flops_per_tile=None)
    failed = pace("published", 1.0, stage="tiles", backbone="", status="failed", times_s=[])
    folder = rates(tmp_path, tiling, failed, pace("ours", 1.0), pace("published", 4.0), pace("lightly", 5.0))
    figure = draw_throughput(folder)
    assert figure is not None
    assert [ax.get_title(loc="left") or ax.get_title() for ax in figure.axes] == ["tiling (CPU)", "training (CPU)"]
    assert [len(ax.patches) for ax in figure.axes] == [1, 3]
    assert [label.get_text() for label in figure.axes[1].get_yticklabels()] == ["ours", "published", "lightly"]
    assert [patch.get_width() for patch in figure.axes[1].patches] == pytest.approx([10, 2.5, 2])
    assert draw_throughput(rates(tmp_path / "failed", failed)) is None
    assert draw_throughput(tmp_path / "nothing") is None
