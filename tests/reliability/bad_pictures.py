"""Image folders, archives of images and ground truths that are damaged or hostile."""

import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ris_core.tiles import TileSpec, cut_tiles
from ris_core.tiling.corpus import corpus_fingerprint
from ris_core.tiling.ground_truth import read_ground_truth
from tests.reliability.fuzzing import Target, as_scenarios
from tests.reliability.mutations import HOSTILE, LARGE, Rng, chosen, damaged_bytes, damaged_value

_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF", "PPM")
_SIZE_PX = 16
_TRUTH = {
    "imlist": ["a/0", "a/1", "b/2"],
    "qimlist": ["b/3"],
    "gnd": [{"bbx": [0, 0, 12, 12.5], "easy": [0], "hard": [1], "junk": []}],
}


def _pictures(_: Path) -> list[bytes]:
    rng = np.random.default_rng(0)
    files = []
    for form in _FORMATS:
        for mode in ("RGB", "L"):
            pixels = rng.integers(0, 255, (_SIZE_PX, 20, 3), dtype=np.uint8)
            file = io.BytesIO()
            Image.fromarray(pixels).convert(mode).save(file, form)
            files.append(file.getvalue())
    return files


def _cut(source: Path, case: Path, **options: Any) -> None:
    corpus_fingerprint(source)
    cut_tiles(source, TileSpec(_SIZE_PX, min_coverage=0, **options), out=case / "tiles", threads=1)


def _read_folder(files: list[bytes], case: Path, rng: Rng) -> None:
    folder = case / "pictures" / "class"
    folder.mkdir(parents=True)
    for place in range(2):
        content = chosen(rng, files)
        content = damaged_bytes(rng, content, chosen(rng, files)) if place else content
        (folder / f"{place}{chosen(rng, ('.png', '.jpg', '.tif', '.webp', '.ppm', '.txt'))}").write_bytes(content)
    _cut(case / "pictures", case)


def _members(rng: Rng, files: list[bytes]) -> list[tuple[str, bytes]]:
    """Names and contents of an archive, of which one is hostile."""
    members = [(f"{chosen(rng, 'ab')}/{place}.png", chosen(rng, files)) for place in range(int(rng.integers(1, 4)))]
    name = chosen(rng, HOSTILE).replace("\0", "") or "x"
    bombs = (b"\0" * 2**24, LARGE.encode(), b"", members[0][1])
    odd = chosen(rng, ((f"{name}/9.png", members[0][1]), (f"a/{name}.png", chosen(rng, bombs)), (members[0][0], b"x")))
    return [*members, odd] if rng.random() < 0.7 else members


def _zipped(rng: Rng, files: list[bytes]) -> bytes:
    file = io.BytesIO()
    method = chosen(rng, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA))
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in _members(rng, files):
            info = zipfile.ZipInfo(name)
            info.external_attr = chosen(rng, (0,) * 9 + (0o120777,)) << 16  # a symbolic link
            archive.writestr(info, content)
    return file.getvalue()


