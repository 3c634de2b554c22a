"""Scenarios tried many times, and what came of it."""

import dataclasses
import re
import shutil
import sys
import time
import traceback
import zlib
from pathlib import Path

import numpy as np
import pytest

from tests.reliability.scenario import RECOVERED, REFUSED, Failure, Scenario

FAILED, SKIPPED = "failed", "skipped"
_FOLDERS = re.compile(r"(?:/[^\s/\"':]+)+/")  # of the machine on which it was tried
_LONGEST = 300


@dataclasses.dataclass(frozen=True)
class Trial:
    """What came of trying one scenario.

    Attributes:
        scenario: Its name.
        tries: How often it was tried; 0 where it cannot be here, as ``note`` says.
        recovered: Tries after which all was done in the end.
        refused: Tries that ended with a clear error.
        failed: Tries that did harm.
        seconds: Of all tries.
        seed: Of their draws.
        date: Day on which they were made.
        failure: What the first failed try did; empty where none failed.
        note: What the last try measured on the way.
    """

    scenario: str
    tries: int
    recovered: int
    refused: int
    failed: int
    seconds: float
    seed: int
    date: str
    failure: str = ""
    note: str = ""


def draw_for(scenario: Scenario, seed: int, number: int) -> np.random.Generator:
    """What draws the chances of one try: the same for the same scenario, seed and number, whatever else is tried."""
    return np.random.default_rng([zlib.crc32(scenario.name.encode()), seed, number])


def try_scenario(scenario: Scenario, work: Path, tries: int, seed: int) -> Trial:
    """Try a scenario, each time in an empty folder below ``work``; that of a failed try is kept."""
    counts = {RECOVERED: 0, REFUSED: 0, FAILED: 0, SKIPPED: 0}
    failure, note, start = "", "", time.monotonic()
    for number in range(tries):
        folder = work / f"{scenario.name}-{number}"
        folder.mkdir(parents=True)
        how, words = _try_once(scenario, folder, draw_for(scenario, seed, number))
        counts[how] += 1
        if how == FAILED:
            failure = failure or words
            sys.stderr.write(f"{scenario.name}, seed {seed}, try {number}: {words} ({folder})\n")
        else:
            note = words or note
            shutil.rmtree(folder)
    return Trial(
        scenario.name,
        tries - counts[SKIPPED],
        counts[RECOVERED],
        counts[REFUSED],
        counts[FAILED],
        time.monotonic() - start,
        seed,
        time.strftime("%Y-%m-%d", time.gmtime()),
        failure,
        note,
    )


def _try_once(scenario: Scenario, folder: Path, rng: np.random.Generator) -> tuple[str, str]:
    """How a try ended, and its note or what it did wrong."""
    try:
        outcome = scenario.once(folder, rng)
        return outcome.how, outcome.note
    except pytest.skip.Exception as skipped:
        return SKIPPED, f"not tried: {skipped}"
    except Failure as failure:
        return FAILED, _told(str(failure))
    except Exception as error:  # noqa: BLE001 - whatever escapes is harm done: counted, told, and the next one tried
        traceback.print_exc()
        return FAILED, _told(f"{type(error).__name__}: {error}")


def _told(words: str) -> str:
    """What went wrong, on one line and without folders of this machine."""
    return _FOLDERS.sub("", " ".join(words.split()))[-_LONGEST:]
