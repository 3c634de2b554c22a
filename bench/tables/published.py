"""The thesis' published numbers, shipped as package data, in our units: fractions, seconds, milliseconds."""

from collections.abc import Sequence
from importlib.resources import files

import pandas as pd

MODELS = ("tiny", "tiny_longer", "small", "small_pretrained")
PUBLISHED_COLUMNS = tuple(f"published_{model}" for model in MODELS)


def published_table(name: str) -> pd.DataFrame:
    """One of ``runtimes``, ``losses``, ``nn_precision_counts``, ``nn_precision_averages`` as it was published.

    In a checkout and in a wheel alike, the files stand beside the package ``fixtures``.
    """
    with files("fixtures").joinpath("published", f"{name}.csv").open("r", encoding="utf-8") as file:
        return pd.read_csv(file)


def published_precision() -> pd.DataFrame:
    """Published precision of each query: ``stratum``, ``depth``, ``query_id``, ``concept``, one column a model."""
    counts = published_table("nn_precision_counts")
    table = counts.rename(columns={"difficulty": "stratum", "query": "query_id", "description": "concept"})
    for model in MODELS:
        table[model] = counts[model] / counts["depth"]
    return table


def beside(backbones: Sequence[str]) -> list[str]:
    """Columns of a page: each backbone, right of it the thesis' model of that name, and at the end its other models."""
    thesis = {model: f"thesis {model}" for model in MODELS}
    paired = [name for backbone in backbones for name in (backbone, thesis.get(backbone)) if name is not None]
    return paired + [name for name in thesis.values() if name not in paired]


def add_published(table: pd.DataFrame, published: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """The table with the columns ``published_<model>``, missing where nothing was published for a row's keys.

    Args:
        table: Any table that has the columns ``keys``.
        published: One row for each value of ``keys``, one column a model.
        keys: Columns that must agree.
    """
    renamed = published[[*keys, *MODELS]].rename(columns=dict(zip(MODELS, PUBLISHED_COLUMNS, strict=True)))
    return table.merge(renamed, how="left", on=keys, validate="many_to_one")
