"""Concepts of three difficulties, found in the share that each land-cover class has of each tile.

*Easy*: one class fills the tile. *Medium*: two or more main classes share it. *Hard*: a small object lies in it.
Whether a tile is relevant depends on the concept alone, so it is the same for all queries of a concept.
`docs/measures.md` says the rules in plain words; the thresholds stand in the suite's ``[judge]`` section and default
in `bench.judging.judge.JudgeSpec`. Nothing here knows the name of any class.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

OBJECT_QUANTILE = 0.9


@dataclasses.dataclass(frozen=True, eq=False)
class Concept:
    """What a query can ask for.

    Attributes:
        classes: The class, or the main classes in alphabetical order.
        rows: (m,) int64 positions of the tiles that can serve as queries; each of them is relevant.
        relevant: (n,) bool: the tiles that show the concept.
    """

    classes: tuple[str, ...]
    rows: np.ndarray
    relevant: np.ndarray

    @property
    def name(self) -> str:
        """The classes, joined by plus signs."""
        return " + ".join(self.classes)

    @property
    def others(self) -> int:
        """How many relevant tiles a query can find: all but itself."""
        return int(self.relevant.sum()) - 1


def easy_concepts(shares: pd.DataFrame, fill: float, hit: float) -> list[Concept]:
    """Classes that fill some tile.

    Args:
        shares: (n, classes) share of each class of each tile's area.
        fill: A class fills a query with at least this share.
        hit: A tile is relevant where the class has at least this share, at most ``fill``.
    """
    columns = {str(name): shares[name].to_numpy() for name in shares.columns}
    return [
        Concept((name,), np.flatnonzero(share >= fill), share >= hit)
        for name, share in columns.items()
        if (share >= fill).any()
    ]


def medium_concepts(shares: pd.DataFrame, main: float, hit: float, cover: float, fill: float) -> list[Concept]:
    """Sets of two or more classes that share some tile.

    Args:
        shares: (n, classes) share of each class of each tile's area.
        main: A class is a main class of a query with at least this share.
        hit: A tile is relevant where each of the concept's classes has at least this share, at most ``main`` ...
        cover: ... and all of them together at least this one. A query's main classes must reach it, too.
        fill: No class of a query reaches this share.
    """
    values = shares.to_numpy()
    names = [str(name) for name in shares.columns]
    is_main = values >= main
    eligible = (is_main.sum(axis=1) >= 2) & ((values * is_main).sum(axis=1) >= cover) & (values.max(axis=1) < fill)
    rows_of: dict[tuple[int, ...], list[int]] = {}
    for row in np.flatnonzero(eligible):
        rows_of.setdefault(tuple(np.flatnonzero(is_main[row]).tolist()), []).append(int(row))
    concepts = []
    for columns, rows in rows_of.items():
        part = values[:, list(columns)]
        relevant = (part >= hit).all(axis=1) & (part.sum(axis=1) >= cover)
        concepts.append(Concept(tuple(sorted(names[column] for column in columns)), np.array(rows), relevant))
    return concepts


def grouped(shares: pd.DataFrame, groups: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Shares with the classes of each group added up under the group's name, the others as they are."""
    members = [name for names in groups.values() for name in names]
    sums = {group: shares[list(names)].sum(axis=1) for group, names in groups.items()}
    return pd.concat([shares.drop(columns=members), pd.DataFrame(sums, index=shares.index)], axis=1)


def hard_concepts(
    shares: pd.DataFrame, objects: Sequence[str], smallest: float, part: float, largest: float
) -> list[Concept]:
    """Object classes that take a small share of some tile.

    Args:
        shares: (n, classes) share of each class of each tile's area.
        objects: Names of the object classes.
        smallest: A tile holds an object with at least this share ...
        part: ... and is relevant with at least this part of what the tiles that hold one show of it (median), so that
            a sliver at the border does not count. A query must reach it, too.
        largest: An object has at most this share of a query, and no other object has more.
    """
    found = shares[list(objects)]
    values = found.to_numpy()
    most = values.max(axis=1, initial=0)
    concepts = []
    for column, name in enumerate(found.columns):
        share = values[:, column]
        present = share[share >= smallest]
        if not len(present):
            continue
        relevant = share >= max(smallest, part * float(np.median(present)))
        rows = np.flatnonzero(relevant & (share <= largest) & (share == most))
        if len(rows):
            concepts.append(Concept((str(name),), rows, relevant))
    return concepts


def object_classes(shares: pd.DataFrame, smallest: float, largest: float, tiles_frac: float) -> list[str]:
    """Classes that are rare, and small where they are: nine in ten tiles that hold one hold at most ``largest`` of it.

    Args:
        shares: (n, classes) share of each class of each tile's area.
        smallest: A tile holds the class from this share on.
        largest: Greatest usual share of an object.
        tiles_frac: Greatest share of the tiles that hold it.
    """
    names = []
    for name in shares.columns:
        share = shares[name].to_numpy()
        present = share[share >= smallest]
        is_rare = 0 < len(present) <= tiles_frac * len(share)
        if is_rare and np.quantile(present, OBJECT_QUANTILE) <= largest:
            names.append(str(name))
    return names


def spread_queries(
    concepts: Sequence[Concept], count: int, enough: int, rng: np.random.Generator
) -> list[tuple[int, Concept]]:
    """Query tiles, spread as evenly as can be over concepts and their classes.

    Each draw goes to the concept that was drawn least often, among these to the one whose classes were drawn least
    often, among these by seed; within the concept to a tile by seed, once. A concept with fewer than ``enough``
    relevant other tiles counts as drawn once more for each halving that it is short, so that it comes later;
    one without any is never asked for.

    Args:
        concepts: Concepts of one stratum.
        count: Queries wanted.
        enough: Relevant other tiles that a concept should have.
        rng: Source of chance.

    Returns:
        At most ``count`` pairs of a tile's position and its concept; no tile twice.
    """
    tiles = [rng.permutation(concept.rows).tolist() for concept in concepts]
    order = rng.permutation(len(concepts)).tolist()
    drawn: Counter[int] = Counter()
    seen: Counter[str] = Counter()
    taken: set[int] = set()
    picks: list[tuple[int, Concept]] = []

    def rank(i: int) -> tuple[int, int, int]:
        halvings = max(0, math.ceil(math.log2(enough / concepts[i].others)))
        return drawn[i] + halvings, max(seen[name] for name in concepts[i].classes), order[i]

    while len(picks) < count:
        for i in range(len(concepts)):
            while tiles[i] and tiles[i][-1] in taken:
                tiles[i].pop()
        open_concepts = [i for i in range(len(concepts)) if tiles[i] and concepts[i].others > 0]
        if not open_concepts:
            break
        best = min(open_concepts, key=rank)
        picks.append((tiles[best].pop(), concepts[best]))
        taken.add(picks[-1][0])
        drawn[best] += 1
        seen.update(concepts[best].classes)
    return picks
