import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.measuring import other_load
from bench.measuring.other_load import NOISY_FRAC, LoadMeter, is_noisy

IDLE = {"user": 0.0, "nice": 0.0, "system": 0.0, "idle": 0.0, "iowait": 0.0, "irq": 0.0, "softirq": 0.0, "steal": 0.0}


class Machine:
    """Four cores, of which this process may use the second and the third, and a clock; all by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 100.0
        self.usable = {1, 2}
        self.cores = [dict(IDLE, user=50.0) for _ in range(4)]
        monkeypatch.setattr(other_load.psutil, "cpu_times", self.cpu_times)
        monkeypatch.setattr(other_load.os, "sched_getaffinity", lambda _: self.usable, raising=False)
        monkeypatch.setattr(other_load.time, "perf_counter", lambda: self.now_s)

    def cpu_times(self, percpu: bool) -> list[SimpleNamespace]:
        assert percpu
        return [SimpleNamespace(**core) for core in self.cores]

    def work(self, core: int, **seconds: float) -> None:
        for kind, more in seconds.items():
            self.cores[core][kind] += more


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def test_share_of_other_work_by_hand(machine: Machine) -> None:
    meter = LoadMeter()
    machine.now_s += 10.0
    machine.work(1, user=6.0, nice=0.5, system=1.0, idle=2.5)
    machine.work(2, irq=0.25, softirq=0.25, steal=1.0, iowait=4.0, idle=4.5)
    machine.work(0, user=10.0)  # not ours to use
    machine.work(3, steal=10.0)
    assert meter.read(0.0) == pytest.approx(9.0 / 20.0)
    assert meter.read(6.0) == pytest.approx(3.0 / 20.0)


def test_share_stays_in_range_where_counters_round(machine: Machine) -> None:
    meter = LoadMeter()
    machine.now_s += 1.0
    machine.work(1, user=0.99)
    assert meter.read(1.0) == 0.0
    machine.work(2, user=5.0)
    assert meter.read(0.0) == 1.0


def test_short_intervals_say_nothing(machine: Machine) -> None:
    meter = LoadMeter()
    machine.work(1, user=0.2)
    machine.now_s += 0.19
    assert meter.read(0.0) is None
    machine.now_s += 0.02
    assert meter.read(0.0) == pytest.approx(0.2 / (2 * 0.21))


def test_cores_that_cannot_be_told_apart_say_nothing(machine: Machine) -> None:
    machine.usable = {2, 17}
    meter = LoadMeter()
    machine.now_s += 1.0
    assert meter.read(0.0) is None
    machine.usable = {1, 2}  # another set than at the start
    assert meter.read(0.0) is None


def test_cells_are_noisy_above_the_limit_only() -> None:
    assert is_noisy(NOISY_FRAC + 0.01)
    assert not is_noisy(NOISY_FRAC)
    assert not is_noisy(None)


def test_other_process_is_seen_and_own_is_not() -> None:
    meter, before = LoadMeter(), os.times()
    spin = "import time\nend = time.process_time() + 0.6\nwhile time.process_time() < end: pass"
    subprocess.run([sys.executable, "-c", spin], check=True)
    time.sleep(0.05)  # the last 10 ms are booked
    after = os.times()
    child_s = after.children_user + after.children_system - before.children_user - before.children_system
    as_other, as_own = meter.read(0.0), meter.read(child_s)
    assert as_other is not None
    assert as_own is not None
    assert as_other > 0.5 / (other_load_cores() * (after.elapsed - before.elapsed + 0.1))
    assert as_own < as_other


@given(st.floats(0, 1e4), st.floats(0, 1e4))
def test_more_own_work_never_makes_more_of_others(own_s: float, more_s: float) -> None:
    with pytest.MonkeyPatch.context() as patch:
        machine = Machine(patch)
        meter = LoadMeter()
        machine.now_s += 100.0
        machine.work(1, user=90.0)
        machine.work(2, steal=30.0)
        less, more = meter.read(own_s + more_s), meter.read(own_s)
        assert less is not None
        assert more is not None
        assert 0 <= less <= more <= 1


def other_load_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
