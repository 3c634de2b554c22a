"""Query tiles with the neighbours that each backbone gave, right and wrong marked."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from bench.figures.style import FAINT, QUERY, RC, RIGHT, SOFT, WRONG, Sheet, draw_sheet, plain
from ris_core.errors import ArtifactError
from ris_core.records import PADDING_ID, Tiles

_NEIGHBOURS = 9
_STORED_PX = 120  # a thumbnail is drawn some 0.75 inches wide at 150 dpi
_STEP, _FIRST = 1.1, 1.45  # a thumbnail's pitch, and where the neighbours start, in thumbnails
_ROW, _HEAD, _NAMES = 1.14, 0.42, 1.9  # heights of a row and a heading, width of the names
_WIDTH = _FIRST + _STEP * _NEIGHBOURS
_MARK = {True: (RIGHT, "-", "✓"), False: (WRONG, (0, (2.2, 1.4)), "✗")}


@dataclasses.dataclass(frozen=True, eq=False)
class Answers:
    """What one index answered to the judged queries.

    Attributes:
        name: Backbone and engine, for people.
        query_ids: (j,) int64 tile ids.
        strata: (j,) str.
        concepts: (j,) str.
        depths: (j,) int64: how many neighbours count for the query's precision.
        ids: (j, depth) int64 tile ids, nearest first, padded with -1.
        relevant: (j, depth) bool.
    """

    name: str
    query_ids: np.ndarray
    strata: np.ndarray
    concepts: np.ndarray
    depths: np.ndarray
    ids: np.ndarray
    relevant: np.ndarray

    @classmethod
    def open(cls, path: Path, name: str) -> Self:
        """The answers of a cell's npz file.

        Raises:
            ArtifactError: If the file is missing, damaged or of another version.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                return cls(
                    name,
                    file["query_ids"].astype(np.int64),
                    file["stratum"].astype(str),
                    file["concept"].astype(str),
                    np.broadcast_to(file["depth"], file["query_ids"].shape).astype(np.int64),
                    file["ids"].astype(np.int64),
                    file["relevant"].astype(bool),
                )
        except (OSError, ValueError, KeyError) as error:
            raise ArtifactError(f"{path}: no answers to be read ({error}). Run the cell again.") from error

    @property
    def precision(self) -> np.ndarray:
        """(j,) share of each query's depth that is relevant."""
        counted = np.arange(self.ids.shape[1]) < self.depths[:, None]
        return (self.relevant & counted & (self.ids != PADDING_ID)).sum(axis=1) / self.depths


@mpl.rc_context(RC)
def draw_gallery(tiles: Tiles, answers: Sequence[Answers], stratum: str) -> Figure | None:
    """The best, the middle and the worst query of a stratum, and the first neighbours that each index gave.

    The queries are chosen by the precision of the first of ``answers``, so that nothing is picked by hand.
    None when the stratum has no queries.

    Args:
        tiles: The corpus, with the queries and all hits.
        answers: Indexes to compare on the same queries, the reference first.
        stratum: Difficulty, one of the answers' strata.
    """
    chosen = _choose(answers[0], stratum) if answers else []
    if not chosen:
        return None
    depth = int(answers[0].depths[chosen[0][0]])
    group_height = _HEAD + _ROW * len(answers)
    height = group_height * len(chosen)
    sheet = Sheet(
        f"Neighbours of {stratum} queries",
        f"The first {min(_NEIGHBOURS, depth)} of {depth} judged neighbours, nearest from the left. Blue with a tick: "
        f"relevant. Orange, dashed, with a cross: not. At the left, precision@{depth}. Queries chosen by rank of "
        f"precision with {answers[0].name}, not by hand.",
        height_in=9.0 / (_NAMES + _WIDTH) * height,
    )
    figure, axes = draw_sheet(sheet)
    board = Board(axes[0, 0], tiles, height)
    for group, (query, words) in enumerate(chosen):
        top, first = group * group_height, answers[0]
        heading = f"{first.concepts[query].replace('_', ' ')} · tile {first.query_ids[query]} · {words}"
        board.ax.text(-_NAMES, top + _HEAD * 0.45, plain(heading), size=9, weight="bold", va="center")
        for row, answer in enumerate(answers):
            _draw_row(board, answer, query, top + _HEAD + row * _ROW)
    board.finish()
    return figure


