from pathlib import Path

import pytest

from bench import doctor

CPU = {
    "model": "Abacus 3000", "usable_cores": 4, "flags": [], "governor": "powersave", "smt": None, "turbo": False,
    "hybrid": False, "huge_pages": "always", "quota_cores": 1.5,
}  # fmt: skip
MACHINE = {"cpu": CPU, "memory_gib": 8.0, "load_average": [3.0, 1.0, 0.0], "system": "Linux", "gpu": None}


def lines_of(monkeypatch: pytest.MonkeyPatch, folder: Path, **changes: object) -> list[str]:
    monkeypatch.setattr(doctor, "fingerprint", lambda: MACHINE | changes)
    return [" ".join(line.split()) for line in doctor.examine(folder).splitlines()]


def test_doctor_judges_each_setting_that_shapes_times(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lines = lines_of(monkeypatch, tmp_path)
    for line in (
        "timing: CPU quota no 1.5 cores",
        "timing: frequency governor no powersave",
        "timing: turbo yes off",
        "timing: SMT unknown cannot be told",
        "timing: transparent huge pages no always",
    ):
        assert line in lines
    assert any(line.startswith("quiet no load of the last minute 3.00") for line in lines)


def test_doctor_says_what_limits_times_and_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lines = lines_of(monkeypatch, tmp_path)
    assert len([line for line in lines if line.startswith("Remedy: ")]) == 3
    assert lines.index("Remedy: sudo cpupower frequency-set -g performance") == 1 + next(
        place for place, line in enumerate(lines) if line.startswith("The frequency governor is powersave")
    )


def test_doctor_lists_optional_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda module: None)
    lines = lines_of(monkeypatch, tmp_path)
    for extra, package in (("openvino", "openvino"), ("rivals", "lightly")):
        assert [f"[{extra}]" in line for line in lines if line.startswith(f"extra {package} no ")] == [True]


def test_doctor_of_a_fit_machine_has_nothing_to_say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cpu = CPU | {"governor": "performance", "huge_pages": "madvise", "quota_cores": None}
    lines = lines_of(monkeypatch, tmp_path, cpu=cpu, load_average=[0.0, 0.0, 0.0])
    assert "timing: CPU quota yes none found" in lines
    assert "timing: frequency governor yes performance" in lines
    assert not any("Remedy" in line for line in lines)
