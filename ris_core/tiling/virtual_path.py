"""Names of files that GDAL reaches by its virtual file systems: ``/vsicurl/https://...``, ``/vsis3/bucket/key``."""

import re
from pathlib import Path, PosixPath

_ONE_SLASH = re.compile(r"(^/vsi.*?|=)(https?|ftp):/(?!/)")  # of the address, and of one in its query


class VirtualPath(PosixPath):
    """Such a name as a path: the second slash of ``https://``, which a path drops, is written again.

    No such file is a file to the operating system; only GDAL opens it.
    """

    def __str__(self) -> str:
        return _ONE_SLASH.sub(r"\1\2://", super().__str__())


def is_virtual(path: str | Path) -> bool:
    """Whether only GDAL can open it."""
    return str(path).startswith("/vsi")


def as_path(name: str | Path) -> Path:
    """A path by which the operating system, or else GDAL, finds the file."""
    return VirtualPath(name) if is_virtual(name) else Path(name)
