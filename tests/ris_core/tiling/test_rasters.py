from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from PIL import Image
from rasterio.enums import ColorInterp
from rasterio.windows import Window

from ris_core.errors import RasterError
from ris_core.tiling import blocks, rasters
from ris_core.tiling.rasters import describe_raster, facts_table, inspect_raster, write_thumbnail

MakeRaster = Callable[..., Path]


def test_inspect_counts_empty_blocks(make_raster: MakeRaster) -> None:
    path = make_raster(np.full((3, 64, 64), 9, np.uint8), sparse_ok=True, windows=[Window(0, 0, 64, 16)])
    assert inspect_raster(path).empty_blocks_frac == 0.75


def test_inspect_refuses_what_cannot_be_tiled(make_raster: MakeRaster) -> None:
    with pytest.raises(RasterError, match="1 band"):
        inspect_raster(make_raster(np.full((1, 64, 64), 9, np.uint8)))
    with pytest.raises(RasterError, match="no CRS"):
        inspect_raster(make_raster(np.full((3, 64, 64), 9, np.uint8), crs=None))


def test_inspect_finds_a_truncated_file(make_raster: MakeRaster) -> None:
    path = make_raster(np.random.default_rng(0).integers(1, 255, (3, 64, 64)).astype(np.uint8))
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(RasterError, match="truncated"):
        inspect_raster(path)


def test_description_says_how_many_tiles_there_are(make_raster: MakeRaster) -> None:
    path = make_raster(np.full((3, 64, 80), 9, np.uint8), sparse_ok=True, windows=[Window(0, 0, 80, 16)], nodata=0)
    lines = describe_raster(path, 32).splitlines()
    found = dict(line.split("  ", 1) for line in lines[:-1])
    assert found["size"].strip() == "80 x 64 px (width x height)"
    assert found["tiles"].strip() == "4 of 32 px (2 rows x 2 columns)"
    assert found["empty blocks"].strip() == "75.0% are not stored: 15; 5 are"
    assert lines[-1].strip() == "2 lie in empty blocks altogether, 2 may hold information"
    assert len({line.index(line.split("  ", 1)[1].lstrip()) for line in lines[:5]}) == 1  # values stand in one column


def test_description_notes_what_makes_tiling_hard(make_raster: MakeRaster, tmp_path: Path) -> None:
    small = facts_table(inspect_raster(make_raster(np.full((3, 64, 80), 9, np.uint8))), 512)
    assert ("note", "a tile of 512 px is larger than the raster") in small
    with pytest.raises(RasterError, match="a tile of 0 px"):
        describe_raster(tmp_path / "ortho.tif", 0)
    strips = make_raster(np.full((3, 64, 800), 9, np.uint8), tiled=False, blockxsize=None, blockysize=None)
    assert "stored in strips" in dict(facts_table(inspect_raster(strips), 32))["note"]


def test_description_says_how_wide_values_are_scaled_and_degrees_in_full(make_raster: MakeRaster) -> None:
    degrees = Affine(1e-5, 0, 9.123456, 0, -1e-5, 55.5)
    path = make_raster(np.full((3, 64, 80), 900, np.uint16), crs="EPSG:4326", transform=degrees)
    text = describe_raster(path, 32)
    assert "to 8 bits     by percentiles" in text
    assert "left 9.123456, bottom 55.499360" in text


def test_thumbnail_averages_and_shows_nodata_as_transparent(make_raster: MakeRaster, tmp_path: Path) -> None:
    values = np.zeros((3, 64, 128), np.uint8)
    values[:, :, :64:2], values[:, :, 1:64:2] = 100, 200
    write_thumbnail(make_raster(values, nodata=0), tmp_path / "t.png", max_px=32)
    picture = np.asarray(Image.open(tmp_path / "t.png"))
    assert picture.shape == (16, 32, 4)
    assert (picture[:, :16] == (150, 150, 150, 255)).all()
    assert (picture[:, 16:, 3] == 0).all()


def test_thumbnail_of_16_bits_uses_the_whole_range(make_raster: MakeRaster, tmp_path: Path) -> None:
    ramp = np.broadcast_to(np.linspace(900, 1500, 100).astype(np.uint16), (3, 40, 100))
    write_thumbnail(make_raster(ramp), tmp_path / "t.png")
    grey = np.asarray(Image.open(tmp_path / "t.png"))[0, :, 0].astype(int)
    assert (grey[0], grey[-1]) == (0, 255)
    assert abs(grey[50] - 128) < 6


def test_thumbnail_of_alpha_and_of_a_single_band(make_raster: MakeRaster, tmp_path: Path) -> None:
    values = np.full((4, 32, 32), 80, np.uint8)
    values[3, :, 16:] = 0
    colours = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
    write_thumbnail(make_raster(values, colours=colours), tmp_path / "a.png")
    assert np.asarray(Image.open(tmp_path / "a.png"))[0, :, 3].tolist() == [255] * 16 + [0] * 16
    write_thumbnail(make_raster(values[:1], "grey.tif"), tmp_path / "g.png")
    assert np.asarray(Image.open(tmp_path / "g.png"))[3, 4].tolist() == [80, 80, 80, 255]


def test_thumbnail_of_a_vast_raster_without_overviews_is_small_and_of_single_pixels(
    make_raster: MakeRaster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.zeros((3, 64, 128), np.uint8)
    values[:, :, :64:2], values[:, :, 1:64:2] = 100, 200
    path = make_raster(values, nodata=0)  # 4 x 8 blocks
    monkeypatch.setattr(rasters, "_VAST_PX", 16)
    for most, shape in ((31, (8, 16, 4)), (32, (16, 32, 4))):
        monkeypatch.setattr(rasters, "_MOST_AVERAGED", most)
        write_thumbnail(path, tmp_path / "t.png", max_px=32)
        picture = np.asarray(Image.open(tmp_path / "t.png"))
        assert picture.shape == shape
        grey = set(picture[:, : shape[1] // 2, 0].ravel().tolist())
        assert grey <= ({100, 200} if most == 31 else {150})
        assert (picture[:, shape[1] // 2 :, 3] == 0).all()


def test_many_cells_are_counted_where_the_table_is_read_in_pages(
    make_raster: MakeRaster, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    path = make_raster(np.full((3, 64, 80), 9, np.uint8), sparse_ok=True, windows=[Window(0, 0, 80, 16)])
    monkeypatch.setattr(rasters, "_MOST_CELLS", 3)
    monkeypatch.setattr(rasters, "_SLAB", 3)
    monkeypatch.setattr(rasters, "_PATIENCE_S", 0.0)
    assert "15 lie in empty blocks altogether, 5 may hold information" in describe_raster(path, 16, progress=True)
    assert "20/20" in capfd.readouterr().err
    monkeypatch.setattr(blocks, "read_directory", lambda _: None)
    assert "altogether" not in describe_raster(path, 16, progress=True)
