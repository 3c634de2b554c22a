"""Classes of grid cells, or of vectors, from a CSV file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ris_core.errors import CorpusError
from ris_core.tiling.grid import Grid, Layout

_MOST_FAULTS = 5  # of one kind that a message lists


def read_labels(path: Path, rasters: Sequence[str], layout: Layout) -> pd.Series:
    """Class of each labelled cell: label (str) by tile id (int64), ids ascending.

    The CSV has the columns ``row``, ``col`` (counted from 0 in the first grid of the raster) and ``label``; for a
    folder of rasters also ``raster``, the file's name. Other columns are ignored, rows with an empty label too.

    Args:
        path: The CSV file.
        rasters: Names of the corpus' rasters.
        layout: Their grids.

    Raises:
        CorpusError: With every fault of the file: columns, rows outside the grid, cells that come twice.
    """
    table = _read_csv(path)
    needed = ["row", "col", "label"] + (["raster"] if len(rasters) > 1 else [])
    missing = [name for name in needed if name not in table.columns]
    if missing:
        raise CorpusError(
            f"{path}: has no column {', '.join(missing)} (found: {', '.join(table.columns)}); needed are "
            f"{', '.join(needed)}. Add or rename columns."
        )
    table = table[table["label"].str.strip() != ""]
    if table.empty:
        raise CorpusError(f"{path}: labels no cell. Fill its column label, or leave `labels` out.")
    faults: list[str] = []
    places = table[["row", "col"]].apply(pd.to_numeric, errors="coerce")
    is_whole = (places.notna() & (places % 1 == 0)).all(axis=1).to_numpy()
    faults += _fault(table[~is_whole], "rows and columns must be whole numbers")
    names = table["raster"].str.strip() if len(rasters) > 1 else pd.Series(rasters[0], index=table.index)
    is_known = names.isin(rasters).to_numpy()
    faults += _fault(table[~is_known], f"raster is not in the corpus ({', '.join(list(rasters)[:3])}, ...)")
    usable = is_whole & is_known
    ids, fits = _ids(places[usable].to_numpy(np.int64), names[usable].to_numpy(str), rasters, layout)
    faults += _fault(table[usable][~fits], f"outside the grid ({_sizes(layout)})")
    labels = pd.Series(table["label"].str.strip().to_numpy(object)[usable][fits], index=ids[fits], name="label")
    twice = labels.index[labels.index.duplicated()]
    faults += _fault(table[usable][fits][labels.index.isin(twice)], "a cell may have one row only")
    if faults:
        raise CorpusError(f"{path}: does not fit the grid of tiles: {'; '.join(faults)}. Check tile_px and the rows.")
    return labels.sort_index()


def read_vector_labels(path: Path, n: int) -> np.ndarray:
    """(n,) str: the column ``label`` of a CSV with one line a vector, in their order; empty where one has no label.

    Other columns are ignored.

    Args:
        path: The CSV file.
        n: Number of vectors.

    Raises:
        CorpusError: If there is no such column, or another number of lines.
    """
    table = _read_csv(path, "label", skip_blank_lines=False)  # an empty label in a lone column is a blank line
    if "label" not in table:
        raise CorpusError(f"{path}: has no column label (found: {', '.join(table.columns)}). Add or rename it.")
    if len(table) != n:
        raise CorpusError(
            f"{path}: labels {len(table):,} vectors, but there are {n:,}. Give one line a vector below the header, in "
            "the order of the vectors; the label may be empty."
        )
    return table["label"].str.strip().to_numpy(str)


def _read_csv(path: Path, needed: str = "row,col,label", skip_blank_lines: bool = True) -> pd.DataFrame:
    try:
        table = pd.read_csv(
            path, dtype=str, keep_default_na=False, encoding="utf-8-sig", skip_blank_lines=skip_blank_lines
        )
        if not isinstance(table.index, pd.RangeIndex):  # pandas takes what is too much for names of the rows
            raise ValueError("its lines have more fields than its heading")
        return table
    except FileNotFoundError as error:
        raise CorpusError(f"{path}: does not exist; it should hold labels (columns {needed}).") from error
    except (OSError, ValueError) as error:
        raise CorpusError(f"{path}: is no readable CSV file ({error}); needed are columns {needed}.") from error


def _ids(
    places: np.ndarray, names: np.ndarray, rasters: Sequence[str], layout: Layout
) -> tuple[np.ndarray, np.ndarray]:
    """Tile ids of (row, col) in the first grid of each named raster, and whether they lie in it."""
    first: dict[str, Grid] = {}
    for grid in layout.grids:
        first.setdefault(rasters[grid.raster], grid)
    grids = [first[name] for name in names]
    n_rows, n_cols, first_id = (
        np.array([getattr(grid, name) for grid in grids], np.int64) for name in ("n_rows", "n_cols", "first_id")
    )
    row, col = places.reshape(-1, 2).T
    return first_id + row * n_cols + col, (row >= 0) & (row < n_rows) & (col >= 0) & (col < n_cols)


def _sizes(layout: Layout) -> str:
    shapes = sorted({f"{grid.n_rows} rows x {grid.n_cols} columns" for grid in layout.grids})
    return ", ".join(shapes[:3])


def _fault(rows: pd.DataFrame, rule: str) -> list[str]:
    if rows.empty:
        return []
    lines = ", ".join(str(i + 2) for i in rows.index[:_MOST_FAULTS])  # the header is line 1
    more = f" and {len(rows) - _MOST_FAULTS} more" if len(rows) > _MOST_FAULTS else ""
    return [f"line {lines}{more}: {rule}"]
