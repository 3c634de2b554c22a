import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ris_core.errors import CorpusError
from ris_core.parallel import in_order
from ris_core.tiling.image_folder import ImageFolder, list_images
from ris_core.tiling.image_reader import ImageReader
from ris_core.tiling.pixel_store import Batch


def png(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()


def read_images(images: ImageFolder, rows: np.ndarray, size_px: int, threads: int) -> list[Batch]:
    reader = ImageReader(images, images.names, np.full((len(images.names), 4), np.nan), size_px)
    with reader.reading() as read:
        return list(in_order(read, reader.pieces(rows), threads))


def picture(seed: int, height: int = 16, width: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 255, (height, width, 3)).astype(np.uint8)


FILES = {
    "set/train/water/b.png": png(picture(1)),
    "set/train/wood/a.PNG": png(picture(2)),
    "set/test/water/c.png": png(picture(3)),
    "set/train/water/.hidden.png": b"no image",
    "__MACOSX/set/train/water/b.png": b"no image",
    "set/README.txt": b"text",
}


def write_folder(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_images_are_sorted_and_labelled_by_their_folder(tmp_path: Path, kind: str, threads: int) -> None:
    source = write_folder(tmp_path / "f", FILES) if kind == "folder" else write_zip(tmp_path / "f.zip", FILES)
    images = list_images(source)
    assert images.names == ("set/test/water/c.png", "set/train/water/b.png", "set/train/wood/a.PNG")
    assert images.labels == ["water", "water", "wood"]
    (read,) = read_images(images, np.array([2, 0]), 16, threads)
    assert (read.pixels == np.stack([picture(2), picture(3)])).all()
    assert list(read.records[0]["coverage"]) == [1.0, 1.0]


def test_image_is_cut_to_its_centred_square_and_averaged(tmp_path: Path) -> None:
    values = picture(5, height=32, width=44)
    values[:, :6] = values[:, 38:] = 255  # outside the square: must not count
    values[0, 6:14] = 0
    images = list_images(write_folder(tmp_path, {"a/x.png": png(values)}))
    (read,) = read_images(images, np.array([0]), 16, 1)
    means = values[:, 6:38].reshape(16, 2, 16, 2, 3).mean(axis=(1, 3))
    assert (read.pixels[0] == np.floor(means + 0.5)).all()
    assert read.records[0]["corners"] == ((0, 6),)
    assert read.records[0]["coverage"][0] == pytest.approx(1 - 8 / 1024)


def test_grey_and_palette_images_become_colour(tmp_path: Path) -> None:
    grey = picture(6)[:, :, 0]
    images = list_images(write_folder(tmp_path, {"a/x.png": png(grey)}))
    (read,) = read_images(images, np.array([0]), 16, 1)
    assert (read.pixels[0] == grey[:, :, None]).all()


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"no image at all", r"a/x\.png cannot be decoded"),
        (png(picture(1))[:-300], r"a/x\.png cannot be decoded"),
        (png(picture(1, 10, 30)), "is 30 x 10 px, smaller than the tile of 16 px.*tile_px = 10"),
        (png((picture(1)[:, :, 0].astype(np.uint16)) * 200), "8-bit images are needed"),
    ],
)
def test_broken_or_small_image_is_named(tmp_path: Path, content: bytes, word: str) -> None:
    images = list_images(write_folder(tmp_path, {"a/w.png": png(picture(0)), "a/x.png": content}))
    with pytest.raises(CorpusError, match=word):
        list(read_images(images, np.arange(2), 16, 2))


def test_huge_image_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    images = list_images(write_folder(tmp_path, {"a/x.png": png(picture(0))}))
    with pytest.raises(CorpusError, match="too large"):
        list(read_images(images, np.arange(1), 16, 1))


@pytest.mark.parametrize("name", ["../x.png", "/etc/x.png", "a/../../x.png", "..\\x.png", "C:/x.png"])
def test_zip_with_an_unsafe_path_is_refused(tmp_path: Path, name: str) -> None:
    path = write_zip(tmp_path / "evil.zip", {"a/ok.png": png(picture(0)), name: png(picture(1))})
    with pytest.raises(CorpusError, match="unsafe path"):
        list_images(path)


def test_damaged_zip_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"a/ok.png": png(picture(0))})
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(CorpusError, match="no readable zip"):
        list_images(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("place", [50, 200])
def test_zip_with_a_damaged_member_names_it(tmp_path: Path, method: int, place: int) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a/ok.png", png(picture(0)))
    content = bytearray(path.read_bytes())
    content[place : place + 30] = bytes(255 - byte for byte in content[place : place + 30])
    path.write_bytes(content)
    with pytest.raises(CorpusError, match=r"a/ok\.png cannot be decoded"):
        list(read_images(list_images(path), np.arange(1), 16, 1))


def test_folder_without_images_or_without_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="contains no image"):
        list_images(write_folder(tmp_path / "a", {"notes.txt": b""}))
    with pytest.raises(CorpusError, match=r"1 image\(s\) lie in no subfolder, such as x\.png"):
        list_images(write_folder(tmp_path / "b", {"x.png": b"", "c/y.png": b""}))
