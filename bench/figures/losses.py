"""The loss of each epoch, beside the thesis' curves where the run is long enough."""

from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bench.figures.style import (
    DASHES,
    FAINT,
    RC,
    SOFT,
    Sheet,
    backbone_looks,
    draw_sheet,
    draw_trained,
    label_ends,
    read_rows,
    span,
    trained_by,
    trained_looks,
)
from bench.tables.published import MODELS, published_table

_LONG_EPOCHS = 10


@mpl.rc_context(RC)
def draw_losses(tables: Path, *, whole_published: bool = False) -> Figure | None:
    """Training loss by epoch; None when nothing was trained.

    Args:
        tables: Folder of the run's tables.
        whole_published: Draw the thesis' curves to their ends and by name, however short the run.
    """
    losses = read_rows(tables, "losses")
    if losses.empty or losses["loss"].isna().all():
        return None
    models = read_rows(tables, "models")
    looks = trained_looks(models) if len(models) else backbone_looks(losses["backbone"])
    epochs = losses.groupby("backbone")["epoch"].size()
    has_tiles = len(models) and models["train_tiles"].notna().any()
    tiles = f" on {span(models['train_tiles'].dropna())} tiles" if has_tiles else ""
    methods = trained_by(models) or ["dino"]
    depends = "the number of outputs" if methods == ["dino"] else "the method, and DINO's on the number of outputs"
    sheet = Sheet(
        "DINO training" if methods == ["dino"] else f"Training ({', '.join(methods)})",
        f"{span(epochs)} epoch{'s' if epochs.max() > 1 else ''}{tiles}, mean over each epoch. "
        f"Loss levels depend on {depends}.",
        height_in=2.8,
    )
    figure, axes = draw_sheet(sheet)
    ax = axes[0, 0]
    ends = draw_trained(ax, losses, ("epoch", "loss"), looks)
    ax.set_ylabel("loss (nats)" if set(methods) <= {"dino", "classify"} else "loss")
    ax.margins(y=0.12)
    if whole_published:
        _draw_whole_published(ax)
    else:
        _draw_published(ax, losses)
        label_ends(ax, ends, losses["epoch"].max())
    ax.set_xlabel("epoch")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if epochs.max() == 1 and not whole_published:
        ax.set_xlim(-0.5, 0.5)
    return figure


def _draw_published(ax: Axes, losses: pd.DataFrame) -> None:
    """The thesis' curves as thin grey lines, where the run is long enough to set beside them."""
    columns = [column for column in map(str, losses) if column.startswith("published_")]
    published = losses.groupby("epoch")[columns].first().dropna(how="all")
    if len(published) < _LONG_EPOCHS:
        return
    for column in columns:
        ax.plot(published.index, published[column], color=FAINT, linewidth=1.0, zorder=1)
    (handle,) = ax.plot(
        [], [], color=FAINT, linewidth=1.0, label="the thesis' four models, 400,000 tiles, 65,536 outputs"
    )
    ax.legend(handles=[handle], loc="upper right")


def _draw_whole_published(ax: Axes) -> None:
    """The thesis' curves, each with its name, and the run's names beside them."""
    published = published_table("losses")
    for model, dashes in zip(MODELS, DASHES, strict=False):
        label = f"the thesis' {model.replace('_', ' ')}, 65,536 outputs"
        ax.plot(
            published["epoch"], published[model], color=SOFT, linestyle=dashes, linewidth=1.1, zorder=1, label=label
        )
    ax.legend(loc="upper right")
