import json
from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
from affine import Affine
from PIL import Image
from rasterio.enums import ColorInterp
from rasterio.windows import Window

from ris_core.errors import CorpusError, RasterError, RisError
from ris_core.records import Tiles
from ris_core.tiles import TileSpec, count_cells, cut_tiles
from ris_core.tiling import mosaic

MakeRaster = Callable[..., Path]
SHARED = Path(__file__).parents[2].parent / "shared"
realdata = pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="the real imagery is not on this machine")


def noise(height: int, width: int, seed: int = 0, bands: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 255, (bands, height, width)).astype(np.uint8)


def test_table_of_one_raster_by_hand(make_raster: MakeRaster) -> None:
    values = noise(40, 64)
    values[:, 16:32, 16:32] = 0  # cell 5 is empty
    values[0, 0, 0] = 255
    tiles = cut_tiles(make_raster(values), TileSpec(size_px=16))
    assert tiles.ids.tolist() == [0, 1, 2, 3, 4, 6, 7]
    assert list(tiles.table.columns) == ["id", "raster", "row", "col", "row_px", "col_px", "coverage_frac", "footprint"]
    sixth = tiles.table.iloc[5]
    assert (sixth.raster, sixth.row, sixth.col, sixth.row_px, sixth.col_px) == ("ortho.tif", 1, 2, 16, 32)
    assert tiles.table.coverage_frac.tolist() == [1 - 1 / 768] + [1.0] * 6
    assert (tiles.pixels[5] == values[:, 16:32, 32:48].transpose(1, 2, 0)).all()
    assert tiles.table.crs == "EPSG:3857"
    assert sixth.footprint.bounds == (900_016, 7_899_984, 900_024, 7_899_992)


def test_tiles_on_disk_equal_those_in_memory_and_open_in_a_gis(make_raster: MakeRaster, tmp_path: Path) -> None:
    path = make_raster(noise(70, 70))
    spec = TileSpec(size_px=16, stride_px=10, half_offset=True, stored_px=8, sample=17, seed=4)
    memory, disk = cut_tiles(path, spec), cut_tiles(path, spec, tmp_path / "out", threads=3)
    opened = Tiles.open(tmp_path / "out")
    assert isinstance(disk.pixels, np.memmap)
    for other in (disk, opened):
        assert (other.pixels == memory.pixels).all()
        assert other.table.equals(memory.table)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["pixels.npy", "tiles.parquet", "tiling.json"]
    frame = gpd.read_parquet(tmp_path / "out" / "tiles.parquet")
    assert frame.geometry.name == "footprint"
    assert frame.crs == "EPSG:3857"
    assert frame.area.tolist() == [64.0] * 17


def test_sample_is_a_seeded_draw_of_the_tiles_that_hold_information(make_raster: MakeRaster) -> None:
    values = noise(160, 160)
    values[:, :, 40:] = 0
    values[:, 80:, 56:] = 7
    path = make_raster(values)
    every = cut_tiles(path, TileSpec(size_px=16))
    sample = cut_tiles(path, TileSpec(size_px=16, sample=30, seed=1))
    assert sample.ids.tolist() == sorted(set(sample.ids.tolist()))
    assert set(sample.ids) < set(every.ids)
    place = np.searchsorted(every.ids, sample.ids)
    assert (every.pixels[place] == sample.pixels).all()
    assert cut_tiles(path, TileSpec(size_px=16, sample=30, seed=1)).ids.tolist() == sample.ids.tolist()
    assert cut_tiles(path, TileSpec(size_px=16, sample=30, seed=2)).ids.tolist() != sample.ids.tolist()
    assert cut_tiles(path, TileSpec(size_px=16, sample=len(every), seed=1)).ids.tolist() == every.ids.tolist()


def test_sample_is_drawn_evenly(make_raster: MakeRaster) -> None:
    path = make_raster(noise(64, 64))
    counts = np.zeros(64)
    for seed in range(30):
        counts[cut_tiles(path, TileSpec(size_px=8, sample=16, seed=seed)).ids] += 1
    assert counts.sum() == 480
    assert ((counts - 7.5) ** 2 / 7.5).sum() < 110  # chi-square of 63 degrees of freedom: 103 at p = 0.001


def test_cost_of_a_sample_grows_with_the_sample(make_raster: MakeRaster, tmp_path: Path) -> None:
    values = np.zeros((3, 64, 640), np.uint8)
    values[:, :, :160] = noise(64, 160)
    path = make_raster(values, sparse_ok=True, windows=[Window(0, 0, 160, 64)])
    cut_tiles(path, TileSpec(size_px=16, sample=10), tmp_path / "out")
    facts = json.loads((tmp_path / "out" / "tiling.json").read_text())
    assert facts["tiles"] == facts["read"] == 10
    assert facts["cells"] == 160
    assert facts["empty_by_block_table"] <= 120


