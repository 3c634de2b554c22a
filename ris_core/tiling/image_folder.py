"""Tiles from an image folder with one subfolder a class, or from a zip of one: every image is a tile."""

import contextlib
import dataclasses
import io
import stat
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ris_core.errors import CorpusError
from ris_core.parallel import in_order
from ris_core.tiling.pixels import empty_values, resize_by_area

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
_BATCH = 64  # images a thread decodes in one go


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

    @contextlib.contextmanager
    def reading(self) -> Iterator[Callable[[str], bytes]]:
        """A function from an image's name to the bytes of its file; safe in threads."""
        if not self.source.is_file():
            yield lambda name: (self.source / name).read_bytes()
            return
        with zipfile.ZipFile(self.source) as archive:
            yield archive.read


@dataclasses.dataclass(frozen=True, eq=False)
class Pictures:
    """Decoded images.

    Attributes:
        pixels: (m, size, size, 3) uint8.
        coverage: (m,) float64.
        corners: (m, 2) int64: row and column of the square that was kept, in the image.
    """

    pixels: np.ndarray
    coverage: np.ndarray
    corners: np.ndarray


def list_images(source: Path) -> ImageFolder:
    """The images below a folder or in a zip file; hidden files and files of other kinds are passed over.

    Raises:
        CorpusError: If there are none, some lie in no class folder, or the zip is damaged or unsafe.
    """
    found = _in_zip(source) if source.is_file() else _in_folder(source)
    found = sorted((name, size) for name, size in found if _is_image(name))
    if not found:
        raise CorpusError(
            f"{source}: contains no image ({', '.join(IMAGE_SUFFIXES)}). An image corpus has one subfolder a class; "
            "GeoTIFFs lie directly in their folder."
        )
    loose = [name for name, _ in found if len(PurePosixPath(name).parts) == 1]
    if loose:
        raise CorpusError(
            f"{source}: {len(loose)} image(s) lie in no subfolder, such as {loose[0]}, so their class is unknown. Put "
            "each into a subfolder that bears its class' name; one subfolder for all will do."
        )
    names, sizes = zip(*found, strict=True)
    return ImageFolder(source, names, sizes)


def _is_image(name: str) -> bool:
    path = PurePosixPath(name)
    is_hidden = any(part.startswith((".", "__MACOSX")) for part in path.parts)
    return not is_hidden and path.suffix.lower() in IMAGE_SUFFIXES


def _in_folder(source: Path) -> list[tuple[str, int]]:
    return [(path.relative_to(source).as_posix(), path.stat().st_size) for path in source.rglob("*") if path.is_file()]


def _in_zip(source: Path) -> list[tuple[str, int]]:
    try:
        with zipfile.ZipFile(source) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError) as error:
        raise CorpusError(f"{source}: is no readable zip file ({error}). Copy or download it again.") from error
    for entry in entries:
        path = PurePosixPath(entry.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in entry.filename or stat.S_ISLNK(entry.external_attr >> 16):
            raise CorpusError(
                f"{source}: contains the unsafe path {entry.filename!r}; only plain paths below the archive's root are "
                "allowed. Pack the folder again, and be wary of where this file came from."
            )
        if entry.flag_bits & 1:
            raise CorpusError(f"{source}: {entry.filename} is encrypted. Unpack it and give the folder instead.")
    return [(entry.filename, entry.file_size) for entry in entries if not entry.is_dir()]


def read_images(images: ImageFolder, rows: np.ndarray, size_px: int, threads: int) -> Iterator[Pictures]:
    """Some images in the order given, each cut to its largest centred square and resized by area.

    Args:
        images: All of them.
        rows: Positions of those wanted.
        size_px: Side of the result; no image may be smaller.
        threads: How many decode.

    Raises:
        CorpusError: If an image is broken, too small, or of a kind that has no 8-bit colours.
    """
    batches = [rows[i : i + _BATCH] for i in range(0, len(rows), _BATCH)]
    with warnings.catch_warnings(), images.reading() as read:
        warnings.simplefilter("error", Image.DecompressionBombWarning)

        def decode(batch: np.ndarray) -> Pictures:
            parts = [_decode(images, images.names[row], read, size_px) for row in batch]
            pixels, coverage, corners = zip(*parts, strict=True)
            return Pictures(np.stack(pixels), np.array(coverage), np.array(corners, np.int64))

        yield from in_order(decode, batches, threads)


def _decode(
    images: ImageFolder, name: str, read: Callable[[str], bytes], size_px: int
) -> tuple[np.ndarray, float, tuple[int, int]]:
    place = f"{images.source}: image {name}"
    try:
        with Image.open(io.BytesIO(read(name))) as opened:
            if opened.mode.startswith(("I", "F")):
                raise CorpusError(f"{place} has {opened.mode} pixels; 8-bit images are needed. Convert it first.")
            image = ImageOps.exif_transpose(opened).convert("RGB")
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise CorpusError(f"{place} is too large ({error}). Cut it up, or give it as a GeoTIFF.") from error
    except _UNDECODABLE as error:
        raise CorpusError(f"{place} cannot be decoded ({error}). Remove or replace it.") from error
    side = min(image.size)
    if side < size_px:
        raise CorpusError(
            f"{place} is {image.width} x {image.height} px, smaller than the tile of {size_px} px; tiles are never "
            f"enlarged. Set tile_px = {side} or less, or remove the image."
        )
    col, row = (image.width - side) // 2, (image.height - side) // 2
    square = np.asarray(image)[row : row + side, col : col + side].transpose(2, 0, 1)
    coverage = 1 - np.count_nonzero(empty_values(square)) / square.size
    return resize_by_area(square, size_px).transpose(1, 2, 0), coverage, (row, col)
