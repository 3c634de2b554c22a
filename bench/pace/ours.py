"""This project's way: the library's own functions, as a user calls them, from the disk to the disk."""

import json
import tempfile
from pathlib import Path

import torch

from bench.measuring.clock import collection_off
from bench.pace.work import BF16, EXTRACT, FP32, TILES, TRAIN, Work, WorkOrder, time_into, time_rounds
from ris_core.backbone import build_backbone
from ris_core.device import choose_bf16
from ris_core.features import ExtractOptions, extract_features
from ris_core.preprocess import prepare
from ris_core.records import Tiles
from ris_core.tiles import cut_tiles
from ris_core.training.augment import draw_crops, make_crops
from ris_core.training.dino_training import TrainOptions, train_dino


class CutTiles(Work):
    """`ris_core.tiles.cut_tiles`."""

    def run(self, rounds: int) -> list[float]:
        """See `Work.run`."""
        order = self.order
        return time_into(
            lambda folder: cut_tiles(order.raster, order.tile_spec, folder, threads=order.threads),
            rounds,
            order.scratch,
        )


class Train(Work):
    """`ris_core.training.dino_training.train_dino`, whose log tells the seconds of each epoch: a round is one."""

    def __init__(self, order: WorkOrder) -> None:
        super().__init__(order)
        self.precision = _precision(order)
        self.tiles = Tiles.open(order.tiles)[: order.n]

    def run(self, rounds: int) -> list[float]:
        """See `Work.run`."""
        order, options = self.order, TrainOptions(device=self.order.device)
        with tempfile.TemporaryDirectory(dir=order.scratch) as out, collection_off():
            train_dino(self.tiles, order.spec, order.steady_recipe(rounds), Path(out), options=options)
            log = (Path(out) / "log.txt").read_text(encoding="utf-8").splitlines()
        return [float(json.loads(line)["epoch_s"]) for line in log]

    def prepare(self) -> float:
        """See `Work.prepare`: all crops."""
        order, recipe = self.order, self.order.steady_recipe(1)
        generator, pixels = torch.Generator().manual_seed(0), self.tiles.pixels

        def crop_all() -> None:
            for start in range(0, order.n, order.batch):
                batch = torch.from_numpy(pixels[start : start + order.batch].copy()).to(order.device)
                draws = draw_crops(len(batch), batch.shape[1], recipe, generator)
                make_crops(batch, draws, recipe, order.spec.preprocess)

        return time_rounds(crop_all, 2)[-1]


class Extract(Work):
    """`ris_core.features.extract_features` with a network that is there already."""

    def __init__(self, order: WorkOrder) -> None:
        super().__init__(order)
        self.precision = _precision(order)
        self.tiles = Tiles.open(order.tiles)[: order.n]
        self.backbone = build_backbone(order.spec)

    def run(self, rounds: int) -> list[float]:
        """See `Work.run`."""
        options = ExtractOptions(batch=self.order.batch, device=self.order.device)
        return time_into(
            lambda folder: extract_features(self.tiles, self.backbone, out=folder, options=options),
            rounds,
            self.order.scratch,
        )

    def prepare(self) -> float:
        """See `Work.prepare`."""
        order, pixels = self.order, self.tiles.pixels

        def prepare_all() -> None:
            for start in range(0, order.n, order.batch):
                prepare(pixels[start : start + order.batch], order.spec.preprocess, order.device)

        return time_rounds(prepare_all, 2)[-1]


WORKS = {TILES: CutTiles, TRAIN: Train, EXTRACT: Extract}


def _precision(order: WorkOrder) -> str:
    return BF16 if choose_bf16("auto", torch.device(order.device)) else FP32
