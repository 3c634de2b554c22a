"""How tables name an engine, a setting of it, and the corpus that several sizes are cut from."""

import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

EXACT = "exact"
_SIZE = re.compile(r"-n\d+$")


def variant_of(engine: str, kind: str, family: str) -> str:
    """An engine with its family where it has one: ``falconn cross-polytope``, ``exact`` by whatever name."""
    if kind == EXACT:
        return EXACT
    told = family.replace("_", "") in engine.replace("_", "")  # crosspolytope has no need to say so twice
    return engine if not family or told else f"{engine} {family.replace('_', '-')}"


def corpus_of(backbone: str) -> str:
    """The name that all sizes of one corpus share: ``glove`` of ``glove-n50000``."""
    return _SIZE.sub("", backbone)


def largest_sizes(cells: pd.DataFrame) -> pd.DataFrame:
    """The rows of each corpus' largest size: sizes of one corpus hold the same vectors, so they are no data sets apart.

    Args:
        cells: With the columns ``backbone`` and ``n``.
    """
    return cells[cells["n"] == cells.groupby(cells["backbone"].map(corpus_of))["n"].transform("max")]


def setting_words(cell: str, params: Mapping[str, Any]) -> str:
    """The parameters that a cell's suite names, with their values: ``tables=10 probes_per_table=5``.

    The family is left out, for it is part of the variant's name. Empty where the suite names none: all are defaults.

    Args:
        cell: The cell's id, which holds what the suite names, as `bench.suite.ParamSet.label` writes it.
        params: Its build and query parameters, defaults included.
    """
    label = "".join(f"-{part}-" for part in cell.split("/")[2:-2])  # between engine and space
    places = {key: label.find(f"-{_label(key, value)}-") for key, value in params.items() if key != "family"}
    named = sorted((place, key) for key, place in places.items() if place >= 0)
    return value_words({key: params[key] for _, key in named})


def value_words(values: Mapping[str, Any]) -> str:
    """``probes=37 budget=1200``."""
    return " ".join(
        f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in values.items()
    )


def _label(key: str, value: object) -> str:
    if isinstance(value, bool):
        return key if value else f"no_{key}"
    return value if isinstance(value, str) and value else f"{key}{value}"
