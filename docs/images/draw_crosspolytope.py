"""Draws crosspolytope.png: the way of a query through the engine, with the numbers of a small example.

``python docs/images/draw_crosspolytope.py`` replaces the picture. Sixteen dimensions and forty points show what
happens to hundreds and hundreds of thousands. All bars and numbers are computed here, but for the marks of box 7, which
are drawn by lot.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle
from scipy.cluster.vq import kmeans2
from scipy.linalg import hadamard

INK, SOFT, PALE = "#222222", "#5f5f5f", "#e4e4e4"
BLUE, ORANGE = "#0173b2", "#de8f05"  # told apart by the colour-blind, and in grey print
RC = {"font.family": "DejaVu Sans", "font.size": 8.5, "text.color": INK}
D, HASHED, POINTS, PROBES, KEPT, K = 16, 8, 40, 4, 5, 3
BUCKETS = 2 * HASHED
CENTROIDS, WIDTH = 16, 2  # of a sketch's groups: four bits for two coordinates


@dataclasses.dataclass(frozen=True)
class Example:
    """One query against a table of one cross-polytope.

    Attributes:
        query: (D,) coordinates of the query along the principal axes.
        rotated: (HASHED,) its leading ones after sign flips and Hadamard transforms.
        order: (BUCKETS,) vertices by their score, likeliest first.
        offsets: (BUCKETS + 1,) where each bucket begins.
        estimates: (m,) estimated squared distances of the points in the probed buckets, bucket by bucket.
        distances: (m,) their squared distances.
    """

    query: np.ndarray
    rotated: np.ndarray
    order: np.ndarray
    offsets: np.ndarray
    estimates: np.ndarray
    distances: np.ndarray


def make_example(seed: int = 25) -> Example:
    """The example, drawn by a seed."""
    rng = np.random.default_rng(seed)
    points, query = principal_coordinates(rng)
    rotation = np.eye(HASHED)
    for _ in range(2):
        rotation = hadamard(HASHED) / np.sqrt(HASHED) @ np.diag(rng.choice([-1, 1], HASHED)) @ rotation
    rotated = rotation @ query[:HASHED]
    order = np.argsort((np.abs(rotated).max() - np.concatenate([rotated, -rotated])) ** 2)
    turned = points[:, :HASHED] @ rotation.T
    hashes = np.argmax(np.concatenate([turned, -turned], axis=1), axis=1)
    found = points[np.concatenate([np.flatnonzero(hashes == vertex) for vertex in order[:PROBES]])]
    rounded = round_to_centroids(points, found)
    estimates = 2 - 2 * (rounded @ query) / np.sum(found * rounded, axis=1)
    offsets = np.concatenate([[0], np.bincount(hashes, minlength=BUCKETS).cumsum()])
    return Example(query, rotated, order, offsets, estimates, np.sum((found - query) ** 2, axis=1))


def principal_coordinates(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors (POINTS, D) and a query (D,) near the first, along the vectors' principal axes."""
    spread = 0.85 ** np.arange(D)
    points = rng.standard_normal((POINTS, D)) * spread
    query = points[0] + 0.5 * rng.standard_normal(D) * spread
    both = np.vstack([points, query])
    both /= np.linalg.norm(both, axis=1, keepdims=True)
    _, axes = np.linalg.eigh(both[:-1].T @ both[:-1])
    both = both @ axes[:, ::-1]
    return both[:-1], both[-1]


def round_to_centroids(points: np.ndarray, found: np.ndarray) -> np.ndarray:
    """The found points, each group of WIDTH coordinates rounded to the nearest of 16 centroids of all points."""
    rounded = np.empty_like(found)
    for first in range(0, D, WIDTH):
        group = slice(first, first + WIDTH)
        centroids, _ = kmeans2(points[:, group], CENTROIDS, minit="++", rng=0, missing="warn")
        gaps = np.sum((found[:, None, group] - centroids) ** 2, axis=2)
        rounded[:, group] = centroids[gaps.argmin(axis=1)]
    return rounded