class Board:
    """Axes measured in thumbnails, and one image that all thumbnails are put into: many images draw slowly."""

    def __init__(self, ax: Axes, tiles: Tiles, height: float) -> None:
        self.ax, self.tiles, self.height = ax, tiles, height
        self.places = {int(tile_id): place for place, tile_id in enumerate(tiles.ids)}
        self.canvas = np.full((round(height * _STORED_PX), round(_WIDTH * _STORED_PX), 3), 255, np.uint8)

    def put(self, tile_id: int, x: float, y: float) -> None:
        """Draw a tile with its upper left corner at (x, y); an empty frame for one that the corpus lacks."""
        place = self.places.get(tile_id)
        if place is None:
            self.frame(x, y, edgecolor=FAINT, facecolor="#f4f4f4", linewidth=0.8)
            return
        image = Image.fromarray(np.asarray(self.tiles.pixels[place]))
        pixels = np.asarray(image.resize((_STORED_PX, _STORED_PX), Image.Resampling.LANCZOS))
        row, col = round(y * _STORED_PX), round(x * _STORED_PX)
        target = self.canvas[row : row + _STORED_PX, col : col + _STORED_PX]
        target[:] = pixels[: target.shape[0], : target.shape[1]]

    def frame(self, x: float, y: float, **look: Any) -> None:
        """Draw the edge of a thumbnail."""
        self.ax.add_patch(Rectangle((x, y), 1, 1, **{"facecolor": "none", **look}))

    def finish(self) -> None:
        """Draw the thumbnails below what was drawn so far."""
        self.ax.imshow(self.canvas, extent=(0, _WIDTH, self.height, 0), interpolation="antialiased", zorder=0)
        self.ax.set(xlim=(-_NAMES, _WIDTH), ylim=(self.height, 0), aspect="equal")
        self.ax.axis("off")


def _choose(answers: Answers, stratum: str) -> list[tuple[int, str]]:
    """Rows of the best, middle and worst query of a stratum, each with words that say so."""
    rows = np.flatnonzero(answers.strata == stratum)
    if len(rows) == 0:
        return []
    ranked = rows[np.argsort(-answers.precision[rows], kind="stable")]
    wanted = {0: "best", len(rows) // 2: "middle", len(rows) - 1: "worst"} if len(rows) > 2 else {0: "best"}
    return [(int(ranked[place]), f"{word} of {len(rows)} queries") for place, word in wanted.items()]


def _draw_row(board: Board, answers: Answers, query: int, top: float) -> None:
    """One index' answer to one query: name and precision, the query tile, its neighbours."""
    label = f"{answers.name.replace(' · ', chr(10))}\n{answers.precision[query]:.2f}"
    board.ax.text(-0.12, top + 0.5, plain(label), size=8, va="center", ha="right", linespacing=1.35)
    board.put(int(answers.query_ids[query]), 0.0, top)
    board.frame(0.0, top, edgecolor=QUERY, linewidth=2.2)
    for i in range(min(_NEIGHBOURS, int(answers.depths[query]), answers.ids.shape[1])):
        x, tile_id = _FIRST + i * _STEP, int(answers.ids[query, i])
        board.put(tile_id, x, top)
        if tile_id == PADDING_ID:
            board.ax.text(x + 0.5, top + 0.5, "no\nanswer", size=7, color=SOFT, ha="center", va="center")
            continue
        colour, dashes, sign = _MARK[bool(answers.relevant[query, i])]
        board.frame(x, top, edgecolor=colour, linewidth=2.4, linestyle=dashes)
        board.ax.add_patch(Rectangle((x + 0.74, top + 0.74), 0.26, 0.26, color=colour, linewidth=0))
        board.ax.text(x + 0.87, top + 0.875, sign, size=7.5, color="white", ha="center", va="center", weight="bold")
