import contextlib
import dataclasses
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from ris_core.backbone import BackboneSpec, build_backbone
from ris_core.errors import CorpusError, SuiteError
from ris_core.feature_batches import ExtractOptions
from ris_core.features import extract_features
from ris_core.preprocess import WHOLE, prepare
from ris_core.records import Tiles
from ris_core.tiles import TileSpec, cut_tiles
from ris_core.tiling.image_roles import BOX_COLUMNS
from ris_core.whole_images import WholeImages

SPEC = BackboneSpec("resnet10t", preprocess=WHOLE, pool="gem", whole_px=64)
SIZES = {"a/0.png": (96, 64), "a/1.png": (40, 80), "b/2.png": (64, 48), "b/3.png": (96, 64)}  # width, height


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for name, (width, height) in SIZES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(1, 255, (height, width, 3), np.uint8)).save(folder / name)
    return folder


@pytest.fixture(scope="module")
def tiles(source: Path) -> Tiles:
    return cut_tiles(source, TileSpec(size_px=32))


def with_boxes(table: pd.DataFrame, boxes: dict[int, tuple[float, float, float, float]]) -> pd.DataFrame:
    values = np.full((len(table), 4), np.nan)
    for row, box in boxes.items():
        values[row] = box
    return table.assign(**dict(zip(BOX_COLUMNS, values.T, strict=True)))


def read_all(images: WholeImages) -> list[np.ndarray]:
    with images.reading() as read:
        return [read(row) for row in range(len(images.names))]


def described_alone(images: WholeImages, spec: BackboneSpec) -> np.ndarray:
    backbone = build_backbone(spec).eval()
    with torch.inference_mode():
        parts = [backbone(prepare(pixels[None], WHOLE)) for pixels in read_all(images)]
    return torch.cat(parts).numpy()


def test_images_keep_their_aspect_and_are_never_enlarged(source: Path, tiles: Tiles) -> None:
    shapes = [pixels.shape for pixels in read_all(WholeImages.of_tiles(source, tiles.table, 64))]
    assert shapes == [(43, 64, 3), (64, 32, 3), (48, 64, 3), (43, 64, 3)]
    large = read_all(WholeImages.of_tiles(source, tiles.table, 1000))
    for name, pixels in zip(SIZES, large, strict=True):
        np.testing.assert_array_equal(pixels, np.asarray(Image.open(source / name)))
    shapes = [pixels.shape for pixels in read_all(WholeImages.of_tiles(source, tiles.table, 64, multiple_px=14))]
    assert shapes == [(42, 70, 3), (70, 28, 3), (42, 70, 3), (42, 70, 3)]


