"""What a corpus consists of: which files, of which kind, and their identity."""

import hashlib
import zipfile
from pathlib import Path

from ris_core.artifacts import file_digest
from ris_core.errors import CorpusError
from ris_core.tiling.image_folder import IMAGE_SUFFIXES, ImageFolder, list_images

RASTER_SUFFIXES = (".tif", ".tiff", ".gtiff", ".jp2")
_SIDECAR_SUFFIXES = (".aux.xml", ".msk", ".ovr")


def find_corpus(source: Path) -> list[Path] | ImageFolder:
    """The rasters of a corpus, sorted by name, or its images.

    Raises:
        CorpusError: If there is nothing there, or both.
    """
    if source.is_file():
        return list_images(source) if zipfile.is_zipfile(source) or source.suffix.lower() == ".zip" else [source]
    if not source.is_dir():
        raise CorpusError(
            f"{source}: does not exist; a raster file, a folder of rasters, an image folder with one subfolder a "
            "class, a zip of one, or a file of vectors is needed. Check corpus.source."
        )
    top = sorted(path for path in source.iterdir() if not path.name.startswith("."))
    rasters = [path for path in top if path.is_file() and path.suffix.lower() in RASTER_SUFFIXES]
    if not rasters:
        return list_images(source)
    other = [path for path in top if path not in rasters and _holds_images(path)]
    if other:
        names = ", ".join(path.name for path in other[:3])
        raise CorpusError(
            f"{source}: holds rasters ({rasters[0].name}, ...) beside {names}; a corpus is "
            "either a folder of rasters alone, or an image folder with one subfolder a class. Move one kind away."
        )
    return rasters


def _holds_images(path: Path) -> bool:
    inner = path.rglob("*") if path.is_dir() else [path]
    return any(file.suffix.lower() in IMAGE_SUFFIXES for file in inner)


def corpus_fingerprint(source: Path) -> str:
    """SHA-256 that identifies the input files without reading all of their bytes.

    Rasters and zip files count by name, size and content (of 64 samples where they exceed 64 MiB), with their
    ``.msk``, ``.ovr`` and ``.aux.xml``; images of a folder by name, size and time of change. Any other file (labels,
    a land-cover raster) counts by content.

    Raises:
        CorpusError: If the corpus is missing, mixed or empty.
    """
    source = Path(source)
    digest = hashlib.sha256()
    corpus = [source] if source.is_file() else find_corpus(source)
    if isinstance(corpus, ImageFolder):
        for name, size in zip(corpus.names, corpus.sizes, strict=True):
            digest.update(f"{name}\0{size}\0{(source / name).stat().st_mtime_ns}\n".encode())
        return digest.hexdigest()
    for path in corpus:
        for part in [path, *(path.with_name(path.name + suffix) for suffix in _SIDECAR_SUFFIXES)]:
            if part.is_file():
                digest.update(f"{part.name}\0{file_digest(part)}\n".encode())
    return digest.hexdigest()
