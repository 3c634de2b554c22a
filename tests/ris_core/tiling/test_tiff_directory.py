import struct
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.enums import Resampling
from rasterio.windows import Window

from ris_core.errors import RasterError
from ris_core.tiling import blocks
from ris_core.tiling.blocks import BlockTable
from ris_core.tiling.rasters import describe_raster
from ris_core.tiling.tiff_directory import read_directory

TILED = {"tiled": True, "blockxsize": 16, "blockysize": 32}
LAYOUTS: list[dict[str, Any]] = [
    TILED,
    TILED | {"interleave": "band"},
    TILED | {"interleave": "band", "compress": None},
    TILED | {"compress": "jpeg", "photometric": "ycbcr"},
    TILED | {"nodata": 0, "dtype": "uint16"},
    {"tiled": False, "blockysize": 1},
    {"tiled": False, "blockysize": 7, "interleave": "band"},
    {"tiled": False, "blockysize": 200},
]


@st.composite
def sparse_tiffs(draw: st.DrawFn) -> dict[str, Any]:
    """How a TIFF is written, and which windows of it."""
    height, width = draw(st.integers(1, 130)), draw(st.integers(1, 90))
    windows = []
    for _ in range(draw(st.integers(0, 3))):
        row, col = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        windows.append(Window(col, row, draw(st.integers(1, width - col)), draw(st.integers(1, height - row))))
    return {
        "profile": draw(st.sampled_from(LAYOUTS)),
        "shape": (height, width),
        "windows": windows,
        "bigtiff": draw(st.sampled_from(["YES", "NO"])),
        "endianness": draw(st.sampled_from(["LITTLE", "BIG"])),
        "overviews": draw(st.booleans()),
        "mask": draw(st.booleans()),
    }


def write(path: Path, tiff: dict[str, Any]) -> None:
    height, width = tiff["shape"]
    profile = {"compress": "deflate", "dtype": "uint8"} | tiff["profile"]
    keys = {"bigtiff": tiff["bigtiff"], "endianness": tiff["endianness"], "sparse_ok": True}
    values = np.random.default_rng(0).integers(1, 200, (3, height, width)).astype(profile["dtype"])
    with warnings.catch_warnings(), rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path, "w", "GTiff", width, height, 3, **profile, **keys) as dataset:
            for window in tiff["windows"]:
                dataset.write(values[(slice(None), *window.toslices())], window=window)
            if tiff["mask"]:
                dataset.write_mask(values[0] > 100)
        if tiff["overviews"]:
            with rasterio.open(path, "r+") as dataset:
                dataset.build_overviews([2], Resampling.nearest)


def asked(dataset: Any, band: int, rows: int, cols: int) -> list[tuple[int, int]]:
    """Offset and size of each block, as GDAL says."""
    items = [(f"{col}_{row}", row) for row in range(rows) for col in range(cols)]
    return [
        tuple(int(dataset.get_tag_item(f"BLOCK_{what}_{place}", "TIFF", bidx=band) or 0) for what in ("OFFSET", "SIZE"))
        for place, _ in items
    ]  # type: ignore[misc]


@settings(max_examples=60, deadline=None)
@given(sparse_tiffs())
def test_entries_and_shares_equal_those_of_gdal(tiff: dict[str, Any]) -> None:
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        path = Path(folder) / "a.tif"
        write(path, tiff)
        directory = read_directory(path)
        with rasterio.open(path) as dataset:
            if directory is None:
                assert dataset.block_shapes[0][0] >= dataset.height or dataset.width <= 16
                return
            rows, cols = directory.shape
            assert (rows, cols) == BlockTable(dataset, (1, 2, 3)).shape
            with path.open("rb") as file:
                for plane in range(directory.planes):
                    start = plane * rows * cols
                    offsets, sizes = (c.read(file, start, rows * cols) for c in (directory.offsets, directory.sizes))
                    found = [(int(o), int(s)) for o, s in zip(offsets, sizes, strict=True) if s]
                    assert found == [entry for entry in asked(dataset, plane + 1, rows, cols) if entry[1]]
            _compare_tables(dataset)


def _compare_tables(dataset: Any) -> None:
    """The table read in pages against the one that asks GDAL, for squares anywhere."""
    size = min(11, dataset.height, dataset.width)
    rows, cols = (g.ravel() for g in np.mgrid[0 : dataset.height - size + 1 : 3, 0 : dataset.width - size + 1 : 4])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "_PAGE", 3)
        patch.setattr(blocks, "_MOST_PAGES", 2)
        paged = BlockTable(dataset, (1, 3, 3))
        assert paged.is_read_in_pages
        shares = paged.stored_frac(dataset, rows, cols, size)
        patch.setattr(blocks, "read_directory", lambda _: None)
        by_gdal = BlockTable(dataset, (1, 3, 3))
        assert not by_gdal.is_read_in_pages
        assert (by_gdal.stored_frac(dataset, rows, cols, size) == shares).all()
        assert by_gdal.empty_frac(dataset) == paged.empty_frac(dataset)


