import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ris_core.errors import CorpusError
from ris_core.tiling.corpus import corpus_fingerprint, find_corpus
from ris_core.tiling.image_folder import ImageFolder

MakeRaster = Callable[..., Path]
RGB = np.full((3, 32, 48), 100, np.uint8)


def test_folder_of_rasters_is_sorted_and_passes_over_sidecars(make_raster: MakeRaster, tmp_path: Path) -> None:
    for name in ("r/b.tif", "r/a.TIF", "r/.c.tif"):
        make_raster(RGB, name)
    (tmp_path / "r/a.tfw").write_text("")
    (tmp_path / "r/notes").mkdir()
    found = find_corpus(tmp_path / "r")
    assert isinstance(found, list)
    assert [path.name for path in found] == ["a.TIF", "b.tif"]


def test_class_folders_of_tif_images_are_an_image_folder(tmp_path: Path) -> None:
    (tmp_path / "f/water").mkdir(parents=True)
    Image.fromarray(RGB.transpose(1, 2, 0)).save(tmp_path / "f/water/1.tif")
    assert isinstance(find_corpus(tmp_path / "f"), ImageFolder)


@pytest.mark.parametrize("name", ["r/x.jpg", "r/water/x.png"])
def test_folder_of_rasters_and_images_is_refused(make_raster: MakeRaster, tmp_path: Path, name: str) -> None:
    make_raster(RGB, "r/a.tif")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(CorpusError, match=r"holds rasters \(a\.tif, \.\.\.\) beside (x\.jpg|water)"):
        find_corpus(tmp_path / "r")


def test_missing_and_empty_sources_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="does not exist"):
        find_corpus(tmp_path / "none")
    with pytest.raises(CorpusError, match="contains no image"):
        find_corpus(tmp_path)
    (tmp_path / "x.zip").write_bytes(b"no zip")
    with pytest.raises(CorpusError, match="no readable zip"):
        find_corpus(tmp_path / "x.zip")


def test_fingerprint_changes_with_content_and_names_only(make_raster: MakeRaster, tmp_path: Path) -> None:
    path = make_raster(RGB, "r/a.tif")
    make_raster(RGB, "r/b.tif")
    before = corpus_fingerprint(tmp_path / "r"), corpus_fingerprint(path)
    assert before[0] != before[1]
    os.utime(path, (1, 1))
    assert (corpus_fingerprint(tmp_path / "r"), corpus_fingerprint(path)) == before
    (tmp_path / "r/a.tif.msk").write_bytes(b"mask")
    assert corpus_fingerprint(path) != before[1]
    (tmp_path / "r/a.tif.msk").unlink()
    path.rename(tmp_path / "r/c.tif")
    assert corpus_fingerprint(tmp_path / "r") != before[0]


def test_fingerprint_of_an_image_folder_changes_with_an_image(tmp_path: Path) -> None:
    (tmp_path / "water").mkdir()
    Image.fromarray(RGB.transpose(1, 2, 0)).save(tmp_path / "water/1.png")
    before = corpus_fingerprint(tmp_path)
    assert corpus_fingerprint(tmp_path) == before
    os.utime(tmp_path / "water/1.png", (1, 1))
    assert corpus_fingerprint(tmp_path) != before


@pytest.mark.parametrize("wrapper", ["", "NWPU-RESISC45/"])
def test_resisc45_is_an_image_folder_with_and_without_its_own_folder(tmp_path: Path, wrapper: str) -> None:
    for name in ("airplane/airplane_001.jpg", "airplane/airplane_002.jpg", "wetland/wetland_001.jpg"):
        path = tmp_path / "unpacked" / f"{wrapper}{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RGB.transpose(1, 2, 0)).save(path)
    images = find_corpus(tmp_path / "unpacked")
    assert isinstance(images, ImageFolder)
    assert images.labels == ["airplane", "airplane", "wetland"]


def test_archives_that_cannot_be_read_are_refused_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "NWPU-RESISC45.rar").write_bytes(b"Rar!")
    with pytest.raises(CorpusError, match=r"NWPU-RESISC45\.rar: \.rar archives cannot be read\. Unpack it and give"):
        find_corpus(tmp_path / "NWPU-RESISC45.rar")
    with pytest.raises(CorpusError, match="does not exist"):
        find_corpus(tmp_path / "missing.rar")
