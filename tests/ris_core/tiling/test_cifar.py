"""CIFAR-10 in its publisher's formats, made here: a few random images in each batch."""

import io
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ris_core.errors import CorpusError
from ris_core.tiles import TileSpec, corpus_fingerprint, cut_tiles
from ris_core.tiling.cifar import CifarImages
from ris_core.tiling.corpus import find_corpus

CLASSES = ("airplane", "bird", "cat")
SPLITS = {"data_batch_1": 4, "data_batch_2": 3, "test_batch": 2}
RNG = np.random.default_rng(3)
IMAGES = {name: RNG.integers(0, 256, (n, 32, 32, 3), np.uint8) for name, n in SPLITS.items()}
LABELS = {name: RNG.integers(0, len(CLASSES), n) for name, n in SPLITS.items()}
SPEC = TileSpec(size_px=32, min_coverage=0)


def planes(name: str) -> np.ndarray:
    """(n, 3072) uint8 as the publisher lays an image out: red, green, blue."""
    return np.ascontiguousarray(IMAGES[name].transpose(0, 3, 1, 2)).reshape(len(IMAGES[name]), -1)


def binary_files() -> dict[str, bytes]:
    """Contents of the binary version."""
    batches = {
        f"{name}.bin": np.concatenate([LABELS[name][:, None].astype(np.uint8), planes(name)], axis=1).tobytes()
        for name in SPLITS
    }
    return {**batches, "batches.meta.txt": "\n".join([*CLASSES, ""]).encode(), "readme.html": b"<p>"}


def python2_batch(name: str) -> bytes:
    """A batch as Python 2 pickled it, opcode by opcode: strings without an encoding, NumPy's old module names."""
    pixels = planes(name)
    text = lambda value: b"U" + bytes([len(value)]) + value  # noqa: E731 - an opcode: SHORT_BINSTRING
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85" + text(b"b") + b"tR(K\x01"
        b"K" + bytes([len(pixels)]) + b"M\x00\x0c\x86cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R"
        b"(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        b"T" + len(pixels.tobytes()).to_bytes(4, "little") + pixels.tobytes() + b"tb"
    )
    labels = b"](" + b"".join(b"K" + bytes([label]) for label in LABELS[name]) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + text(b"labels") + labels + b"u."


def python_files() -> dict[str, bytes]:
    """Contents of the Python version: one batch as Python 2 wrote it, the others as Python 3 does."""
    batches = {
        name: pickle.dumps({b"data": planes(name), b"labels": LABELS[name].tolist()}, protocol=2) for name in SPLITS
    }
    meta = pickle.dumps({"label_names": list(CLASSES)}, protocol=4)
    return {**batches, "data_batch_2": python2_batch("data_batch_2"), "batches.meta": meta}


