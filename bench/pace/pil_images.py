"""Tiles one by one as Pillow's images, through a `torch.utils.data.DataLoader`: how other code reads them."""

import abc
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from bench.pace.work import Work, WorkOrder, time_rounds


class TileImages(Dataset):
    """Each tile as a Pillow image, transformed.

    Args:
        pixels: (n, size, size, 3) uint8.
        transform: Of an image.
    """

    def __init__(self, pixels: np.ndarray, transform: Callable[[Image.Image], Any]) -> None:
        self._pixels = pixels
        self._transform = transform

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitem__(self, row: int) -> Any:
        """The tile in that row."""
        return self._transform(Image.fromarray(self._pixels[row]))


class ImageTraining(Work):
    """Training one step after the other on batches that a loader makes of single images.

    Attributes:
        transform: What the loader does to an image; set by who inherits.
    """

    transform: Callable[[Image.Image], Any]

    @abc.abstractmethod
    def make_step(self, rounds: int) -> Callable[[Any], object]:
        """What trains on one batch of the loader, set up for so many rounds."""

    def run(self, rounds: int) -> list[float]:
        """See `Work.run`."""
        step, batches = self.make_step(rounds), load_rounds(self.order, self.transform, rounds)

        def epoch() -> None:
            for batch in itertools.islice(batches, self.order.batches):
                step(batch)

        return time_rounds(epoch, rounds)

    def prepare(self) -> float:
        """See `Work.prepare`."""
        return time_loading(self.order, self.transform)


def load_rounds(order: WorkOrder, transform: Callable[[Image.Image], Any], rounds: int) -> Iterator[Any]:
    """The batches of so many rounds in one stream, in the tiles' order.

    One stream, because an epoch of real size starts its workers once: rounds of a few seconds must not pay for that.
    """
    rows = range(order.n)
    batches = [list(rows[start : start + order.batch]) for start in range(0, order.n, order.batch)]
    images = TileImages(order.pixels(), transform)
    loader = DataLoader(
        images, batch_sampler=batches * rounds, num_workers=order.workers, pin_memory=order.device == "cuda"
    )
    return iter(loader)


def time_loading(order: WorkOrder, transform: Callable[[Image.Image], Any]) -> float:
    """Seconds that loading a round's tiles takes with nothing else to do; a first round starts the workers."""
    batches = load_rounds(order, transform, 2)
    return time_rounds(lambda: exhaust(batches, order.batches), 2)[-1]


def exhaust(batches: Iterator[Any], count: int) -> None:
    """Take so many batches and leave them."""
    for _ in itertools.islice(batches, count):
        pass
