"""What a machine is, as far as it shapes a time; and whether two are the same.

A fingerprint holds no host name, no user name and no path, so that it can be published with a run.
"""

import os
import platform
import re
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Any

import cpuinfo
import psutil
import threadpoolctl

from bench.measuring.cpu_settings import read_settings

# What decides how fast the kernels of BLAS, faiss, torch and FALCONN run; and whether there is a host we cannot see.
FLAGS = (
    "sse4_2", "popcnt", "bmi2", "f16c", "avx", "avx2", "fma", "avx_vnni", "avx512f", "avx512bw", "avx512cd", "avx512dq",
    "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16", "avx512_vpopcntdq", "amx_tile", "amx_bf16", "amx_int8",
    "neon", "asimd", "asimdhp", "asimddp", "bf16", "i8mm", "sve", "sve2", "hypervisor",
)  # fmt: skip
DISTRIBUTIONS = (
    "ris-bench", "numpy", "scipy", "torch", "torchvision", "timm", "faiss-cpu", "faiss-gpu", "rasterio", "geopandas",
    "pandas", "scikit-learn", "matplotlib", "seaborn", "pytest", "pytest-benchmark", "nanobind",
)  # fmt: skip
_GIB = 2**30
_MEMORY_TOLERANCE = 0.05  # kernels reserve a little more or less of the same bars


