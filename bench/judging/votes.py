"""What judges say of tiles: one CSV a judge, merged to one judgment for each concept and tile; how far they agree.

A judgment belongs to a concept in words and a tile, not to a query: two queries for "greenhouse" need it once.
"""

import csv
import itertools
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from bench.judging.spreadsheet import guarded, listed, read_rows, whole_number
from bench.scores.unjudged import UNJUDGED
from ris_core.artifacts import disk_error, written_whole
from ris_core.errors import ArtifactError

KEYS = ["concept", "tile"]
JUDGE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
COLUMNS = ("concept", "queries", "tile", "relevant")  # of a judge's file; `queries` is there for people
_READ = ("concept", "tile", "relevant")
_AGREEMENT = ("agreement", "first_yes", "second_yes", "expected", "kappa")
_GRADES = {"0": 0, "1": 1, "": UNJUDGED}


def read_votes(folder: Path) -> pd.DataFrame:
    """What all judges of a folder said: ``concept`` (str), ``tile``, ``grade`` (int64, 0 or 1), ``judge`` (str).

    Raises:
        ArtifactError: With all faults of a file, if a line is no judgment or a tile is judged twice.
    """
    files = sorted(folder.glob("[!.]*.csv"))  # a hidden one was left half written by a process that was killed
    parts = [_votes_of(path) for path in files]
    empty = pd.DataFrame({"concept": [], "tile": [], "grade": [], "judge": []})
    votes = pd.concat(parts, ignore_index=True) if parts else empty
    return votes.astype({"concept": str, "tile": np.int64, "grade": np.int64, "judge": str})


def _votes_of(path: Path) -> pd.DataFrame:
    if not JUDGE_NAME.fullmatch(path.stem):  # a browser names a second download "ann (1).csv"
        raise ArtifactError(
            f"{path}: {path.stem!r} is no name of a judge; allowed are letters, digits, _ . - Put it in the place "
            "of the judge's own, or out of this folder."
        )
    said: dict[tuple[str, int], int] = {}
    faults = []
    for line, (concept, tile, relevant) in read_rows(path, _READ):
        number = whole_number(tile)
        if number is None or not concept:
            faults.append(
                f"line {line}: tile {tile!r} of concept {concept!r}; a tile has a whole number, a concept words."
            )
        elif relevant not in _GRADES:
            faults.append(f"line {line}: relevant is {relevant!r}; it must be 1 (yes), 0 (no), or empty (not judged).")
        elif (concept, number) in said:
            faults.append(f"line {line}: tile {number} is judged for {concept!r} again. Keep one of the lines.")
        else:
            said[concept, number] = _GRADES[relevant]
    if faults:
        raise ArtifactError(listed(path, faults))
    rows = [(*key, grade, path.stem) for key, grade in said.items() if grade != UNJUDGED]
    return pd.DataFrame(rows, columns=[*KEYS, "grade", "judge"])


def sheet_rows(pool: pd.DataFrame, own: pd.DataFrame) -> pd.DataFrame:
    """What stands in a judge's file: each pooled tile with his judgment, then those that he judged for other pools.

    Args:
        pool: ``concept``, ``queries``, ``tile``; each concept and tile once.
        own: The judge's votes.

    Returns:
        ``concept``, ``queries``, ``tile``, ``grade`` (int64, -1 where he has not judged).
    """
    votes = own[[*KEYS, "grade"]]
    asked = pool.merge(votes, how="left", on=KEYS, validate="one_to_one")
    known = pool[KEYS].assign(queries="")
    others = votes.merge(known, how="left", on=KEYS, indicator=True)
    others = others[others["_merge"] == "left_only"].assign(queries="")
    rows = pd.concat([asked, others[list(asked.columns)]], ignore_index=True)
    return rows.assign(grade=rows["grade"].fillna(UNJUDGED).astype(np.int64))


