"""CIFAR-10 as its publisher ships it, read as the image folder that it would make: ``train/<class>/<number>.ppm``.

Three shapes are known, each as the archive (``.tar.gz``) or unpacked: the binary version, ``data_batch_<i>.bin`` and
``test_batch.bin`` of 3,073 bytes an image, its class and then its red, green and blue planes; and the Python version,
pickled dicts of the same. Nothing is unpickled but plain values and arrays (`ris_core.safe_pickle`).

Source: Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images; https://www.cs.toronto.edu/~kriz/cifar.html.
"""

import contextlib
import dataclasses
import re
import tarfile
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, cast

import numpy as np

from ris_core.errors import CorpusError
from ris_core.safe_pickle import read_pickle
from ris_core.tiling.image_folder import ImageFolder

_SIDE_PX = 32
_PIXEL_BYTES = 3 * _SIDE_PX**2
_ARCHIVES = (".tar.gz", ".tgz", ".tar")
_BATCH = re.compile(r"(data_batch_\d+|test_batch)(\.bin)?$")
_NAMES = {"batches.meta.txt": "binary", "batches.meta": "python"}
_MOST_BYTES = 2**30  # of all batches in an archive, unpacked; the real ones have 186 MB
_CONTENTS = "data_batch_1 ... data_batch_5 and test_batch (with .bin in the binary version) beside batches.meta(.txt)"


@dataclasses.dataclass(frozen=True)
class CifarImages(ImageFolder):
    """The images of CIFAR-10, sorted by name.

    Attributes:
        pixels: (n, 3072) uint8 red, green and blue planes of each, in the order of ``names``.
        files: The files that they come from: the archive, or the unpacked batches.
    """

    pixels: np.ndarray = dataclasses.field(repr=False, compare=False, kw_only=True)
    files: tuple[Path, ...] = dataclasses.field(kw_only=True)

    def part(self, names: Collection[str]) -> "CifarImages":
        """The same with those images alone that have one of these names."""
        pixels = self.pixels[[name in names for name in self.names]]
        return dataclasses.replace(cast(CifarImages, super().part(names)), pixels=pixels)

    @contextlib.contextmanager
    def reading(self) -> Iterator[Callable[[str], bytes]]:
        """A function from an image's name to the bytes of a PPM file of it; safe in threads."""
        places = {name: place for place, name in enumerate(self.names)}
        header = f"P6 {_SIDE_PX} {_SIDE_PX} 255\n".encode()
        yield lambda name: header + self.pixels[places[name]].reshape(3, -1).T.tobytes()


def is_cifar(source: Path) -> bool:
    """Whether a corpus is an archive that could be CIFAR-10's, or a folder that holds its batches."""
    if source.is_file():
        return source.name.lower().endswith(_ARCHIVES)
    return source.is_dir() and bool(_files_of(source))


def list_cifar(source: Path) -> CifarImages:
    """The images of CIFAR-10's archive, or of a folder with its batches or the publisher's folder of them.

    Raises:
        CorpusError: If the archive is damaged or holds something else, or a batch or the list of classes is missing,
            damaged or of another data set.
    """
    contents = _unpacked(source) if source.is_file() else {path.name: path.read_bytes() for path in _files_of(source)}
    meta = next((name for name in _NAMES if name in contents), None)
    batches = sorted(name for name in contents if _BATCH.match(name))
    if meta is None or not batches:
        missing = "batches.meta(.txt), the names of the classes," if meta is None else "a batch"
        raise CorpusError(f"{source}: {missing} is missing; CIFAR-10 consists of {_CONTENTS}. Download it again.")
    read = _read_binary if _NAMES[meta] == "binary" else _read_python
    classes = _classes(contents[meta], f"{source}: {meta}", _NAMES[meta])
    parts = [read(contents[name], f"{source}: {name}", len(classes)) for name in batches]
    splits = np.repeat(["test" if name.startswith("test") else "train" for name in batches], [len(p[0]) for p in parts])
    labels, pixels = (np.concatenate(part) for part in zip(*parts, strict=True))
    names = _names(splits, labels, classes)
    order = np.argsort(names)
    files = (source,) if source.is_file() else tuple(sorted(_files_of(source)))
    sizes = (_PIXEL_BYTES,) * len(names)
    return CifarImages(source, tuple(names[order].tolist()), sizes, pixels=pixels[order], files=files)


def _names(splits: np.ndarray, labels: np.ndarray, classes: list[str]) -> np.ndarray:
    """(n,) str: the name of each image, numbered within its split in the publisher's order."""
    numbers = np.concatenate([np.arange(np.count_nonzero(splits == split)) for split in dict.fromkeys(splits.tolist())])
    return np.array(
        [f"{split}/{classes[label]}/{n:05d}.ppm" for split, label, n in zip(splits, labels, numbers, strict=True)]
    )


