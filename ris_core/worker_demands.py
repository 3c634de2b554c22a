"""What a worker of a cluster must have, so that a piece of work computed there is what it would be here."""

import contextlib
import fcntl
import functools
import hashlib
import importlib.metadata
import os
import platform
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from ris_core.errors import ClusterError

_PACKAGES = ("numpy", "torch", "timm", "faiss-cpu", "rasterio", "pillow", "pandas", "scipy", "distributed")
_HELD: dict[Path, int] = {}  # descriptors of the marks that this process has made
_PATIENCE_S = 5.0  # a network file system may show a new file that late


@dataclass(frozen=True)
class Demands:
    """What pieces of work ask of the process that computes them.

    Attributes:
        versions: Of Python, packages, and our own source, as ``(name, version)``.
        marks: Files that must be seen, each in a folder that all share.
        start: The working folder, from which relative paths count; None: that of the process.
    """

    versions: tuple[tuple[str, str], ...]
    marks: tuple[Path, ...] = ()
    start: Path | None = None


def versions_here() -> tuple[tuple[str, str], ...]:
    """Versions of what shapes results in this process, and a digest of this package's source."""
    return (
        ("python", platform.python_version()),
        *((name, _version(name)) for name in _PACKAGES),
        ("ris_core's source", _source_digest()),
    )


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


@functools.cache
def _source_digest() -> str:
    root = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def mark(folder: Path) -> Path:
    """A new file in a folder, by whose name others can tell that they see the same folder; for `unmark`.

    It is locked while this process lives, so that others know and remove those of processes that were killed.

    Raises:
        ClusterError: If it cannot be written.
    """
    path = folder.resolve() / f".cluster-{secrets.token_hex(8)}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        drop_dead_marks(path.parent)
        _HELD[path] = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        fcntl.flock(_HELD[path], fcntl.LOCK_EX)
    except OSError as error:
        raise ClusterError(
            f"{folder}: cannot be written ({error.strerror}), and workers know a folder by a file in it. Give yourself "
            "write permission, or choose another place with --cache."
        ) from error
    if path.exists():
        return path
    unmark(path)  # another process took it for one of the dead before it was locked
    return mark(folder)


def unmark(path: Path) -> None:
    """Remove a file that `mark` made."""
    with contextlib.suppress(OSError):  # of a folder that vanished meanwhile
        path.unlink()
    held = _HELD.pop(path, None)
    if held is not None:
        os.close(held)


def drop_dead_marks(folder: Path) -> None:
    """Remove the files of `mark` in a folder that processes left which were killed."""
    for path in folder.glob(".cluster-*"):
        with contextlib.suppress(OSError), path.open("w") as file:  # locked by a process that lives, or gone meanwhile
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


@functools.cache  # a process is asked once for each state of the demands
def unmet(demands: Demands) -> str | None:
    """What this process lacks of the demands, with its remedy; None where it lacks nothing."""
    here = dict(versions_here())
    other = [f"{name} {here.get(name, 'none')} in place of {v}" for name, v in demands.versions if here.get(name) != v]
    if other:
        return f"has {', '.join(other)}. Install the same versions there as here"
    unseen = [path.parent for path in demands.marks if not _appears(path)]
    if demands.start is not None and not os.access(demands.start, os.X_OK):
        return f"does not see {demands.start}. Start the run in a folder on a file system that all machines share"
    if unseen:
        places = ", ".join(map(str, unseen))
        return f"does not see {places}. Choose a folder on a file system that all machines share (--cache)"
    return None


def _appears(path: Path) -> bool:
    """Whether a file is seen, at once or within the patience where its folder is."""
    deadline = time.monotonic() + _PATIENCE_S
    while not os.access(path, os.F_OK):  # which also answers about folders of others
        if not os.access(path.parent, os.X_OK) or time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def meet(demands: Demands) -> None:
    """Nothing, in a process that meets the demands; it then works in their folder.

    Raises:
        ClusterError: In any other.
    """
    lack = unmet(demands)
    if lack is not None:
        raise ClusterError(f"a worker on {platform.node()} {lack}.")
    if demands.start is not None:
        os.chdir(demands.start)
