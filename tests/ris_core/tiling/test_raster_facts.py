from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image
from rasterio._err import CPLE_AppDefinedError
from rasterio.enums import ColorInterp
from rasterio.env import get_gdal_config
from rasterio.windows import Window

from ris_core.errors import RasterError
from ris_core.tiling.raster_facts import (
    bounded_cache,
    check_bands,
    check_georeference,
    open_raster,
    read_facts,
    read_validity,
    read_values,
)

MakeRaster = Callable[..., Path]
RGB = np.full((3, 32, 48), 100, np.uint8)


def test_facts_by_hand(make_raster: MakeRaster) -> None:
    path = make_raster(RGB.astype(np.uint16), nodata=7)
    facts = read_facts(path)
    assert (facts.width_px, facts.height_px, facts.bands, facts.dtype) == (48, 32, 3, "uint16")
    assert facts.crs == "EPSG:3857"
    assert facts.bounds == (900_000, 7_899_984, 900_024, 7_900_000)
    assert (facts.size_of_pixel, facts.unit) == ((0.5, 0.5), "metre")
    assert (facts.block_px, facts.blocks, facts.interleave, facts.compression) == ((16, 16), 6, "pixel", "deflate")
    assert facts.nodata == (7.0, 7.0, 7.0)
    assert (facts.mask, facts.alpha_band) == ("none", 0)
    assert facts.file_bytes == path.stat().st_size


@pytest.mark.parametrize("found", ["missing", "folder", "text", "cut"])
def test_unreadable_file_is_refused_with_its_path(found: str, make_raster: MakeRaster, tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    if found == "folder":
        path.mkdir()
    elif found == "text":
        path.write_text("row,col\n1,2\n")
    elif found == "cut":
        make_raster(RGB, "x.tif")
        path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(RasterError, match=r"x\.tif: (does not exist|is a folder|cannot be opened as a raster)"):
        read_facts(path)


def test_block_that_cannot_be_decoded_is_named_by_its_window(make_raster: MakeRaster) -> None:
    values = np.random.default_rng(0).integers(1, 255, (3, 64, 64)).astype(np.uint8)
    path = make_raster(values)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 600] = bytes(600)
    path.write_bytes(content)
    with open_raster(path) as dataset, pytest.raises(RasterError, match="the whole raster cannot be decoded"):
        read_values(dataset, (1, 2, 3))


@pytest.mark.parametrize("photometric", ["rgb", "ycbcr"])
def test_jpeg_block_that_ends_too_early_is_told_though_gdal_takes_it(make_raster: MakeRaster, photometric: str) -> None:
    values = np.random.default_rng(0).integers(1, 255, (3, 64, 64)).astype(np.uint8)
    path = make_raster(values, compress="jpeg", photometric=photometric, blockxsize=32, blockysize=32)
    with open_raster(path) as dataset:
        read_values(dataset, (1, 2, 3))
        offset, size = (int(dataset.get_tag_item(f"BLOCK_{what}_1_1", "TIFF", bidx=1)) for what in ("OFFSET", "SIZE"))
    content = bytearray(path.read_bytes())
    content[offset + size // 2 : offset + size] = bytes(size - size // 2)
    path.write_bytes(content)
    with open_raster(path) as dataset:
        read_values(dataset, (1, 2, 3), window=Window(0, 0, 32, 32))  # another block
        with pytest.raises(RasterError, match=r"cannot be decoded \(.*JPEG.*damaged or truncated"):
            read_values(dataset, (1, 2, 3))


def test_picture_without_georeference_is_refused_without_a_warning(tmp_path: Path) -> None:
    Image.fromarray(RGB.transpose(1, 2, 0)).save(tmp_path / "a.png")
    with pytest.raises(RasterError, match=r"a\.png: has no CRS.*image folder"):
        check_georeference(read_facts(tmp_path / "a.png"))


def test_raster_without_crs_or_geotransform_is_refused(make_raster: MakeRaster) -> None:
    with pytest.raises(RasterError, match=r"has no CRS.*gdal_edit"):
        check_georeference(read_facts(make_raster(RGB, crs=None)))
    with pytest.raises(RasterError, match=r"no geotransform.*gdalwarp"):
        check_georeference(read_facts(make_raster(RGB, transform=Affine.identity())))


@pytest.mark.parametrize("transform", [Affine(0.5, 0.1, 9e5, 0.1, -0.5, 7e6), Affine(0.5, 0.1, 9e5, 0, -0.5, 7e6)])
def test_rotated_or_sheared_raster_is_refused(transform: Affine, make_raster: MakeRaster) -> None:
    path = make_raster(RGB, transform=transform)
    with pytest.raises(RasterError, match=r"rotated or sheared.*gdalwarp"):
        check_georeference(read_facts(path))


def test_bands_that_are_not_there_are_named(make_raster: MakeRaster) -> None:
    grey = read_facts(make_raster(RGB[:1]))
    with pytest.raises(RasterError, match=r"has 1 band \(gray\).*asks for 2, 3.*bands = \[1, 1, 1\]"):
        check_bands(grey, (1, 2, 3))
    check_bands(grey, (1, 1, 1))
    with pytest.raises(RasterError, match="asks for 0, 5"):
        check_bands(read_facts(make_raster(RGB, "b.tif")), (0, 2, 5))


def test_palette_and_complex_values_are_refused(make_raster: MakeRaster) -> None:
    path = make_raster(RGB[:1], colours=[ColorInterp.palette], photometric="palette")
    with pytest.raises(RasterError, match="expand rgb"):
        check_bands(read_facts(path), (1, 1, 1))
    with pytest.raises(RasterError, match="complex"):
        check_bands(read_facts(make_raster(RGB.astype(np.complex64), "c.tif")), (1, 2, 3))


def test_validity_comes_from_alpha_or_mask(make_raster: MakeRaster) -> None:
    alpha = np.concatenate([RGB, np.full((1, 32, 48), 255, np.uint8)])
    alpha[3, :, 40:] = 0
    mask = np.zeros((32, 48), bool)
    mask[:, :40] = True
    colours = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
    for path in (make_raster(alpha, "a.tif", colours=colours), make_raster(RGB, "m.tif", mask=mask)):
        facts = read_facts(path)
        with open_raster(path) as dataset:
            assert np.array_equal(read_validity(dataset, facts, (1, 2, 3)), mask), path
    facts = read_facts(make_raster(alpha, "a.tif", colours=colours))
    with open_raster(facts.path) as dataset:
        assert read_validity(dataset, facts, (4, 1, 2)) is None  # a near infrared band that GDAL took for alpha


def test_cache_of_decoded_blocks_is_bounded_unless_the_environment_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("GDAL_CACHEMAX", raising=False)
    with rasterio.Env():
        before = get_gdal_config("GDAL_CACHEMAX")
        with bounded_cache():
            assert get_gdal_config("GDAL_CACHEMAX") == 2**29
        assert get_gdal_config("GDAL_CACHEMAX") == before
        monkeypatch.setenv("GDAL_CACHEMAX", "100")
        with bounded_cache():
            assert get_gdal_config("GDAL_CACHEMAX") == before


def test_what_gdal_says_between_rasterios_own_errors_names_the_file(make_raster: Callable[..., Path]) -> None:
    path = make_raster(np.ones((3, 32, 32), np.uint8))
    with pytest.raises(RasterError, match=r"ortho\.tif"), open_raster(path):
        raise CPLE_AppDefinedError(3, 1, "Key 0 of unknown type.")  # as `dataset.colorinterp` does it
