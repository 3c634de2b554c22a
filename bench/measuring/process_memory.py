"""What one process holds in memory: readings for a process of its own that nobody times.

Anonymous pages are what a program allocates. Pages of files that it maps count to its resident memory as well, but the
system can drop them at any time, so an index' growth is read from the anonymous ones.

Source: Linux' Documentation/filesystems/proc.rst; psutil elsewhere.
"""

import dataclasses
from pathlib import Path

import psutil

_STATUS, _ROLLUP, _CLEAR = Path("/proc/self/status"), Path("/proc/self/smaps_rollup"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # the command that lowers the high-water mark to what is resident now


@dataclasses.dataclass(frozen=True)
class MemoryReading:
    """Memory of this process at one moment; swapped pages are in none of the numbers.

    Attributes:
        rss_bytes: Resident memory: anonymous, shared and file-backed pages.
        peak_rss_bytes: Most resident memory since the process began or `reset_peak`; None where it cannot be told.
        anonymous_bytes: Resident memory that no file backs; None where it cannot be told.
    """

    rss_bytes: int
    peak_rss_bytes: int | None
    anonymous_bytes: int | None


def read_memory() -> MemoryReading:
    """The memory of this process now.

    Linux counts resident pages in batches, by hundreds of kilobytes on two cores and by megabytes on many; the table of
    mappings (``smaps_rollup``) is counted exactly and is preferred. The peak has the coarse counter alone.
    """
    counted = {**_kibibytes(_STATUS), **_kibibytes(_ROLLUP)}
    if "VmRSS" not in counted:
        return MemoryReading(int(psutil.Process().memory_info().rss), None, None)
    rss = counted.get("Rss", counted["VmRSS"])
    peak, anonymous = counted.get("VmHWM"), counted.get("Anonymous", counted.get("RssAnon"))
    return MemoryReading(rss, None if peak is None else max(peak, rss), anonymous)


def reset_peak() -> bool:
    """Let the peak begin anew from what is resident now.

    Returns:
        Whether the system can do that: Linux can, where ``/proc`` may be written to.
    """
    try:
        _CLEAR.write_text(_RESET_PEAK, encoding="ascii")
    except OSError:
        return False
    return True


def _kibibytes(path: Path) -> dict[str, int]:
    """Bytes of each line ``Name: number kB``; nothing where there is no such file."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    words = [line.split() for line in lines if line.endswith(" kB")]
    return {name.rstrip(":"): int(number) * 1024 for name, number, _ in words}