def test_cloud_optimised_raster_with_mask_and_overviews_is_read(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(1, 255, (3, 600, 700)).astype(np.uint8)
    place = {"crs": "EPSG:3857", "transform": Affine(0.5, 0, 9e5, 0, -0.5, 7e6)}
    profile = {"blocksize": 128, "sparse_ok": True, "compress": "deflate", "nodata": 0}
    values[:, 256:, 128:] = 0
    with rasterio.open(tmp_path / "c.tif", "w", "COG", 700, 600, 3, dtype="uint8", **place, **profile) as dataset:
        dataset.write(values)
    with rasterio.open(tmp_path / "c.tif") as dataset:
        assert dataset.overviews(1)
        assert BlockTable(dataset, (1, 2, 3)).shape == (5, 6)
        _compare_tables(dataset)


def entry(tag: int, code: int, count: int, value: int) -> bytes:
    return struct.pack("<HHII", tag, code, count, value)


def tiff(*entries: bytes) -> bytes:
    """A classic TIFF of nothing but its directory."""
    return struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + b"".join(entries) + bytes(4)


SIZE = (entry(256, 4, 1, 40), entry(257, 4, 1, 30))


def test_entries_behind_the_end_of_a_short_table_count_as_absent(tmp_path: Path) -> None:
    strips = entry(278, 4, 1, 10), entry(273, 3, 2, 7 | 9 << 16), entry(279, 3, 2, 5 | 6 << 16)
    (tmp_path / "a.tif").write_bytes(tiff(*SIZE, *strips))
    directory = read_directory(tmp_path / "a.tif")
    assert directory is not None
    assert (directory.block_px, directory.shape, directory.planes) == ((10, 40), (3, 1), 1)
    with (tmp_path / "a.tif").open("rb") as file:  # two short numbers stand in the entry itself
        assert directory.offsets.read(file, 0, 3).tolist() == [7, 9, 0]
        assert directory.sizes.read(file, 1, 2).tolist() == [6, 0]
        assert directory.sizes.read(file, 5, 2).tolist() == [0, 0]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no TIFF at all",
        b"II*\0",
        b"II*\0\xff\xff\xff\x7f",
        tiff(*SIZE),  # no table
        tiff(*SIZE, entry(278, 4, 1, 0), entry(273, 4, 3, 8), entry(279, 4, 3, 8)),  # strips of no height
        tiff(*SIZE, entry(278, 4, 1, 10), entry(273, 12, 3, 8), entry(279, 4, 3, 8)),  # a table of real numbers
        tiff(*SIZE, entry(273, 4, 1, 8), entry(279, 4, 1, 8)),  # one strip
        struct.pack("<2sHIH", b"II", 42, 8, 65_535) + bytes(100),
    ],
)
def test_other_files_have_no_directory(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(content)
    assert read_directory(tmp_path / "a.tif") is None
    assert read_directory(tmp_path / "none.tif") is None


@given(st.binary(max_size=400), st.sampled_from([b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0", b"MM\0+\0\x08\0\0"]))
@settings(max_examples=300)
def test_damaged_directory_never_crashes(content: bytes, magic: bytes) -> None:
    with TemporaryDirectory() as folder:
        (Path(folder) / "a.tif").write_bytes(magic + content)
        read_directory(Path(folder) / "a.tif")


@pytest.mark.parametrize("width_px", [10_000, 2**31 - 1])
def test_header_that_claims_more_blocks_than_its_table_has_is_refused(tmp_path: Path, width_px: int) -> None:
    keys = {"crs": "EPSG:3857", "transform": Affine(1, 0, 9, 0, -1, 9), "bigtiff": "NO", "endianness": "LITTLE"}
    with rasterio.open(tmp_path / "a.tif", "w", "GTiff", 128, 96, 3, dtype="uint8", **TILED, **keys) as dataset:
        dataset.write(np.full((3, 96, 128), 7, np.uint8))
    content = bytearray((tmp_path / "a.tif").read_bytes())
    place = content.index(struct.pack("<HH", 256, 3), struct.unpack_from("<I", content, 4)[0])
    struct.pack_into("<HHII", content, place, 256, 4, 1, width_px)
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(
        RasterError, match=r"a\.tif: damaged: it claims [0-9,]+ blocks, but its block table has 24 entr"
    ):
        describe_raster(tmp_path / "a.tif", 32)


def test_first_of_two_equal_tags_counts(tmp_path: Path) -> None:
    strips = entry(278, 4, 1, 10), entry(278, 4, 1, 20), entry(273, 3, 2, 7 | 9 << 16), entry(279, 3, 2, 5 | 6 << 16)
    (tmp_path / "a.tif").write_bytes(tiff(*SIZE, *strips))
    directory = read_directory(tmp_path / "a.tif")
    assert directory is not None
    assert directory.block_px == (10, 40)
