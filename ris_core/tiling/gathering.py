"""Tiles of a corpus gathered piece by piece into a store, by threads of this process or the workers of a cluster."""

import hashlib
import itertools
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from ris_core.artifacts import disk_error
from ris_core.cluster import IN_PROCESS, Cluster
from ris_core.parallel import in_order
from ris_core.tiling.journal import read_entries
from ris_core.tiling.pixel_store import JOURNAL, PIXELS, Batch, PixelStore, Record

Piece = TypeVar("Piece")

SHARD_TILES = 512  # that a worker reads in one go, unless a piece has more; 400 MB of 512 px
SHARDS = ".shards"  # folder of them, beside the growing pixels


@dataclass(frozen=True)
class Readers:
    """Who reads tiles.

    Attributes:
        threads: How many of this process, where it reads.
        cluster: Who else; its workers read with one thread each.
    """

    threads: int
    cluster: Cluster = IN_PROCESS


class Source(Protocol[Piece]):
    """What tiles are read from."""

    @property
    def threads(self) -> int:
        """How many read at a time."""

    def ids(self, piece: Piece) -> np.ndarray:
        """(n,) int64: which tiles are looked at in a piece."""

    def reading(self) -> AbstractContextManager[Callable[[Piece], Batch]]:
        """A function that reads a piece, a batch with one record; safe in threads."""

    def part(self, pieces: Sequence[Piece]) -> tuple["Source[Piece]", list[Piece]]:
        """What it takes to read these pieces alone, small enough to be sent elsewhere, and they as it knows them."""


def gather(
    source: Source[Piece], pieces: Iterable[Piece], store: PixelStore, cluster: Cluster = IN_PROCESS
) -> Iterator[tuple[Piece, Record]]:
    """Every piece with its record, in order, once its tiles are in the store.

    What an earlier attempt left in the store is not read again.

    Args:
        source: What is read.
        pieces: Drawn from as reading goes on, in this thread.
        store: Where the pixels go.
        cluster: Who reads. In memory, the pixels are always read here.

    Raises:
        RisError: If a piece cannot be read, or the disk is full.
    """
    pieces = iter(pieces)
    for piece in pieces:
        record = store.recorded(_name(source, piece))
        if record is None:
            pieces = itertools.chain([piece], pieces)
            break
        yield piece, record
    under_way: deque[Piece] = deque()
    for batch in _batches(source, _noted(pieces, under_way), store, cluster):
        done = [under_way.popleft() for _ in batch.records]
        records = [{**record, "piece": _name(source, piece)} for piece, record in zip(done, batch.records, strict=True)]
        store.append(batch.pixels, records)
        del batch  # and its map: a network file system cannot remove the folder of a file that is open
        yield from zip(done, records, strict=True)


def _name(source: Source[Piece], piece: Piece) -> str:
    return hashlib.sha256(np.ascontiguousarray(source.ids(piece), np.int64).tobytes()).hexdigest()[:16]


def _noted(pieces: Iterable[Piece], under_way: deque[Piece]) -> Iterator[Piece]:
    for piece in pieces:
        under_way.append(piece)
        yield piece


def _batches(source: Source[Piece], pieces: Iterator[Piece], store: PixelStore, cluster: Cluster) -> Iterator[Batch]:
    if cluster is not IN_PROCESS and store.folder is not None:
        yield from _from_shards(source, pieces, store, cluster)
        return
    with source.reading() as read:
        yield from in_order(read, pieces, source.threads)


@dataclass(frozen=True, eq=False)
class ShardOrder(Generic[Piece]):
    """A shard to be made.

    Attributes:
        folder: Where it appears, whole, with what a `PixelStore` leaves.
        source: What its pieces are read from.
        pieces: They.
        size_px: Side of the stored tiles.
    """

    folder: Path
    source: Source[Piece]
    pieces: list[Piece]
    size_px: int


def _from_shards(
    source: Source[Piece], pieces: Iterator[Piece], store: PixelStore, cluster: Cluster
) -> Iterator[Batch]:
    """Batches of whole shards, made by the workers, each removed as soon as the next one is asked for."""
    assert store.folder is not None
    folder = store.folder / SHARDS
    folder.mkdir(exist_ok=True)
    orders: deque[Path] = deque()

    def drawn() -> Iterator[ShardOrder[Any]]:
        for group in _groups(source, pieces):
            names = store.work + "".join(_name(source, piece) for piece in group)
            place = folder / hashlib.sha256(names.encode()).hexdigest()[:16]
            orders.append(place)
            yield ShardOrder(place, *source.part(group), store.size_px)

    for _ in cluster.in_order(make_shard, drawn()):
        place = orders.popleft()
        yield open_shard(place)
        shutil.rmtree(place)


def _groups(source: Source[Piece], pieces: Iterator[Piece]) -> Iterator[list[Piece]]:
    """Pieces that follow each other, of some 512 tiles together."""
    group: list[Piece] = []
    n = 0
    for piece in pieces:
        if group and n + len(source.ids(piece)) > SHARD_TILES:
            yield group
            group, n = [], 0
        group.append(piece)
        n += len(source.ids(piece))
    if group:
        yield group


def make_shard(order: ShardOrder[Any]) -> None:
    """Read the pieces of a shard, unless it is there.

    Raises:
        RisError: If one cannot be read, or the disk cannot take it.
    """
    if order.folder.is_dir():
        return
    try:
        with tempfile.TemporaryDirectory(prefix="unfinished-", dir=order.folder.parent) as temporary:
            unfinished = Path(temporary) / "shard"
            store = PixelStore(order.size_px, unfinished, None)
            try:
                n = sum(record["n"] for _, record in gather(order.source, order.pieces, store))
                store.finish(np.arange(n))
            finally:
                store.close()
            unfinished.rename(order.folder)
    except OSError as error:
        if not order.folder.is_dir():  # else another worker, of a piece that seemed lost, was faster
            raise disk_error(order.folder, error) from error


def open_shard(folder: Path) -> Batch:
    """What was read of the pieces of a shard."""
    records = [entry for _, _, entry in read_entries(folder / JOURNAL) if "piece" in entry]
    return Batch(np.load(folder / PIXELS, mmap_mode="r", allow_pickle=False), records)
