"""How training went: loss, and the teacher's entropy that tells learning from collapse."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bench.figures.style import FAINT, RC, Sheet, backbone_looks, draw_sheet, plain, read_rows, span

_LONG_EPOCHS = 10


@mpl.rc_context(RC)
def draw_losses(tables: Path) -> Figure | None:
    """Training loss by epoch, with the teacher's entropy below; None when nothing was trained."""
    losses = read_rows(tables, "losses")
    if losses.empty or losses["loss"].isna().all():
        return None
    models = read_rows(tables, "models")
    order = [name for name in models.get("backbone", losses["backbone"]) if name in set(losses["backbone"])]
    looks = backbone_looks(models["backbone"] if len(models) else losses["backbone"])
    has_entropy = losses["teacher_entropy"].notna().any()
    epochs = losses.groupby("backbone")["epoch"].size()
    has_tiles = len(models) and models["train_tiles"].notna().any()
    tiles = f" on {span(models['train_tiles'].dropna())} tiles" if has_tiles else ""
    explained = (
        " Entropy falling to 0 or staying at its ceiling, ln(outputs), would be collapse: the teacher then gives every "
        "tile the same answer."
        if has_entropy
        else ""
    )
    sheet = Sheet(
        "DINO training",
        f"{span(epochs)} epoch{'s' if epochs.max() > 1 else ''}{tiles}, mean over each epoch. "
        f"Loss levels depend on the number of outputs.{explained}",
        rows=2 if has_entropy else 1,
        height_in=2.4,
    )
    figure, axes = draw_sheet(sheet, sharex=True)
    panels = {"loss": "loss (nats)"} | ({"teacher_entropy": "teacher entropy (nats)"} if has_entropy else {})
    for ax, (column, label) in zip(axes[:, 0], panels.items(), strict=True):
        for name in dict.fromkeys(order):
            curve = losses[losses["backbone"] == name].dropna(subset=[column])
            ax.plot(curve["epoch"], curve[column], markersize=4 if len(curve) < 30 else 0, linewidth=1.6, **looks[name])
        ax.set_ylabel(label)
        ax.margins(y=0.12)
        if column == "loss":
            _draw_published(ax, losses)
        _label_ends(ax, losses.dropna(subset=[column]), column)
    figure.align_ylabels(list(axes[:, 0]))
    axes[-1, 0].set_xlabel("epoch")
    axes[-1, 0].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if epochs.max() == 1:
        axes[-1, 0].set_xlim(-0.5, 0.5)
    return figure


def _draw_published(ax: Axes, losses: pd.DataFrame) -> None:
    """The thesis' curves as thin grey lines, where the run is long enough to set beside them."""
    columns = [column for column in map(str, losses) if column.startswith("published_")]
    published = losses.drop_duplicates("epoch").set_index("epoch")[columns].dropna(how="all").sort_index()
    if len(published) < _LONG_EPOCHS:
        return
    for column in columns:
        ax.plot(published.index, published[column], color=FAINT, linewidth=1.0, zorder=1)
    ax.plot([], [], color=FAINT, linewidth=1.0, label="the thesis' four models, 400,000 tiles, 65,536 outputs")
    ax.legend(loc="upper right")


def _label_ends(ax: Axes, curves: pd.DataFrame, column: str) -> None:
    """Name each curve at its last epoch, pushed apart where ends meet."""
    ends = curves.sort_values("epoch").groupby("backbone").last().sort_values(column)
    if ends.empty:
        return
    low, high = ax.get_ylim()
    gap, heights = (high - low) * 0.09, ends[column].to_numpy(float).copy()
    for i in range(1, len(heights)):
        heights[i] = max(heights[i], heights[i - 1] + gap)
    heights -= max(0.0, float(np.max(heights)) - high)
    for (name, end), height in zip(ends.iterrows(), heights, strict=True):
        ax.annotate(
            plain(f"{name}  {end[column]:.2f}"), (curves["epoch"].max(), height), xytext=(9, 0),
            textcoords="offset points", va="center", size=8.5, annotation_clip=False,
        )  # fmt: skip