def fingerprint() -> dict[str, Any]:
    """The machine, the versions and the commit that a run is measured with; all values fit JSON.

    Returns:
        ``cpu`` (model, architecture, flags, physical, logical and usable cores, and what
        `bench.measuring.cpu_settings.read_settings` finds), ``memory_gib``, ``load_average`` (1, 5, 15 minutes),
        ``system``, ``kernel``, ``python``, ``versions``, ``blas`` (pools and their threads), ``gpu`` (or None) and
        ``commit`` (or None outside a checkout).
    """
    gpu = _gpu()  # first: it loads torch, whose BLAS and OpenMP pools are then seen
    return {
        "cpu": _cpu(),
        "memory_gib": round(psutil.virtual_memory().total / _GIB, 1),
        "load_average": [round(load, 2) for load in psutil.getloadavg()],
        "system": platform.system(),
        "kernel": _kernel(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "versions": _versions(),
        "blas": _blas(),
        "gpu": gpu,
        "commit": _commit(),
    }


def compare_machines(base: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """What differs between two machines so that their times must not be compared; empty when nothing does.

    Processor, its settings, usable cores, memory, system and GPUs. Versions do not: a new version
    on an old machine is what one often wants to measure; see `compare_versions`.
    """
    if not base.get("cpu") or not other.get("cpu"):
        return ["one of the runs does not say which machine measured it"]
    differences = []
    for label, keys in _COMPARED.items():
        left, right = _dig(base, keys), _dig(other, keys)
        if left != right:
            differences.append(f"{label}: {_words(left)} | {_words(right)}")
    left, right = float(base.get("memory_gib") or 0), float(other.get("memory_gib") or 0)
    if abs(left - right) > _MEMORY_TOLERANCE * max(left, right):
        differences.append(f"memory: {left:g} GiB | {right:g} GiB")
    return differences


def compare_versions(base: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """What differs in Python, kernel, libraries, BLAS and commit between two fingerprints."""
    left, right = dict(base.get("versions") or {}), dict(other.get("versions") or {})
    for name in ("python", "kernel"):
        left[name], right[name] = base.get(name), other.get(name)
    left["BLAS"], right["BLAS"] = blas_words(base), blas_words(other)
    left["commit"], right["commit"] = commit_words(base.get("commit")), commit_words(other.get("commit"))
    names = sorted(left.keys() | right.keys())
    return [
        f"{name}: {_words(left.get(name))} | {_words(right.get(name))}"
        for name in names
        if left.get(name) != right.get(name)
    ]


def describe(machine: Mapping[str, Any]) -> str:
    """One line for people: processor, cores, memory, GPU, system."""
    cpu = machine.get("cpu") or {}
    gpu = machine.get("gpu")
    parts = [
        f"{cpu.get('model') or 'unknown processor'}, {cpu.get('usable_cores') or '?'} logical cores",
        f"{float(machine.get('memory_gib') or 0):.0f} GiB memory",
        f"{gpu['count']} x {gpu['name']}" if gpu else "no GPU",
        str(machine.get("system") or "unknown system"),
    ]
    return " · ".join(parts)


def commit_words(commit: Mapping[str, Any] | None) -> str:
    """A commit's hash, marked where the checkout had changes that are not in it."""
    if not commit:
        return "not a checkout"
    return f"{commit['hash'][:12]}{' with uncommitted changes' if commit['dirty'] else ''}"


def blas_words(machine: Mapping[str, Any]) -> str:
    """The BLAS and OpenMP pools of a fingerprint, with their threads."""
    pools = machine.get("blas") or []
    words = [f"{p['library']} {p['version']}, {p['threads']} thread{'s' * (p['threads'] > 1)}" for p in pools]
    return "; ".join(sorted(words)) or "none"


_COMPARED: dict[str, tuple[str, ...]] = {
    "processor": ("cpu", "model"),
    "architecture": ("cpu", "architecture"),
    "instruction sets": ("cpu", "flags"),
    "physical cores": ("cpu", "physical_cores"),
    "usable logical cores": ("cpu", "usable_cores"),
    "CPU quota": ("cpu", "quota_cores"),
    "frequency governor": ("cpu", "governor"),
    "turbo": ("cpu", "turbo"),
    "SMT": ("cpu", "smt"),
    "transparent huge pages": ("cpu", "huge_pages"),
    "operating system": ("system",),
    "GPU": ("gpu", "name"),
    "number of GPUs": ("gpu", "count"),
    "GPU driver": ("gpu", "driver"),
}


def _dig(machine: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    value: Any = machine
    for key in keys:
        value = (value or {}).get(key)
    return value


def _words(value: object) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return "unknown" if value is None else str(value)


def _kernel() -> str:
    """The kernel's version; what a provider appends to it may name his machines."""
    found = re.match(r"[\d.]+", platform.release())
    return found[0].rstrip(".") if found else "unknown"


def _cpu() -> dict[str, Any]:
    info = cpuinfo.get_cpu_info()
    flags = set(info.get("flags", ()))
    # macOS and Windows cannot tell which cores a process may use.
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "model": " ".join(str(info.get("brand_raw") or platform.processor() or "unknown").split()),
        "architecture": platform.machine(),
        "flags": [flag for flag in FLAGS if flag in flags],
        "physical_cores": psutil.cpu_count(logical=False),
        "logical_cores": psutil.cpu_count(logical=True),
        "usable_cores": usable,
        **read_settings(),
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in DISTRIBUTIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # faiss-cpu or faiss-gpu, and a checkout that is not installed
            continue
    pinned = files("ris_core").joinpath("native", "falconn-sdist.txt")  # the headers are compiled in, not installed
    if pinned.is_file():
        for word in pinned.read_text(encoding="utf-8").split():
            if word.startswith("falconn=="):
                found["falconn"] = word.removeprefix("falconn==")
    return found


def _blas() -> list[dict[str, Any]]:
    """Loaded BLAS and OpenMP pools, without their files' paths."""
    pools = {
        (str(pool["internal_api"]), str(pool.get("version") or "unknown"), int(pool["num_threads"]))
        for pool in threadpoolctl.threadpool_info()
    }
    return [{"library": library, "version": number, "threads": threads} for library, number, threads in sorted(pools)]


def _gpu() -> dict[str, Any] | None:
    # Imported here: torch takes seconds to load, and a machine without a GPU build of it needs no answer from it.
    import torch

    if not torch.cuda.is_available():
        return None
    query = ("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    lines = (_output(query) or "unknown").splitlines()
    return {
        "name": torch.cuda.get_device_name(0),
        "count": torch.cuda.device_count(),
        "memory_gib": round(torch.cuda.get_device_properties(0).total_memory / _GIB, 1),
        "driver": lines[0] if lines else "unknown",
        "cuda": str(torch.version.cuda),
    }


def _commit() -> dict[str, Any] | None:
    """Commit of the checkout that this file belongs to; a checkout that merely contains its venv does not count."""
    here = Path(__file__)
    if _output(("git", "-C", str(here.parent), "ls-files", "--error-unmatch", here.name)) is None:
        return None
    found = _output(("git", "-C", str(here.parent), "rev-parse", "HEAD"))
    changes = _output(("git", "-C", str(here.parent), "status", "--porcelain", "--untracked-files=no"))
    return None if found is None else {"hash": found, "dirty": bool(changes)}


def _output(command: tuple[str, ...]) -> str | None:
    """What a command prints, or None where it is missing or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def is_busy(machine: Mapping[str, Any]) -> bool:
    """Whether other work was under way when the fingerprint was taken: one-minute load above a third of the cores."""
    load = (machine.get("load_average") or [0.0])[0]
    return load > (_dig(machine, ("cpu", "usable_cores")) or 1) / 3
