"""Pickles of strangers, read without running anything: plain containers, numbers, strings and arrays alone.

A pickle may name any function of any module to be called. Here it may name what rebuilds NumPy's arrays, and nothing
else; the unpickler itself makes dicts, lists, tuples, numbers and strings without a name.
"""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy._core import multiarray, numeric

from ris_core.errors import CorpusError

_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    # Where NumPy before 2.0, and since, says that these functions live.
    **{(f"numpy.{core}.multiarray", "_reconstruct"): multiarray._reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): multiarray.scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): numeric._frombuffer for core in ("core", "_core")},  # type: ignore[attr-defined]
}
_BYTES = [("_codecs", "encode"), ("__builtin__", "bytes")]  # how Python 3 writes bytes that Python 2 can read


def read_pickle(content: bytes, place: str | Path) -> Any:
    """What a pickle holds; strings that Python 2 wrote come as bytes.

    Args:
        content: The pickle's bytes.
        place: What an error names.

    Raises:
        CorpusError: If it is damaged, or names anything but plain values and NumPy's arrays.
    """
    try:
        return _PlainUnpickler(io.BytesIO(content), encoding="bytes").load()
    except CorpusError as error:
        raise CorpusError(f"{place}: {error}") from error
    except Exception as error:  # a damaged pickle can make any function of the list raise anything
        raise CorpusError(f"{place}: is no readable pickle ({error!r}). Copy or download it again.") from error


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _BYTES:
            return _bytes
        if (module, name) not in _ALLOWED:
            raise CorpusError(
                f"this pickle asks for {module}.{name}; allowed are dicts, lists, numbers, strings and NumPy's arrays. "
                "It was made by another program or to do harm: do not open it elsewhere either."
            )
        return _ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise CorpusError("this pickle refers to objects outside of it. It was made by another program.")


def _bytes(text: str = "", encoding: str = "latin1") -> bytes:
    """Bytes that were written as text, a character each."""
    if encoding != "latin1":
        raise CorpusError(f"this pickle encodes by {encoding!r}; allowed is latin1.")
    return text.encode("latin1")
