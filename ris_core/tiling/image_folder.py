"""Tiles from an image folder with one subfolder a class, or from a zip of one: every image is a tile."""

import contextlib
import dataclasses
import io
import stat
import warnings
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ris_core.errors import CorpusError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm")
_UNDECODABLE = (  # what Pillow and zipfile raise on damaged input
    UnidentifiedImageError,
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
)
_MOST_BYTES = 2**30  # of an image's file in an archive, unpacked; it is read whole
_NAMED = 12  # folders that an error lists


@dataclasses.dataclass(frozen=True)
class ImageFolder:
    """The images of a corpus, sorted by name.

    Attributes:
        source: The folder or the zip file.
        names: Relative to it, with ``/``: ``train/water/0001.jpg``.
        sizes: Bytes of each, as stored.
    """

    source: Path
    names: tuple[str, ...]
    sizes: tuple[int, ...]

    @property
    def labels(self) -> list[str]:
        """The class of each image: the folder that it lies in."""
        return [PurePosixPath(name).parent.name for name in self.names]

    def below(self, folder: str) -> np.ndarray:
        """(n,) bool: which images lie below a folder of this name, at whatever depth; ``a/b`` names one within another.

        Raises:
            CorpusError: If none does.
        """
        found = np.array([lies_below(name, folder) for name in self.names])
        if not found.any():
            known = sorted({part for name in self.names for part in PurePosixPath(name).parent.parts})
            raise CorpusError(
                f"{self.source}: no image lies in a folder {folder!r}; its folders are {', '.join(known[:_NAMED])}"
                f"{', ...' if len(known) > _NAMED else ''}. Name one of them."
            )
        return found

    def part(self, names: Collection[str]) -> "ImageFolder":
        """The same with those images alone that have one of these names; kinds that know more of each override this."""
        rows = [row for row, name in enumerate(self.names) if name in names]
        return dataclasses.replace(
            self, names=tuple(self.names[row] for row in rows), sizes=tuple(self.sizes[row] for row in rows)
        )

    @contextlib.contextmanager
    def reading(self) -> Iterator[Callable[[str], bytes]]:
        """A function from an image's name to the bytes of its file; safe in threads."""
        if not self.source.is_file():
            yield lambda name: (self.source / name).read_bytes()
            return
        with zipfile.ZipFile(self.source) as archive:
            yield archive.read


def list_images(source: Path, *, in_classes: bool = True) -> ImageFolder:
    """The images below a folder or in a zip file; hidden files and files of other kinds are passed over.

    Args:
        source: The folder or file.
        in_classes: Whether each must lie in a folder, which names its class.

    Raises:
        CorpusError: If there are none, some lie in no class folder, or the zip is damaged or unsafe.
    """
    found = _in_zip(source) if source.is_file() else _in_folder(source)
    found = sorted((name, size) for name, size in found if is_image(name))
    if not found:
        raise CorpusError(
            f"{source}: contains no image ({', '.join(IMAGE_SUFFIXES)}). An image corpus has one subfolder a class; "
            "GeoTIFFs lie directly in their folder."
        )
    loose = [name for name, _ in found if len(PurePosixPath(name).parts) == 1]
    if loose and in_classes:
        raise CorpusError(
            f"{source}: {len(loose)} image(s) lie in no subfolder, such as {loose[0]}, so their class is unknown. Put "
            "each into a subfolder that bears its class' name; one subfolder for all will do."
        )
    names, sizes = zip(*found, strict=True)
    return ImageFolder(source, names, sizes)


def lies_below(name: str, folder: str) -> bool:
    """Whether an image lies in a folder of this name, or further down: ``test/water/1.jpg`` below ``test``."""
    return f"/{PurePosixPath(folder)}/" in f"/{PurePosixPath(name).parent}/"


def box_in(box: Sequence[float], width: int, height: int, place: str) -> tuple[int, int, int, int]:
    """A box in whole pixels, as an image of this size has it; what it juts out by rounding is cut off.

    Raises:
        CorpusError: If it lies outside of the image by a pixel or more.
    """
    left, top, right, bottom = (round(side) for side in box)
    inside = max(0, left), max(0, top), min(width, right), min(height, bottom)
    jut = max(-box[0], -box[1], box[2] - width, box[3] - height)
    if jut >= 1 or not (inside[0] < inside[2] and inside[1] < inside[3]):
        raise CorpusError(
            f"{place}: its box {list(box)} (x1, y1, x2, y2) lies outside of its image of {width} x {height} px "
            "(width x height). Correct the box, or take the image that it was drawn on."
        )
    return inside


def is_image(name: str) -> bool:
    """Whether a file's name is that of an image, and not hidden."""
    path = PurePosixPath(name)
    is_hidden = any(part.startswith((".", "__MACOSX")) for part in path.parts)
    return not is_hidden and path.suffix.lower() in IMAGE_SUFFIXES


def _in_folder(source: Path) -> list[tuple[str, int]]:
    return [(path.relative_to(source).as_posix(), path.stat().st_size) for path in source.rglob("*") if path.is_file()]


def _in_zip(source: Path) -> list[tuple[str, int]]:
    try:
        with zipfile.ZipFile(source) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, OSError) as error:
        raise CorpusError(f"{source}: is no readable zip file ({error}). Copy or download it again.") from error
    for entry in entries:
        refuse_member(source, entry.filename, entry.file_size, is_link=stat.S_ISLNK(entry.external_attr >> 16))
        if entry.flag_bits & 1:
            raise CorpusError(f"{source}: {entry.filename} is encrypted. Unpack it and give the folder instead.")
    return [(entry.filename, entry.file_size) for entry in entries if not entry.is_dir()]


def refuse_member(source: Path, name: str, size: int, *, is_link: bool = False) -> None:
    """Raise where an archive's file leads out of it, or would fill the memory.

    Raises:
        CorpusError: If the path is not plain, or the file unpacks to more than an image ever has.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in name or is_link:
        raise CorpusError(
            f"{source}: contains the unsafe path {name!r}; only plain paths below the archive's root are "
            "allowed. Pack the folder again, and be wary of where this file came from."
        )
    if is_image(name) and size > _MOST_BYTES:
        raise CorpusError(
            f"{source}: {name} unpacks to {size:,} bytes; a file of an image has at most {_MOST_BYTES:,}. Remove it, "
            "and be wary of where this file came from."
        )


def read_whole(images: ImageFolder, names: Sequence[str]) -> Iterator[np.ndarray]:
    """Some images one after another as they are, (h, w, 3) uint8, turned upright.

    Args:
        images: All of them.
        names: Those wanted.

    Raises:
        CorpusError: If an image is broken, or of a kind that has no 8-bit colours.
    """
    with images.reading() as read:
        for name in names:
            with warnings.catch_warnings():
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                pixels = np.asarray(open_image(images, name, read))
            yield pixels


def open_image(images: ImageFolder, name: str, read: Callable[[str], bytes]) -> Image.Image:
    """An image, decoded, upright and in colours."""
    place = f"{images.source}: image {name}"
    try:
        with Image.open(io.BytesIO(read(name))) as opened:
            if opened.mode.startswith(("I", "F")):
                raise CorpusError(f"{place} has {opened.mode} pixels; 8-bit images are needed. Convert it first.")
            return ImageOps.exif_transpose(opened).convert("RGB")
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise CorpusError(f"{place} is too large ({error}). Cut it up, or give it as a GeoTIFF.") from error
    except _UNDECODABLE as error:
        raise CorpusError(f"{place} cannot be decoded ({error}). Remove or replace it.") from error
