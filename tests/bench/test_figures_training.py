from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from bench.figures.losses import draw_losses
from bench.figures.training import draw_curves
from bench.tables.table import read_table, write_table


def curve_of(ax: Axes, name: str) -> np.ndarray:
    """(points, 2) of the line of that name."""
    return next(line for line in ax.lines if line.get_label() == name).get_xydata()


def change(tables: Path, name: str, **columns: object) -> None:
    write_table(read_table(tables / f"{name}.csv").assign(**columns), tables, name)


def test_accuracy_starts_before_training_and_has_untrained_backbones_as_levels(tables: Path) -> None:
    losses, models = (read_table(tables / f"{name}.csv").set_index("backbone") for name in ("losses", "models"))
    figure = draw_curves(tables)
    loss, *_, knn = figure.axes
    np.testing.assert_allclose(curve_of(loss, "tiny")[:, 0], 22.0 * np.arange(1, 7))
    points = curve_of(knn, "tiny")
    np.testing.assert_allclose(points[:, 0], [0, 44, 88, 132])  # every second epoch was probed
    np.testing.assert_allclose(points[0, 1], models.loc["tiny", "knn_20_start"])
    np.testing.assert_allclose(points[1:, 1], losses.loc["tiny", "knn_20"].dropna())
    level = models.loc["colour", "knn_20"]
    assert any(list(line.get_ydata()) == [level, level] for line in knn.lines)
    assert f"colour  {level:.2f}" in [text.get_text() for text in knn.texts]


def test_finished_features_end_a_curve_that_was_not_probed(tables: Path) -> None:
    change(tables, "losses", knn_20=None)
    change(tables, "models", knn_20_start=None)
    points = curve_of(draw_curves(tables).axes[-1], "tiny")
    models = read_table(tables / "models.csv").set_index("backbone")
    np.testing.assert_allclose(points, [[132, models.loc["tiny", "knn_20"]]])


def test_long_training_is_told_in_hours_and_nothing_known_has_no_panel(tables: Path) -> None:
    change(tables, "losses", epoch_s=7200.0, kl=None, knn_20=None)
    change(tables, "models", knn_20=None, knn_20_start=None)
    figure = draw_curves(tables)
    assert [ax.get_ylabel() for ax in figure.axes] == ["loss (nats)", "teacher entropy (nats)"]
    assert figure.axes[-1].get_xlabel() == "time of training (h)"
    np.testing.assert_allclose(curve_of(figure.axes[0], "tiny")[-1, 0], 12)


def test_of_many_backbones_the_first_and_the_best_are_named(tables: Path) -> None:
    losses, models = (read_table(tables / f"{name}.csv") for name in ("losses", "models"))
    names = [f"variant{i}" for i in range(12)]
    own = [losses[losses["backbone"] == "tiny"].assign(backbone=name) for name in names]
    each = [models[models["backbone"] == "tiny"].assign(backbone=name, knn_20=i / 20) for i, name in enumerate(names)]
    write_table(pd.concat(own), tables, "losses")
    write_table(pd.concat(each), tables, "models")
    figure = draw_curves(tables)
    named = [line.get_label() for line in figure.axes[0].lines if not line.get_label().startswith("_")]
    assert named == ["variant0", "variant8", "variant9", "variant10", "variant11"]
    assert len(figure.axes[0].lines) == 12
    assert "first and the best are named" in " ".join(text.get_text().replace("\n", " ") for text in figure.texts)


@pytest.mark.parametrize("known", [["tiny"], ["mini", "colour"], ["colour"]])
def test_backbone_of_which_models_say_nothing_is_drawn_all_the_same(tables: Path, known: list[str]) -> None:
    """A run that was cut off after a training has its losses alone."""
    models = read_table(tables / "models.csv")
    write_table(models[models["backbone"].isin(known)], tables, "models")
    for figure in (draw_curves(tables), draw_losses(tables)):
        assert len(figure.axes[0].lines) == 2


def test_run_that_trained_nothing_has_no_curves(tables: Path) -> None:
    write_table(read_table(tables / "losses.csv").iloc[:0], tables, "losses")
    assert draw_curves(tables) is None
