"""What a scenario of a fault is, and how one is tried."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

RECOVERED = "recovered"
REFUSED = "refused"
WAYS = {
    RECOVERED: "all was done in the end, as if nothing had happened",
    REFUSED: "a clear error, nothing measured lost, no half artifact left",
}


class Failure(Exception):  # noqa: N818 - what a trial ends with, not an error of the program's
    """A fault did harm: the promise that a scenario holds the program to was broken."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How the program took a fault.

    Attributes:
        how: `RECOVERED` or `REFUSED`; anything worse is a `Failure`.
        note: What was measured on the way, for the table; empty for nothing.
    """

    how: str
    note: str = ""

    def __post_init__(self) -> None:
        if self.how not in WAYS:
            raise ValueError(f"an outcome is one of {', '.join(WAYS)}, not {self.how!r}.")


@dataclasses.dataclass(frozen=True)
class Scenario:
    """One fault, done to the program and looked at.

    Attributes:
        name: Words joined by underscores; unique.
        group: What belongs together in the table: kills, disk, input, together, soak.
        fault: What is done, in one sentence.
        expected: What the program does then, in one sentence.
        once: One try in an empty folder of its own, with a generator that draws what is left to chance; raises
            `Failure` where the promise was broken.
        tries: How often the command tries it unless told otherwise.
        tries_in_tests: How often the tests try it; 0: it is left to the command.
    """

    name: str
    group: str
    fault: str
    expected: str
    once: Callable[[Path, np.random.Generator], Outcome]
    tries: int = 10
    tries_in_tests: int = 1


def expect(is_kept: bool, why: str) -> None:
    """Raise `Failure` with ``why`` unless the promise is kept."""
    if not is_kept:
        raise Failure(why)
