"""Folders on disk that appear whole or not at all.

An artifact is a folder named by its kind and key. It is made in a staging folder beside its final place
and moved there by one rename, so a killed run leaves no half artifact. A stage that can resume finds its
earlier work in the staging folder, whose name is as stable as the key. A lock makes two runs at once do
the work once. Nothing here knows what a stage does.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from ris_core.errors import ArtifactError

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
_WHOLE_HASH_BYTES = 64 * 2**20  # larger files are hashed in samples, so that opening 79 GB of pixels stays instant
_SAMPLE_BYTES = 2**20
_UNFINISHED = re.compile(r"\.(?:(\d+)\..+|.+\.(\d+))")  # see `written_whole` and `write_json`
_SAMPLES = 64


LACKS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EMFILE, errno.ENFILE)  # no fault of the program's


class CorruptArtifactWarning(UserWarning):
    """A cached artifact was damaged and is made again."""


def artifact_key(kind: str, parameters: Mapping[str, Any], parents: Sequence[str] = ()) -> str:
    """Key of an artifact: 16 hexadecimal digits that change with anything that shapes its content.

    Args:
        kind: Name of the artifact's kind, such as ``"tiles"``.
        parameters: JSON-serialisable parameters of the stage.
        parents: Keys of the artifacts that the stage reads.
    """
    text = json.dumps([FORMAT_VERSION, kind, parameters, list(parents)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_digest(path: Path) -> str:
    """SHA-256 of a file's size and content; of 64 evenly spaced mebibytes where it exceeds 64 MiB.

    Raises:
        ArtifactError: If it cannot be read.
    """
    try:
        size = path.stat().st_size
        digest = hashlib.sha256(str(size).encode())
        with path.open("rb") as file:
            if size <= _WHOLE_HASH_BYTES:
                digest.update(file.read())
            else:
                for i in range(_SAMPLES):
                    file.seek(i * (size - _SAMPLE_BYTES) // (_SAMPLES - 1))
                    digest.update(file.read(_SAMPLE_BYTES))
    except OSError as error:
        raise _read_error(path, error) from error
    return digest.hexdigest()


def write_json(path: Path, content: object) -> None:
    """Write JSON so that the file is either the old one or the new one, whole and on disk."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(content, file, indent=1, sort_keys=True, allow_nan=False)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise disk_error(path, error) from error


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A name beside ``path`` to write a file or folder under; what stands there at the end takes its place.

    Raises:
        ArtifactError: If the disk cannot take it; nothing is left then.
    """
    unfinished = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield unfinished
        unfinished.replace(path)
    except OSError as error:
        raise disk_error(path, error) from error
    finally:
        _remove(unfinished)


def drop_unfinished(folder: Path, pattern: str = "**/.*") -> None:
    """Remove what processes that are gone were writing by `write_json` and `written_whole`, where a pattern fits."""
    for path in list(folder.glob(pattern)):
        found = _UNFINISHED.fullmatch(path.name)
        if found and not _is_alive(int(found[1] or found[2])):
            _remove(path)


def _remove(path: Path) -> None:
    """Remove a file or folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            path.unlink()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def new_matrix(path: Path, n: int, d: int) -> np.memmap:
    """A new (n, d) float32 ``.npy`` file, mapped for writing; see `new_array`."""
    return new_array(path, (n, d), np.dtype(np.float32))


