"""What covers each tile: shares of the classes of a co-registered land-cover raster."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rasterio.windows import Window

from ris_core.errors import RasterError
from ris_core.tiling.raster_facts import RasterFacts, facts_of, open_raster, read_facts, read_values

CLASSES_TAG = "CLASSES"
_WINDOW_PX = 2**23  # pixels read at once


def check_same_grid(path: Path, facts: RasterFacts) -> None:
    """Refuse a land-cover raster that does not lie pixel on pixel over the image.

    Args:
        path: The land-cover raster.
        facts: Of the image.

    Raises:
        RasterError: With every difference in size, CRS and geotransform.
    """
    found = read_facts(path)
    faults = []
    if (found.width_px, found.height_px) != (facts.width_px, facts.height_px):
        faults.append(f"{found.width_px} x {found.height_px} px instead of {facts.width_px} x {facts.height_px} px")
    if found.crs != facts.crs:
        faults.append(f"CRS {found.crs[:40] or 'none'} instead of {facts.crs[:40]}")
    tolerance = 1e-3 * min(facts.size_of_pixel)  # a thousandth of a pixel at each corner
    if not np.allclose(found.bounds, facts.bounds, rtol=0, atol=tolerance):
        faults.append(f"bounds {_numbers(found.bounds)} instead of {_numbers(facts.bounds)}")
    if faults:
        left, bottom, right, top = facts.bounds
        raise RasterError(
            f"{path}: does not lie pixel on pixel over {facts.path}: {'; '.join(faults)}. Warp it: `gdalwarp -r near "
            f"-te {left} {bottom} {right} {top} -ts {facts.width_px} {facts.height_px} IN OUT`, with -t_srs where the "
            "CRS differs."
        )


def class_fractions(path: Path, windows: np.ndarray) -> pd.DataFrame:
    """Share of each window's area that each class covers.

    Args:
        path: Raster of class ids, one band of uint8 or uint16. Its tag ``CLASSES`` names them, as JSON
            ``{"1": "water", ...}``; a class without a name there is called ``class_<id>``. Nodata is no class.
        windows: (n, 4) int64: row_px, col_px, height_px, width_px.

    Returns:
        n rows in the order of ``windows``, float32 columns ``frac_<name>`` in the order of class ids; named classes
        have a column even where they cover nothing. A row sums to 1 less the share of nodata.

    Raises:
        RasterError: If the raster is unreadable, has not one band of class ids, or its names are no such JSON.
    """
    windows = np.asarray(windows, np.int64).reshape(-1, 4)
    order = np.lexsort((windows[:, 1], windows[:, 0]))
    with open_raster(path) as dataset:
        facts = facts_of(dataset, path)
        if facts.bands != 1 or facts.dtype not in ("uint8", "uint16"):
            raise RasterError(
                f"{path}: has {facts.bands} band(s) of {facts.dtype}; a land-cover raster has one band of class ids, "
                "uint8 or uint16. Convert it with `gdal_translate -b 1 -ot Byte IN OUT`."
            )
        names = class_names(dataset, path)
        n_classes = np.iinfo(facts.dtype).max + 1
        counts = np.zeros((len(windows), 0), np.int64)
        for rows in _row_groups(windows, order):
            counts = _count(dataset, windows, rows, counts, n_classes)
    nodata = facts.nodata[0]
    present = set(np.flatnonzero(counts.any(axis=0)).tolist()) | set(names)
    classes = sorted(present - ({int(nodata)} if nodata is not None else set()))
    areas = (windows[:, 2] * windows[:, 3]).astype(np.float64)
    padded = np.pad(counts, ((0, 0), (0, max(0, max(classes, default=0) + 1 - counts.shape[1]))))
    return pd.DataFrame(
        {f"frac_{names.get(c, f'class_{c}')}": (padded[:, c] / areas).astype(np.float32) for c in classes}
    )


def _row_groups(windows: np.ndarray, order: np.ndarray) -> list[np.ndarray]:
    """Runs of windows, top to bottom, whose common bounding box stays within memory and is mostly wanted."""
    groups: list[list[int]] = []
    box = np.zeros(4, np.int64)
    area = 0
    for i in order.tolist():
        corners = np.array([*windows[i, :2], *(windows[i, :2] + windows[i, 2:])])
        joined = np.concatenate([np.minimum(box[:2], corners[:2]), np.maximum(box[2:], corners[2:])])
        joined_px = int(np.prod(joined[2:] - joined[:2]))
        own_px = int(np.prod(windows[i, 2:]))
        if groups and joined_px <= _WINDOW_PX and 2 * (area + own_px) >= joined_px:
            groups[-1].append(i)
            box, area = joined, area + own_px
        else:
            groups.append([i])
            box, area = corners, own_px
    return [np.array(group) for group in groups]


def _count(dataset: Any, windows: np.ndarray, rows: np.ndarray, counts: np.ndarray, n_classes: int) -> np.ndarray:
    """``counts`` with the class counts of some windows filled in, widened to the largest class id found."""
    members = windows[rows]
    top, left = members[:, 0].min(), members[:, 1].min()
    bottom, right = (members[:, 0] + members[:, 2]).max(), (members[:, 1] + members[:, 3]).max()
    values = read_values(dataset, (1,), window=Window(int(left), int(top), int(right - left), int(bottom - top)))[0]
    width = min(n_classes, int(values.max()) + 1)
    if width > counts.shape[1]:
        counts = np.pad(counts, ((0, 0), (0, width - counts.shape[1])))
    for row, (row_px, col_px, height, wide) in zip(rows, members, strict=True):
        part = values[row_px - top : row_px - top + height, col_px - left : col_px - left + wide]
        counts[row, :width] = np.bincount(part.ravel(), minlength=width)
    return counts


def class_names(dataset: Any, path: Path) -> dict[int, str]:
    """Names of the class ids of an open land-cover raster, by its tag; empty where it has none.

    Raises:
        RasterError: If the tag is no such JSON, or names two classes alike.
    """
    text = dataset.tags().get(CLASSES_TAG)
    if text is None:
        return {}
    try:
        names = {int(key): str(name) for key, name in json.loads(text).items()}
    except (ValueError, AttributeError) as error:
        raise RasterError(
            f'{path}: its tag {CLASSES_TAG} is not JSON like {{"1": "water"}} ({error}). Set it with '
            f"`gdal_edit.py -mo {CLASSES_TAG}=... FILE`, or remove it."
        ) from error
    doubled = sorted({name for name in names.values() if list(names.values()).count(name) > 1})
    if doubled:
        raise RasterError(f"{path}: its tag {CLASSES_TAG} names several classes {', '.join(doubled)}. Rename them.")
    return names


def _numbers(values: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{value:.10g}" for value in values) + ")"
