"""Pictures of tiles as the corpus has them: for each kind of corpus, held against what was stored."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ris_core.errors import CorpusError
from ris_core.records import Tiles
from ris_core.tiles import TileSpec, cut_tiles
from ris_core.tiling.full_resolution import read_pictures
from ris_core.tiling.pixels import resize_by_area

MakeRaster = Callable[..., Path]


def noise(shape: tuple[int, ...], dtype: type = np.uint8, most: int = 255) -> np.ndarray:
    return np.random.default_rng(0).integers(1, most, shape).astype(dtype)


@pytest.mark.parametrize(("dtype", "most"), [(np.uint8, 255), (np.uint16, 4000)])
def test_pictures_of_a_raster_made_smaller_are_its_tiles(make_raster: MakeRaster, dtype: type, most: int) -> None:
    values = noise((3, 64, 96), dtype, most)
    mask = np.ones((64, 96), np.uint8)
    mask[20:24, 40:44] = 0
    path = make_raster(values, mask=mask)
    spec = TileSpec(size_px=32, stored_px=8, half_offset=True, min_coverage=0.5)
    tiles = cut_tiles(path, spec)
    chosen = np.array([5, 0, 5, len(tiles) - 1])
    pictures = list(read_pictures(path, spec, tiles, chosen))
    assert [picture.shape for picture in pictures] == [(32, 32, 3)] * 4
    for picture, stored in zip(pictures, tiles.pixels[chosen], strict=True):
        assert np.array_equal(resize_by_area(picture.transpose(2, 0, 1), 8).transpose(1, 2, 0), stored)


def test_tiles_stored_whole_are_their_own_pictures(make_raster: MakeRaster) -> None:
    path = make_raster(noise((3, 64, 64)))
    tiles = cut_tiles(path, TileSpec(size_px=32))
    path.unlink()
    path.write_bytes(b"")  # it is not read again
    assert all(
        np.array_equal(picture, stored)
        for picture, stored in zip(
            read_pictures(path, TileSpec(size_px=32), tiles, np.arange(4)), tiles.pixels, strict=True
        )
    )


def test_picture_of_an_image_is_the_whole_file(tmp_path: Path) -> None:
    for name, shape in (("a/1.png", (20, 30, 3)), ("b/2.png", (40, 25, 3))):
        (tmp_path / name).parent.mkdir()
        Image.fromarray(noise(shape)).save(tmp_path / name)
    spec = TileSpec(size_px=16)
    tiles = cut_tiles(tmp_path, spec)
    second, first = read_pictures(tmp_path, spec, tiles, np.array([1, 0]))
    assert first.shape == (20, 30, 3)
    assert np.array_equal(second, noise((40, 25, 3)))


def test_image_that_went_bad_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Image.fromarray(noise((20, 30, 3))).save(tmp_path / "a" / "1.png")
    tiles = cut_tiles(tmp_path, TileSpec(size_px=16))
    (tmp_path / "a" / "1.png").write_bytes(b"no picture")
    with pytest.raises(CorpusError, match=r"image a/1.png cannot be decoded"):
        list(read_pictures(tmp_path, TileSpec(size_px=16), tiles, np.zeros(1, np.int64)))


def test_picture_of_a_query_by_a_box_is_that_box(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Image.fromarray(noise((20, 30, 3))).save(tmp_path / "a" / "1.png")
    tiles = cut_tiles(tmp_path, TileSpec(size_px=16))
    table = tiles.table.assign(box_x1=2.0, box_y1=1.0, box_x2=20.0, box_y2=19.0)
    (picture,) = read_pictures(tmp_path, TileSpec(size_px=16), Tiles(tiles.pixels, table), np.zeros(1, np.int64))
    assert np.array_equal(picture, noise((20, 30, 3))[1:19, 2:20])