def write_sheet_rows(rows: pd.DataFrame, path: Path) -> None:
    """Write a judge's file, whole.

    Args:
        rows: As `sheet_rows` returns them.
        path: File to write.

    Raises:
        ArtifactError: If the disk cannot take it.
    """
    words = {grade: text for text, grade in _GRADES.items()}
    try:
        with written_whole(path) as unfinished, unfinished.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            for concept, queries, tile, grade in rows[[*COLUMNS[:3], "grade"]].itertuples(index=False, name=None):
                writer.writerow([guarded(concept), queries, tile, words[grade]])
    except OSError as error:
        raise disk_error(path, error) from error


def merge_votes(votes: pd.DataFrame) -> pd.DataFrame:
    """One judgment for each concept and tile that anybody judged: the majority's; -1 where the judges are split evenly.

    Returns:
        ``concept``, ``tile``, ``grade`` (int64: 1, 0 or -1), ``yes``, ``no`` (judges who said so), by concept and tile.
    """
    groups = votes.groupby(KEYS)["grade"]
    merged = groups.agg(yes="sum", judges="size").reset_index()
    merged = merged.assign(no=merged["judges"] - merged["yes"])
    grade = np.where(merged["yes"] == merged["no"], UNJUDGED, (merged["yes"] > merged["no"]).astype(np.int64))
    return merged.assign(grade=grade)[[*KEYS, "grade", "yes", "no"]]


def conflicts(votes: pd.DataFrame) -> pd.DataFrame:
    """Tiles of which judges said different things: ``concept``, ``tile``, ``relevant`` and ``wrong`` (names)."""
    merged = merge_votes(votes)
    split = merged.loc[(merged["yes"] > 0) & (merged["no"] > 0), KEYS]
    rows = []
    for concept, tile in split.itertuples(index=False, name=None):
        here = votes[(votes["concept"] == concept) & (votes["tile"] == tile)]
        names = [", ".join(sorted(here.loc[here["grade"] == grade, "judge"])) for grade in (1, 0)]
        rows.append((concept, tile, *names))
    return pd.DataFrame(rows, columns=[*KEYS, "relevant", "wrong"])


def cohens_kappa(first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    """How far two judges agree beyond what their habits alone would bring about.

    Args:
        first: (n,) bool: what the first said of each tile.
        second: (n,) bool: what the second said of the same tiles.

    Returns:
        ``agreement``: share of the tiles of which both said the same; ``first_yes``, ``second_yes``: shares that each
        called relevant; ``expected``: the agreement by chance of two judges who say yes as often; ``kappa``:
        (agreement - expected) / (1 - expected). NaN for no tile; kappa also where both always said the same one thing.

    Source:
        Cohen 1960, A Coefficient of Agreement for Nominal Scales. Differs: none.
    """
    if not len(first):
        return dict.fromkeys(_AGREEMENT, float("nan"))
    agreement, a, b = (float(np.mean(part)) for part in (first == second, first, second))
    expected = a * b + (1 - a) * (1 - b)
    kappa = (agreement - expected) / (1 - expected) if expected < 1 else float("nan")
    return dict(zip(_AGREEMENT, (agreement, a, b, expected, kappa), strict=True))


def agreement_table(votes: pd.DataFrame) -> pd.DataFrame:
    """``first``, ``second``, ``tiles`` and the fields of `cohens_kappa` for every two judges who share a tile."""
    columns: Mapping[str, pd.Series] = {
        str(judge): part.set_index(KEYS)["grade"].rename(str(judge)) for judge, part in votes.groupby("judge")
    }
    rows = []
    for first, second in itertools.combinations(columns, 2):
        both = pd.concat([columns[first], columns[second]], axis=1, join="inner")
        if len(both):
            said = (both[first].to_numpy() == 1, both[second].to_numpy() == 1)
            rows.append({"first": first, "second": second, "tiles": len(both), **cohens_kappa(*said)})
    return pd.DataFrame(rows, columns=["first", "second", "tiles", *_AGREEMENT])
