"""What a corpus consists of: which files, of which kind, and their identity."""

import hashlib
import zipfile
from pathlib import Path

import numpy as np
from rasterio.windows import Window

from ris_core.artifacts import file_digest
from ris_core.errors import CorpusError
from ris_core.tiling.cifar import CifarImages, is_cifar, list_cifar
from ris_core.tiling.image_folder import IMAGE_SUFFIXES, ImageFolder, list_images
from ris_core.tiling.raster_facts import facts_of, open_raster, read_values
from ris_core.tiling.tile_spec import TileSpec
from ris_core.tiling.virtual_path import as_path, is_virtual

RASTER_SUFFIXES = (".tif", ".tiff", ".gtiff", ".jp2")
_PACKED_SUFFIXES = (".rar", ".7z")  # as NWPU-RESISC45 is shipped
_SIDECAR_SUFFIXES = (".aux.xml", ".msk", ".ovr")
_BLOCKS_LOOKED_AT = 4  # of a raster that GDAL fetches


def find_corpus(source: Path) -> list[Path] | ImageFolder:
    """The rasters of a corpus, sorted by name, or its images. A path of GDAL's virtual file systems is one raster.

    CIFAR-10 in its publisher's formats, archive or folder, counts as images.

    Raises:
        CorpusError: If there is nothing there, or both.
    """
    if is_virtual(source):
        return [source]
    if is_cifar(source):
        return list_cifar(source)
    if source.is_file() and source.suffix.lower() in _PACKED_SUFFIXES:
        raise CorpusError(
            f"{source}: {source.suffix} archives cannot be read. Unpack it and give the folder, with one subfolder a "
            "class, or pack that as a zip file."
        )
    if source.is_file():
        return list_images(source) if zipfile.is_zipfile(source) or source.suffix.lower() == ".zip" else [source]
    if not source.is_dir():
        raise CorpusError(
            f"{source}: does not exist; a raster file, a folder of rasters, an image folder with one subfolder a "
            "class, a zip of one, CIFAR-10's archive, or a file of vectors is needed. Check corpus.source."
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

    Rasters, archives and CIFAR-10's batches count by name, size and content (of 64 samples where they exceed 64 MiB),
    with their ``.msk``, ``.ovr`` and ``.aux.xml``; images of a folder by name, size and time of change. Any other
    file (labels, a land-cover raster) counts by content. A raster that only GDAL can open counts by its address, what
    its header says, and place, size and pixels of four of its blocks: it is not fetched whole for that.

    Raises:
        CorpusError: If the corpus is missing, mixed or empty.
        RasterError: If a raster that only GDAL can open cannot be read.
    """
    source = as_path(source)
    digest = hashlib.sha256()
    if is_virtual(source):
        digest.update(_look_at(source))
        return digest.hexdigest()
    corpus = [source] if source.is_file() else find_corpus(source)
    if isinstance(corpus, CifarImages):
        corpus = list(corpus.files)
    if isinstance(corpus, ImageFolder):
        for name, size in zip(corpus.names, corpus.sizes, strict=True):
            digest.update(f"{name}\0{size}\0{(source / name).stat().st_mtime_ns}\n".encode())
        return digest.hexdigest()
    for path in corpus:
        for part in [path, *(path.with_name(path.name + suffix) for suffix in _SIDECAR_SUFFIXES)]:
            if part.is_file():
                digest.update(f"{part.name}\0{file_digest(part)}\n".encode())
    return digest.hexdigest()


def corpus_stamp(source: Path, corpus: list[Path] | ImageFolder, spec: TileSpec) -> str:
    """SHA-256 of what is to be cut and how, by names, sizes and times: whether tiles cut so far may be kept.

    Unlike a `corpus_fingerprint` it takes no time, and changes when the same files are copied again. A raster on a
    server counts by its address alone.
    """
    digest = hashlib.sha256(f"{source}\0{spec!r}\0".encode())
    if isinstance(corpus, ImageFolder):
        files = [source / name for name in corpus.names] if source.is_dir() else [source]
        digest.update(repr((corpus.names, corpus.sizes)).encode())
    else:
        files = list(corpus)
    for path in [*files, *filter(None, (spec.labels, spec.classes, spec.ground_truth)), *spec.distractors]:
        try:
            facts = Path(path).stat()
        except OSError:  # on a server, or gone
            facts = None
        digest.update(f"{path}\0{facts and (facts.st_size, facts.st_mtime_ns)}\0".encode())
    return digest.hexdigest()


def _look_at(path: Path) -> bytes:
    """What tells a raster from another one at the same address."""
    with open_raster(path) as dataset:
        facts = facts_of(dataset, path)
        parts = [repr(facts), repr(dataset.tags())]
        height, width = facts.block_px
        n_cols = -(-facts.width_px // width)
        for place in np.linspace(0, facts.blocks - 1, _BLOCKS_LOOKED_AT).astype(int).tolist():
            row, col = divmod(place, n_cols)
            for item in ("BLOCK_OFFSET", "BLOCK_SIZE"):
                parts.append(str(dataset.get_tag_item(f"{item}_{col}_{row}", "TIFF", bidx=1)))
            window = Window(
                col * width,
                row * height,
                min(width, facts.width_px - col * width),
                min(height, facts.height_px - row * height),
            )
            parts.append(hashlib.sha256(read_values(dataset, (1,), window=window).tobytes()).hexdigest())
    return "\0".join(parts).encode()
