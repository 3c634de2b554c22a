"""Batches of tiles in an order drawn anew every epoch, read ahead and copied to the device beside its work."""

import dataclasses
import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

_READERS = 2  # threads: one copies about 3.5 GB/s out of a mapped file in the cache; ViT-Tiny on an H200 would take 1.8


@dataclasses.dataclass(frozen=True, eq=False)
class TileBatches:
    """What one process is trained on.

    Attributes:
        pixels: (n, size, size, 3) uint8, may be memory-mapped.
        rows: (m,) which of them.
        batch: Tiles a step, of all processes together.
        seed: Of the orders.
        part: Which tiles of every batch are this process' own.
    """

    pixels: np.ndarray
    rows: np.ndarray
    batch: int
    seed: int
    part: slice = dataclasses.field(default_factory=lambda: slice(None))

    @property
    def steps(self) -> int:
        """Steps an epoch; the tiles left over wait for the next epoch's order."""
        return len(self.rows) // self.batch

    def read(self, epoch: int, first_step: int, device: torch.device) -> Iterator[torch.Tensor]:
        """(b, size, size, 3) uint8 on the device for each step from ``first_step`` on."""
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.rows))
        drawn = self.rows[order[: self.steps * self.batch]].reshape(self.steps, -1)
        chosen = np.sort(drawn, axis=1)[first_step:, self.part]  # sorted: the disk is read forwards
        return read_batches(self.pixels, chosen, device)


def read_batches(
    pixels: np.ndarray, chosen: Iterable[np.ndarray], device: torch.device, readers: int = _READERS
) -> Iterator[torch.Tensor]:
    """Batches of tiles on the device, read one further ahead than there are readers.

    Args:
        pixels: (n, size, size, 3) uint8, may be memory-mapped.
        chosen: The rows of each batch, in order.
        device: Where they go.
        readers: Threads that read.
    """
    return _copied(_read_ahead(pixels, chosen, device, readers), device)


def _read_ahead(
    pixels: np.ndarray, chosen: Iterable[np.ndarray], device: torch.device, readers: int
) -> Iterator[torch.Tensor]:
    """The batches in memory, on which a GPU can lay its hands without the CPU."""

    def take(rows: np.ndarray) -> torch.Tensor:
        shape = (len(rows), *pixels.shape[1:])
        tiles = torch.empty(shape, dtype=torch.uint8, pin_memory=device.type == "cuda")
        np.take(pixels, rows, axis=0, out=tiles.numpy(), mode="clip")  # "raise" would copy once more
        return tiles

    lines = iter(chosen)
    with ThreadPoolExecutor(readers) as pool:
        pending = deque(pool.submit(take, rows) for rows in itertools.islice(lines, readers + 1))
        while pending:
            tiles = pending.popleft().result()
            pending.extend(pool.submit(take, rows) for rows in itertools.islice(lines, 1))
            yield tiles


def _copied(batches: Iterator[torch.Tensor], device: torch.device) -> Iterator[torch.Tensor]:
    """The batches on the device; on a GPU the copy runs beside the computation that was asked for before."""
    if device.type != "cuda":
        yield from batches
        return
    copying, computing = torch.cuda.Stream(device), torch.cuda.current_stream(device)
    for batch in batches:
        with torch.cuda.stream(copying):
            copied = batch.to(device, non_blocking=True)
        computing.wait_stream(copying)
        copied.record_stream(computing)  # its memory is not given away before the computation is through
        yield copied
