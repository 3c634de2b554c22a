import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from bench.measuring import process_memory
from bench.measuring.process_memory import MemoryReading, read_memory, reset_peak

MIB = 2**20
SIZE = 64 * MIB  # above what malloc keeps: freeing it gives it back at once
TOLERANCE = 8 * MIB  # what else the interpreter and its threads may do meanwhile

Alone = Callable[..., None]

on_linux = pytest.mark.skipif(not process_memory._STATUS.is_file(), reason="the kernel shows no /proc/self/status")


@pytest.fixture(scope="module")
def alone() -> Iterator[Alone]:
    """Runs a function in a process where no other test has left garbage, whose collection would change the memory."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        yield lambda function, *arguments: pool.submit(function, *arguments).result()


def known(value: int | None) -> int:
    assert value is not None
    return value


def memory_grows_by_what_is_allocated_and_touched() -> None:
    before = read_memory()
    held = np.ones(SIZE, np.uint8)
    after = read_memory()
    assert after.rss_bytes - before.rss_bytes == pytest.approx(SIZE, abs=TOLERANCE)
    assert known(after.anonymous_bytes) - known(before.anonymous_bytes) == pytest.approx(SIZE, abs=TOLERANCE)
    assert known(after.peak_rss_bytes) >= after.rss_bytes
    assert held[-1] == 1


@on_linux
def test_memory_grows_by_what_is_allocated_and_touched(alone: Alone) -> None:
    alone(memory_grows_by_what_is_allocated_and_touched)


def memory_that_is_not_touched_is_not_resident() -> None:
    before = read_memory()
    held = np.empty(SIZE, np.uint8)
    after = read_memory()
    assert abs(after.rss_bytes - before.rss_bytes) < TOLERANCE
    assert held.nbytes == SIZE


@on_linux
def test_memory_that_is_not_touched_is_not_resident(alone: Alone) -> None:
    alone(memory_that_is_not_touched_is_not_resident)


def pages_of_a_file_are_resident_but_not_anonymous(tmp_path: Path) -> None:
    path = tmp_path / "vectors.bin"
    np.ones(SIZE, np.uint8).tofile(path)
    before = read_memory()
    mapped = np.memmap(path, np.uint8, "r")
    assert int(mapped[:: 2**12].sum()) == SIZE // 2**12
    after = read_memory()
    assert after.rss_bytes - before.rss_bytes == pytest.approx(SIZE, abs=TOLERANCE)
    assert abs(known(after.anonymous_bytes) - known(before.anonymous_bytes)) < TOLERANCE


@on_linux
def test_pages_of_a_file_are_resident_but_not_anonymous(alone: Alone, tmp_path: Path) -> None:
    alone(pages_of_a_file_are_resident_but_not_anonymous, tmp_path)


def peak_outlives_what_caused_it_until_it_is_reset() -> None:
    assert reset_peak()
    before = read_memory()
    np.ones(SIZE, np.uint8)
    high = read_memory()
    assert known(high.peak_rss_bytes) - before.rss_bytes == pytest.approx(SIZE, abs=TOLERANCE)
    assert abs(high.rss_bytes - before.rss_bytes) < TOLERANCE
    assert reset_peak()
    assert known(read_memory().peak_rss_bytes) - high.rss_bytes < TOLERANCE


@on_linux
def test_peak_outlives_what_caused_it_until_it_is_reset(alone: Alone) -> None:
    if not reset_peak():
        # A container may mount /proc read-only; the harness then leaves the peak empty.
        pytest.skip("/proc/self/clear_refs cannot be written here")
    alone(peak_outlives_what_caused_it_until_it_is_reset)


def test_readings_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status, rollup = tmp_path / "status", tmp_path / "rollup"
    status.write_text("Name:\tpython\nVmHWM:\t  300 kB\nVmRSS:\t  200 kB\nRssAnon:\t 100 kB\nThreads:\t1\n")
    monkeypatch.setattr(process_memory, "_STATUS", status)
    monkeypatch.setattr(process_memory, "_ROLLUP", rollup)
    assert read_memory() == MemoryReading(200 * 1024, 300 * 1024, 100 * 1024)
    rollup.write_text("5640cb291000-7ffefdd5e000 ---p 00000000 00:00 0 [rollup]\nRss: 310 kB\nAnonymous: 90 kB\n")
    assert read_memory() == MemoryReading(310 * 1024, 310 * 1024, 90 * 1024)  # counted, and no peak below it


def test_system_without_proc_tells_resident_memory_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_STATUS", "_ROLLUP"):
        monkeypatch.setattr(process_memory, name, tmp_path / "none")
    monkeypatch.setattr(process_memory, "_CLEAR", tmp_path / "no folder" / "none")
    reading = read_memory()
    assert reading.rss_bytes > MIB
    assert (reading.peak_rss_bytes, reading.anonymous_bytes) == (None, None)
    assert reset_peak() is False
