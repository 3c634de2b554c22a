"""docs/lsh_by_hand.md runs, prints what it says, and hashes as the engines do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ris_core import native
from ris_core.engines.falconn import FalconnParams, FalconnQuery, build_falconn

PAGE = Path(__file__).parents[2] / "docs" / "lsh_by_hand.md"
PAIRS = 4000

RunPage = Callable[[Path], dict[str, Any]]


@pytest.fixture(scope="module")
def page(run_page: RunPage) -> dict[str, Any]:
    return run_page(PAGE)


def test_page_prints_what_it_says_and_its_picture_is_there(page: dict[str, Any], drawing_folder: Path) -> None:
    assert (drawing_folder / "images" / "collisions.png").stat().st_size > 10_000
    assert (PAGE.parent / "images" / "collisions.png").is_file()


def test_thesis_points_have_the_bits_of_the_thesis(page: dict[str, Any]) -> None:
    normals = [page["at"](50), page["at"](112)]
    bits = {name: page["hyperplane_bits"](page[name], normals) for name in ("p1", "p2", "q")}
    assert bits == {"p1": [1, 0], "p2": [0, 1], "q": [1, 1]}


def test_thesis_points_have_the_vertices_of_the_thesis(page: dict[str, Any]) -> None:
    hashes = {
        name: [page["cross_polytope_hash"](page["turned"](page[name], turn)) for turn in (50, 158)]
        for name in ("p1", "p2", "q")
    }
    assert hashes == {"p1": [0, 2], "p2": [1, 0], "q": [0, 3]}


def test_thesis_query_has_the_cosines_of_the_thesis(page: dict[str, Any]) -> None:
    assert page["q"] @ page["p1"] == pytest.approx(0.9744, abs=5e-5)
    assert page["q"] @ page["p2"] == pytest.approx(-0.8480, abs=5e-5)


def nearest_vertex_one_by_one(y: np.ndarray) -> int:
    """As FALCONN decodes: coordinate by coordinate, each with both signs; vertex -e_i is number d + i."""
    d, best, vertex = len(y), -np.inf, -1
    for i in range(d):
        for sign, number in ((1, i), (-1, d + i)):
            if sign * y[i] > best:
                best, vertex = sign * y[i], number
    return vertex


@pytest.mark.parametrize("d", [1, 2, 3, 128])
def test_hash_is_that_of_falconns_loop(page: dict[str, Any], d: int) -> None:
    for y in np.random.default_rng(d).standard_normal((100, d)):
        assert page["cross_polytope_hash"](y) == nearest_vertex_one_by_one(y)


def pairs_at(angle: float, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors (PAIRS, d) float32, and as many at an angle to them."""
    p, other = np.random.default_rng(7).standard_normal((2, PAIRS, d))
    p /= np.linalg.norm(p, axis=1, keepdims=True)
    other -= np.sum(p * other, axis=1, keepdims=True) * p
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    return p.astype(np.float32), (np.cos(angle) * p + np.sin(angle) * other).astype(np.float32)


def falconns_share(family: str, p: np.ndarray, q: np.ndarray) -> float:
    """How many of the pairs FALCONN puts into one bucket of 256, one table and one probe given."""
    index = build_falconn(p, FalconnParams(family=family, tables=1, hash_bits=8, rotations=3))
    buckets = index.candidate_rows(q, FalconnQuery(probes_per_table=1))
    return float(np.mean([row in bucket for row, bucket in enumerate(buckets)]))


def our_share(family: str, p: np.ndarray, q: np.ndarray) -> float:
    """The same for our own engine, which hashes the vectors as they come."""
    settings = native.CrosspolytopeSettings()
    settings.family, settings.hash_bits, settings.rotations = family, 8, 3
    index = native.CrosspolytopeIndex(p, settings, np.empty((0, 0), np.float32))
    return float(np.mean(index.codes(p) == index.codes(q)))


@pytest.mark.parametrize(
    "share_of",
    [
        pytest.param(
            falconns_share,
            marks=pytest.mark.skipif(
                native.falconn_unavailable() is not None, reason=f"no FALCONN: {native.falconn_unavailable()}"
            ),
        ),
        our_share,
    ],
)
@pytest.mark.parametrize("degrees", [15, 40])
def test_engines_put_pairs_into_one_bucket_as_often_as_the_page_computes(
    page: dict[str, Any], share_of: Callable[[str, np.ndarray, np.ndarray], float], degrees: int
) -> None:
    angle = np.radians(degrees)
    pairs = pairs_at(angle, 128)
    for family, expected in (
        ("cross_polytope", page["cross_polytope_collisions"](angle, 128)),
        ("hyperplane", page["hyperplane_collisions"](angle, 8)),
    ):
        assert share_of(family, *pairs) == pytest.approx(expected, abs=4 * standard_error(expected, PAIRS))


def standard_error(share: float, count: int) -> float:
    return float(np.sqrt(share * (1 - share) / count))


def test_one_coordinate_is_one_hyperplane_and_a_right_angle_is_chance(page: dict[str, Any]) -> None:
    collisions = page["cross_polytope_collisions"]
    assert collisions(np.radians(40), 1) == pytest.approx(1 - 40 / 180, abs=1e-3)
    assert collisions(np.radians(90), 64) == pytest.approx(1 / 128, rel=1e-3)


def test_leading_term_is_the_theorems(page: dict[str, Any]) -> None:
    angle = np.radians(50)
    squared = (2 * np.sin(angle / 2)) ** 2
    expected = np.exp(-squared / (4 - squared) * np.log(96))
    assert page["leading_term"](angle, 96) == pytest.approx(expected)


def test_counted_marks_of_the_figure_lie_on_its_lines(page: dict[str, Any]) -> None:
    lines = page["over_angle"].get_lines()
    for formula, counted in ((lines[0], lines[1]), (lines[2], lines[3])):
        expected = np.interp(counted.get_xdata(), formula.get_xdata(), formula.get_ydata())
        slack = 4 * np.sqrt(expected * (1 - expected) / page["PAIRS"]) + 2e-3  # of reading between the line's points
        assert np.all(np.abs(counted.get_ydata() - expected) < slack)


def test_a_page_that_prints_otherwise_than_it_says_fails_with_its_line(run_page: RunPage, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A page\n\n```python\nx = 1\n```\n\n```python\nprint(x + 1)\n```\n\n```text\n3\n```\n", "utf-8")
    with pytest.raises(AssertionError, match=r"page\.md, line 7"):
        run_page(page)
    page.write_text("```python\nprint(1)\n```\n\n```console\n$ true\n```\n", "utf-8")
    with pytest.raises(AssertionError, match="line 1"):
        run_page(page)


def test_a_failing_block_is_traced_to_its_line(run_page: RunPage, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("\n\n```python\n1 / 0\n```\n", "utf-8")
    with pytest.raises(ZeroDivisionError) as failure:
        run_page(page)
    assert failure.traceback[-1].lineno == 3  # counted from 0
