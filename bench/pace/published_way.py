"""The published way: what the thesis' code does at each stage, written anew from its description.

Patches are read one by one, once to see which hold information and once more to keep those that were drawn. Images go
through Pillow and torchvision one by one, in the workers of a DataLoader. The networks are not compiled, write their
attention out, and on a GPU run under fp16 autocast.

Source:
    The descriptions of the thesis and of DINO's published code (Caron et al. 2021, arXiv:2104.14294). Differs: patches
    are drawn in our order, so that both ways cut the same ones.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from rasterio.windows import Window
from torch import Tensor
from torchvision import transforms

from bench.pace.pil_images import ImageTraining, load_rounds, time_loading
from bench.pace.published_crops import BICUBIC, MultiCrop
from bench.pace.published_step import Trainer, write_attention_out
from bench.pace.work import EXTRACT, FP16, FP32, TILES, TRAIN, Work, WorkOrder, time_into
from ris_core.backbone import build_backbone
from ris_core.errors import RasterError
from ris_core.preprocess import PREPROCESSING, Preprocessing
from ris_core.tiling.grid import lay_grids, random_order
from ris_core.tiling.pixels import BRIGHTEST, DARKEST
from ris_core.tiling.tile_spec import TileSpec


class CutTiles(Work):
    """A first pass over every patch, a second over those that were drawn."""

    def run(self, rounds: int) -> list[float]:
        """See `Work.run`."""
        order = self.order
        return time_into(lambda folder: cut_patches(order.raster, order.tile_spec, folder), rounds, order.scratch)


def cut_patches(raster: Path, spec: TileSpec, out: Path) -> np.ndarray:
    """(n, size, size, 3) uint8, written to ``pixels.npy`` in ``out``; the same patches as `ris_core.tiles.cut_tiles`.

    Raises:
        RasterError: If the raster is not of 8 bits, which is all that the published code reads.
    """
    with rasterio.open(raster) as dataset:
        if dataset.dtypes[0] != "uint8":
            raise RasterError(
                f"{raster}: holds {dataset.dtypes[0]}; the published way reads 8 bits alone. Convert it first."
            )
        shape = (dataset.height, dataset.width)
        layout = lay_grids([shape], spec.size_px, spec.stride_px or spec.size_px, spec.half_offset)
        cells = layout.locate(np.arange(layout.n_cells))

        def read(cell: int) -> np.ndarray:
            window = Window(cells.col_px[cell], cells.row_px[cell], spec.size_px, spec.size_px)
            return dataset.read(list(spec.bands), window=window)  # (3, size, size)

        informative = np.array([_holds_information(read(cell), spec) for cell in range(layout.n_cells)])
        if spec.sample is None:
            drawn = np.flatnonzero(informative)
        else:
            order = np.concatenate(list(random_order(layout.n_cells, spec.seed)))
            drawn = np.sort(order[informative[order]][: spec.sample])
        patches = np.lib.format.open_memmap(
            out / "pixels.npy", mode="w+", dtype=np.uint8, shape=(len(drawn), spec.size_px, spec.size_px, 3)
        )
        for place, cell in enumerate(drawn.tolist()):
            patches[place] = read(cell).transpose(1, 2, 0)
        return patches


def _holds_information(patch: np.ndarray, spec: TileSpec) -> bool:
    empty = np.sum((patch == DARKEST) | (patch == BRIGHTEST))
    return spec.min_coverage == 0 or bool(empty < (1 - spec.min_coverage) * patch.size)


class Extract(Work):
    """One Pillow image after the other, batches through the network."""

    def __init__(self, order: WorkOrder) -> None:
        super().__init__(order)
        self.precision = FP16 if order.device == "cuda" else FP32
        self.transform = eval_transform(PREPROCESSING[order.spec.preprocess])
        self.backbone = write_attention_out(build_backbone(order.spec)).to(order.device).eval()

    def run(self, rounds: int) -> list[float]:
        """See `Work.run`."""
        batches = load_rounds(self.order, self.transform, rounds)

        def describe(folder: Path) -> None:
            np.save(folder / "features.npy", self.extract(batches))

        return time_into(describe, rounds, self.order.scratch)

    @torch.no_grad()
    def extract(self, batches: Iterator[Tensor]) -> np.ndarray:
        """(n, d) float32 features of a round's batches."""
        features = []
        for _ in range(self.order.batches):
            images = next(batches).to(self.order.device, non_blocking=True)
            with torch.autocast(images.device.type, torch.float16, enabled=self.precision == FP16):
                features.append(self.backbone(images).float().cpu())
        return torch.cat(features).numpy()

    def prepare(self) -> float:
        """See `Work.prepare`."""
        return time_loading(self.order, self.transform)


def eval_transform(chosen: Preprocessing) -> transforms.Compose:
    """The transform of one image before features are extracted."""
    steps: list[object] = []
    if chosen.resize_px is not None:
        steps.append(transforms.Resize(chosen.resize_px, interpolation=BICUBIC))
    if chosen.crop_px is not None:
        steps.append(transforms.CenterCrop(chosen.crop_px))
    return transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize(chosen.mean, chosen.std)])


class Train(ImageTraining):
    """The published loop: multi-crop in the loader, then one step after the other."""

    def __init__(self, order: WorkOrder) -> None:
        super().__init__(order)
        self.precision = FP16 if order.device == "cuda" else FP32
        self.transform = MultiCrop(order.steady_recipe(1), PREPROCESSING[order.spec.preprocess])

    def make_step(self, rounds: int) -> Callable[[Any], object]:
        """See `ImageTraining.make_step`."""
        order = self.order
        return Trainer(order.spec, order.steady_recipe(rounds), order.batches, order.device).step


WORKS = {TILES: CutTiles, TRAIN: Train, EXTRACT: Extract}
