"""Data that is damaged in its middle, or changes while it is read: rasters of several codecs, images, archives."""

import functools
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image

from bench.results import read_results
from ris_core.errors import RisError
from ris_core.tiles import TileSpec, cut_tiles
from ris_core.tiling.full_resolution import read_pictures
from ris_core.tiling.grid import Cells
from ris_core.tiling.strips import Stretch, TileReader
from tests.reliability.kills import finish
from tests.reliability.launcher import launch
from tests.reliability.scenario import RECOVERED, REFUSED, Failure, Outcome, Scenario, expect
from tests.reliability.tiny import CACHE, lay_out, reference, run_arguments, run_folder

_SIDE_PX, _BLOCK_PX = 128, 32
_SPEC = TileSpec(size_px=_BLOCK_PX)
_CODECS = ("deflate", "lzw", "zstd", "lzma", "lerc", "webp", "jpeg")  # others store values as they are: any are good


def spoilt_block(folder: Path, rng: np.random.Generator, harm: Callable[..., None]) -> Outcome:
    """A raster of a random codec whose block, mask or overview is overwritten: cut, and read at full resolution."""
    path = folder / "ortho.tif"
    codec = str(rng.choice(_CODECS))
    write_raster(path, codec, rng)
    small = TileSpec(size_px=_BLOCK_PX, stored_px=_BLOCK_PX // 2)
    tiles = cut_tiles(path, small)
    harm(path, rng)
    out = folder / "tiles"
    told = refusal(lambda: cut_tiles(path, _SPEC, out))
    expect(path.name in told and ("decoded" in told or "truncated" in told), f"{codec}: says {told!r}")
    expect(not (out / "pixels.npy").exists() and not (out / "tiles.parquet").exists(), "half a tiling is left")
    told = refusal(lambda: list(read_pictures(path, small, tiles, np.arange(len(tiles)))))
    expect(path.name in told, f"{codec}: at full resolution it says {told!r}")
    return Outcome(REFUSED)


def write_raster(path: Path, codec: str, rng: np.random.Generator) -> None:
    """A raster of 16 blocks, with a mask of its own."""
    values = rng.integers(1, 255, (3, _SIDE_PX, _SIDE_PX), dtype=np.uint8)
    profile = {"driver": "GTiff", "count": 3, "height": _SIDE_PX, "width": _SIDE_PX, "dtype": "uint8"}
    profile |= {"crs": "EPSG:3857", "transform": Affine(0.5, 0, 0, 0, -0.5, 0), "compress": codec}
    profile |= {"tiled": True, "blockxsize": _BLOCK_PX, "blockysize": _BLOCK_PX}
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(values)


def overwrite_block(path: Path, rng: np.random.Generator) -> None:
    """Noise in place of a random block, or of its second half."""
    with rasterio.open(path) as dataset:
        place = "_".join(map(str, rng.integers(_SIDE_PX // _BLOCK_PX, size=2)))
        offset, size = (
            int(dataset.get_tag_item(f"BLOCK_{what}_{place}", "TIFF", bidx=1)) for what in ("OFFSET", "SIZE")
        )
    content = bytearray(path.read_bytes())
    content[offset : offset + size] = rng.bytes(size)
    path.write_bytes(content)


def cut_short(path: Path, rng: np.random.Generator) -> None:
    """The file ends in the middle of its last block, as of a copy that was cut off."""
    with rasterio.open(path) as dataset:
        last = _SIDE_PX // _BLOCK_PX - 1
        offset, size = (
            int(dataset.get_tag_item(f"BLOCK_{what}_{last}_{last}", "TIFF", bidx=1)) for what in ("OFFSET", "SIZE")
        )
    with path.open("r+b") as file:
        file.truncate(offset + int(rng.integers(1, size)))


def spoilt_image(folder: Path, rng: np.random.Generator) -> Outcome:
    """One of a folder's images is cut short, or one of an archive's has a wrong check sum."""
    source = folder / "pictures"
    ending, packed = str(rng.choice(["jpg", "png"])), bool(rng.random() < 0.5)
    for number in range(8):
        path = source / "class" / f"{number}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(1, 255, (48, 48, 3), dtype=np.uint8)).save(path)
    victim = source / "class" / f"{rng.integers(8)}.{ending}"
    corpus = spoil_in_archive(source, victim, rng) if packed else spoil_file(source, victim, rng)
    told = refusal(lambda: cut_tiles(corpus, _SPEC, folder / "tiles"))
    expect(victim.name in told, f"says {told!r}")
    expect(not (folder / "tiles" / "pixels.npy").exists(), "half a tiling is left")
    return Outcome(REFUSED)


def spoil_file(source: Path, victim: Path, rng: np.random.Generator) -> Path:
    """The folder, one of whose images ends in its middle."""
    content = victim.read_bytes()
    victim.write_bytes(content[: int(rng.integers(len(content) // 2))])
    return source


def spoil_in_archive(source: Path, victim: Path, rng: np.random.Generator) -> Path:
    """A zip of the folder in which a byte of one image is another."""
    archive = source.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(source.rglob("*.*")):
            file.write(path, str(path.relative_to(source)))
    packed, content = bytearray(archive.read_bytes()), victim.read_bytes()
    packed[packed.find(content) + int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
    archive.write_bytes(packed)
    return archive


def refusal(act: Callable[[], object]) -> str:
    """What an act is refused with.

    Raises:
        Failure: If it is not.
    """
    try:
        act()
    except RisError as error:
        return str(error)
    raise Failure("goes through")


def spoilt_corpus_of_a_run(folder: Path, rng: np.random.Generator, what: str) -> Outcome:
    """A run whose raster or land cover has a block that cannot be read, and goes on once it is whole again."""
    undisturbed = reference().folder
    lay_out(folder)
    path = folder / f"{what}.tif"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(rng.integers(len(whole) // 2, len(whole) - 1))])
    run = launch(run_arguments(folder), folder)
    expect(run.wait() == 2, f"ends otherwise: {run.said()[-500:]}")
    expect(path.name in run.said() and "Traceback" not in run.said(), f"says {run.said()[-500:]}")
    path.write_bytes(whole)
    for staging in (folder / CACHE).glob(".tiles-*.partial"):
        shutil.rmtree(staging)  # of the damaged raster, which is another one
    finish(folder, undisturbed)
    return Outcome(RECOVERED)


def other_corpus_on_resume(folder: Path, rng: np.random.Generator) -> Outcome:
    """A run goes on after its raster was replaced by another one."""
    undisturbed = reference().folder
    lay_out(folder)
    shutil.copytree(undisturbed / "reports", folder / "reports")
    (sorted((run_folder(folder) / "cells").glob("*.json"))[-1]).unlink()
    with rasterio.open(folder / "ortho.tif", "r+") as dataset:
        dataset.write(rng.integers(1, 255, (3, _BLOCK_PX, _BLOCK_PX), dtype=np.uint8), window=((0, 32), (0, 32)))
    before = {path: path.read_bytes() for path in (run_folder(folder) / "cells").iterdir()}
    run = launch(run_arguments(folder), folder)
    expect(run.wait() == 2, f"mixes two corpora: {run.said()[-500:]}")
    expect("has changed since" in run.said() and "Traceback" not in run.said(), f"says {run.said()[-500:]}")
    kept = all(path.read_bytes() == content for path, content in before.items())
    expect(kept and len(read_results(run_folder(folder))) == len(before), "rows are changed or lost")
    return Outcome(REFUSED)


def replaced_while_cut(folder: Path, rng: np.random.Generator) -> Outcome:
    """A raster is replaced by another one, or removed, while its tiles are cut."""
    path, other = folder / "ortho.tif", folder / "other.tif"
    write_raster(path, "deflate", rng)
    write_raster(other, "deflate", rng)

    def read(reader: TileReader, cells: Cells) -> Stretch:
        if other.exists():
            other.replace(path)
        return true(reader, cells)

    true = TileReader._read_stretch
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TileReader, "_read_stretch", read)
        told = refusal(lambda: cut_tiles(path, _SPEC, folder / "tiles", threads=int(rng.integers(1, 3))))
    expect("changed while its tiles were cut" in told, f"says {told!r}")
    expect(not (folder / "tiles" / "pixels.npy").exists(), "a mixture of two rasters is left")
    return Outcome(REFUSED)


SCENARIOS = (
    Scenario(
        "spoilt_block",
        "disk",
        f"Noise in place of a block of a raster, packed by {', '.join(_CODECS)}.",
        "Tiling, and reading at full resolution, are refused with the place of the window; no tiling is left.",
        functools.partial(spoilt_block, harm=overwrite_block),
        tries=200,
        tries_in_tests=4,
    ),
    Scenario(
        "truncated_raster",
        "disk",
        "A raster of such a codec ends in the middle of its last block.",
        "The same.",
        functools.partial(spoilt_block, harm=cut_short),
        tries=100,
        tries_in_tests=1,
    ),
    Scenario(
        "spoilt_image",
        "disk",
        "An image of a folder is cut short, or a byte of one in an archive is another.",
        "Tiling is refused with the image's name; no tiling is left.",
        spoilt_image,
        tries=200,
        tries_in_tests=2,
    ),
    Scenario(
        "replaced_while_cut",
        "disk",
        "A raster is replaced by another one while its tiles are cut.",
        "Tiling is refused; no tiling is left.",
        replaced_while_cut,
        tries=50,
    ),
    *(
        Scenario(
            f"spoilt_{what}_of_a_run",
            "disk",
            f"The {words} of a run is cut short, and then whole again.",
            "Exit status 2 and a message; then `--resume` ends with the tables of an undisturbed run.",
            functools.partial(spoilt_corpus_of_a_run, what=what),
            tries=10,
            tries_in_tests=0,
        )
        for what, words in (("ortho", "raster"), ("classes", "land cover"))
    ),
    Scenario(
        "other_corpus_on_resume",
        "disk",
        "A begun run goes on after its raster was replaced by another one.",
        "Exit status 2 and a message; its rows stay as they are.",
        other_corpus_on_resume,
        tries=10,
        tries_in_tests=0,
    ),
)