def draw_query(axes: Axes, example: Example) -> None:
    """The query's coordinates; the leading ones are hashed."""
    axes.bar(range(D), example.query, color=[SOFT] * HASHED + [PALE] * (D - HASHED), width=0.7)
    axes.axhline(0, color=SOFT, lw=0.8)


def draw_rotated(axes: Axes, example: Example) -> None:
    """The rotated coordinates; the largest names the bucket."""
    size = np.abs(example.rotated)
    axes.bar(range(HASHED), example.rotated, color=[BLUE if s == size.max() else SOFT for s in size], width=0.7)
    axes.axhline(0, color=SOFT, lw=0.8)


def draw_scores(axes: Axes, example: Example) -> None:
    """Sizes of the coordinates under the largest, numbered by the order in which their vertices are probed."""
    size = np.abs(example.rotated)
    rank = {int(vertex) % HASHED: place for place, vertex in reversed(list(enumerate(example.order[:PROBES], 1)))}
    axes.bar(range(HASHED), size, color=[BLUE if i in rank else PALE for i in range(HASHED)], width=0.7)
    axes.axhline(size.max(), color=ORANGE, lw=1.4, ls="--")
    for i, place in rank.items():
        axes.text(i, size[i] / 2, place, color="white", weight="bold", ha="center", va="center")
    axes.set_ylim(0, size.max() * 1.15)


def draw_probes(axes: Axes, example: Example) -> None:
    """The probing sequence: number and vertex."""
    for place, vertex in enumerate(example.order[:PROBES]):
        sign = "\N{MINUS SIGN}" if vertex >= HASHED else "+"
        y = PROBES - place
        axes.text(0.02, y, f"{place + 1}", weight="bold", color=BLUE, va="center", size=9.5)
        axes.text(0.2, y, f"{sign}e{vertex % HASHED + 1}", va="center", size=9.5)
        axes.text(1.0, y, f"bucket {vertex}", va="center", ha="right", size=9.5)
    axes.set(xlim=(0, 1.02), ylim=(0.3, PROBES + 0.7))


def draw_buckets(axes: Axes, example: Example) -> None:
    """Offsets above, ids below; what is probed in colour."""
    probed = set(example.order[:PROBES].tolist())
    for bucket in range(BUCKETS):
        colour = BLUE if bucket in probed else PALE
        x = bucket * POINTS / BUCKETS
        axes.add_patch(Rectangle((x, 2), POINTS / BUCKETS, 0.8, fc=colour, ec="white", lw=1))
        start, end = example.offsets[bucket : bucket + 2]
        axes.add_patch(Rectangle((start, 0), end - start, 0.8, fc=colour, ec="white", lw=0.5))
        for row in range(start + 1, end):
            axes.plot([row, row], [0, 0.8], color="white", lw=0.5)
        if bucket in probed:
            axes.plot([x + POINTS / BUCKETS / 2, (start + end) / 2], [1.95, 0.85], color=BLUE, lw=1)
    axes.text(0, 3.0, "offsets, one a bucket", va="bottom", color=SOFT)
    axes.text(0, -0.25, "points in bucket order", va="top", color=SOFT)
    axes.set(xlim=(-0.5, POINTS + 0.5), ylim=(-1.1, 3.9))


def draw_sketches(axes: Axes, example: Example) -> None:
    """Estimated distances of the scanned points in order, and the bound that falls as better ones are found."""
    estimates = example.estimates
    bound = np.array([np.sort(estimates[: i + 1])[min(i, KEPT - 1)] for i in range(len(estimates))])
    bound[: KEPT - 1] = np.nan
    kept = estimates <= bound[-1]
    axes.scatter(np.flatnonzero(~kept), estimates[~kept], s=16, color=SOFT, marker="x", lw=1)
    axes.scatter(np.flatnonzero(kept), estimates[kept], s=22, color=BLUE)
    axes.step(range(len(estimates)), bound, where="post", color=ORANGE, lw=1.4, ls="--")
    axes.margins(0.08, 0.15)