def new_array(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> np.memmap:
    """A new ``.npy`` file, mapped for writing, whose room on disk is taken.

    A full disk is told now; when pages are written into a file with holes it would kill the process (SIGBUS).

    Raises:
        ArtifactError: If the disk cannot take it; no file is left then.
    """
    try:
        values = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
        _take_room(path)
    except OSError as error:
        if path.is_file():
            path.unlink()
        raise disk_error(path, error) from error
    return values


def reopen_array(path: Path) -> np.memmap:
    """A ``.npy`` file mapped for more writing, whose room on disk is taken, as by `new_array`.

    Raises:
        ArtifactError: If the disk cannot take it; the file stays as it was.
    """
    try:
        _take_room(path)
        return np.lib.format.open_memmap(path, mode="r+")
    except OSError as error:
        raise disk_error(path, error) from error


def _take_room(path: Path) -> None:
    """Have all blocks of a file on disk: a copy, or an older version's work, may have holes."""
    if hasattr(os, "posix_fallocate"):  # not on macOS
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def disk_error(path: Path, error: OSError) -> ArtifactError:
    """The error for a failed write at ``path``, with what the user can do about it."""
    is_short = error.errno is None and "requested and" in str(error)  # how NumPy tells of a file cut short
    remedy = {
        errno.ENOSPC: "Free some space there, or choose another place with --cache or --reports.",
        errno.EDQUOT: "Free some of your quota, or choose another place with --cache or --reports.",
        errno.EFBIG: "The file system, or `ulimit -f`, allows no larger file: choose another place, or raise it.",
        errno.EACCES: "Give yourself write permission, or choose another place with --cache or --reports.",
        errno.EROFS: "The file system is read-only: choose another place with --cache or --reports.",
        errno.ENOENT: "The folder vanished meanwhile: put it back, or choose another place.",
        errno.EMFILE: "Allow more open files with `ulimit -n 4096`.",
    }.get(errno.ENOSPC if is_short else error.errno or 0, "Check the path and the file system.")
    return ArtifactError(
        f"{path}: cannot be written ({error.strerror or error}). {remedy} Then run again: finished work is kept."
    )


def _read_error(path: object, error: OSError) -> ArtifactError:
    return ArtifactError(
        f"{path}: cannot be read ({error.strerror or error}). Put it back, or check its disk; then run again."
    )


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of an artifact: kind, key, parameters, parents, wall time, files.

    Raises:
        ArtifactError: If there is none, or it is not the JSON object that this version writes.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactError(f"{path}: not a readable manifest ({error}). Delete the folder and run again.") from error
    if not isinstance(manifest, dict) or not _are_recorded(manifest.get("files")):
        raise ArtifactError(f"{path}: not a manifest of this program. Delete the folder and run again.")
    return manifest


def _are_recorded(files: Any) -> bool:
    """Whether these are files as `make_once` records them."""
    return isinstance(files, dict) and all(
        isinstance(recorded, dict) and {"bytes", "sha256"} <= recorded.keys() for recorded in files.values()
    )


def damage(folder: Path) -> str | None:
    """What is wrong with an artifact on disk, or None when every file has its recorded size and hash."""
    try:
        files = read_manifest(folder)["files"]
        for name, recorded in files.items():
            path = folder / name
            if not path.is_file():
                return f"{path} is missing"
            if path.stat().st_size != recorded["bytes"]:
                return f"{path} has {path.stat().st_size} bytes, not {recorded['bytes']}"
            if file_digest(path) != recorded["sha256"]:
                return f"{path} does not have its recorded hash"
    except ArtifactError as error:
        return str(error)
    return None


@contextlib.contextmanager
def exclusive(path: Path, doing: str = "") -> Iterator[None]:
    """Hold the lock file ``path``; say so when another process holds it, and wait.

    Args:
        path: Made if it is not there; it stays. The system frees the lock of a process that dies.
        doing: What whoever holds it does, for the message; empty: making what the file is named after.

    Raises:
        ArtifactError: If the file cannot be made or locked.
    """
    with contextlib.ExitStack() as ending:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = ending.enter_context(path.open("w"))
            _lock(file, doing or f"making {path.stem.lstrip('.')}")
        except OSError as error:
            raise disk_error(path, error) from error
        yield


def _lock(file: TextIO, doing: str) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.stderr.write(f"waiting for another run that is {doing} ...\n")
        fcntl.flock(file, fcntl.LOCK_EX)


def make_once(
    root: Path,
    kind: str,
    parameters: Mapping[str, Any],
    parents: Sequence[str],
    make: Callable[[Path], Mapping[str, Any] | None],
) -> tuple[Path, bool]:
    """Folder of the artifact, made now unless it is there and undamaged.

    Args:
        root: Cache folder.
        kind: Kind of artifact; the folder is ``root/kind-key``.
        parameters: See `artifact_key`.
        parents: See `artifact_key`.
        make: Fills the staging folder that it is given, which may hold the files of an earlier attempt that
            was cut off. What it returns is kept in the manifest under ``"notes"``.

    Returns:
        The folder, and whether it was there already.

    Raises:
        ArtifactError: If the disk cannot take it.
    """
    key = artifact_key(kind, parameters, parents)
    folder = root / f"{kind}-{key}"
    staging = root / f".{kind}-{key}.partial"
    try:
        with exclusive(root / f".{kind}-{key}.lock"):
            if folder.exists():
                fault = damage(folder)
                if fault is None:
                    return folder, True
                warnings.warn(f"damaged artifact is made again: {fault}", CorruptArtifactWarning, stacklevel=2)
                shutil.rmtree(folder)
            staging.mkdir(parents=True, exist_ok=True)
            start = time.perf_counter()
            notes = make(staging)
            _drop_hidden(staging)
            files = sorted(p for p in staging.rglob("*") if p.is_file() and p.name != MANIFEST)
            manifest = {
                "kind": kind,
                "key": key,
                "format": FORMAT_VERSION,
                "parameters": dict(parameters),
                "parents": list(parents),
                "wall_s": time.perf_counter() - start,
                "notes": dict(notes or {}),
                "files": {
                    str(p.relative_to(staging)): {"bytes": p.stat().st_size, "sha256": file_digest(p)} for p in files
                },
            }
            write_json(staging / MANIFEST, json.loads(json.dumps(manifest, default=str)))
            staging.rename(folder)
    except OSError as error:
        raise _stage_error(folder, error) from error
    return folder, False


def _drop_hidden(staging: Path) -> None:
    """Remove what an attempt that was killed left half written: such files have hidden names until they are whole."""
    for path in list(staging.rglob(".*")):
        _remove(path)


def _stage_error(folder: Path, error: OSError) -> ArtifactError:
    """The error for an artifact that was not made: its own disk, or a file elsewhere that was to be read."""
    if isinstance(error.filename, str) and folder.parent.resolve() not in Path(error.filename).resolve().parents:
        return _read_error(error.filename, error)
    return disk_error(folder, error)
