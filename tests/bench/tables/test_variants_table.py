import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.scores.score import bootstrap_interval
from bench.tables.table import page_of, typed
from bench.tables.variants_table import variants_table
from ris_core.backbone import BackboneSpec
from ris_core.training.recipe import DinoRecipe

BASE = BackboneSpec(arch={"patch_size": 8, "depth": 4})


def entry(name: str, like: str = "", spec: BackboneSpec = BASE, recipe: DinoRecipe | None = None) -> dict[str, Any]:
    """A backbone as `run.json` has it."""
    made = None if recipe is None else {key: plain(value) for key, value in dataclasses.asdict(recipe).items()}
    return {"name": name, "like": like, "spec": dataclasses.asdict(spec), "recipe": made}


def plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


ENTRIES = [
    entry("base", recipe=DinoRecipe()),
    entry("few", "base", recipe=DinoRecipe(local_crops=2, local_scale=(0.1, 0.3))),
    entry("fine", "base", dataclasses.replace(BASE, arch={"patch_size": 4, "depth": 4}), DinoRecipe()),
    entry("random", "base"),
    entry("lost", "elsewhere", recipe=DinoRecipe()),
    entry("missed", "base", recipe=DinoRecipe()),
]


def answers(right: list[int]) -> pd.DataFrame:
    """Of five tiles, whether k-NN finds the label."""
    predicted = ["a" if found else "b" for found in right]
    return pd.DataFrame({"tile": range(5), "label": "a", "knn_10": "b", "knn_20": predicted})


def precision(values: dict[str, list[float]]) -> pd.DataFrame:
    rows = [
        {"backbone": name, "stratum": "easy", "query_id": i, "engine": engine, "space": space, "precision": value}
        for name, found in values.items()
        for engine, space, factor in (
            ("exact", "as_published", 0),
            ("exact", "corrected", 1),
            ("falconn", "corrected", 0),
        )
        for i, value in enumerate(np.array(found) * factor)
    ]
    return pd.DataFrame(rows, columns=["backbone", "stratum", "query_id", "engine", "space", "precision"])


def models() -> pd.DataFrame:
    """Of a run that did not come to ``missed``."""
    names = ["base", "few", "fine", "random", "lost"]
    return pd.DataFrame({"backbone": names, "train_s": [20, 15, 1, None, 1], "final_loss": [4, 5, None, None, 6]})


def test_variant_stands_beside_the_one_that_it_is_like() -> None:
    table = variants_table(
        ENTRIES,
        models(),
        {"base": answers([1, 1, 1, 0, 0]), "few": answers([1, 0, 1, 0, 0]), "random": answers([0, 0, 0, 0, 1])},
        precision({"base": [0.5, 0.7], "few": [0.75, 0.7]}),
    )
    rows = typed(table, "variants", "variants").set_index("backbone")
    assert rows["changed"].tolist() == [
        "", "train.local_crops=2, train.local_scale=[0.1, 0.3]", "arch.patch_size=4", "not trained", "",
    ]  # fmt: skip
    base, few, random = rows.loc["base"], rows.loc["few"], rows.loc["random"]
    assert (base["knn_20"], base["precision"], base["train_s"]) == pytest.approx((0.6, 0.6, 20))
    assert base[["knn_20_difference", "precision_difference", "times_train_s"]].isna().all()
    assert (few["knn_20"], few["knn_20_difference"], few["times_train_s"]) == pytest.approx((0.4, -0.2, 0.75))
    interval = few["knn_20_difference_ci_low"], few["knn_20_difference_ci_high"]
    assert interval == pytest.approx(bootstrap_interval(np.array([0, -1.0, 0, 0, 0])))
    assert few["precision_difference"] == pytest.approx(0.125)
    assert random["knn_20_difference"] == pytest.approx(-0.4)
    assert np.isnan(random["precision"])
    assert rows.loc[["fine", "lost"], "knn_20"].isna().all()


def test_page_shows_differences_with_their_sign() -> None:
    table = variants_table(
        ENTRIES[:2], models(), {name: answers([1, 1, 0, 0, 0]) for name in ("base", "few")}, precision({})
    )
    page = page_of(typed(table, "variants", "variants"), "variants")
    assert page.iloc[1].tolist()[:3] == ["few", "base", "train.local_crops=2, train.local_scale=[0.1, 0.3]"]
    assert page["k-NN, change"].tolist() == ["", "+0.000 [+0.000, +0.000]"]
    assert page["precision"].tolist() == ["", ""]


def test_suite_in_which_nothing_is_like_another_has_no_such_table() -> None:
    older = {key: value for key, value in ENTRIES[0].items() if key != "like"}  # of a run before there was such a key
    assert variants_table([older], models(), {}, precision({})).empty