def _tarred(rng: Rng, files: list[bytes], mode: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in _members(rng, files):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            info.type = chosen(rng, (tarfile.REGTYPE,) * 8 + (tarfile.SYMTYPE, tarfile.LNKTYPE))
            info.linkname = "../../x"
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def _read_archive(files: list[bytes], case: Path, rng: Rng) -> None:
    is_shard = rng.random() < 0.6
    is_zip = rng.random() < (0.3 if is_shard else 0.95)
    content = _zipped(rng, files) if is_zip else _tarred(rng, files, "w" if is_shard else "w:gz")
    content = damaged_bytes(rng, content) if rng.random() < 0.6 else content
    path = case / f"damaged{'.zip' if is_zip else '.tar' if is_shard else '.tar.gz'}"
    path.write_bytes(content)
    if not is_shard:
        _cut(path, case)
        return
    (case / "pictures" / "c").mkdir(parents=True)
    (case / "pictures" / "c" / "0.png").write_bytes(files[0])
    _cut(case / "pictures", case, distractors=(path,))


def _cifar(_: Path) -> list[dict[str, bytes]]:
    """The publisher's two versions, of four images: files by name."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (4, 3072), dtype=np.uint8)
    labels = [0, 1, 1, 0]
    binary = b"".join(bytes([label]) + row.tobytes() for label, row in zip(labels, pixels, strict=True))
    python = pickle.dumps({"labels": labels, "data": pixels}, protocol=2)
    names = pickle.dumps({"label_names": ["cat", "dog"]}, protocol=2)
    return [
        {"data_batch_1.bin": binary, "test_batch.bin": binary, "batches.meta.txt": b"cat\ndog\n"},
        {"data_batch_1": python, "test_batch": python, "batches.meta": names},
    ]


def _read_cifar(versions: list[dict[str, bytes]], case: Path, rng: Rng) -> None:
    files = dict(chosen(rng, versions))
    damaged = chosen(rng, list(files))
    files[damaged] = chosen(rng, (_hostile_pickle, damaged_bytes, damaged_bytes))(rng, files[damaged])
    source = case / "cifar"
    if rng.random() < 0.5:
        source.mkdir()
        for name, content in files.items():
            (source / name).write_bytes(content)
    else:
        source = case / "cifar.tar.gz"
        with tarfile.open(source, "w:gz") as archive:
            for name, content in files.items():
                info = tarfile.TarInfo(f"cifar-10/{name}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        if rng.random() < 0.5:
            source.write_bytes(damaged_bytes(rng, source.read_bytes()))
    _cut(source, case)


class _Call:
    """What unpickling would call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self._call


def _hostile_pickle(rng: Rng, content: bytes, _: bytes = b"") -> bytes:
    """A pickle that calls, claims or repeats what it should not."""
    nested: Any = [0] * 10
    for _level in range(12):
        nested = [nested] * 10
    values = (
        _Call(os.system, "touch called"),
        _Call(eval, "open('called', 'w')"),
        _Call(exec, "open('called', 'w')"),
        _Call(np.frombuffer, b"1234", "O"),
        {"imlist": nested, "data": nested, "labels": nested},
        {"imlist": _Call(os.mkdir, "called")},
        np.array([None, "x"], dtype=object),
        {"data": np.zeros((2, 3072), np.uint8), "labels": [2**40000, 1]},
    )
    stuffed = pickle.dumps(chosen(rng, values), int(rng.integers(2, 6)))
    huge = b"\x80\x02" + b"r" + struct.pack("<I", 2**31 - 1) + b"."
    return chosen(rng, (stuffed, stuffed, stuffed, content[:-1] + stuffed, huge, damaged_bytes(rng, stuffed)))


def _read_truth(_: None, case: Path, rng: Rng) -> None:
    value = damaged_value(rng, _TRUTH)
    if rng.random() < 0.4:
        path = case / "truth.json"
        content = json.dumps(value).encode("utf-8", "surrogatepass")
        path.write_bytes(damaged_bytes(rng, content) if rng.random() < 0.3 else content)
    else:
        path = case / "truth.pkl"
        content = pickle.dumps(value, int(rng.integers(6)))
        how = chosen(rng, (_hostile_pickle, damaged_bytes, lambda _, same: same))
        path.write_bytes(how(rng, content))
    if rng.random() < 0.5:
        read_ground_truth(path)
        return
    for name in ("a/0", "a/1", "b/2", "b/3"):
        (case / "pictures" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((_SIZE_PX, _SIZE_PX, 3), 9, np.uint8)).save(case / "pictures" / f"{name}.png")
    _cut(case / "pictures", case, ground_truth=path)


TARGETS = (
    Target("damaged_pictures", "An image of an image folder is damaged.", _pictures, _read_folder, tries=5000),
    Target(
        "hostile_archives",
        "A zip, tar or tar.gz of images has absolute names, `..`, links, names twice or bombs in it, or is damaged.",
        _pictures,
        _read_archive,
        tries=5000,
    ),
    Target("damaged_cifar", "CIFAR-10's batches are damaged, or their pickles call functions.", _cifar, _read_cifar),
    Target(
        "hostile_ground_truths",
        "A ground truth, as JSON or pickle, holds other types, is damaged, or calls functions when unpickled.",
        lambda _: None,
        _read_truth,
        tries=10_000,
    ),
)
SCENARIOS = as_scenarios(__name__, TARGETS)