def test_half_offset_grid_follows_the_first(make_raster: MakeRaster) -> None:
    values = noise(32, 48)
    tiles = cut_tiles(make_raster(values), TileSpec(size_px=16, half_offset=True))
    assert tiles.ids.tolist() == list(range(6 + 2))
    assert tiles.table[["row_px", "col_px"]].to_numpy()[6:].tolist() == [[8, 8], [8, 24]]
    assert (tiles.pixels[7] == values[:, 8:24, 24:40].transpose(1, 2, 0)).all()


def test_folder_of_overlapping_rasters_keeps_every_place(make_raster: MakeRaster, tmp_path: Path) -> None:
    first, second = noise(32, 32, 1), noise(16, 40, 2)
    make_raster(first, "in/a.tif")
    make_raster(second, "in/b.tif", transform=Affine(0.5, 0, 900_004, 0, -0.5, 7_900_004))
    tiles = cut_tiles(tmp_path / "in", TileSpec(size_px=16))
    assert tiles.ids.tolist() == [0, 1, 2, 3, 4, 5]
    assert tiles.table.raster.tolist() == ["a.tif"] * 4 + ["b.tif"] * 2
    assert (tiles.pixels[5] == second[:, :, 16:32].transpose(1, 2, 0)).all()
    footprints = tiles.table.geometry
    assert footprints[0].intersection(footprints[4]).area == 4 * 4
    assert cut_tiles(tmp_path / "in", TileSpec(size_px=16, sample=5)).ids.tolist() != [0, 1, 2, 3, 4]


