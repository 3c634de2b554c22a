"""Rasters that only GDAL can open, fetched from a web server on this machine."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from rasterio.windows import Window

from ris_core.errors import RasterError
from ris_core.tiles import TileSpec, count_cells, cut_tiles
from ris_core.tiling.corpus import corpus_fingerprint
from ris_core.tiling.raster_facts import open_dataset
from ris_core.tiling.rasters import describe_raster
from ris_core.tiling.virtual_path import VirtualPath, as_path, is_virtual

MakeRaster = Callable[..., Path]
SIZE_PX = 128
HEADER_BYTES = 2**16
URL = "/vsicurl/https://server:80/a/b.tif"


class Server:
    """The test server, which knows what was asked of it."""

    def __init__(self, port: int) -> None:
        self._address = f"http://127.0.0.1:{port}"

    def path(self, name: str, mode: str = "good") -> Path:
        return as_path(f"/vsicurl/{self._address}/{mode}/{name}")

    def fetched_bytes(self) -> int:
        """Bytes that it sent since the last call."""
        with urllib.request.urlopen(f"{self._address}/log") as answer:
            return sum(json.load(answer))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    script = Path(__file__).with_name("range_server.py")
    command = [sys.executable, str(script), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        yield Server(int(process.stdout.readline()))
        process.terminate()


@pytest.fixture
def country(make_raster: MakeRaster) -> Path:
    """A quarter of 1,024 blocks is stored, and holds noise."""
    values = np.zeros((3, 32 * SIZE_PX, 32 * SIZE_PX), np.uint8)
    stored = values[:, : 16 * SIZE_PX, : 16 * SIZE_PX]
    stored[:] = np.random.default_rng(0).integers(1, 255, stored.shape, np.uint8)
    block = {"blockxsize": SIZE_PX, "blockysize": SIZE_PX}
    return make_raster(values, "a.tif", **block, sparse_ok=True, windows=[Window(0, 0, 16 * SIZE_PX, 16 * SIZE_PX)])


def test_virtual_path_keeps_both_slashes_of_an_address() -> None:
    path = as_path(URL)
    assert (str(path), path.name, str(as_path(path))) == (URL, "b.tif", URL)
    assert str(path.parent) == "/vsicurl/https://server:80/a"
    assert str(as_path(Path(URL))) == URL  # a plain path dropped one
    assert isinstance(path, VirtualPath)
    assert str(as_path("/vsicurl/https://a/http:/b.tif")) == "/vsicurl/https://a/http:/b.tif"
    proxied = "/vsicurl/https://a/cog?url=http://b/c.tif"
    assert str(as_path(proxied)) == proxied
    assert is_virtual("/vsis3/bucket/key.tif")
    assert str(as_path("/vsis3/bucket/key.tif")) == "/vsis3/bucket/key.tif"
    assert not isinstance(as_path("vsicurl/a.tif"), VirtualPath)
    assert not path.is_file()


def test_tiles_from_a_server_equal_those_of_the_file(server: Server, country: Path) -> None:
    spec = TileSpec(size_px=SIZE_PX, sample=25)
    near, far = cut_tiles(country, spec), cut_tiles(server.path("a.tif"), spec, threads=2)
    assert (near.pixels == far.pixels).all()
    assert near.table.equals(far.table)
    assert count_cells(server.path("a.tif"), spec) == 1024


def test_bytes_fetched_grow_with_the_sample(server: Server, country: Path) -> None:
    server.fetched_bytes()
    cut_tiles(server.path("a.tif"), TileSpec(size_px=SIZE_PX, sample=20), threads=1)
    block_bytes = 3 * SIZE_PX**2  # noise does not shrink
    assert 20 * block_bytes <= server.fetched_bytes() <= 3 * 20 * block_bytes + HEADER_BYTES
    assert country.stat().st_size > 10 * 20 * block_bytes


def test_description_of_a_far_raster_fetches_its_header_alone(server: Server, country: Path) -> None:
    far, near = describe_raster(server.path("a.tif"), SIZE_PX), describe_raster(country, SIZE_PX)
    assert server.fetched_bytes() <= HEADER_BYTES
    assert "a.tif (not on this machine, GTiff)" in far
    assert far.splitlines()[1:] == near.splitlines()[1:]


def test_fingerprint_of_a_far_raster_changes_with_it(server: Server, make_raster: MakeRaster, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(1, 255, (3, 512, 512)).astype(np.uint8)
    make_raster(values, "a.tif", compress=None)
    make_raster(values, "same/a.tif", compress=None)
    values[:, -1, -1] ^= 1
    make_raster(values, "b.tif", compress=None)
    server.fetched_bytes()
    found = [corpus_fingerprint(server.path(name)) for name in ("a.tif", "a.tif", "same/a.tif")]
    assert server.fetched_bytes() < 6 * HEADER_BYTES
    assert found[0] == found[1] != found[2]
    (tmp_path / "same/a.tif").unlink()
    (tmp_path / "b.tif").rename(tmp_path / "same/a.tif")  # the same place and size of blocks, one other pixel
    code = f"from ris_core.tiles import corpus_fingerprint; print(corpus_fingerprint('{server.path('same/a.tif')}'))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() not in (found[0], found[2])  # asked in a process that has none of it in GDAL's cache


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("good", r"none\.tif: cannot be opened .*404.*Check the address"),
        ("whole", r"a\.tif: cannot be opened .*[Rr]ange.*status 206"),
        ("cut", r"a\.tif: the window of 128 x 128 px .* cannot be decoded .* connection broke"),
    ],
)
def test_server_that_does_not_deliver_is_named(server: Server, country: Path, mode: str, words: str) -> None:
    name = "none.tif" if mode == "good" else country.name
    with pytest.raises(RasterError, match=rf"/vsicurl/http://127\.0\.0\.1:\d+/{mode}/{words}"):
        cut_tiles(server.path(name, mode), TileSpec(size_px=SIZE_PX, sample=5), threads=2)


def test_server_that_is_gone_is_named() -> None:
    with pytest.raises(RasterError, match="cannot be opened"):
        describe_raster(as_path("/vsicurl/http://127.0.0.1:9/a.tif"), 16)


def test_settings_of_the_environment_go_before(server: Server, country: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ris_core.tiling import raster_facts

    used: list[dict[str, str]] = []
    original = raster_facts.rasterio.Env
    monkeypatch.setattr(raster_facts.rasterio, "Env", lambda **keys: used.append(keys) or original(**keys))
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    open_dataset(server.path("a.tif")).close()
    open_dataset(country).close()
    assert len(used) == 1
    assert "GDAL_HTTP_MAX_RETRY" not in used[0]
    assert used[0]["GDAL_HTTP_RETRY_DELAY"] == "0.5"
