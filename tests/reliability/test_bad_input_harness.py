"""The harness of bad input finds what it is there to find: each kind of harm, done on purpose."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from ris_core.errors import CorpusError
from tests.reliability.fuzzing import FAILED, Target, fuzzer
from tests.reliability.mutations import Rng, damaged_bytes, damaged_text, damaged_toml, damaged_value
from tests.reliability.scenario import REFUSED


def _harm(_: None, case: Path, rng: Rng) -> None:
    deed = int(rng.bit_generator.seed_seq.entropy)  # type: ignore[attr-defined]
    (case / "input").touch()
    if deed == 0:
        os.abort()
    elif deed == 1:
        raise LookupError("a traceback")
    elif deed == 2:
        raise CorpusError("something is wrong somewhere")
    elif deed == 3:
        (case / ".." / "beside").write_text("x")
    elif deed == 4:
        os.system("true")
    elif deed == 5:
        bytearray(2**33)
    elif deed == 6:
        while True:
            time.process_time()
    else:
        raise CorpusError(f"{case / 'input'}: is no input.")


TARGETS = (Target("harm", "", lambda _: None, _harm),)


@pytest.mark.parametrize(
    ("seed", "told"),
    [(0, "SIGABRT"), (1, "a traceback"), (2, "names no file"), (3, "beside"), (4, "os.system"), (5, "MemoryError")],
)
def test_every_kind_of_harm_is_seen(seed: int, told: str) -> None:
    verdict = fuzzer().judge(__name__, "harm", seed)
    assert verdict.how == FAILED
    assert told in verdict.why


def test_an_error_that_names_the_file_is_a_refusal() -> None:
    assert fuzzer().judge(__name__, "harm", 7).how == REFUSED


@pytest.mark.parametrize("seed", range(5))
def test_a_seed_names_an_input(seed: int) -> None:
    def drawn() -> tuple[object, ...]:
        rng = np.random.default_rng(seed)
        text = "[a]\nb = 1\nc = 'x'\n"
        value = damaged_value(rng, {"a": [1, {"b": 2}]})
        return damaged_bytes(rng, b"0123456789"), damaged_text(rng, text), damaged_toml(rng, text), repr(value)

    assert drawn() == drawn()