def test_labels_choose_and_name_the_tiles(make_raster: MakeRaster, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("row,col,label\n1,1,wood\n0,1,water\n0,0,\n1,0,sea\n")
    values = noise(32, 48)
    values[:, 16:, :16] = 0  # labelled, but empty
    spec = TileSpec(size_px=16, labels=tmp_path / "labels.csv")
    path = make_raster(values)
    tiles = cut_tiles(path, spec, tmp_path / "out")
    assert tiles.ids.tolist() == [1, 4]
    assert tiles.labels is not None
    assert tiles.labels.tolist() == ["water", "wood"]
    assert Tiles.open(tmp_path / "out").table.equals(tiles.table)
    assert count_cells(path, spec) == 3


def test_class_fractions_come_from_the_land_cover_of_the_same_window(make_raster: MakeRaster) -> None:
    classes = np.zeros((1, 32, 32), np.uint8)
    classes[0, :16, :8], classes[0, 16:, 16:] = 1, 2
    land = make_raster(classes, "land.tif", nodata=0, tags={"CLASSES": '{"1": "water", "2": "wood"}'})
    path = make_raster(noise(32, 32))
    fractions = cut_tiles(path, TileSpec(size_px=16, classes=land)).class_fractions
    assert fractions is not None
    assert fractions.to_dict("list") == {"water": [0.5, 0, 0, 0], "wood": [0, 0, 0, 1]}
    with pytest.raises(RasterError, match="pixel on pixel"):
        cut_tiles(make_raster(noise(32, 48), "wide.tif"), TileSpec(size_px=16, classes=land))


def test_class_fractions_of_a_folder_come_from_files_of_the_same_names(make_raster: MakeRaster, tmp_path: Path) -> None:
    for number in (1, 2):
        make_raster(noise(16, 32, number), f"in/{number}.tif")
        make_raster(np.full((1, 16, 32), number, np.uint8), f"land/{number}.tif")
    fractions = cut_tiles(tmp_path / "in", TileSpec(size_px=16, classes=tmp_path / "land")).class_fractions
    assert fractions is not None
    assert fractions.to_dict("list") == {"class_1": [1, 1, 0, 0], "class_2": [0, 0, 1, 1]}


def test_masked_and_transparent_pixels_hold_no_information(make_raster: MakeRaster) -> None:
    values = noise(32, 32, bands=4)
    values[3] = 255
    values[3, :16, :16] = 0
    mask = values[3] > 0
    mask[16, 16:] = values[3, 16, 16:] = 0  # 16 of 256 pixels of the last tile
    colours = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
    for path in (make_raster(values, "a.tif", colours=colours), make_raster(values[:3], "m.tif", mask=mask)):
        tiles = cut_tiles(path, TileSpec(size_px=16))
        assert tiles.ids.tolist() == [1, 2, 3]
        assert tiles.table.coverage_frac.tolist() == [1, 1, 1 - 1 / 16]
        assert (tiles.pixels[2][0] == 0).all()
        assert (tiles.pixels[2][1:] == values[:3, 17:, 16:].transpose(1, 2, 0)).all()


def test_bands_are_chosen_and_repeated(make_raster: MakeRaster) -> None:
    values = noise(16, 16, bands=5)
    tiles = cut_tiles(make_raster(values), TileSpec(size_px=16, bands=(5, 1, 1)))
    assert (tiles.pixels[0] == values[[4, 0, 0]].transpose(1, 2, 0)).all()
    grey = cut_tiles(make_raster(values[:1], "grey.tif"), TileSpec(size_px=16, bands=(1, 1, 1)))
    assert (grey.pixels[0] == values[0][:, :, None]).all()


def test_16_bits_are_scaled_by_percentiles_that_are_stated(make_raster: MakeRaster, tmp_path: Path) -> None:
    ramp = np.arange(1_000, 1_000 + 32 * 32).reshape(1, 32, 32).astype(np.uint16)
    path = make_raster(np.concatenate([ramp, ramp * 2, ramp + 5]))
    tiles = cut_tiles(path, TileSpec(size_px=16, percentiles=(0.0, 100.0)), tmp_path / "out")
    assert (tiles.pixels[0][0, 0] == 0).all()
    assert (tiles.pixels[3][15, 15] == 255).all()
    assert (tiles.pixels[..., 0] == tiles.pixels[..., 2]).all()
    scaling = json.loads((tmp_path / "out" / "tiling.json").read_text())["scaling"]
    assert scaling == {"low": [1000, 2000, 1005], "high": [2023, 4046, 2028], "percentiles": [0, 100]}


def test_stored_tiles_are_block_means_of_the_cut_ones(make_raster: MakeRaster) -> None:
    path = make_raster(noise(32, 32))
    full, half = (cut_tiles(path, TileSpec(size_px=16, stored_px=px)).pixels for px in (16, 8))
    assert (half == np.floor(full.reshape(4, 8, 2, 8, 2, 3).mean(axis=(2, 4)) + 0.5)).all()


def test_image_folder_gives_a_tile_an_image(tmp_path: Path) -> None:
    for number, name in enumerate(["train/water/0.png", "train/wood/0.png", "test/water/0.png"]):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(16, 16, number).transpose(1, 2, 0)).save(tmp_path / "in" / name)
    tiles = cut_tiles(tmp_path / "in", TileSpec(size_px=16), tmp_path / "out")
    assert tiles.ids.tolist() == [0, 1, 2]
    assert tiles.table.raster.tolist() == ["test/water/0.png", "train/water/0.png", "train/wood/0.png"]
    assert tiles.labels is not None
    assert tiles.labels.tolist() == ["water", "water", "wood"]
    assert (tiles.pixels[2] == noise(16, 16, 1).transpose(1, 2, 0)).all()
    assert Tiles.open(tmp_path / "out").table.equals(tiles.table)
    assert len(cut_tiles(tmp_path / "in", TileSpec(size_px=16, sample=2))) == 2
    assert count_cells(tmp_path / "in", TileSpec(size_px=16)) == 3
    with pytest.raises(CorpusError, match=r"sample of 4 tiles .* only 3"):
        cut_tiles(tmp_path / "in", TileSpec(size_px=16, sample=4))
    with pytest.raises(CorpusError, match="belong to rasters"):
        cut_tiles(tmp_path / "in", TileSpec(size_px=16, labels=tmp_path / "l.csv"))


BAD: list[tuple[dict, dict, str]] = [
    ({"crs": None}, {}, "has no CRS"),
    ({"transform": Affine(0.5, 0.2, 9e5, 0, -0.5, 7e6)}, {}, "rotated"),
    ({}, {"bands": (1, 2, 4)}, "has 3 bands"),
    ({}, {"size_px": 64}, r"is 48 x 32 px .*smaller than a tile of 64 px.*tile_px = 32"),
    ({}, {"sample": 7}, r"sample of 7 tiles .* only 6"),
    ({}, {"size_px": 0, "seed": -1}, r"tile size is 0 px.*seed is -1"),
]