def _files_of(folder: Path) -> list[Path]:
    """The batches and the list of classes in a folder, or in the one publisher's folder in it."""
    for place in (folder, *sorted(folder.glob("cifar-10-batches-*"))):
        found = [path for path in place.iterdir() if path.is_file()] if place.is_dir() else []
        names = [path for path in found if _BATCH.match(path.name) or path.name in _NAMES]
        if any(_BATCH.match(path.name) for path in names):
            return sorted(names)
    return []


def _unpacked(source: Path) -> dict[str, bytes]:
    """Contents of the batches and of the list of classes in an archive, by name; nothing is written to disk."""
    contents: dict[str, bytes] = {}
    unpacked = 0
    try:
        with tarfile.open(source) as archive:
            for member in archive:
                name = PurePosixPath(member.name).name
                if not member.isfile() or not (_BATCH.match(name) or name in _NAMES):
                    continue
                unpacked += member.size
                file = archive.extractfile(member)
                if file is None or unpacked > _MOST_BYTES or member.issparse():
                    raise CorpusError(
                        f"{source}: unpacks to {unpacked:,} bytes or more up to {member.name}, far more than CIFAR-10. "
                        "Download it again from its publisher."
                    )
                contents[name] = file.read()
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise CorpusError(f"{source}: is no readable archive ({error}). Copy or download it again.") from error
    if not contents:
        raise CorpusError(
            f"{source}: holds nothing of CIFAR-10 ({_CONTENTS}), the one .tar archive that is read as it is. Unpack it "
            "and give the folder, with one subfolder a class."
        )
    return contents


def _classes(content: bytes, place: str, version: str) -> list[str]:
    """Names of the classes, in the order of their numbers."""
    if version == "binary":
        found: Any = content.split()
    else:
        found = _value(read_pickle(content, place), "label_names", place)
        found = found if isinstance(found, list) else []
    names = [name.decode("ascii", "replace") if isinstance(name, bytes) else str(name) for name in found]
    if not names or len(set(names)) < len(names) or not all(re.fullmatch(r"\w[\w-]*", name) for name in names):
        raise CorpusError(f"{place}: lists the classes {names}; needed are different plain names. Download it again.")
    return names


def _read_binary(content: bytes, place: str, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """(n,) int64 classes and (n, 3072) uint8 planes of one batch."""
    if not content or len(content) % (1 + _PIXEL_BYTES):
        raise CorpusError(
            f"{place}: has {len(content):,} bytes, no multiple of the {1 + _PIXEL_BYTES:,} of an image of CIFAR-10. "
            "Copy or download it again; CIFAR-100 is not read."
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, 1 + _PIXEL_BYTES)
    return _checked(records[:, 0].astype(np.int64), records[:, 1:], place, classes)


def _read_python(content: bytes, place: str, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """The same of a pickled dict."""
    batch = read_pickle(content, place)
    labels, pixels = (_value(batch, key, place) for key in ("labels", "data"))
    fits = isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8 and pixels.shape[1:] == (_PIXEL_BYTES,)
    if not fits or not isinstance(labels, list) or not 0 < len(labels) == len(pixels):
        raise CorpusError(
            f"{place}: data must be (n, {_PIXEL_BYTES}) uint8 beside n labels; found {getattr(pixels, 'shape', None)}. "
            "Copy or download it again; CIFAR-100 is not read."
        )
    if not all(type(label) is int and abs(label) < 2**31 for label in labels):
        raise CorpusError(f"{place}: labels must be whole numbers, 0 to {classes - 1}. Copy or download it again.")
    return _checked(np.array(labels, np.int64), pixels, place, classes)


def _checked(labels: np.ndarray, pixels: np.ndarray, place: str, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Both, if every class has a name."""
    foreign = (labels < 0) | (labels >= classes)
    if foreign.any():
        raise CorpusError(
            f"{place}: image {np.argmax(foreign)} has the class {labels[foreign][0]}; allowed are 0 to {classes - 1}. "
            "Copy or download it again; CIFAR-100 is not read."
        )
    return labels, pixels


def _value(batch: Any, key: str, place: str) -> Any:
    """What a dict, written by Python 2 or 3, holds under a name."""
    for name in (key, key.encode()):
        if isinstance(batch, dict) and name in batch:
            return batch[name]
    raise CorpusError(f"{place}: is no dict with the key {key!r}. Copy or download it again; CIFAR-100 is not read.")
