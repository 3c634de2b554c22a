"""docs/lsh.md: it runs, its tables name what there is, and its picture is true and legible."""

import dataclasses
import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ris_core.engines import ENGINES
from ris_core.engines.crosspolytope import CrosspolytopeParams, CrosspolytopeQuery
from ris_core.engines.falconn import FalconnParams, FalconnQuery

PAGE = Path(__file__).parents[2] / "docs" / "lsh.md"
IMAGES = PAGE.parent / "images"


@pytest.fixture(scope="module")
def drawing() -> dict[str, Any]:
    return runpy.run_path(str(IMAGES / "draw_crosspolytope.py"))


def test_rotation_of_the_picture_keeps_lengths_and_probes_begin_at_the_nearest_vertex(drawing: dict[str, Any]) -> None:
    example = drawing["make_example"]()
    assert np.linalg.norm(example.rotated) == pytest.approx(np.linalg.norm(example.query[: drawing["HASHED"]]))
    signed = np.concatenate([example.rotated, -example.rotated])
    assert example.order[0] == signed.argmax()
    assert sorted(signed[example.order], reverse=True) == list(signed[example.order])


def test_buckets_of_the_picture_hold_all_points_and_those_probed_are_scanned(drawing: dict[str, Any]) -> None:
    example = drawing["make_example"]()
    sizes = np.diff(example.offsets)
    assert sizes.sum() == drawing["POINTS"]
    assert sizes[example.order[: drawing["PROBES"]]].sum() == len(example.distances) == len(example.estimates)


def test_words_of_the_picture_stay_inside_it_and_apart(drawing: dict[str, Any], drawing_folder: Path) -> None:
    (drawing_folder / "images").mkdir(exist_ok=True)
    figure = drawing["draw"](drawing_folder / "images" / "crosspolytope.png")
    words = [text for text in figure.texts if text.get_text() != ">"]
    assert len(words) == 2 * len(drawing["STAGES"])
    boxes = [text.get_window_extent() for text in words]
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
    assert (IMAGES / "crosspolytope.png").is_file()


def test_page_prints_what_it_says(run_page: Callable[[Path], dict[str, Any]]) -> None:
    run_page(PAGE)


def table_rows(text: str) -> dict[str, str]:
    """Lines of the page's tables by the name in their first cell."""
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return {line.split("`")[1]: line for line in lines}


@pytest.mark.parametrize("name", ENGINES)
def test_page_names_every_engine_with_all_of_its_parameters(name: str) -> None:
    kind = ENGINES[name]
    row = table_rows(PAGE.read_text(encoding="utf-8"))[name]
    built, _, asked = row.split("|")[4].partition(";")
    for params, cell in ((kind.build_params, built), (kind.query_params, asked)):
        names = [field.name for field in dataclasses.fields(params)]
        assert re.findall(r"`(\w+)`", cell) == names


@pytest.mark.parametrize(
    ("heading", "kinds"),
    [("FALCONN", (FalconnParams, FalconnQuery)), ("crosspolytope", (CrosspolytopeParams, CrosspolytopeQuery))],
)
def test_tables_of_parameters_state_the_defaults(heading: str, kinds: tuple[type[Any], ...]) -> None:
    section = PAGE.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    stated = {name: row.split("|")[2].strip(" `") for name, row in table_rows(section).items()}
    defaults = {field.name: field.default for kind in kinds for field in dataclasses.fields(kind)}
    assert (
        stated.items()
        <= {
            name: f"{value:g}" if isinstance(value, float) else str(value).lower() for name, value in defaults.items()
        }.items()
    )
    assert len(stated) >= len(defaults) - 2  # FALCONN's seed and what it reads for sparse vectors alone