@pytest.mark.parametrize(("profile", "keys", "word"), BAD)
def test_bad_raster_or_specification_is_refused(
    make_raster: MakeRaster, tmp_path: Path, profile: dict, keys: dict, word: str
) -> None:
    path = make_raster(noise(32, 48), **profile)
    with pytest.raises(RisError, match=word):
        cut_tiles(path, TileSpec(**({"size_px": 16} | keys)), tmp_path / "out")
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_corpus_with_too_little_information_says_how_much_there_is(make_raster: MakeRaster) -> None:
    values = noise(32, 48)
    values[:, :, 16:] = 0
    path = make_raster(values)
    with pytest.raises(CorpusError, match=r"of 6 cells of 16 px, 2 of the 3 asked for hold information: more than 90%"):
        cut_tiles(path, TileSpec(size_px=16, sample=3))
    with pytest.raises(CorpusError, match="none hold information"):
        cut_tiles(make_raster(np.zeros((3, 32, 32), np.uint8), "e.tif"), TileSpec(size_px=16))
    assert len(cut_tiles(path, TileSpec(size_px=16, min_coverage=0.0))) == 6


def test_truncated_raster_leaves_nothing_behind(make_raster: MakeRaster, tmp_path: Path) -> None:
    path = make_raster(noise(64, 64))
    path.write_bytes(path.read_bytes()[:-4000])
    with pytest.raises(RasterError, match="truncated"):
        cut_tiles(path, TileSpec(size_px=16), tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_rasters_of_one_corpus_must_agree(make_raster: MakeRaster, tmp_path: Path) -> None:
    make_raster(noise(32, 32), "crs/a.tif")
    make_raster(noise(32, 32), "crs/b.tif", crs="EPSG:25832")
    with pytest.raises(CorpusError, match=r"differ in CRS: a\.tif has EPSG:3857, b\.tif has EPSG:25832"):
        cut_tiles(tmp_path / "crs", TileSpec(size_px=16))
    make_raster(noise(32, 32), "type/a.tif")
    make_raster(noise(32, 32).astype(np.uint16), "type/b.tif")
    with pytest.raises(CorpusError, match="differ in type of values"):
        cut_tiles(tmp_path / "type", TileSpec(size_px=16))


def test_interrupted_tiling_leaves_no_half_file_and_goes_on(
    make_raster: MakeRaster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    path = make_raster(noise(64, 64))
    with monkeypatch.context() as patch:
        patch.setattr(mosaic._Visit, "_keep", interrupted)
        with pytest.raises(KeyboardInterrupt):
            cut_tiles(path, TileSpec(size_px=16), tmp_path / "out")
    assert all(file.name.startswith(".") for file in (tmp_path / "out").iterdir())
    cut_tiles(path, TileSpec(size_px=16), tmp_path / "out")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["pixels.npy", "tiles.parquet", "tiling.json"]


def test_progress_goes_to_stderr_when_asked(make_raster: MakeRaster, capfd: pytest.CaptureFixture[str]) -> None:
    path = make_raster(noise(32, 32))
    cut_tiles(path, TileSpec(size_px=16))
    assert capfd.readouterr() == ("", "")
    cut_tiles(path, TileSpec(size_px=16), progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "4/4" in err


@realdata
@pytest.mark.realdata
def test_rsscn7_gives_1400_labelled_tiles() -> None:
    folder = SHARED / "data" / "rsscn7"
    spec = TileSpec(size_px=400, stored_px=100)
    assert count_cells(folder / "ortho.tif", spec) == 2_000
    tiles = cut_tiles(folder / "ortho.tif", spec)
    assert len(tiles) == 1_400
    labelled = cut_tiles(
        folder / "ortho.tif", TileSpec(size_px=400, stored_px=100, labels=folder / "labels.csv", sample=300)
    )
    assert labelled.labels is not None
    assert len(set(labelled.labels)) == 7
    place = np.searchsorted(tiles.ids, labelled.ids)
    assert (tiles.pixels[place] == labelled.pixels).all()


@realdata
@pytest.mark.realdata
def test_brighton_is_one_corpus_of_overlapping_rasters() -> None:
    tiles = cut_tiles(SHARED / "data" / "brighton", TileSpec(size_px=512, stored_px=128, sample=100))
    assert count_cells(SHARED / "data" / "brighton", TileSpec(size_px=512)) == 18 * 4 * 7
    assert len(set(tiles.table.raster)) > 10
    assert tiles.table.crs == "EPSG:32615"
    assert tiles.table.geometry.union_all().area < tiles.table.geometry.area.sum()


@realdata
@pytest.mark.realdata
def test_cifar10_zip_is_an_image_folder() -> None:
    source = SHARED / "data" / "cifar10" / "cifar10.zip"
    assert count_cells(source, TileSpec(size_px=32)) == 25_000
    tiles = cut_tiles(source, TileSpec(size_px=32, sample=500))
    assert tiles.labels is not None
    assert len(set(tiles.labels)) == 10
