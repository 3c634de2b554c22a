"""Region cells of whole runs over small pictures and a small scene: their rows, errors, resuming, tables, pictures."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from affine import Affine
from PIL import Image

from bench.__main__ import main
from bench.figures.regions import draw_region_times, draw_regions
from bench.finished.finished_run import FinishedRun
from bench.finished.region_answers import RegionAnswers
from bench.queries.object_boxes import boxes_of, write_object_boxes
from bench.queries.region_finding import QueryPictures, RegionFinder
from bench.report.region_sentences import region_results
from bench.results import QueryResult, RegionResult, read_results, result_path
from bench.running import run_suite
from bench.suites.cells import RegionCell, expand_cells
from bench.suites.suite_file import read_suite
from bench.tables.run_tables import run_tables
from bench.tables.table import page_of, write_table
from ris_core.errors import CorpusError, SuiteError
from ris_core.records import Tiles
from ris_core.regions.detector import DetectorSpec
from ris_core.regions.params import BoxParams, DetectorParams, WindowParams
from ris_core.tiles import TileSpec, cut_tiles

SUITE = """
[corpus]
source = "pictures"
tile_px = 16

[backbone.colour]
model = "colour"
preprocess = "native"

[engine.exact]

[regions.windows]
merge = "round_robin"

[regions.boxes]
boxes = "boxes.csv"

[regions.squares]
source = "boxes"
boxes = "squares.csv"

[queries]
count = 10
k = 5

[judge]
per_label = 3
label_depth = 8

