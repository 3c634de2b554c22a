"""How the system runs its processor: settings that lengthen, shorten or scatter times, and what to do about each.

Read from Linux' ``/sys`` and ``/proc``; elsewhere, and in most virtual machines, they cannot be told and are None.

Source: README of VIBE (Jääsaari et al. 2025, arXiv:2505.17810), which asks for no SMT, no efficiency cores, the
governor performance and huge pages on madvise or never; ``pyperf system``, which sets governor and turbo. Differs: we
change nothing, which takes an administrator, but record every setting and say what it does to the times.
"""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_SYS, _GROUPS, _OWN_GROUP = Path("/sys"), Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
UNTOLD = "cannot be told"
_GOOD_GOVERNOR = "performance"


@dataclasses.dataclass(frozen=True)
class Limit:
    """Why times of a machine are worth less than they could be.

    Attributes:
        setting: The setting, as `read_settings` names it.
        finding: What was found and what it does to times, in sentences.
        remedy: What to do, in a sentence.
    """

    setting: str
    finding: str
    remedy: str


def read_settings() -> dict[str, Any]:
    """The settings of this machine; all values fit JSON.

    Returns:
        ``governor`` (of the usable cores; several are joined by commas), ``smt``, ``turbo`` and ``hybrid`` (whether
        two threads share a core, cores may exceed their base clock, and are of two kinds), ``huge_pages``
        (``"always"``, ``"madvise"`` or ``"never"``), ``quota_cores`` (how many cores' time a cgroup leaves this
        process); each None where it cannot be told, the last one also where there is no quota.
    """
    return {
        "governor": _governors(),
        "smt": _flag("devices/system/cpu/smt/active"),
        "turbo": _turbo(),
        "hybrid": (_SYS / "devices/cpu_atom").is_dir() if _SYS.is_dir() else None,
        "huge_pages": _chosen("kernel/mm/transparent_hugepage/enabled"),
        "quota_cores": _quota_cores(),
    }


def timing_limits(cpu: Mapping[str, Any]) -> list[Limit]:
    """What limits the worth of times, worst first; empty where nothing that can be told does.

    Args:
        cpu: `read_settings`, ``usable_cores`` and ``flags``, as the ``cpu`` of a fingerprint holds them.
    """
    governor, quota = cpu.get("governor"), cpu.get("quota_cores")
    found = {
        "quota_cores": quota is not None and quota < (cpu.get("usable_cores") or 1),
        "governor": governor is not None and governor != _GOOD_GOVERNOR,
        "hybrid": cpu.get("hybrid"),
        "smt": cpu.get("smt"),
        "turbo": cpu.get("turbo"),
        "huge_pages": cpu.get("huge_pages") == "always",
        "virtual": "hypervisor" in (cpu.get("flags") or ()),
    }
    values = {"governor": governor, "quota": quota, "cores": cpu.get("usable_cores")}
    return [
        Limit(setting, _FINDINGS[setting].format(**values), _REMEDIES[setting])
        for setting, is_limit in found.items()
        if is_limit
    ]


def setting_words(cpu: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """For each setting its name and its value as people read them, ``UNTOLD`` where it is not known."""
    quota = cpu.get("quota_cores")
    words = {setting: _VALUES.get(cpu.get(setting), cpu.get(setting)) for setting in _NAMES}
    words["quota_cores"] = "none found" if quota is None else f"{quota:g} cores"
    return {setting: (name, str(words[setting])) for setting, name in _NAMES.items()}


_NAMES = {
    "quota_cores": "CPU quota",
    "governor": "frequency governor",
    "turbo": "turbo",
    "smt": "SMT",
    "hybrid": "efficiency cores",
    "huge_pages": "transparent huge pages",
}
_VALUES = {None: UNTOLD, True: "on", False: "off"}
_FINDINGS = {
    "quota_cores": "A cgroup leaves this process {quota:g} of {cores} usable cores: once the quota is spent, every "
    "thread stands still to the end of the period, and long times are those of the quota.",
    "governor": "The frequency governor is {governor}, not performance: cores slow down when idle, so that short cells "
    "take longer and scatter more.",
    "hybrid": "Cores are of two kinds: a time depends on which of them the system chose.",
    "smt": "Hardware threads share cores (SMT): whatever runs on the second thread lengthens what is timed on the "
    "first, and twice as many threads are not twice as fast.",
    "turbo": "Turbo is on: the clock falls with the number of busy cores and with heat, so that one thread looks "
    "better beside many than it is, and the first cells better than the last.",
    "huge_pages": "Transparent huge pages are always on: times and resident memory depend on how fragmented the memory "
    "happens to be.",
    "virtual": "This is a virtual machine: the host's governor, turbo and SMT cannot be seen, and time that other "
    "guests take counts as other load.",
}
_REMEDIES = {
    "quota_cores": "Raise the quota, or give the container whole cores (docker --cpuset-cpus).",
    "governor": "sudo cpupower frequency-set -g performance",
    "hybrid": "Pin the run to cores of one kind: taskset -c CORES python -m bench run ...",
    "smt": "echo off | sudo tee /sys/devices/system/cpu/smt/control",
    "turbo": "echo 1 | sudo tee /sys/devices/system/cpu/intel_pstate/no_turbo (Intel), or "
    "echo 0 | sudo tee /sys/devices/system/cpu/cpufreq/boost",
    "huge_pages": "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled",
    "virtual": "Measure on hardware of your own, or repeat the run and compare the repetitions.",
}


def _governors() -> str | None:
    """Governors of the usable cores; macOS and Windows cannot tell which those are and show no governor either."""
    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    found = {_text(f"devices/system/cpu/cpu{core}/cpufreq/scaling_governor") for core in usable}
    return ", ".join(sorted(governor for governor in found if governor)) or None


def _turbo() -> bool | None:
    is_off = _flag("devices/system/cpu/intel_pstate/no_turbo")
    return _flag("devices/system/cpu/cpufreq/boost") if is_off is None else not is_off


def _quota_cores() -> float | None:
    """The least quota among this process' cgroup (version 2) and those around it, in cores."""
    try:
        lines = _OWN_GROUP.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    own = next((_GROUPS / line.removeprefix("0::/") for line in lines if line.startswith("0::/")), _GROUPS)
    quotas = []
    for folder in (own, *own.parents):
        words = _words(folder / "cpu.max") if folder.is_relative_to(_GROUPS) else []
        if len(words) == 2 and words[0] != "max":
            quotas.append(int(words[0]) / int(words[1]))
    return min(quotas, default=None)


def _flag(place: str) -> bool | None:
    text = _text(place)
    return None if text not in ("0", "1") else text == "1"


def _chosen(place: str) -> str | None:
    """The word in brackets, as in ``always [madvise] never``."""
    return next((word[1:-1] for word in (_text(place) or "").split() if word.startswith("[")), None)


def _text(place: str) -> str | None:
    return " ".join(_words(_SYS / place)) or None


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError):  # not there, or not ours to read
        return []