def write_folder(files: dict[str, bytes], folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def write_archive(files: dict[str, bytes], path: Path) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"cifar-10-batches/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("files", [binary_files, python_files])
@pytest.mark.parametrize("shape", ["archive", "folder", "folder in a folder"])
def test_every_shape_gives_the_same_images(files: Callable[[], dict[str, bytes]], shape: str, tmp_path: Path) -> None:
    if shape == "archive":
        source = write_archive(files(), tmp_path / "cifar-10-binary.tar.gz")
    else:
        source = write_folder(files(), tmp_path / "c" / "cifar-10-batches-bin")
        source = source if shape == "folder" else source.parent
    tiles = cut_tiles(source, SPEC)
    splits = ["test" if name == "test_batch" else "train" for name, n in SPLITS.items() for _ in range(n)]
    numbers = [*range(7), *range(2)]
    labels = np.concatenate(list(LABELS.values()))
    names = [f"{split}/{CLASSES[label]}/{n:05d}.ppm" for split, label, n in zip(splits, labels, numbers, strict=True)]
    order = np.argsort(names)
    assert tiles.table["raster"].tolist() == sorted(names)
    assert tiles.table["label"].tolist() == [CLASSES[label] for label in labels[order]]
    np.testing.assert_array_equal(tiles.pixels, np.concatenate(list(IMAGES.values()))[order])


def test_train_and_test_are_told_apart(tmp_path: Path) -> None:
    images = find_corpus(write_archive(binary_files(), tmp_path / "cifar-10-binary.tar.gz"))
    assert isinstance(images, CifarImages)
    assert images.below("test").sum() == SPLITS["test_batch"]
    assert images.below("train").sum() == 7


def test_fingerprint_follows_the_batches(tmp_path: Path) -> None:
    folder = write_folder(binary_files(), tmp_path / "c")
    before = corpus_fingerprint(folder)
    assert corpus_fingerprint(folder) == before
    changed = bytearray((folder / "test_batch.bin").read_bytes())
    changed[-1] ^= 1
    (folder / "test_batch.bin").write_bytes(bytes(changed))
    assert corpus_fingerprint(folder) != before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batches.meta.txt": None}, r"batches\.meta\(\.txt\), the names of the classes, is missing"),
        ({"batches.meta.txt": b"bird\nbird\n"}, r"batches\.meta\.txt: lists the classes \['bird', 'bird'\]"),
        ({"batches.meta.txt": b"../bird\n"}, "needed are different plain names"),
        ({"batches.meta.txt": b"airplane\nbird\n"}, r"data_batch_1\.bin: image \d has the class 2; allowed are 0 to 1"),
        ({"data_batch_1.bin": bytes(3074)}, r"data_batch_1\.bin: has 3,074 bytes, no multiple of the 3,073"),
        ({"test_batch.bin": b""}, r"test_batch\.bin: has 0 bytes"),
    ],
)
def test_faulty_binary_version_is_refused(change: dict[str, bytes | None], message: str, tmp_path: Path) -> None:
    files = {name: content for name, content in (binary_files() | change).items() if content is not None}
    with pytest.raises(CorpusError, match=message):
        find_corpus(write_folder(files, tmp_path / "c"))


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({b"data": np.zeros((2, 3072), np.uint8), b"fine_labels": [0, 1]}, "is no dict with the key 'labels'"),
        ({b"data": np.zeros((2, 3072)), b"labels": [0, 1]}, "must be .n, 3072. uint8 beside n labels"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0]}, "must be .n, 3072. uint8 beside n labels"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, "1"]}, "labels must be whole numbers"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, -1]}, "image 1 has the class -1"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, 10**30]}, "labels must be whole numbers, 0 to 2"),
        ({b"data": np.zeros((0, 3072), np.uint8), b"labels": []}, "must be .n, 3072. uint8 beside n labels"),
        ([1, 2], "is no dict with the key 'labels'"),
    ],
)
def test_faulty_python_version_is_refused(batch: object, message: str, tmp_path: Path) -> None:
    files = python_files() | {"data_batch_1": pickle.dumps(batch)}
    with pytest.raises(CorpusError, match=rf"data_batch_1: .*{message}"):
        find_corpus(write_folder(files, tmp_path / "c"))


class _Harmful:
    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self._marker,)


def test_pickled_batch_runs_nothing(tmp_path: Path) -> None:
    marker = tmp_path / "touched"
    files = python_files() | {"data_batch_1": pickle.dumps({b"data": _Harmful(marker)})}
    with pytest.raises(CorpusError, match=r"data_batch_1: this pickle asks for pathlib\.[\w.]+; allowed are dicts"):
        find_corpus(write_archive(files, tmp_path / "cifar-10-python.tar.gz"))
    assert not marker.exists()


def test_names_of_classes_are_a_list(tmp_path: Path) -> None:
    files = python_files() | {"batches.meta": pickle.dumps({"label_names": 5})}
    with pytest.raises(CorpusError, match=r"batches\.meta: lists the classes \[\]; needed are different plain names"):
        find_corpus(write_folder(files, tmp_path / "c"))


def test_archive_that_unpacks_to_far_more_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ris_core.tiling.cifar._MOST_BYTES", 5 * 3073)
    bomb = write_archive(binary_files(), tmp_path / "cifar-10-binary.tar.gz")  # no batch alone is as large
    with pytest.raises(CorpusError, match=r"unpacks to [\d,]+ bytes or more up to .*far more than CIFAR-10"):
        find_corpus(bomb)


def test_other_and_damaged_archives_are_refused(tmp_path: Path) -> None:
    other = write_archive({"a.jpg": b"x"}, tmp_path / "images.tar.gz")
    with pytest.raises(
        CorpusError, match=r"images\.tar\.gz: holds nothing of CIFAR-10 .*Unpack it and give the folder"
    ):
        find_corpus(other)
    whole = write_archive(binary_files(), tmp_path / "cifar-10-binary.tar.gz")
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(CorpusError, match=r"cut\.tar\.gz: is no readable archive"):
        find_corpus(cut)
