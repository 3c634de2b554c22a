"""What training does over its time: loss, the two numbers that tell learning from collapse, and k-NN accuracy."""

import itertools
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.figures.style import (
    RC,
    SOFT,
    Sheet,
    draw_sheet,
    draw_trained,
    label_ends,
    read_rows,
    span,
    trained_by,
    trained_looks,
)

_KNN = "knn_20"
_PANELS = {
    "loss": "loss (nats)",
    "teacher_entropy": "teacher entropy (nats)",
    "kl": "KL, student from\nteacher (nats)",
    "accuracy": "accuracy on\ntraining tiles",
    _KNN: "k-NN accuracy,\nk = 20",
}
_UNITS = ((300.0, "s", 1.0), (3 * 3600.0, "min", 60.0), (float("inf"), "h", 3600.0))  # up to which time, name, seconds
_DOTS = ((0, (1, 1.5)), (0, (1, 4)), (0, (4, 1.5, 1, 1.5)))
_PAST_THE_END = 1.015  # room for the last marks


@mpl.rc_context(RC)
def draw_curves(tables: Path) -> Figure | None:
    """Small multiples over the time of training; None when nothing was trained or its epochs have no times."""
    losses, models = read_rows(tables, "losses"), read_rows(tables, "models")
    if losses.empty or models.empty or losses["epoch_s"].isna().any():
        return None
    curves = _with_time(losses, models)
    panels = {column: label for column, label in _PANELS.items() if curves[column].notna().any()}
    if not set(trained_by(models)) <= {"dino", "classify"}:
        panels["loss"] = "loss"  # of pairs and triplets, which have no unit
    last_s = curves["time"].max()
    unit, seconds = next((name, seconds) for limit, name, seconds in _UNITS if last_s <= limit)
    curves["time"] /= seconds
    figure, axes = draw_sheet(Sheet("Training", _words(losses, models), len(panels), height_in=1.75), sharex=True)
    looks = trained_looks(models)
    for ax, (column, label) in zip(axes[:, 0], panels.items(), strict=True):
        ax.set_ylabel(label)
        ends = draw_trained(ax, curves, ("time", column), looks)
        if column == _KNN:
            ends = pd.concat([ends, _draw_untrained(ax, models)])
        ax.margins(y=0.12)
        label_ends(ax, ends, curves["time"].max())
    if len(looks) > 1:
        axes[0, 0].legend(ncols=len(looks), loc="upper right")  # falling curves leave room there
    figure.align_ylabels(list(axes[:, 0]))
    axes[-1, 0].set_xlabel(f"time of training ({unit})")
    axes[-1, 0].set_xlim(0, curves["time"].max() * _PAST_THE_END)
    return figure


def _with_time(losses: pd.DataFrame, models: pd.DataFrame) -> pd.DataFrame:
    """The epochs with ``time``, the seconds at their end, after one row a backbone for what it was before training.

    Where no epoch was probed, finished features say what k-NN makes of the last one.
    """
    known = models.set_index("backbone")
    curves = losses.assign(time=losses.groupby("backbone", sort=False)["epoch_s"].cumsum())
    is_last = ~curves.duplicated("backbone", keep="last")
    finished = curves["backbone"].map(known[_KNN])
    curves[_KNN] = curves[_KNN].where(curves[_KNN].notna() | ~is_last, finished)
    trained = list(dict.fromkeys(losses["backbone"]))
    start = pd.DataFrame({"backbone": trained, "time": 0.0, _KNN: known[f"{_KNN}_start"].reindex(trained).to_numpy()})
    return pd.concat([start, curves[["backbone", "time", *_PANELS]]], ignore_index=True)


def _draw_untrained(ax: Axes, models: pd.DataFrame) -> pd.Series:
    """A level line for each backbone that was not trained, which training has to beat; their accuracies."""
    untrained = models[models["train_epochs"].isna() & models[_KNN].notna()].set_index("backbone")[_KNN]
    for accuracy, dots in zip(untrained, itertools.cycle(_DOTS)):
        ax.axhline(accuracy, color=SOFT, linestyle=dots, linewidth=1.4)
    return untrained


def _words(losses: pd.DataFrame, models: pd.DataFrame) -> str:
    epochs = losses.groupby("backbone")["epoch"].size()
    tiles = f" on {span(models['train_tiles'].dropna())} tiles" if models["train_tiles"].notna().any() else ""
    has_knn = models[_KNN].notna().any()
    methods = trained_by(models)
    teacher = " Accuracy is read of the teacher's features." if methods == ["dino"] else ""
    knn = f" Grey dots: backbones that were not trained.{teacher}" if has_knn else ""
    collapse = (
        " Entropy staying at its ceiling, ln(outputs), or KL falling to 0 would be a sign of collapse: all tiles then "
        "get the same answer."
    )
    some = " Of so many backbones the first and the best are named." if len(epochs) > len(trained_looks(models)) else ""
    return (
        f"{span(epochs)} epoch{'s' if epochs.max() > 1 else ''}{tiles}, mean over each epoch; reading k-NN takes no "
        f"part in the time.{collapse if 'dino' in methods else ''}{knn}{some}"
    )
