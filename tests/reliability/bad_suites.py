"""Suite files and overrides that are damaged or hostile: all suites of the repository, with values of other types."""

import re
from pathlib import Path

from bench.suites.cells import expand_cells
from bench.suites.suite_file import read_suite
from tests.reliability.fuzzing import ROOT, Target, as_scenarios
from tests.reliability.mutations import (
    TOML_VALUES,
    Rng,
    chosen,
    damaged_bytes,
    damaged_text,
    damaged_toml,
    hostile,
)

_BACKBONE = re.compile(r"\[backbone\.(\w+)")


def _texts(_: Path) -> list[str]:
    return [path.read_text(encoding="utf-8") for path in sorted((ROOT / "suites").glob("*.toml"))]


def _with_one_network(rng: Rng, text: str) -> str:
    """A suite with one of its tables of backbones: building networks is what takes long."""
    parts = re.split(r"(?m)^(?=\[)", text)
    names = [match[1] for part in parts if (match := _BACKBONE.match(part))]
    kept = chosen(rng, names) if names else ""
    return "".join(part for part in parts if not (match := _BACKBONE.match(part)) or match[1] == kept)


def _read_damaged(texts: list[str], case: Path, rng: Rng) -> None:
    text, other = _with_one_network(rng, chosen(rng, texts)), chosen(rng, texts)
    path = case / "damaged.toml"
    how = rng.random()
    if how < 0.8:
        path.write_text(damaged_toml(rng, text, other), encoding="utf-8")
    elif how < 0.9:
        path.write_text(damaged_text(rng, text, other), encoding="utf-8")
    else:
        path.write_bytes(damaged_bytes(rng, text.encode(), other.encode()))
    expand_cells(read_suite(path))


def _read_overridden(texts: list[str], case: Path, rng: Rng) -> None:
    path = case / "whole.toml"
    path.write_text(_with_one_network(rng, chosen(rng, texts)), encoding="utf-8")
    keys = [line.split("=")[0].strip() for line in "\n".join(texts).splitlines() if "=" in line and line[0].isalpha()]
    tables = [line.strip(" []") for line in "\n".join(texts).splitlines() if line.startswith("[")]
    overrides = [_override(rng, keys, tables) for _ in range(int(rng.integers(1, 4)))]
    expand_cells(read_suite(path, overrides))


def _override(rng: Rng, keys: list[str], tables: list[str]) -> str:
    value = chosen(rng, TOML_VALUES) if rng.random() < 0.8 else hostile(rng)
    key = f"{chosen(rng, tables)}.{chosen(rng, keys)}" if rng.random() < 0.9 else hostile(rng)
    return f"{key}={value}" if rng.random() < 0.95 else damaged_text(rng, f"{key}={value}")


TARGETS = (
    Target(
        "damaged_suites",
        "A suite file has values of other types, keys and tables of other suites, hostile texts, or damaged bytes.",
        _texts,
        _read_damaged,
        tries=5000,
        tries_in_tests=4,
    ),
    Target(
        "hostile_overrides",
        "`--set` names any key, with values of any type.",
        _texts,
        _read_overridden,
        tries=2000,
        tries_in_tests=2,
        options=("--set",),
    ),
)
SCENARIOS = as_scenarios(__name__, TARGETS)
