"""Pickles of strangers, read without running anything: plain containers, numbers, strings and arrays alone.

A pickle may name any function of any module to be called. Here it may name what rebuilds NumPy's arrays, and gets what
is written below in its place; the unpickler itself makes dicts, lists, tuples, numbers and strings without a name.
NumPy's own functions are not called: a pickle can tell them that bytes are addresses of objects. What is read takes
memory in proportion to the pickle.
"""

import io
import pickle
import pickletools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ris_core.errors import CorpusError

_PLAIN = (type(None), bool, int, float, complex, str, bytes, bytearray, np.generic)
_DTYPE = re.compile(r"b1|[iu][1248]|f(2|4|8|16)|c(8|16|32)|[SU]\d{1,9}")
_MOST_BITS = 4096  # of a whole number: longer ones take forever to be written in an error
_REPEATED = 200_000  # values that a pickle may name more than once; each other one takes a byte of it at least


def read_pickle(content: bytes, place: str | Path) -> Any:
    """What a pickle holds; strings that Python 2 wrote come as bytes.

    Args:
        content: The pickle's bytes.
        place: What an error names.

    Raises:
        CorpusError: If it is damaged, or names anything but plain values and NumPy's arrays of numbers or text.
    """
    try:
        _refuse_places(content)
        found = _PlainUnpickler(io.BytesIO(content), encoding="bytes").load()
        return _Resolved(len(content) + _REPEATED).value(found)
    except CorpusError as error:
        raise CorpusError(f"{place}: {error}") from error
    except Exception as error:  # a damaged pickle can make the unpickler, and what it calls, raise anything
        raise CorpusError(f"{place}: is no readable pickle ({error!r}). Copy or download it again.") from error


class ArrayStandIn:
    """An array in a pickle; its state brings the values."""

    values: np.ndarray

    def __init__(self, *_: Any) -> None: ...

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, is_fortran, raw = state
        self.values = _from_bytes(raw, dtype, shape, "F" if is_fortran else "C")


class DtypeStandIn:
    """The type of an array's values in a pickle, by its name; the state adds the order of bytes."""

    def __init__(self, name: str | bytes, *_: Any) -> None:
        self._name = name.decode("ascii") if isinstance(name, bytes) else name
        self._order = "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1]
        self._order = order.decode("ascii") if isinstance(order, bytes) else order

    def dtype(self) -> np.dtype:
        """The same as NumPy has it.

        Raises:
            CorpusError: If its values are neither numbers nor text.
        """
        if not _DTYPE.fullmatch(self._name):
            raise CorpusError(f"holds an array of {self._name!r}; allowed are arrays of numbers or text.")
        return np.dtype(self._order + self._name)


def _from_bytes(raw: bytes, dtype: DtypeStandIn, shape: tuple[int, ...], order: Any) -> np.ndarray:
    kind = dtype.dtype()
    values = np.frombuffer(raw, kind) if len(raw) else np.empty(0, kind)
    return values.reshape(shape, order=order)


def _scalar(dtype: DtypeStandIn, raw: bytes) -> np.generic:
    return np.frombuffer(raw, dtype.dtype(), 1)[0]


def _bytes(text: str = "", encoding: str = "latin1") -> bytes:
    """Bytes that were written as text, a character each."""
    if encoding != "latin1":
        raise CorpusError(f"this pickle encodes by {encoding!r}; allowed is latin1.")
    return text.encode("latin1")


# What rebuilds arrays, by the names that a pickle calls it; in NumPy's modules before 2.0, and since.
STAND_INS: dict[str, Callable[..., Any]] = {
    "numpy.ndarray": ArrayStandIn,
    "numpy.dtype": DtypeStandIn,
    **{f"numpy.{core}.multiarray._reconstruct": ArrayStandIn for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _from_bytes for core in ("core", "_core")},
    **dict.fromkeys(("_codecs.encode", "__builtin__.bytes"), _bytes),  # how Python 3 writes bytes for Python 2
}


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in STAND_INS:
            raise CorpusError(
                f"this pickle asks for {module}.{name}; allowed are dicts, lists, numbers, strings and NumPy's arrays. "
                "It was made by another program or to do harm: do not open it elsewhere either."
            )
        return STAND_INS[f"{module}.{name}"]

    def persistent_load(self, pid: Any) -> Any:
        raise CorpusError("this pickle refers to objects outside of it. It was made by another program.")


def _refuse_places(content: bytes) -> None:
    """Raise where a value is to be remembered at a place beyond all values: the unpickler makes a table that long."""
    for operation, argument, _ in pickletools.genops(content):
        if operation.name.endswith("PUT") and int(str(argument)) > len(content):
            raise ValueError(f"{operation.name} {argument} in {len(content)} bytes")


class _Resolved:
    """Values with arrays for their stand-ins, no more of them than are allowed: lists may hold one list many times."""

    def __init__(self, most: int) -> None:
        self._left = most

    def value(self, found: Any) -> Any:
        """The same value, in containers of its own."""
        found = found.values if isinstance(found, ArrayStandIn) else found
        self._left -= max(1, found.size) if isinstance(found, np.ndarray) else 1
        if self._left < 0:
            raise CorpusError("this pickle repeats its values without end. It was made to do harm.")
        if isinstance(found, dict):
            return {self.value(key): self.value(item) for key, item in found.items()}
        if type(found) in (list, tuple):
            return type(found)(self.value(item) for item in found)
        if not isinstance(found, (*_PLAIN, np.ndarray)) or (isinstance(found, int) and found.bit_length() > _MOST_BITS):
            raise CorpusError(f"this pickle holds a {type(found).__name__} that is no plain value or array.")
        return found