[measure]
rounds = 2
processes = 2
modes = ["single"]
"""
MACHINE = {"cpu": {"model": "A processor", "usable_cores": 2}, "memory_gib": 4.0, "load_average": [0.0, 0.0, 0.0]}
WHOLE, WINDOWS, BOXES, SQUARES = CELLS = [
    f"colour/exact/regions-{name}/single-1t"
    for name in ("whole", "windows-round_robin", "boxes-boxesboxes", "squares-boxessquares")
]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with forty pictures of 24 x 20 px, boxes of all of them, and a suite; no report is drawn."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_suite, "write_report", lambda folder: folder / "index.html")
    monkeypatch.setattr(run_suite, "fingerprint", lambda: MACHINE)
    monkeypatch.delenv("RIS_CACHE", raising=False)
    rng = np.random.default_rng(0)
    lines, squares = ["query,x1,y1,x2,y2"], ["query,x1,y1,x2,y2"]
    for label, colour in (("field", (90, 110, 80)), ("water", (80, 100, 100))):
        folder = tmp_path / "pictures" / label
        folder.mkdir(parents=True)
        for i in range(20):
            pixels = np.clip(rng.normal(colour, 25, (20, 24, 3)) + rng.normal(0, 12, 3), 1, 254).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{i:02}.png")
            lines += [f"{label}/{i:02}.png,0,0,12,10", f"{label}/{i:02}.png,4,4,24,20"]
            squares.append(f"{label}/{i:02}.png,2,0,22,20")  # what is stored of it
    (tmp_path / "squares.csv").write_text("\n".join(squares), encoding="utf-8")
    (tmp_path / "boxes.csv").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "small.toml").write_text(SUITE, encoding="utf-8")
    return tmp_path


def run_of(desk: Path) -> Path:
    (folder,) = (path.parent for path in (desk / "reports" / "small").glob("*/run.json"))
    return folder


def rows_of(desk: Path) -> dict[str, RegionResult]:
    return {result.cell: result for result in read_results(run_of(desk)) if isinstance(result, RegionResult)}


def test_whole_chain_leaves_rows_answers_tables_and_figures_and_resumes(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "small.toml", "--run-id", "one"]) == 0
    folder, rows = run_of(desk), rows_of(desk)
    assert list(rows) == CELLS
    (searched,) = (result for result in read_results(folder) if isinstance(result, QueryResult))
    assert rows[WHOLE].precision == searched.precision
    assert rows[WHOLE].average_precision == searched.average_precision
    assert [set(row.crops) for row in rows.values()] == [{0}, {12}, {2}, {1}]  # 10 px windows: 4 across, 3 down
    assert rows[SQUARES].precision == searched.precision  # a crop of what is stored is what is stored
    for row in rows.values():
        assert (row.status, row.n, row.d, row.q, row.processes) == ("ok", 40, 6, 6, 2)
        assert row.descriptor_bytes == 40 * 6 * 4
        assert row.answer_digests[0] == row.answer_digests[1]
        parts = row.find_s[2], row.describe_s[1][2], row.search_s[1][2], row.merge_s[1][2]
        assert row.times_s[1][2] == pytest.approx(sum(parts))
        crops = np.load(folder / row.crops_file)
        assert np.bincount(crops["query"]).tolist() == [count + 1 for count in row.crops]
        assert crops["ids"].shape == (6 + sum(row.crops), 5)
        hits = np.load(folder / row.hits_file)
        assert row.precision["label"] == pytest.approx(hits["relevant"].mean(axis=1))
        own = hits["query_ids"][crops["query"]]
        assert not (crops["ids"] == own[:, None]).any()
        whole = np.flatnonzero(np.diff(crops["query"], prepend=-1))
        assert np.array_equal(crops["ids"][whole], np.load(folder / searched.hits_file)["ids"][:, :5])
    tables = run_tables(folder)
    table = tables["regions"]
    assert table["parameters"].tolist() == [
        "",
        "merge=round_robin",
        "boxes=boxes.csv",
        "boxes=squares.csv",
    ]
    gain = np.mean(rows[BOXES].precision["label"]) - np.mean(searched.precision["label"])
    assert table["precision_difference"][2] == pytest.approx(gain)
    assert np.isnan(table["precision_difference"][0])
    assert tables["region_times"]["crops"].tolist() == [0, 12, 1, 2]
    assert tables["region_times"]["queries"].tolist() == [6, 6, 6, 6]
    for name in ("regions", "region_times"):
        write_table(tables[name], folder / "tables", name)
        assert len(page_of(tables[name], name)) == len(tables[name])
    assert draw_regions(folder / "tables") is not None
    assert draw_region_times(folder / "tables") is not None
    (finding,) = region_results(folder / "tables")
    assert " of 3 settings the one of highest gain: precision 0." in finding.text
    path, kept = result_path(folder, WINDOWS), result_path(folder, BOXES).stat().st_mtime_ns
    path.unlink()
    assert main(["run", "small.toml", "--resume", "one"]) == 0
    assert result_path(folder, BOXES).stat().st_mtime_ns == kept
    again = rows_of(desk)[WINDOWS]
    assert (again.precision, again.answer_digests) == (rows[WINDOWS].precision, rows[WINDOWS].answer_digests)
    assert "regions windows round_robin  " in capsys.readouterr().out
    assert main(["figure", str(folder), "region_query", "--regions", "boxes", "--out", "query.png"]) == 0
    assert (desk / "query.png").stat().st_size > 10_000
    answers = RegionAnswers.open(FinishedRun.open(folder), None, None, "boxes")
    assert answers.boxes.tolist() == [[0, 0, 24, 20], [0, 0, 12, 10], [4, 4, 24, 20]]
    assert main(["figure", str(folder), "region_query", "--regions", "cuts"]) == 2
    assert (
        "has no such queries by regions; known: windows of colour, boxes of colour, squares of"
        in capsys.readouterr().err
    )


def finder(desk: Path, rows: list[int], lines: list[str], hard: list[bool] | None = None) -> RegionFinder:
    """Who finds the regions of some of the pictures, by a file of these lines."""
    path = desk / "boxes.csv"
    path.write_text("\n".join(["query,x1,y1,x2,y2", *lines]), encoding="utf-8")
    spec = TileSpec(size_px=16)
    is_hard = np.array(hard or [False] * len(rows))
    pictures = QueryPictures(desk / "pictures", spec, cut_tiles(desk / "pictures", spec), np.array(rows), is_hard)
    return RegionFinder(pictures, lambda: path)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "field/00.png,0,0,25,20",
            r"line 2: box .0, 0, 25, 20. of field/00.png reaches out of its picture of 24 x 20 px",
        ),
        ("0,0,0,9,21", r"line 2: box .0, 0, 9, 21. of 0 reaches out of its picture of 24 x 20 px"),
        ("field/00.png,0,5,9,5", r"line 2: box .0, 5, 9, 5. of field/00.png is empty"),
        ("field/99.png,0,0,9,9", r"is of 'field/99.png', which is no tile and no image of the corpus"),
    ],
)
def test_bad_boxes_name_their_line(desk: Path, line: str, words: str) -> None:
    with pytest.raises(CorpusError, match=words):
        finder(desk, [0], [line]).find(BoxParams(boxes=desk / "boxes.csv"))


def test_boxes_go_by_id_or_name_and_tiles_without_any_have_none(desk: Path) -> None:
    lines = ["21,0,0,5,5", "field/01.png,1,2,3,4", "water/01.png,0,0,24,20", "field/09.png,0,0,2,2"]
    found = finder(desk, [1, 21, 2], lines).find(BoxParams(boxes=desk / "boxes.csv"))
    assert [boxes.tolist() for boxes in found.boxes] == [[[1, 2, 3, 4]], [[0, 0, 5, 5], [0, 0, 24, 20]], []]
    assert found.sizes_px == [(24, 20)] * 3


def test_objects_belong_to_hard_queries_alone_and_what_was_found_is_kept(desk: Path) -> None:
    ours = finder(desk, [1, 1], ["1,1,2,3,4"], [False, True])
    found = ours.find(BoxParams(merge="min"))
    assert [len(boxes) for boxes in found.boxes] == [0, 1]
    assert ours.find(BoxParams(merge="round_robin", per_crop=2, context=3.0)) is found
    assert ours.find(WindowParams()) is not found


def test_detector_is_loaded_once_and_sees_pictures_at_full_resolution(
    desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Seeing:
        def __init__(self, spec: DetectorSpec) -> None:
            specs.append(spec)

        def find(self, picture: np.ndarray) -> np.ndarray:
            return np.array([[0, 0, picture.shape[1] / 2, picture.shape[0] / 2]])

    specs: list[DetectorSpec] = []
    monkeypatch.setattr("bench.queries.region_finding.Detector", Seeing)
    params = DetectorParams(prompt="car.", threshold=0.5, most=3)
    found = finder(desk, [3, 4], []).find(params)
    assert [boxes.tolist() for boxes in found.boxes] == [[[0, 0, 12, 10]]] * 2
    assert specs == [params.detector]


def test_cells_and_their_ids_follow_the_suite(desk: Path) -> None:
    more = [
        "regions.windows.sizes=[[0.5], [0.5, 0.25]]",
        "regions.windows.backbones=['colour']",
        "regions.windows.merge='min'",
    ]
    suite = read_suite(desk / "small.toml", more)
    ids = [cell.id for cell in expand_cells(suite) if isinstance(cell, RegionCell)]
    assert ids == [
        WHOLE,
        "colour/exact/regions-windows-min-sizes0.5/single-1t",
        "colour/exact/regions-windows-min-sizes0.5_0.25/single-1t",
        BOXES,
        SQUARES,
    ]
    assert json.dumps(suite.to_json())


@pytest.mark.parametrize(
    ("override", "words"),
    [
        (
            "regions.windows.source='squares'",
            "source = 'squares' is no source of regions. Known: boxes, detector, windows",
        ),
        ("regions.windows.size=3", "has unknown key 'size'. Did you mean 'sizes'?"),
        ("regions.windows.merge='mean'", "merge = 'mean'; it must be one of 'min', 'round_robin'"),
        ("regions.windows.sizes=[2.0]", "sizes = [2.0]; name shares"),
        ("regions.boxes.boxes='none.csv'", "boxes = 'none.csv' is no file"),
        ("regions.boxes.boxes='small.toml'", "[regions.boxes] small.toml: no boxes to be read"),
        ("regions.boxes.boxes='objects'", "boxes = 'objects' needs land cover"),
        ("regions.whole.source='windows'", "is measured in any case. Rename it"),
        ("regions.boxes.backbones=['tiny']", "'tiny' is no backbone"),
    ],
)
def test_impossible_regions_are_told_before_anything_runs(desk: Path, override: str, words: str) -> None:
    with pytest.raises(SuiteError) as error:
        read_suite(desk / "small.toml", [override])
    assert words in str(error.value)


def test_objects_are_boxed_by_hand() -> None:
    shown = np.zeros((40, 40), bool)
    shown[5:10, 5:15] = True
    shown[10:14, 15:20] = True  # touches at a corner: one object
    shown[30:40, 36:40] = True
    shown[20, 20:30] = True  # ten pixels are no object
    assert boxes_of(shown) == [(5, 5, 20, 14), (36, 30, 40, 40)]


def test_object_boxes_are_read_off_the_land_cover(tmp_path: Path) -> None:
    values = np.ones((1, 64, 64), np.uint8)
    values[0, 40:50, 36:44] = 2  # in the tile at row 32, column 32
    values[0, 30:34, 34:42] = 2  # half of it
    values[0, 4:12, 4:12] = 2
    with rasterio.open(
        tmp_path / "classes.tif", "w", driver="GTiff", width=64, height=64, count=1, dtype="uint8", crs="EPSG:3857",
        transform=Affine(0.5, 0, 900_000, 0, -0.5, 7_900_000),
    ) as dataset:  # fmt: skip
        dataset.write(values)
        dataset.update_tags(CLASSES='{"1": "field", "2": "car"}')
    table = pd.DataFrame({"id": [0, 3], "raster": "ortho.tif", "row_px": [0, 32], "col_px": [0, 32]})
    tiles = Tiles(np.zeros((2, 1, 1, 3), np.uint8), table)
    queries = pd.DataFrame({"query_id": [0, 3], "stratum": ["easy", "hard"], "concept": ["field", "car"]})
    write_object_boxes(tmp_path / "objects.csv", tmp_path / "classes.tif", tiles, queries, 32)
    text = (tmp_path / "objects.csv").read_text(encoding="utf-8")
    assert text == "query,x1,y1,x2,y2\n3,4,8,12,18\n3,2,0,10,2\n"
    with pytest.raises(CorpusError, match="has no class 'boat'; known: field, car"):
        write_object_boxes(
            tmp_path / "objects.csv", tmp_path / "classes.tif", tiles, queries.assign(concept="boat"), 32
        )
