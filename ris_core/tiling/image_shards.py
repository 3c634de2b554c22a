"""Images that distract, in shards as R1M ships them: tar files, zip files or folders, read where they lie.

A tar file is never unpacked: its headers tell where each image's bytes lie, and these are read in place.
"""

import contextlib
import dataclasses
import functools
import hashlib
import os
import tarfile
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import cast

from ris_core.artifacts import file_digest
from ris_core.errors import CorpusError
from ris_core.tiling.image_folder import ImageFolder, is_image, list_images, refuse_member


@dataclasses.dataclass(frozen=True)
class TarImages(ImageFolder):
    """The images of an uncompressed tar file, sorted by name.

    Attributes:
        offsets: Where the bytes of each begin in the file.
    """

    offsets: tuple[int, ...] = ()

    def part(self, names: Collection[str]) -> "TarImages":
        """The same with those images alone that have one of these names."""
        offsets = tuple(at for name, at in zip(self.names, self.offsets, strict=True) if name in names)
        return dataclasses.replace(cast(TarImages, super().part(names)), offsets=offsets)

    @contextlib.contextmanager
    def reading(self) -> Iterator[Callable[[str], bytes]]:
        """A function from an image's name to the bytes of its file; safe in threads."""
        places = {name: place for place, name in enumerate(self.names)}
        with self.source.open("rb") as file:
            number = file.fileno()
            yield lambda name: os.pread(number, self.sizes[places[name]], self.offsets[places[name]])


@dataclasses.dataclass(frozen=True)
class JoinedImages(ImageFolder):
    """Images of a corpus, then those of shards; a name of the latter begins with that of its shard.

    Attributes:
        corpus: The former.
        shards: The latter, by the names of their files or folders.
    """

    corpus: ImageFolder | None = None
    shards: tuple[ImageFolder, ...] = ()

    def part(self, names: Collection[str]) -> "JoinedImages":
        """The same with those images alone that have one of these names."""
        assert self.corpus is not None
        shards = []
        for shard in self.shards:
            prefix = f"{shard.source.name}/"
            wanted = {name.removeprefix(prefix) for name in names if name.startswith(prefix)}
            shards += [shard.part(wanted)] if wanted else []
        part = cast(JoinedImages, super().part(names))
        return dataclasses.replace(part, corpus=self.corpus.part(names), shards=tuple(shards))

    @contextlib.contextmanager
    def reading(self) -> Iterator[Callable[[str], bytes]]:
        """A function from an image's name to the bytes of its file; safe in threads."""
        assert self.corpus is not None
        with contextlib.ExitStack() as stack:
            own = stack.enter_context(self.corpus.reading())
            others = {f"{part.source.name}/": stack.enter_context(part.reading()) for part in self.shards}

            def read(name: str) -> bytes:
                shard, slash, rest = name.partition("/")
                return others[shard + slash](rest) if shard + slash in others else own(name)

            yield read


def join_shards(corpus: ImageFolder, shards: Sequence[Path]) -> JoinedImages:
    """The images of a corpus followed by those of shards.

    Raises:
        CorpusError: If two shards bear one name, or that of a folder of the corpus, or one cannot be read.
    """
    parts = tuple(list_shard(path) for path in shards)
    taken = {name.partition("/")[0] for name in corpus.names}
    for part in parts:
        if part.source.name in taken:
            raise CorpusError(
                f"{part.source}: another shard, or a folder of {corpus.source}, is called {part.source.name}, too. "
                "Rename the shard."
            )
        taken.add(part.source.name)
    names = [f"{part.source.name}/{name}" for part in parts for name in part.names]
    sizes = [size for part in parts for size in part.sizes]
    return JoinedImages(corpus.source, (*corpus.names, *names), (*corpus.sizes, *sizes), corpus, parts)


def list_shard(path: Path) -> ImageFolder:
    """The images of one shard: a tar or zip file, or a folder.

    Raises:
        CorpusError: If it is none of these, damaged, compressed as a whole, or holds no image.
    """
    if path.is_file() and path.suffix.lower() not in (".tar", ".zip"):
        raise CorpusError(
            f"{path}: is no .tar or .zip file and no folder, so no shard of images. A compressed tar file cannot be "
            "read in place: unpack it once with gunzip, which leaves a .tar."
        )
    if path.is_file() and path.suffix.lower() == ".tar":
        return _list_tar(path, path.stat().st_mtime_ns)
    return list_images(path, in_classes=False)


def shard_fingerprint(path: Path) -> str:
    """SHA-256 that identifies a shard: an archive by content, a large one by samples; a folder by names and times."""
    if path.is_file():
        return file_digest(path)
    found = [(name, (path / name).stat()) for name in list_images(path, in_classes=False).names]
    lines = [f"{name}\0{facts.st_size}\0{facts.st_mtime_ns}" for name, facts in found]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@functools.lru_cache(maxsize=1024)
def _list_tar(path: Path, changed_ns: int) -> TarImages:
    """Its headers, read once as long as the file does not change."""
    try:
        with tarfile.open(path, "r:") as archive, path.open("rb") as file:
            members = {m.name.removeprefix("./"): m for m in archive if m.isreg()}  # of one name the last counts
            file.seek(archive.offset)
            is_whole = file.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)  # tarfile takes any end for the end
    except (tarfile.TarError, OSError, EOFError) as error:
        raise CorpusError(f"{path}: is no readable, uncompressed tar file ({error}). Copy it again.") from error
    for name, member in members.items():
        refuse_member(path, name, member.size)
    # The bytes of a sparse file do not lie in one piece.
    found = sorted((name, m.size, m.offset_data) for name, m in members.items() if is_image(name) and not m.issparse())
    if not found:
        raise CorpusError(f"{path}: holds no image. Name shards of images.")
    if not is_whole:
        raise CorpusError(f"{path}: is cut off: after its last file the mark of the end is missing. Copy it again.")
    names, sizes, offsets = zip(*found, strict=True)
    return TarImages(path, names, sizes, offsets)
