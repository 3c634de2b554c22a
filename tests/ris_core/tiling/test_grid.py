import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ris_core.tiling import grid as grids
from ris_core.tiling.grid import RandomDraw, lay_grids, random_order


def test_grid_ids_are_those_of_the_thesis() -> None:
    grid = lay_grids([(3_092_556, 3_825_911)], 512, 512, half_offset=False)
    cells = grid.locate(np.array([0, 7471, 7472, 12_345_678]))
    row, col = divmod(12_345_678, 3_825_911 // 512)
    assert cells.row.tolist() == [0, 0, 1, row]
    assert cells.col.tolist() == [0, 7471, 0, col]
    assert cells.row_px.tolist() == [0, 0, 512, row * 512]
    assert grid.n_cells == (3_092_556 // 512) * (3_825_911 // 512)


def test_grid_with_stride_and_half_offset_by_hand() -> None:
    layout = lay_grids([(10, 13)], 4, 3, half_offset=True)
    assert [(grid.n_rows, grid.n_cols, grid.first_id) for grid in layout.grids] == [(3, 4, 0), (2, 3, 12)]
    cells = layout.locate(np.arange(layout.n_cells))
    assert cells.row_px[:12].tolist() == [0] * 4 + [3] * 4 + [6] * 4
    assert cells.col_px[12:].tolist() == [2, 5, 8, 2, 5, 8]


def test_grid_that_does_not_fit_passes_its_ids_on() -> None:
    layout = lay_grids([(4, 4), (3, 9), (8, 4)], 4, 4, half_offset=True)
    assert [grid.n_cells for grid in layout.grids] == [1, 0, 0, 0, 2, 0]
    assert layout.locate(np.arange(3)).raster.tolist() == [0, 2, 2]


@given(
    shapes=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=1, max_size=4),
    size=st.integers(1, 20),
    stride=st.integers(1, 25),
    half=st.booleans(),
)
def test_cells_lie_in_their_raster_and_are_all_that_fit(
    shapes: list[tuple[int, int]], size: int, stride: int, half: bool
) -> None:
    layout = lay_grids(shapes, size, stride, half)
    cells = layout.locate(np.arange(layout.n_cells))
    found = list(zip(cells.raster.tolist(), cells.row_px.tolist(), cells.col_px.tolist(), strict=True))
    expected = [
        (raster, row, col)
        for raster, (height, width) in enumerate(shapes)
        for offset in ((0, size // 2) if half else (0,))
        for row in range(offset, height - size + 1, stride)
        for col in range(offset, width - size + 1, stride)
    ]
    assert found == expected


@pytest.mark.parametrize("whole", [2**20, 40])
@pytest.mark.parametrize("n", [0, 1, 7, 1000])
def test_random_order_has_each_number_once(monkeypatch: pytest.MonkeyPatch, n: int, whole: int) -> None:
    monkeypatch.setattr(grids, "_PERMUTED_WHOLE", whole)
    drawn = np.concatenate(list(random_order(n, 3)))
    assert sorted(drawn.tolist()) == list(range(n))
    assert drawn.tolist() == np.concatenate(list(random_order(n, 3))).tolist()
    assert n < 7 or drawn.tolist() != np.concatenate(list(random_order(n, 4))).tolist()


def test_random_order_of_many_is_drawn_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grids, "_PERMUTED_WHOLE", 8)
    places = np.zeros((12, 12))
    for seed in range(1200):
        places[np.arange(12), np.concatenate(list(random_order(12, seed)))] += 1
    chi_square = ((places - 100) ** 2 / 100).sum()
    assert chi_square < 180  # 121 degrees of freedom: 173 at p = 0.001


def test_random_order_draws_as_its_definition_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grids, "_PERMUTED_WHOLE", 64)
    random = np.random.default_rng(5)
    seen: list[int] = []
    parts = list(random_order(500, 5))
    for part in parts[:-1]:  # sixteen with repetition, less those that came before
        drawn = dict.fromkeys(random.integers(0, 500, 16).tolist())
        assert part.tolist() == [number for number in drawn if number not in seen]
        seen += part.tolist()
    assert len(seen) >= 250
    assert len(seen) - len(parts[-2]) < 250
    assert parts[-1].tolist() == random.permutation(np.setdiff1d(np.arange(500), seen)).tolist()


@given(st.integers(0, 200), st.lists(st.integers(0, 60), max_size=9))
def test_random_draw_gives_the_random_order_in_any_portions(n: int, portions: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grids, "_PERMUTED_WHOLE", 40)
        draw = RandomDraw(n, 3)
        drawn = [draw.take(portion) for portion in portions]
        expected = np.concatenate(list(random_order(n, 3)))
    ends = np.cumsum([0, *portions])
    assert [part.tolist() for part in drawn] == [
        expected[start:end].tolist() for start, end in itertools.pairwise(ends)
    ]