def draw_marks(axes: Axes, example: Example) -> None:
    """One byte a point, set to the number of the query where the point was seen."""
    rng = np.random.default_rng(1)
    seen = set(rng.choice(POINTS, KEPT + 3, replace=False).tolist())
    for row in range(POINTS):
        x, y = row % 10, 3 - row // 10
        axes.add_patch(Rectangle((x, y), 0.88, 0.82, fc=BLUE if row in seen else PALE))
        mark, colour = ("7", "white") if row in seen else ("6", SOFT)
        axes.text(x + 0.44, y + 0.4, mark, ha="center", va="center", size=7, color=colour)
    axes.set(xlim=(-0.2, 10.1), ylim=(-0.2, 4.1))


def draw_answer(axes: Axes, example: Example) -> None:
    """The kept points by their exact distance; the first K are the answer."""
    kept = np.sort(example.distances[np.argsort(example.estimates)[:KEPT]])
    for place, distance in enumerate(kept):
        axes.barh(KEPT - place, distance, height=0.62, color=BLUE if place < K else PALE)
        axes.text(distance + 0.03, KEPT - place, f"{distance:.2f}", va="center")
    axes.set(xlim=(0, kept.max() * 1.35), ylim=(0.4, KEPT + 0.6))


STAGES: tuple[tuple[str, str, Callable[[Axes, Example], None]], ...] = (
    ("1  principal axes", "the query along the base's axes;\nthe leading ones are hashed", draw_query),
    ("2  rotate", "sign flips and fast Hadamard\ntransforms, anew for each hash", draw_rotated),
    ("3  score vertices", "squared gap to the largest\nsize: small is likely", draw_scores),
    ("4  probing sequence", "buckets of all tables by the\nsum of their vertices' scores", draw_probes),
    ("5  buckets", "of each table: offsets, and rows\nand sketches in their order", draw_buckets),
    ("6  sketches", "distances estimated from 4-bit\ncodes; the best R stay", draw_sketches),
    ("7  epoch marks", "a byte a row: what several\ntables hold counts once", draw_marks),
    ("8  exact re-rank", "float32 distances of what is\nleft; the k nearest are returned", draw_answer),
)


def draw(path: Path) -> Figure:
    """Write the picture to ``path`` and return its figure."""
    example = make_example()
    with mpl.rc_context(RC):
        figure = Figure(figsize=(9.6, 5.0), dpi=160, facecolor="white")
        for place, (title, caption, draw_stage) in enumerate(STAGES):
            x, y = 0.012 + place % 4 * 0.2475, 0.508 - place // 4 * 0.492
            draw_box(figure, (x, y), title, caption)
            axes = figure.add_axes((x + 0.012, y + 0.125, 0.2, 0.26))
            axes.set_axis_off()
            draw_stage(axes, example)
        figure.savefig(path, metadata={"Software": None})
    return figure


def draw_box(figure: Figure, corner: tuple[float, float], title: str, caption: str) -> None:
    """A frame of 0.225 x 0.475 with a title above and a caption below, and an arrow to the next."""
    x, y = corner
    shape = "round,pad=0,rounding_size=0.012"
    figure.add_artist(FancyBboxPatch((x, y), 0.225, 0.475, boxstyle=shape, fc="none", ec="#c9c9c9", lw=1))
    figure.text(x + 0.012, y + 0.45, title, weight="bold", size=10, va="top")
    figure.text(x + 0.012, y + 0.022, caption, color=SOFT, va="bottom", linespacing=1.25)
    if x < 0.7:
        figure.text(x + 0.2365, y + 0.24, ">", size=12, color=ORANGE, weight="bold", ha="center", va="center")


if __name__ == "__main__":
    draw(Path(__file__).with_name("crosspolytope.png"))
