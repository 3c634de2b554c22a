from pathlib import Path

import pytest

from bench.measuring import cpu_settings
from bench.measuring.cpu_settings import read_settings, timing_limits

QUIET = {"governor": "performance", "smt": False, "turbo": False, "hybrid": False, "huge_pages": "madvise"}
QUIET |= {"quota_cores": None, "usable_cores": 2, "flags": ["avx2"]}
UNTOLD = dict.fromkeys(["governor", "smt", "turbo", "hybrid", "huge_pages", "quota_cores"])


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty /sys, of which this process may use cores 1 and 3."""
    monkeypatch.setattr(cpu_settings, "_SYS", tmp_path / "sys")
    monkeypatch.setattr(cpu_settings, "_GROUPS", tmp_path / "sys" / "fs" / "cgroup")
    monkeypatch.setattr(cpu_settings, "_OWN_GROUP", tmp_path / "own_group")
    monkeypatch.setattr(cpu_settings.os, "sched_getaffinity", lambda _: {1, 3}, raising=False)
    return tmp_path


def put(system: Path, place: str, text: str) -> None:
    path = system / "sys" / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="ascii")


def test_nothing_is_known_of_a_system_that_tells_nothing(system: Path) -> None:
    assert read_settings() == UNTOLD
    (system / "sys").mkdir()
    assert read_settings() == UNTOLD | {"hybrid": False}


def test_settings_of_a_laptop(system: Path) -> None:
    for core, governor in enumerate(("performance", "powersave", "ondemand", "powersave")):
        put(system, f"devices/system/cpu/cpu{core}/cpufreq/scaling_governor", f"{governor}\n")
    put(system, "devices/system/cpu/smt/active", "1\n")
    put(system, "devices/system/cpu/intel_pstate/no_turbo", "0\n")
    put(system, "kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n")
    put(system, "devices/cpu_atom/type", "10\n")
    on = dict.fromkeys(["smt", "turbo", "hybrid"], True)
    assert read_settings() == {"governor": "powersave", **on, "huge_pages": "always", "quota_cores": None}
    put(system, "devices/system/cpu/cpu3/cpufreq/scaling_governor", "ondemand\n")
    assert read_settings()["governor"] == "ondemand, powersave"


def test_turbo_of_processors_without_intels_driver(system: Path) -> None:
    put(system, "devices/system/cpu/cpufreq/boost", "0\n")
    assert read_settings()["turbo"] is False
    put(system, "devices/system/cpu/intel_pstate/no_turbo", "0\n")
    assert read_settings()["turbo"] is True


def test_quota_is_the_least_of_the_group_and_those_around_it(system: Path) -> None:
    (system / "own_group").write_text("3:cpu:/elsewhere\n0::/pods/ours\n", encoding="ascii")
    put(system, "fs/cgroup/pods/ours/cpu.max", "max 100000\n")
    assert read_settings()["quota_cores"] is None
    put(system, "fs/cgroup/pods/cpu.max", "150000 100000\n")
    assert read_settings()["quota_cores"] == 1.5
    put(system, "fs/cgroup/pods/ours/cpu.max", "50000 200000\n")
    assert read_settings()["quota_cores"] == 0.25
    put(system, "fs/cpu.max", "1 100000\n")  # no cgroup
    assert read_settings()["quota_cores"] == 0.25


def test_quota_of_a_container_that_sees_its_own_root(system: Path) -> None:
    (system / "own_group").write_text("0::/\n", encoding="ascii")
    put(system, "fs/cgroup/cpu.max", "200000 100000\n")
    assert read_settings()["quota_cores"] == 2.0


@pytest.mark.parametrize(
    ("changes", "setting", "word"),
    [
        ({"governor": "powersave"}, "governor", "powersave, not performance"),
        ({"governor": "performance, powersave"}, "governor", "performance, powersave, not performance"),
        ({"smt": True}, "smt", "Hardware threads"),
        ({"turbo": True}, "turbo", "Turbo is on"),
        ({"hybrid": True}, "hybrid", "two kinds"),
        ({"huge_pages": "always"}, "huge_pages", "always on"),
        ({"quota_cores": 1.5}, "quota_cores", "1.5 of 2 usable cores"),
        ({"flags": ["avx2", "hypervisor"]}, "virtual", "virtual machine"),
    ],
)
def test_every_limit_is_named_with_its_consequence_and_remedy(changes: dict, setting: str, word: str) -> None:
    (limit,) = timing_limits(QUIET | changes)
    assert limit.setting == setting
    assert word in limit.finding
    assert limit.remedy


@pytest.mark.parametrize("changes", [{}, UNTOLD, {"huge_pages": "never"}, {"quota_cores": 2.0}])
def test_quiet_and_unknown_settings_are_no_limits(changes: dict) -> None:
    assert timing_limits(QUIET | changes) == []
    assert timing_limits({}) == []
