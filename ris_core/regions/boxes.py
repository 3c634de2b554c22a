"""Boxes of query pictures: read from a CSV or JSON file, and held against the pictures that they are of."""

import csv
import dataclasses
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from ris_core.errors import CorpusError

COLUMNS = ("query", "x1", "y1", "x2", "y2")
_SHOWN = 8  # faults of one file that are told


@dataclasses.dataclass(frozen=True)
class Box:
    """One box of a file.

    Attributes:
        query: Id of a tile, or name of an image file, as the file has it.
        corners: x1, y1, x2, y2 in pixels from the picture's upper left corner; x2 and y2 are the first column and row
            outside.
        place: Where it stands: ``line 3``, ``entry 2``.
    """

    query: str
    corners: tuple[float, float, float, float]
    place: str

    def words(self) -> str:
        """``line 3: box (10, 20, 30, 40)``."""
        return f"{self.place}: box ({', '.join(f'{value:g}' for value in self.corners)})"


@dataclasses.dataclass(frozen=True)
class BoxFile:
    """The boxes of a file, in its order.

    Attributes:
        path: The file.
        boxes: What it holds; each has an area, and begins at 0 or beyond.
    """

    path: Path
    boxes: tuple[Box, ...]

    @classmethod
    def read(cls, path: Path) -> Self:
        """The boxes of a CSV file with the columns ``query,x1,y1,x2,y2``, or of a JSON list of objects with these keys.

        Raises:
            CorpusError: If it cannot be read, or boxes are no boxes; each by its line.
        """
        try:
            text = path.read_text(encoding="utf-8-sig")
            found = list(_json_rows(text) if path.suffix.lower() == ".json" else _csv_rows(text))
        except (OSError, ValueError, RecursionError, csv.Error) as error:
            raise CorpusError(f"{path}: no boxes to be read ({error}). {_FORM}") from error
        boxes, faults = [], []
        for place, row in found:
            try:
                boxes.append(_box(place, row))
            except ValueError as error:
                faults.append(str(error))
        _refuse(path, faults)
        return cls(path, tuple(boxes))

    def check_queries(self, is_known: Callable[[str], bool]) -> None:
        """Refuse boxes of what is no query.

        Raises:
            CorpusError: Naming the first such boxes.
        """
        foreign = [box for box in self.boxes if not is_known(box.query)]
        _refuse(
            self.path,
            [f"{box.words()} is of {box.query!r}, which is no tile and no image of the corpus." for box in foreign],
            "Write the tile's id or the image's name as the corpus has it, or remove the line.",
        )

    def of(self, names: Sequence[str], size_px: tuple[int, int]) -> np.ndarray:
        """(m, 4) float64 boxes of the picture that bears these names, in the file's order.

        Args:
            names: What the file may call it.
            size_px: Its width and height.

        Raises:
            CorpusError: If a box reaches out of the picture.
        """
        mine = [box for box in self.boxes if box.query in names]
        width, height = size_px
        outside = [box for box in mine if box.corners[2] > width or box.corners[3] > height]
        _refuse(
            self.path,
            [f"{box.words()} of {box.query} reaches out of its picture of {width} x {height} px." for box in outside],
            f"Boxes are x1, y1, x2, y2 in px of the picture at full resolution, with x2 <= {width} and y2 <= {height}.",
        )
        return np.array([box.corners for box in mine], np.float64).reshape(-1, 4)


_FORM = f"A CSV file with the columns {','.join(COLUMNS)} is needed, or a JSON list of objects with these keys."


def _csv_rows(text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text), strict=True)
    missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise ValueError(f"it lacks the column {', '.join(missing)}")
    for row in reader:
        yield f"line {reader.line_num}", row


def _json_rows(text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    entries = json.loads(text)
    if not isinstance(entries, list):
        raise ValueError(f"it holds {type(entries).__name__}, not a list")
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict) or any(name not in entry for name in COLUMNS):
            raise ValueError(f"entry {number} is no object with the keys {', '.join(COLUMNS)}")
        yield f"entry {number}", entry


def _box(place: str, row: Mapping[str, Any]) -> Box:
    """The box of a row.

    Raises:
        ValueError: With the fault as a sentence.
    """
    texts = [str(row[name] if row[name] is not None else "").strip() for name in COLUMNS]
    try:
        corners = tuple(float(text) for text in texts[1:])
    except ValueError:
        corners = (math.nan,) * 4
    if not texts[0] or not all(map(math.isfinite, corners)):
        raise ValueError(f"{place}: {', '.join(texts)!r} is no query with four numbers.")
    box = Box(texts[0], (corners[0], corners[1], corners[2], corners[3]), place)
    x1, y1, x2, y2 = corners
    if x2 <= x1 or y2 <= y1:
        what = "is empty" if x2 == x1 or y2 == y1 else "is reversed"
        raise ValueError(f"{box.words()} of {box.query} {what}: x1 < x2 and y1 < y2 are needed.")
    if x1 < 0 or y1 < 0:
        raise ValueError(f"{box.words()} of {box.query} begins before the picture: x1 >= 0 and y1 >= 0 are needed.")
    return box


def _refuse(path: Path, faults: Sequence[str], remedy: str = "Mend or remove the line.") -> None:
    if faults:
        more = f"\n  and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        shown = faults[0] if len(faults) == 1 else "\n  " + "\n  ".join(faults[:_SHOWN]) + more + "\n "
        raise CorpusError(f"{path}: {shown} {remedy}")