def test_box_is_cut_at_full_resolution(source: Path, tiles: Tiles) -> None:
    table = with_boxes(tiles.table, {0: (10.4, 4.0, 90.0, 44.2), 3: (0, 0, 96, 64)})
    found = read_all(WholeImages.of_tiles(source, table, 40))
    image = Image.open(source / "a/0.png")
    expected = image.crop((10, 4, 90, 44)).resize((40, 20), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(found[0], np.asarray(expected))
    plain = read_all(WholeImages.of_tiles(source, tiles.table, 40))
    np.testing.assert_array_equal(found[3], plain[3])
    np.testing.assert_array_equal(found[1], plain[1])


@pytest.mark.parametrize("box", [(0, 0, 98, 64), (-2, 0, 50, 50), (50, 0, 50, 40), (60, 0, 50, 40)])
def test_box_that_is_not_in_its_image_is_refused(source: Path, tiles: Tiles, box: tuple[int, int, int, int]) -> None:
    images = WholeImages.of_tiles(source, with_boxes(tiles.table, {3: box}), 40)
    with pytest.raises(CorpusError, match=r"image b/3.png: its box .* lies outside of its image of 96 x 64 px"):
        read_all(images)


def test_image_lies_upright_before_its_box_is_cut(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    values = np.random.default_rng(1).integers(0, 255, (32, 48, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees, clockwise
    Image.fromarray(values).save(tmp_path / "a/turned.png", exif=exif)
    table = with_boxes(pd.DataFrame({"raster": ["a/turned.png"]}), {0: (0, 8, 32, 48)})
    (found,) = read_all(WholeImages.of_tiles(tmp_path, table, 100))
    np.testing.assert_array_equal(found, np.rot90(values, -1)[8:48])


def test_features_are_those_of_each_image_alone(source: Path, tiles: Tiles) -> None:
    table = with_boxes(tiles.table, {1: (0, 0, 33, 40)})
    images = WholeImages.of_tiles(source, table, 64)
    expected = described_alone(images, SPEC)
    for batch in (1, 3):
        options = ExtractOptions(batch=batch, shard_tiles=3)
        found = extract_features(tiles, SPEC, options=options, images=images)
        np.testing.assert_allclose(found.values, expected, atol=1e-5)
    unboxed = described_alone(WholeImages.of_tiles(source, tiles.table, 64), SPEC)
    assert np.abs(unboxed - expected).max(axis=1).argmax() == 1
    assert (np.abs(unboxed - expected).max(axis=1) > 0).sum() == 1


def test_transformers_read_whole_patches(source: Path, tiles: Tiles) -> None:
    arch = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 3}
    spec = BackboneSpec(arch=arch, preprocess=WHOLE, pool="rmac", whole_px=64, scales=(1.0, 0.7071))
    images = WholeImages.of_tiles(source, tiles.table, 64, multiple_px=8)
    found = extract_features(tiles, spec, images=images)
    np.testing.assert_allclose(found.values, described_alone(images, spec), atol=1e-5)


def test_unfinished_extraction_goes_on_with_the_same_images_alone(source: Path, tiles: Tiles, tmp_path: Path) -> None:
    images = WholeImages.of_tiles(source, tiles.table, 64)
    options = ExtractOptions(batch=1, shard_tiles=1)
    whole = extract_features(tiles, SPEC, out=tmp_path / "whole", options=options, images=images)
    stopping = _StoppingAfter(images, 2)
    with pytest.raises(KeyboardInterrupt):
        extract_features(tiles, SPEC, out=tmp_path / "part", options=options, images=stopping)
    resumed = _Counting(images)
    again = extract_features(tiles, SPEC, out=tmp_path / "part", options=options, images=resumed)
    np.testing.assert_array_equal(again.values, whole.values)
    assert min(resumed.rows) > 0
    other = _Counting(WholeImages.of_tiles(source, tiles.table, 48))
    extract_features(tiles, SPEC, out=tmp_path / "part", options=options, images=other)
    assert min(other.rows) == 0


def test_fingerprint_follows_names_boxes_and_size(source: Path, tiles: Tiles) -> None:
    one = WholeImages.of_tiles(source, tiles.table, 64)
    others = [
        WholeImages.of_tiles(source, tiles.table, 65),
        WholeImages.of_tiles(source, tiles.table, 64, multiple_px=8),
        WholeImages.of_tiles(source, tiles.table.iloc[::-1], 64),
        WholeImages.of_tiles(source, with_boxes(tiles.table, {2: (0, 0, 9, 9)}), 64),
    ]
    assert len({images.fingerprint for images in (one, *others)}) == 5
    assert dataclasses.replace(one).fingerprint == one.fingerprint


def test_corpus_without_the_images_is_refused(source: Path, tiles: Tiles, tmp_path: Path) -> None:
    table = tiles.table.assign(raster=["a/0.png", "gone/x.png", "gone/y.png", "b/3.png"])
    with pytest.raises(
        CorpusError, match=r"lacks 2 image\(s\) that its tiles were made of, such as gone/x.png, gone/y"
    ):
        WholeImages.of_tiles(source, table, 64)
    (tmp_path / "ortho.tif").write_bytes(b"")
    with pytest.raises(CorpusError, match="is no folder of images, and only these are described whole"):
        WholeImages.of_tiles(tmp_path / "ortho.tif", table, 64)
    whole, openvino = WholeImages.of_tiles(source, tiles.table, 64), ExtractOptions(backend="openvino")
    with pytest.raises(SuiteError, match="takes images of one shape, not whole ones"):
        extract_features(tiles, SPEC, options=openvino, images=whole)


def test_images_beyond_what_pillow_takes_for_safe_are_refused(
    source: Path, tiles: Tiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5000)
    with warnings.catch_warnings(), pytest.raises(CorpusError, match=r"a/0.png is too large"):
        read_all(WholeImages.of_tiles(source, tiles.table, 64))


class _Counting:
    """Images that keep the rows that were read."""

    def __init__(self, images: WholeImages) -> None:
        self.images = images
        self.rows: list[int] = []
        self.fingerprint = images.fingerprint

    @contextlib.contextmanager
    def reading(self) -> Iterator[Callable[[int], np.ndarray]]:
        with self.images.reading() as read:
            yield lambda row: self.take(read, row)

    def take(self, read: Callable[[int], np.ndarray], row: int) -> np.ndarray:
        self.rows.append(row)
        return read(row)


class _StoppingAfter(_Counting):
    def __init__(self, images: WholeImages, last: int) -> None:
        super().__init__(images)
        self.last = last

    def take(self, read: Callable[[int], np.ndarray], row: int) -> np.ndarray:
        if row > self.last:
            raise KeyboardInterrupt
        return read(row)
