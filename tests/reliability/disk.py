"""A disk that is full, too small, read-only or gone while a run writes, and artifacts that rot in its cache.

Small disks are file systems in memory, which root may mount; elsewhere these scenarios are skipped.
"""

import contextlib
import errno
import functools
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bench.results import read_result
from ris_core.artifacts import damage
from tests.reliability.kills import draw_strike, finish
from tests.reliability.launcher import Launched, launch
from tests.reliability.scenario import RECOVERED, REFUSED, Outcome, Scenario, expect
from tests.reliability.strike import GROUP
from tests.reliability.tiny import CACHE, check_equal, lay_out, reference, run_arguments, run_folder

REFUSAL = 2  # exit status
_ROOM = 2**20  # beside what the tiny suite and its run take
_BLOCK = 4096
_PAGE_BYTES = 2**22  # a report with its figures
_CODES = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES)
_MOST_OPERATIONS = 120  # of a run in its folders, about
_FILE_BYTES = 2**17  # the longest file of a tiny run, about


def full_disk(folder: Path, rng: np.random.Generator) -> Outcome:
    """A run on a disk with a random number of bytes left, which then has room again."""
    undisturbed = reference().folder
    needed = used_bytes(undisturbed)
    with small_disk(folder, needed + _ROOM) as disk:
        lay_out(disk)
        fill(disk, int(rng.integers(needed)))
        done = accept(launch(run_arguments(disk), disk, log="../log"), disk)
        (disk / "ballast").unlink()
        finish(disk, undisturbed)
        return Outcome(RECOVERED if done else REFUSED)


def full_disk_for_report(folder: Path, rng: np.random.Generator, command: str) -> Outcome:
    """A run is there; its report, or what is made of it, finds a random number of bytes left, and then room again."""
    undisturbed = reference(draws=True).folder
    with small_disk(folder, 2 * used_bytes(undisturbed) + 2 * _PAGE_BYTES) as disk:
        shutil.copytree(undisturbed, disk, dirs_exist_ok=True)
        expected = pages_of(run_folder(disk))
        arguments = [command, f"reports/tiny/{run_folder(disk).name}", *(["out"] if command != "report" else [])]
        fill(disk, int(rng.integers(_PAGE_BYTES)))
        done = accept(launch(arguments, disk, log="../log", draws=True), disk)
        (disk / "ballast").unlink()
        shutil.rmtree(disk / "out", ignore_errors=True)
        again = launch(arguments, disk, log="../log", draws=True)
        expect(again.wait() == 0, f"{command} fails with room again: {again.said()[-500:]}")
        expect(pages_of(run_folder(disk)) == expected, "other tables than before")
        return Outcome(RECOVERED if done else REFUSED)


def failing_disk(folder: Path, rng: np.random.Generator) -> Outcome:
    """From a random file operation of a run on, its folders refuse all, by one of the errors that disks give."""
    undisturbed = reference().folder
    lay_out(folder)
    done = attempt(folder, "failing_disk", int(rng.integers(1, _MOST_OPERATIONS)), int(rng.choice(_CODES)))
    finish(folder, undisturbed)
    return Outcome(RECOVERED if done else REFUSED)


def small_files(folder: Path, rng: np.random.Generator) -> Outcome:
    """No file of a run may exceed a random length, so that long ones are cut in the middle of a write."""
    undisturbed = reference().folder
    lay_out(folder)
    done = attempt(folder, "small_files", int(rng.integers(_BLOCK, _FILE_BYTES)))
    finish(folder, undisturbed)
    return Outcome(RECOVERED if done else REFUSED)


def read_only_disk(folder: Path, rng: np.random.Generator) -> Outcome:
    """A run is killed at a random moment, finds its disk read-only when it goes on, and then not."""
    undisturbed = reference().folder
    with small_disk(folder, used_bytes(undisturbed) + _ROOM) as disk:
        lay_out(disk)
        run = launch(run_arguments(disk), disk, draw_strike("", rng, False, 9, GROUP), "../log")
        run.wait()
        run.wait_until_nobody_is_left()
        mount("-o", "remount,ro", disk)
        done = accept(launch(run_arguments(disk), disk, log="../log"), disk)
        expect(not done, "a run goes on where nothing can be written")
        mount("-o", "remount,rw", disk)
        finish(disk, undisturbed)
        return Outcome(REFUSED)


def lost_cache(folder: Path, rng: np.random.Generator) -> Outcome:
    """The cache is gone from a random moment on, while cells are measured."""
    undisturbed = reference().folder
    lay_out(folder)
    done = attempt(folder, "lost_cache", int(rng.integers(1, 20)), r"cells/")
    finish(folder, undisturbed)
    shutil.rmtree(folder / f"{CACHE}.gone", ignore_errors=True)
    return Outcome(RECOVERED if done else REFUSED)


def rotten_artifact(folder: Path, rng: np.random.Generator) -> Outcome:
    """A file of an artifact is gone, cut short, or has a bit turned since the last run."""
    undisturbed = reference().folder
    lay_out(folder)
    shutil.copytree(undisturbed / CACHE, folder / CACHE)
    files = [path for path in sorted((folder / CACHE).glob("*-*/*")) if path.is_file()]
    spoil(files[int(rng.integers(len(files)))], rng)
    run = launch(run_arguments(folder), folder)
    expect(run.wait() == 0, f"a damaged artifact ends the run: {run.said()[-500:]}")
    expect("damaged artifact is made again" in run.said(), "damage is not told")
    check_equal(folder, undisturbed)
    return Outcome(RECOVERED)


