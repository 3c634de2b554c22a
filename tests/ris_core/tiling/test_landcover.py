import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from affine import Affine

from ris_core.errors import RasterError
from ris_core.tiling import landcover
from ris_core.tiling.landcover import check_same_grid, class_fractions
from ris_core.tiling.raster_facts import read_facts

MakeRaster = Callable[..., Path]
NAMES = {"1": "water", "2": "wood", "9": "pool"}


def classes_of(values: np.ndarray, make_raster: MakeRaster, **profile: object) -> Path:
    return make_raster(values[None], "classes.tif", tags={"CLASSES": json.dumps(NAMES)}, nodata=0, **profile)


def test_fractions_by_hand(make_raster: MakeRaster) -> None:
    values = np.zeros((32, 32), np.uint8)
    values[:16, :8], values[:16, 8:16], values[:4, :4] = 1, 2, 5
    found = class_fractions(classes_of(values, make_raster), np.array([[16, 16, 16, 16], [0, 0, 16, 16]]))
    assert list(found.columns) == ["frac_water", "frac_wood", "frac_class_5", "frac_pool"]
    assert found.to_numpy().tolist() == [[0, 0, 0, 0], [0.5 - 16 / 256, 0.5, 16 / 256, 0]]
    assert set(found.dtypes) == {np.dtype(np.float32)}


@pytest.mark.parametrize("most_px", [1, 300, 2**23])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_fractions_equal_the_mean_of_each_mask(
    make_raster: MakeRaster, monkeypatch: pytest.MonkeyPatch, most_px: int, dtype: type
) -> None:
    monkeypatch.setattr(landcover, "_WINDOW_PX", most_px)
    random = np.random.default_rng(1)
    values = random.integers(0, 12, (70, 90)).astype(dtype)
    size = random.integers(1, 30, (40, 2))
    windows = np.column_stack([random.integers(0, 40, 40), random.integers(0, 60, 40), size])
    found = class_fractions(classes_of(values, make_raster), windows)
    for number, (row, col, height, width) in enumerate(windows):
        part = values[row : row + height, col : col + width]
        for class_id in range(1, 12):
            name = f"frac_{NAMES.get(str(class_id), f'class_{class_id}')}"
            assert found[name][number] == pytest.approx((part == class_id).mean(), abs=1e-6)


def test_raster_that_holds_no_class_ids_is_refused(make_raster: MakeRaster) -> None:
    with pytest.raises(RasterError, match=r"has 3 band\(s\) of uint8"):
        class_fractions(make_raster(np.ones((3, 32, 32), np.uint8)), np.array([[0, 0, 8, 8]]))
    with pytest.raises(RasterError, match=r"1 band\(s\) of float32"):
        class_fractions(make_raster(np.ones((1, 32, 32), np.float32), "f.tif"), np.array([[0, 0, 8, 8]]))


@pytest.mark.parametrize(
    ("tag", "word"), [("water", "not JSON"), ('["a"]', "not JSON"), ('{"1":"a","2":"a"}', "several")]
)
def test_class_names_that_cannot_be_used_are_refused(make_raster: MakeRaster, tag: str, word: str) -> None:
    path = make_raster(np.ones((1, 32, 32), np.uint8), tags={"CLASSES": tag})
    with pytest.raises(RasterError, match=word):
        class_fractions(path, np.array([[0, 0, 8, 8]]))


def test_every_difference_of_the_grids_is_told(make_raster: MakeRaster) -> None:
    facts = read_facts(make_raster(np.ones((3, 32, 48), np.uint8)))
    values = np.ones((1, 32, 48), np.uint8)
    check_same_grid(make_raster(values, "same.tif"), facts)
    moved = make_raster(values[:, :16], "other.tif", crs="EPSG:25832", transform=Affine(1, 0, 0, 0, -1, 0))
    with pytest.raises(RasterError) as caught:
        check_same_grid(moved, facts)
    for word in ("48 x 16 px instead of 48 x 32 px", "CRS EPSG:25832", "bounds", "gdalwarp -r near", "-ts 48 32"):
        assert word in str(caught.value)
    with pytest.raises(RasterError, match="bounds"):
        check_same_grid(
            make_raster(values, "half.tif", transform=Affine(0.5, 0, 900_000.25, 0, -0.5, 7_900_000)), facts
        )
