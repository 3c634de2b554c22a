"""The loop of the soak: ``python -m tests.reliability.soak_loop FOLDER MINUTES RUNS``.

Every process that measures imports this module again, as it imports the main module of whatever started it: what is
heavy is imported in the functions.
"""

import contextlib
import dataclasses
import gc
import json
import os
import re
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

_MIB = 2**20
_SHARED = re.compile(r"/dev/shm/\S+")


@dataclasses.dataclass(frozen=True)
class Reading:
    """What a process holds after a run, its garbage collected.

    Attributes:
        memory_mib: Resident memory of its own.
        handles: Open files and sockets.
        threads: Of Python.
        processes: Its children.
        shared: Entries of ``/dev/shm`` made since its start that no process of others maps.
        temporary: Entries of the folder of temporary files, which is its own.
        cache_bytes: Size of all files of the cache.
        cache_files: Their number.
    """

    memory_mib: float
    handles: int
    threads: int
    processes: int
    shared: int
    temporary: int = 0
    cache_bytes: int = 0
    cache_files: int = 0


def read(cache: Path) -> Reading:
    """What this process holds now."""
    import psutil

    gc.collect()
    process = psutil.Process()
    family = [process, *process.children(recursive=True)]
    files = [path for path in cache.rglob("*") if path.is_file()]
    return Reading(
        process.memory_full_info().uss / _MIB,
        process.num_fds(),
        threading.active_count(),
        len(family) - 1,
        len(_shared(process.create_time(), {each.pid for each in family})),
        len(list(Path(tempfile.gettempdir()).iterdir())),
        sum(path.stat().st_size for path in files),
        len(files),
    )


def _shared(since_s: float, family: set[int]) -> set[str]:
    used = set()
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with contextlib.suppress(OSError):  # gone meanwhile, or not ours to read
            used |= set() if int(maps.parent.name) in family else set(_SHARED.findall(maps.read_text()))
    found = set()
    for path in Path("/dev/shm").glob("*"):
        with contextlib.suppress(OSError):  # gone meanwhile
            found |= {str(path)} if path.stat().st_mtime >= since_s else set()
    return found - used


def loop(folder: Path, minutes: float, runs: int) -> None:
    """Run the tiny suite again and again, for so long and so often at least; readings go to ``readings.jsonl``.

    Every second run finds an empty cache, so that all stages are soaked, and all draw their report.
    """
    from bench.running.run_suite import RunOptions, run_suite
    from tests.reliability.tiny import CACHE, lay_out, run_folder

    os.chdir(lay_out(folder))
    deadline, cache = time.monotonic() + 60 * minutes, Path(CACHE)
    number = 0
    while number < runs or time.monotonic() < deadline:
        if number % 2 == 0:
            shutil.rmtree(cache, ignore_errors=True)
        if run_suite(RunOptions("tiny.toml", cache=cache, run_id=str(number))):
            raise SystemExit(f"run {number} fails")
        shutil.rmtree(run_folder(folder, str(number)))
        with (folder / "readings.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(dataclasses.asdict(read(cache))) + "\n")
        number += 1


if __name__ == "__main__":
    loop(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
