import copy
import getpass
import json
import os
import socket
from pathlib import Path

import pytest

from bench.machine import (
    blas_words,
    commit_words,
    compare_machines,
    compare_versions,
    describe,
    fingerprint,
    is_busy,
)


@pytest.fixture(scope="module")
def machine() -> dict:
    return fingerprint()


def test_fingerprint_survives_json(machine: dict) -> None:
    assert json.loads(json.dumps(machine)) == machine


def test_fingerprint_names_processor_cores_and_libraries(machine: dict) -> None:
    assert machine["cpu"]["model"]
    assert 1 <= machine["cpu"]["usable_cores"] <= machine["cpu"]["logical_cores"]
    assert machine["memory_gib"] > 0
    assert len(machine["load_average"]) == 3
    assert {"numpy", "torch", "timm", "rasterio", "falconn"} <= machine["versions"].keys()
    assert all(pool["threads"] >= 1 for pool in machine["blas"])
    assert {"governor", "smt", "turbo", "hybrid", "huge_pages", "quota_cores"} <= machine["cpu"].keys()


def test_fingerprint_holds_no_host_user_or_path(machine: dict) -> None:
    text = json.dumps(machine)
    private = [socket.gethostname(), str(Path.home()), str(Path(__file__).parents[2]), os.sep + "usr"]
    if len(getpass.getuser()) > 4:  # "root" may be part of any word
        private.append(getpass.getuser())
    assert [secret for secret in private if len(secret) > 1 and secret in text] == []


def test_machine_equals_itself_under_other_load_and_versions(machine: dict) -> None:
    later = copy.deepcopy(machine)
    later["load_average"] = [99.0, 99.0, 99.0]
    later["versions"]["numpy"] = "0.1"
    later["memory_gib"] *= 0.99
    assert compare_machines(machine, later) == []
    assert compare_versions(machine, later) == [f"numpy: {machine['versions']['numpy']} | 0.1"]


@pytest.mark.parametrize(
    ("place", "value", "word"),
    [
        (("cpu", "model"), "Abacus 3000", "processor"),
        (("cpu", "usable_cores"), 99, "usable logical cores"),
        (("cpu", "flags"), ["avx9"], "instruction sets"),
        (("cpu", "governor"), "powersave-of-another-kind", "frequency governor"),
        (("cpu", "turbo"), "of another kind", "turbo"),
        (("cpu", "smt"), "of another kind", "SMT"),
        (("cpu", "huge_pages"), "of another kind", "transparent huge pages"),
        (("cpu", "quota_cores"), 0.125, "CPU quota"),
        (("memory_gib",), 1.0, "memory"),
        (("gpu",), {"name": "GPU of another", "count": 1, "driver": "1"}, "GPU"),
    ],
)
def test_differences_name_what_differs(machine: dict, place: tuple[str, ...], value: object, word: str) -> None:
    other = copy.deepcopy(machine)
    target = other
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = value
    differences = compare_machines(machine, other)
    assert any(line.startswith(word) for line in differences)
    assert compare_machines(other, machine) != []


def test_settings_that_differ_are_told_in_words(machine: dict) -> None:
    base, other = copy.deepcopy(machine), copy.deepcopy(machine)
    base["cpu"]["turbo"], other["cpu"]["turbo"] = True, False
    assert compare_machines(base, other) == ["turbo: on | off"]
    base["cpu"]["turbo"] = None
    assert compare_machines(base, other) == ["turbo: unknown | off"]


def test_machine_without_fingerprint_is_no_ones_equal(machine: dict) -> None:
    assert compare_machines({}, {}) != []
    assert compare_machines(machine, {}) != []


def test_busy_means_more_than_a_third_of_the_cores() -> None:
    assert is_busy({"cpu": {"usable_cores": 2}, "load_average": [0.7, 0, 0]})
    assert not is_busy({"cpu": {"usable_cores": 2}, "load_average": [0.6, 9, 9]})
    assert not is_busy({})


def test_words_for_people() -> None:
    machine = {"cpu": {"model": "Abacus", "usable_cores": 2}, "memory_gib": 7.6, "gpu": None, "system": "Linux"}
    assert describe(machine) == "Abacus, 2 logical cores · 8 GiB memory · no GPU · Linux"
    assert describe({**machine, "gpu": {"name": "H", "count": 2}}).split(" · ")[2] == "2 x H"
    assert commit_words({"hash": "0123456789abcdef", "dirty": True}) == "0123456789ab with uncommitted changes"
    assert commit_words(None) == "not a checkout"
    pools = [{"library": "openblas", "version": "0.3", "threads": n} for n in (2, 1)]
    assert blas_words({"blas": pools}) == "openblas 0.3, 1 thread; openblas 0.3, 2 threads"
