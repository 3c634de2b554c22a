"""Where the block table of a TIFF lies in its file, and its entries, many at a time.

GDAL tells the entries one by one, at some microseconds each, and fills tables of 16 bytes a block for every open handle
on the way; tifffile reads them whole into tuples. A raster of 45 million blocks is too large for either.

Source: TIFF 6.0 (Adobe 1992) and BigTIFF (Aware Systems).
"""

import dataclasses
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np

_MAGIC = {b"II*\0": "<", b"MM\0*": ">", b"II+\0": "<", b"MM\0+": ">"}
_BIG = (b"II+\0", b"MM\0+")
_TYPES = {3: "u2", 4: "u4", 16: "u8"}  # SHORT, LONG, LONG8
_WIDTH, _HEIGHT, _SAMPLES, _ROWS_PER_STRIP, _PLANAR = 256, 257, 277, 278, 284
_STRIP_OFFSETS, _STRIP_SIZES, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_SIZES = 273, 279, 322, 323, 324, 325
_BY_BAND = 2
_MOST_ENTRIES = 4096  # a directory has some twenty; a damaged one may claim any number


@dataclasses.dataclass(frozen=True)
class Column:
    """Unsigned integers that follow one another in a file.

    Attributes:
        at: Byte where they begin.
        count: How many there are.
        dtype: Of each, with its byte order.
    """

    at: int
    count: int
    dtype: np.dtype

    def read(self, file: BinaryIO, start: int, n: int) -> np.ndarray:
        """(n,) uint64 from place ``start`` on; 0 behind the last, as for blocks that a table leaves out.

        Raises:
            EOFError: If the file ends before.
        """
        present = max(0, min(n, self.count - start))
        values = np.zeros(n, np.uint64)
        if present:
            file.seek(self.at + start * self.dtype.itemsize)
            content = file.read(present * self.dtype.itemsize)
            if len(content) < present * self.dtype.itemsize:
                raise EOFError("it is cut off")
            values[:present] = np.frombuffer(content, self.dtype)
        return values


@dataclasses.dataclass(frozen=True)
class TiffDirectory:
    """The first image of a TIFF, as far as its blocks are concerned.

    Attributes:
        block_px: Height and width of a block: a tile, or a strip.
        shape: Rows and columns of blocks.
        planes: How many such planes follow one another in the tables: the bands where they are stored apart, else 1.
        offsets: Where each block begins.
        sizes: How many bytes it has; 0 where it is not stored.
    """

    block_px: tuple[int, int]
    shape: tuple[int, int]
    planes: int
    offsets: Column
    sizes: Column

    def entries(self, file_bytes: int) -> int:
        """How many entries both tables can have in a file of that size."""
        columns = (self.offsets, self.sizes)
        return min(min(c.count, max(0, file_bytes - c.at) // c.dtype.itemsize) for c in columns)


def read_directory(path: Path) -> TiffDirectory | None:
    """The first directory of a TIFF; None for any other file, and for a TIFF without plain tables of its blocks."""
    try:
        with path.open("rb") as file:
            tags = _read_tags(file)
            values = {tag: int(column.read(file, 0, 1)[0]) for tag, column in tags.items() if column.count}
            return _directory(tags, values)
    except (OSError, EOFError, struct.error, KeyError, ValueError, OverflowError, ZeroDivisionError):
        return None  # no TIFF, or a damaged one: GDAL, which opens every raster too, says what is wrong


def _read_tags(file: BinaryIO) -> dict[int, Column]:
    """Every tag of the first directory whose values are unsigned integers."""
    magic = file.read(4)
    order, is_big = _MAGIC[magic], magic in _BIG
    head, entry, word = (order + letters for letters in (("Q", "HHQ", "Q") if is_big else ("H", "HHI", "I")))
    file.seek(8 if is_big else 4)
    at = _unpack(file, word)[0]
    file.seek(at)
    n = min(_unpack(file, head)[0], _MOST_ENTRIES)
    at += struct.calcsize(head)
    tags: dict[int, Column] = {}
    for _ in range(n):
        file.seek(at)
        tag, code, count = _unpack(file, entry)
        if code in _TYPES:
            dtype = np.dtype(order + _TYPES[code])
            is_inside = count * dtype.itemsize <= struct.calcsize(word)  # values that fit stand in the entry itself
            column = Column(file.tell() if is_inside else _unpack(file, word)[0], count, dtype)
            tags.setdefault(tag, column)  # of a tag that comes twice the first one counts, as for libtiff
        at += struct.calcsize(entry) + struct.calcsize(word)
    return tags


def _unpack(file: BinaryIO, form: str) -> tuple[int, ...]:
    return struct.unpack(form, file.read(struct.calcsize(form)))


def _directory(tags: dict[int, Column], values: dict[int, int]) -> TiffDirectory | None:
    width, height = values[_WIDTH], values[_HEIGHT]
    if _TILE_OFFSETS in tags:
        block = values[_TILE_HEIGHT], values[_TILE_WIDTH]
        offsets, sizes = tags[_TILE_OFFSETS], tags[_TILE_SIZES]
    else:
        block = min(values.get(_ROWS_PER_STRIP, height), height), width
        offsets, sizes = tags[_STRIP_OFFSETS], tags[_STRIP_SIZES]
    shape = -(-height // block[0]), -(-width // block[1])
    if shape == (1, 1):
        return None  # libtiff mends the size of a lone block where it is wrong; not worth doing again
    planes = values.get(_SAMPLES, 1) if values.get(_PLANAR) == _BY_BAND else 1
    return TiffDirectory(block, shape, planes, offsets, sizes)
