import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ris_core.grid import lay_grids


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