def spoil(path: Path, rng: np.random.Generator) -> None:
    """Remove a file, cut it short, or turn one of its bits."""
    content, way = bytearray(path.read_bytes()), rng.integers(3)
    if way == 0:
        path.unlink()
        return
    place = int(rng.integers(len(content)))
    if way == 1:
        content = content[:place]
    else:
        content[place] ^= 1 << int(rng.integers(8))
    path.write_bytes(content)


def attempt(folder: Path, *meddling: object) -> bool:
    """One run of the tiny suite under a fault, from its start; see `accept`."""
    return accept(launch(run_arguments(folder), folder, meddling=meddling), folder)


def accept(run: Launched, folder: Path) -> bool:
    """Whether a run does its work all the same; else it has told of the fault, and kept what was measured.

    Raises:
        Failure: If it crashes, shows a traceback, says nothing, or leaves half an artifact or row.
    """
    status = run.wait()
    run.wait_until_nobody_is_left()
    said = run.said()
    expect(status in (0, REFUSAL), f"ends with status {status}: {said[-1000:]}")
    expect("Traceback" not in said and "INTERNALERROR" not in said, f"shows a traceback: {said[-1500:]}")
    expect(status == 0 or bool(said.strip()), "says nothing")
    for artifact in (folder / CACHE).glob("[!.]*-*"):
        fault = damage(artifact)
        expect(fault is None, f"half an artifact: {fault}")
    for row in (folder / "reports").glob("*/*/cells/*.json"):
        read_result(row)
    return status == 0


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """A folder that is a disk of its own, of so many bytes."""
    disk = folder / "disk"
    disk.mkdir()
    try:
        mount("-t", "tmpfs", "-o", f"size={-(-size // _BLOCK) * _BLOCK}", "tmpfs", disk)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a small disk cannot be mounted here: {error}")  # only root may, and not in every container
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def mount(*arguments: object) -> None:
    """`mount` with these arguments."""
    subprocess.run(["mount", *map(str, arguments)], check=True, capture_output=True)


def fill(disk: Path, left: int) -> None:
    """Leave about so many bytes, in a file ``ballast``."""
    with (disk / "ballast").open("wb") as file:
        file.write(bytes(max(0, shutil.disk_usage(disk).free - left)))


def used_bytes(folder: Path) -> int:
    """What the files of a folder take, in whole blocks."""
    return sum(-(-path.stat().st_size // _BLOCK) * _BLOCK + _BLOCK for path in folder.rglob("*") if path.is_file())


def pages_of(run: Path) -> dict[str, bytes]:
    """The tables of a run, as they are on disk."""
    return {path.name: path.read_bytes() for path in (run / "tables").glob("*.csv")}


SCENARIOS = (
    Scenario(
        "full_disk",
        "disk",
        "The disk of cache and runs is full after a random number of bytes; later there is room again.",
        "Exit status 2 and a message; then `--resume` ends with the tables of an undisturbed run.",
        full_disk,
        tries=60,
        tries_in_tests=0,
    ),
    *(
        Scenario(
            f"full_disk_for_{command}",
            "disk",
            f"`{command}` of a finished run finds a disk that is full after a random number of bytes.",
            "Exit status 2 and a message; once there is room, the same command does all of it.",
            functools.partial(full_disk_for_report, command=command),
            tries=10,
            tries_in_tests=0,
        )
        for command in ("report", "publish", "export")
    ),
    Scenario(
        "failing_disk",
        "disk",
        "From a random file operation on, cache and runs refuse all: no space, quota, input/output error, read-only, "
        "no permission.",
        "Exit status 2 and a message; then `--resume` ends with the tables of an undisturbed run.",
        failing_disk,
        tries=60,
        tries_in_tests=0,
    ),
    Scenario(
        "small_files",
        "disk",
        "No file may be longer than a random limit, so that a write is cut in its middle.",
        "Exit status 2 and a message; then `--resume` ends with the tables of an undisturbed run.",
        small_files,
        tries=30,
        tries_in_tests=0,
    ),
    Scenario(
        "read_only_disk",
        "disk",
        "A killed run finds its disk read-only when it goes on.",
        "Exit status 2 and a message; writable again, `--resume` ends with the tables of an undisturbed run.",
        read_only_disk,
        tries=20,
        tries_in_tests=0,
    ),
    Scenario(
        "lost_cache",
        "disk",
        "The cache is renamed while cells are measured.",
        "The next cell that needs it ends the run with a message; `--resume` makes the artifacts again.",
        lost_cache,
        tries=20,
        tries_in_tests=0,
    ),
    Scenario(
        "rotten_artifact",
        "disk",
        "A file of a random artifact is removed, cut short or has a bit turned between two runs.",
        "The next run says so, and makes that artifact again.",
        rotten_artifact,
        tries=40,
        tries_in_tests=0,
    ),
)
