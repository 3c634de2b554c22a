"""What a stage that computes in pieces has on disk: results that appear whole, and rows that others read."""

import os
import platform
import shutil
from pathlib import Path

import numpy as np

from ris_core.artifacts import disk_error
from ris_core.errors import UNREADABLE, ArtifactError

_PREFIX = "shards-"


def shard_folder(out: Path, work: str) -> Path:
    """A folder within ``out`` for the shards of this work; those of other work there are removed.

    Args:
        out: Where the stage puts its result.
        work: What tells the work from any other, in hexadecimal digits.

    Raises:
        ArtifactError: If the disk cannot take it.
    """
    folder = out / f"{_PREFIX}{work[:16]}"
    try:
        clear_shards(out, but=folder)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(folder, error) from error
    return folder


def clear_shards(out: Path, but: Path | None = None) -> None:
    """Remove the shards of all work in ``out``, or of all but one."""
    for folder in out.glob(f"{_PREFIX}*"):
        if folder != but:
            shutil.rmtree(folder)


def save_shard(path: Path, values: np.ndarray) -> None:
    """Write an array so that the file is there whole or not at all, whichever machines write it at the same time.

    Raises:
        ArtifactError: If the disk cannot take it, or its folder is gone.
    """
    unfinished = path.with_name(f".{platform.node()}-{os.getpid()}-{path.name}")
    try:
        with unfinished.open("wb") as file:
            np.save(file, values)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise disk_error(path, error) from error


def has_shard(path: Path, shape: tuple[int, ...], dtype: np.dtype | type) -> bool:
    """Whether the file is there, with an array of this shape and type."""
    try:
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
    except UNREADABLE:
        return False
    return stored.shape == shape and stored.dtype == dtype


def map_rows(path: Path, start: int = 0, stop: int | None = None) -> np.ndarray:
    """Rows of a matrix on disk, memory-mapped; all of them where nothing else is said.

    Raises:
        ArtifactError: If this process cannot read it.
    """
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)[start:stop]
    except UNREADABLE as error:
        raise ArtifactError(
            f"{path}: cannot be read on {platform.node()} ({error}). All workers of a cluster must see the files of "
            "the run by the same paths: choose a --cache on a file system that they share."
        ) from error
