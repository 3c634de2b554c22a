"""One stage done in one way: what is ordered, what can be timed of it, and how the clock runs."""

import abc
import dataclasses
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.measuring.clock import collection_off, synchronize
from ris_core.backbone import BackboneSpec
from ris_core.tiling.tile_spec import TileSpec
from ris_core.training.recipe import DinoRecipe

OURS, PUBLISHED, LIGHTLY = "ours", "published", "lightly"
TILES, TRAIN, EXTRACT = "tiles", "train", "extract"
FP32, FP16, BF16 = "fp32", "fp16", "bf16"


@dataclasses.dataclass(frozen=True)
class WorkOrder:
    """What is to be done, the same for every way.

    Attributes:
        stage: `TILES`, `TRAIN` or `EXTRACT`.
        way: A key of `bench.pace.ways.WAYS`.
        raster: The raster that is cut.
        tile_spec: How it is cut, without labels and classes.
        tiles: Folder of the tiles that train or are described; of the first of them, see ``n``.
        n: Tiles a round: so many train or are described. Of tiling as many as there are.
        spec: The network.
        recipe: How it is trained.
        batch: Tiles a step of the training or a pass of the extraction.
        workers: Processes that load images for the ways that load them one by one; 0: the process itself.
        device: ``"cpu"`` or ``"cuda"``.
        threads: Threads that the libraries are held at.
        scratch: Folder for what a round writes.
    """

    stage: str
    way: str
    raster: Path
    tile_spec: TileSpec
    tiles: Path
    n: int
    spec: BackboneSpec
    recipe: DinoRecipe | None
    batch: int
    workers: int
    device: str
    threads: int
    scratch: Path

    def pixels(self) -> np.ndarray:
        """(n, size, size, 3) uint8, memory-mapped."""
        return np.load(self.tiles / "pixels.npy", mmap_mode="r")[: self.n]

    @property
    def batches(self) -> int:
        """Batches a round."""
        return math.ceil(self.n / self.batch)

    def steady_recipe(self, epochs: int) -> DinoRecipe:
        """The recipe for so many rounds of equal cost, an epoch each: nothing is warmed up or frozen at the start."""
        if self.recipe is None:
            raise ValueError("an order to train has a recipe")
        return dataclasses.replace(
            self.recipe, epochs=epochs, warmup_epochs=0, warmup_teacher_epochs=0, freeze_last_layer_epochs=0
        )


class Work(abc.ABC):
    """A stage, set up to be timed when it is made of its `WorkOrder`."""

    precision = FP32

    def __init__(self, order: WorkOrder) -> None:
        self.order = order

    @abc.abstractmethod
    def run(self, rounds: int) -> list[float]:
        """Seconds of each of so many rounds of ``n`` tiles, one after the other."""

    def prepare(self) -> float | None:
        """Seconds that making the network's input of a round's tiles takes alone; None where there is no network."""
        return None


def time_rounds(call: Callable[[], object], rounds: int) -> list[float]:
    """Seconds of each of so many calls; a GPU is waited for, garbage is collected before."""
    times_s = []
    with collection_off():
        for _ in range(rounds):
            synchronize()
            start_ns = time.perf_counter_ns()
            call()
            synchronize()
            times_s.append((time.perf_counter_ns() - start_ns) * 1e-9)
    return times_s


def time_into(call: Callable[[Path], object], rounds: int, scratch: Path) -> list[float]:
    """The same of calls that fill a folder: each has one of its own, removed when the clock is off."""
    times_s = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            times_s += time_rounds(lambda folder=folder: call(Path(folder)), 1)  # type: ignore[misc]
    return times_s
