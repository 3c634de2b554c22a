"""What works on this machine, and why the rest does not."""

import importlib.util
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate

from bench.machine import describe, fingerprint, is_busy
from bench.measuring.cpu_settings import UNTOLD, setting_words, timing_limits
from ris_core.engines import ENGINES

_EXTRAS = {
    "openvino": "faster features on CPUs (extract.backend = 'openvino'); pip install 'ris-bench[openvino]'",
    "lightly": "the suite throughput trains it beside ours; pip install 'ris-bench[rivals]'",
    "ir_measures": "the tests compare our measures with it; pip install 'ris-bench[test]'",
    "hypothesis": "the tests need it; pip install 'ris-bench[test]'",
    "ruff": "the lint step needs it; pip install 'ris-bench[lint]'",
    "mypy": "the lint step needs it; pip install 'ris-bench[lint]'",
}
_LEAST_FREE_GIB = 5.0  # the demo suite's artifacts, with room to spare
_GIB = 2**30


def examine(cache: Path) -> str:
    """A page for people: machine, devices, disk, fitness for timing, engines, extras; and what limits the times.

    Args:
        cache: Folder of the artifacts, whose disk is looked at.
    """
    machine = fingerprint()
    rows = [("machine", "yes", describe(machine))]
    rows += [_cuda(), _disk(cache)]
    rows += [("quiet", "no" if is_busy(machine) else "yes", _load_words(machine["load_average"]))]
    limits = timing_limits(machine["cpu"])
    rows += _setting_rows(machine["cpu"], {limit.setting for limit in limits})
    for name, kind in sorted(ENGINES.items()):
        reason = kind.unavailable()
        rows.append((f"engine {name}", "no" if reason else "yes", reason or ""))
    for module, why in _EXTRAS.items():
        found = importlib.util.find_spec(module) is not None
        rows.append((f"extra {module}", "yes" if found else "no", "" if found else why))
    page = tabulate(rows, headers=("what", "works", "remark"), tablefmt="plain")
    return "\n".join([page, *(f"\n{limit.finding}\n  Remedy: {limit.remedy}" for limit in limits)])


def _setting_rows(cpu: Mapping[str, Any], limited: Collection[str]) -> list[tuple[str, str, str]]:
    """Each setting that shapes times: whether it is good for timing, and its value."""
    return [
        (f"timing: {name}", "no" if setting in limited else "unknown" if words == UNTOLD else "yes", words)
        for setting, (name, words) in setting_words(cpu).items()
    ]


def _cuda() -> tuple[str, str, str]:
    if torch.cuda.is_available():
        return (
            "device cuda",
            "yes",
            ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())),
        )
    if torch.version.cuda is None:
        return ("device cuda", "no", f"torch {torch.__version__} is built without CUDA; everything runs on the CPU")
    return ("device cuda", "no", "torch sees no GPU or no driver; everything runs on the CPU")


def _disk(cache: Path) -> tuple[str, str, str]:
    place = next(path for path in (cache.absolute(), *cache.absolute().parents) if path.exists())
    free_gib = shutil.disk_usage(place).free / _GIB
    remark = f"{free_gib:.1f} GiB free at {place}; the demo suite wants {_LEAST_FREE_GIB:.0f}"
    return ("disk", "yes" if free_gib >= _LEAST_FREE_GIB else "no", remark)


def _load_words(load: list[float]) -> str:
    return f"load of the last minute {load[0]:.2f}; times are worth keeping on an idle machine only"
