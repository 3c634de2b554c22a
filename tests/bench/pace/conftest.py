"""A small raster, its tiles, and orders for a network that learns in milliseconds."""

import dataclasses
import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine

from bench.pace.work import WorkOrder
from ris_core.backbone import BackboneSpec
from ris_core.tiles import TileSpec, cut_tiles
from ris_core.training.recipe import DinoRecipe

MICRO = BackboneSpec(
    "vit_tiny_patch16_224",
    arch={"img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2},
    preprocess="native",
)
RECIPE = DinoRecipe(
    batch=4, global_px=16, local_px=8, local_crops=2, out_dim=32, hidden_dim=16, bottleneck_dim=8, drop_path=0.0
)


@pytest.fixture(autouse=True, scope="session")
def frozen() -> Iterator[None]:
    """What torch and pytest hold is no garbage: to look at it again before every round takes longer than the round."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def micro() -> BackboneSpec:
    return MICRO


@pytest.fixture
def recipe() -> DinoRecipe:
    return RECIPE


@pytest.fixture(scope="session")
def raster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """96 x 128 px in cells of 16 px, of which a quarter is empty."""
    values = np.random.default_rng(0).integers(1, 255, (3, 96, 128), dtype=np.uint8)
    values[:, :48, :64] = 0
    path = tmp_path_factory.mktemp("raster") / "ortho.tif"
    profile = {"driver": "GTiff", "count": 3, "height": 96, "width": 128, "dtype": "uint8", "tiled": True}
    place = {"crs": "EPSG:3857", "transform": Affine(0.5, 0, 900_000, 0, -0.5, 7_900_000)}
    with rasterio.open(path, "w", **profile, **place, blockxsize=16, blockysize=16) as dataset:
        dataset.write(values)
    return path


@pytest.fixture
def order(raster: Path, tmp_path: Path) -> Callable[..., WorkOrder]:
    """A function that makes an order; keywords override."""
    spec = TileSpec(size_px=16)
    folder = tmp_path / "tiles"
    folder.mkdir()
    cut_tiles(raster, spec, folder)

    def make(stage: str, way: str, **changes: Any) -> WorkOrder:
        whole = WorkOrder(
            stage=stage, way=way, raster=raster, tile_spec=spec, tiles=folder, n=8, spec=MICRO, recipe=RECIPE,
            batch=4, workers=0, device="cpu", threads=1, scratch=tmp_path,
        )  # fmt: skip
        return dataclasses.replace(whole, **changes)

    return make
