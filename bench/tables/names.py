"""How tables name an engine, a setting of it, and the corpus that several sizes are cut from."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

EXACT = "exact"
_SIZE = r"^(?P<stem>.*)-n(?P<size>\d+)$"


def variant_of(engine: str, kind: str, family: str) -> str:
    """An engine with its family where it has one: ``falconn cross-polytope``, ``exact`` by whatever name."""
    if kind == EXACT:
        return EXACT
    told = family.replace("_", "") in engine.replace("_", "")  # crosspolytope has no need to say so twice
    return engine if not family or told else f"{engine} {family.replace('_', '-')}"


def corpora(cells: pd.DataFrame) -> pd.Series:
    """For each row the name that all sizes of its corpus share: ``glove`` of ``glove-n50000``, which holds 50,000.

    A backbone that merely ends so, and holds another number of vectors, keeps its name. One that was never measured is
    a size where another one of its stem is.

    Args:
        cells: With the columns ``backbone`` and ``n``, which failed rows may lack.
    """
    parts, n = cells["backbone"].astype(str).str.extract(_SIZE), _measured_sizes(cells)
    is_size = parts["size"].astype("float64") == n
    return parts["stem"].where(is_size | (n.isna() & parts["stem"].isin(parts["stem"][is_size])), cells["backbone"])


def largest_sizes(cells: pd.DataFrame) -> pd.DataFrame:
    """The rows of each corpus' largest size: sizes of one corpus hold the same vectors, so they are no data sets apart.

    Failed rows stay with their backbone, whose size its other rows know; the largest size is one that was measured.

    Args:
        cells: With the columns ``backbone`` and ``n``.
    """
    n = _measured_sizes(cells).fillna(0)
    return cells[n == n.groupby(corpora(cells)).transform("max")]


def setting_words(cell: str, params: Mapping[str, Any]) -> str:
    """The parameters that a cell's suite names, with their values: ``tables=10 probes_per_table=5``.

    The family is left out, for it is part of the variant's name. Empty where the suite names none: all are defaults.

    Args:
        cell: The cell's id, which holds what the suite names, as `bench.suites.suite.ParamSet.label` writes it.
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


def _measured_sizes(cells: pd.DataFrame) -> pd.Series:
    """For each row the n of its backbone; NaN where none of its rows was measured."""
    return cells["n"].astype("float64").groupby(cells["backbone"]).transform("max")


def _label(key: str, value: object) -> str:
    if isinstance(value, bool):
        return key if value else f"no_{key}"
    return value if isinstance(value, str) and value else f"{key}{value}"
