"""The contact sheet: a page that shows a judge the tiles he has not judged yet, and gives his file back filled in.

One HTML file with all pictures in it: it needs neither network nor server. Whatever it shows of the corpus is escaped.
The tiles stand by id, so that nothing tells which model found them, or at which place.
"""

import base64
import dataclasses
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from PIL import Image

from bench.judging.votes import COLUMNS
from bench.scores.unjudged import UNJUDGED
from ris_core.artifacts import disk_error, written_whole
from ris_core.records import Tiles

_TEMPLATES = Path(__file__).parents[1] / "templates"
_LARGEST_PX = 192  # of a picture; ten thousand of them take some 100 MB
_JPEG_QUALITY = 82


@dataclasses.dataclass(frozen=True, eq=False)
class Sheet:
    """What a judge is shown.

    Attributes:
        judge: Name of the judge; his file is ``<judge>.csv``.
        rows: All lines of his file, as `bench.judging.votes.sheet_rows` returns them.
        pooled: How many of the first lines belong to the pool; the sheet shows those of them that he has not judged.
        tiles: The corpus, with pixels.
        tiles_key: What tells these tiles from any others: the browser keeps unsaved marks under it.
    """

    judge: str
    rows: pd.DataFrame
    pooled: int
    tiles: Tiles
    tiles_key: str


def write_contact_sheet(sheet: Sheet, path: Path) -> None:
    """Write the page.

    Raises:
        ArtifactError: If the disk cannot take it.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    asked = sheet.rows.iloc[: sheet.pooled]
    concepts = list(_concepts(asked[asked["grade"] == UNJUDGED], _Pictures(sheet.tiles)))
    grades = [None if grade == UNJUDGED else int(grade) for grade in sheet.rows["grade"]]
    lines = sheet.rows[list(COLUMNS[:3])].astype(object).to_numpy().tolist()
    page = environment.get_template("contact_sheet.html").stream(
        judge=sheet.judge,
        tiles_key=sheet.tiles_key,
        heading=list(COLUMNS),
        rows=[[*line, grade] for line, grade in zip(lines, grades, strict=True)],
        concepts=concepts,
        asked=sum(len(concept["tiles"]) for concept in concepts),
        pooled=sheet.pooled,
        style=(_TEMPLATES / "contact_sheet.css").read_text(encoding="utf-8"),
        script=(_TEMPLATES / "contact_sheet.js").read_text(encoding="utf-8"),
    )
    try:
        with written_whole(path) as unfinished, unfinished.open("wb") as file:
            page.dump(file, encoding="utf-8")
    except OSError as error:
        raise disk_error(path, error) from error


def _concepts(asked: pd.DataFrame, pictures: "_Pictures") -> Iterator[dict[str, Any]]:
    """Each concept with its query tiles and the tiles to judge; a tile knows its line in the judge's file."""
    for concept, part in asked.groupby("concept", sort=False):
        queries = [int(tile) for tile in str(part["queries"].iloc[0]).split()]
        yield {
            "name": concept,
            "queries": [{"tile": tile, "src": pictures.src(tile)} for tile in queries],
            "tiles": [
                {"line": line, "tile": tile, "src": pictures.src(tile)}
                for line, tile in zip(part.index.tolist(), part["tile"].tolist(), strict=True)
            ],
        }


class _Pictures:
    """Pictures of tiles as data that a page holds itself."""

    def __init__(self, tiles: Tiles) -> None:
        self.tiles = tiles
        self.places = {int(tile): place for place, tile in enumerate(tiles.ids)}

    def src(self, tile: int) -> str:
        """A JPEG of the tile as a data URI, made smaller where it is large; empty for one that the corpus lacks."""
        place = self.places.get(tile)
        if place is None:
            return ""
        image = Image.fromarray(np.asarray(self.tiles.pixels[place]))
        image.thumbnail((_LARGEST_PX, _LARGEST_PX), Image.Resampling.LANCZOS)
        stored = io.BytesIO()
        image.save(stored, "JPEG", quality=_JPEG_QUALITY)
        return f"data:image/jpeg;base64,{base64.b64encode(stored.getvalue()).decode()}"
