"""Bytes of the arrays in each artifact, from shapes alone."""

import io
import math

import numpy as np

from bench.stages.base import Cut
from bench.suites.suite import SpaceSpec

_ENDINGS = (".npy", ".npz", ".safetensors")


def npy_bytes(shape: tuple[int, ...], dtype: str) -> int:
    """Bytes of such an array as ``.npy``: NumPy's header and the values."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": dtype, "fortran_order": False, "shape": shape})
    return len(header.getvalue()) + math.prod(shape) * np.dtype(dtype).itemsize


def tiles_bytes(n: int, size_px: int) -> int:
    """``pixels.npy``."""
    return npy_bytes((n, size_px, size_px, 3), "|u1")


def features_bytes(n: int, d: int) -> int:
    """``features.npy`` and ``ids.npy``."""
    return npy_bytes((n, d), "<f4") + npy_bytes((n,), "<i8")


def space_bytes(n: int, d: int, spec: SpaceSpec, d_out: int) -> int:
    """The features in a space, and ``space.npz``, which is laid out as `ris_core.space.Space.save` does."""
    arrays = {"normalize": np.array(True), "d": np.array(d), "key": np.array("0" * 16)}
    if not (spec.center or spec.normalize or spec.whiten):
        arrays["key"] = np.array("raw")
    if spec.center:
        arrays["mean"] = np.zeros(d)
    if projects(spec):
        arrays["projection"] = np.zeros((d, d_out))
    packed = io.BytesIO()
    np.savez(packed, **arrays)  # type: ignore[arg-type]  # of the stub: it takes any arrays by name
    return features_bytes(n, d_out) + len(packed.getvalue())


def truth_bytes(q: int, depth: int) -> int:
    """``ids.npy`` and ``distances.npy``."""
    return npy_bytes((q, depth), "<i8") + npy_bytes((q, depth), "<f4")


def projects(spec: SpaceSpec) -> bool:
    """Whether a space turns its vectors."""
    return spec.whiten is not None or spec.whitening != SpaceSpec.whitening


def array_bytes(files: dict[str, dict[str, int]]) -> int:
    """The same of an artifact that is there: the files of its manifest that hold arrays."""
    return sum(file["bytes"] for name, file in files.items() if name.endswith(_ENDINGS))


def table_bytes(cut: Cut) -> float:
    """Bytes in memory of one tile's row in the table."""
    return float(cut.tiles.table.drop(columns="footprint", errors="ignore").memory_usage(deep=True).sum()) / max(
        1, len(cut.tiles)
    )
