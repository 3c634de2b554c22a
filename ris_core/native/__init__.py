"""The compiled part: FALCONN behind a batched interface, and our own LSH (see the C++ files beside this one)."""

import importlib
from typing import Any

_native: Any = None
_failure = "it is not installed"
try:
    _native = importlib.import_module("ris_core.native._native")
except ModuleNotFoundError:  # a checkout that was never installed
    pass
except ImportError as error:  # a damaged one, or one for another system
    _failure = str(error)


def falconn_unavailable() -> str | None:
    """Why FALCONN cannot run here, with the remedy; None when it can."""
    if _native is None:
        return f"the compiled extension cannot be loaded ({_failure}). Run `pip install .` in the repository."
    if not _native.has_falconn:
        return (
            "the compiled extension was built without it (RIS_FALCONN=OFF, or a CPU that is not x86-64). "
            "Take another engine, or install again with RIS_FALCONN=ON."
        )
    if _native.missing_instructions:
        return (
            f"the compiled extension was built with RIS_ARCH={_native.arch}, and this CPU lacks "
            f"{_native.missing_instructions}. Install again on this machine, or with RIS_ARCH=x86-64-v3 or baseline."
        )
    return None


def crosspolytope_unavailable() -> str | None:
    """Why the engine crosspolytope cannot run here, with the remedy; None when it can."""
    if _native is None:
        return f"the compiled extension cannot be loaded ({_failure}). Run `pip install .` in the repository."
    return None


if crosspolytope_unavailable() is None:
    CrosspolytopeIndex = _native.CrosspolytopeIndex
    CrosspolytopeSettings = _native.CrosspolytopeSettings
    ForeignBaseError = _native.ForeignBaseError
    IndexFileError = _native.IndexFileError
    crosspolytope_paths = _native.crosspolytope_paths

if falconn_unavailable() is None:
    FalconnIndex = _native.FalconnIndex
    FalconnSettings = _native.FalconnSettings
    falconn_default_settings = _native.falconn_default_settings
    falconn_hashes_for_bits = _native.falconn_hashes_for_bits
