"""How much of the machine work other than ours took while a clock ran: a noisy neighbour makes times too long.

Source: user, nice, system, irq, softirq and steal of Linux' ``/proc/stat``, by psutil. Stolen time, in which a
hypervisor ran somebody else, is other work; time spent as a host of guests is inside user.
"""

import os
import time

import psutil

NOISY_FRAC = 0.15
"""A cell is noisy when other work took more of the usable cores' time than this.

On two cores 0.15 is a third of one core: less is the system's daily business, more is a program that may well have run
on the core that was measured.
"""

_LEAST_S = 0.2  # the counters advance by 10 ms, so that a shorter interval is mostly rounding
_BUSY = ("user", "nice", "system", "irq", "softirq", "steal")


class LoadMeter:
    """Counts from its making what share of the usable cores' time other work took."""

    def __init__(self) -> None:
        self._busy_s, self._start_s = _busy_seconds(), time.perf_counter()

    def read(self, own_cpu_s: float) -> float | None:
        """Share in [0, 1] of the usable cores' time since the start that was neither idle nor ours.

        Args:
            own_cpu_s: CPU seconds, user and system, that all our processes used since the start.

        Returns:
            ``max(0, busy - own) / (cores * wall)``; None after less than 0.2 s, or where the system does not tell the
            cores apart that this process may use.
        """
        wall_s, busy_s = time.perf_counter() - self._start_s, _busy_seconds()
        if wall_s < _LEAST_S or len(busy_s) == 0 or busy_s.keys() != self._busy_s.keys():
            return None
        busy = sum(busy_s.values()) - sum(self._busy_s.values())
        return min(1.0, max(0.0, busy - own_cpu_s) / (len(busy_s) * wall_s))


class CellLoad:
    """Share of the usable cores' time that other work takes while a cell is measured in processes of its own."""

    def __init__(self) -> None:
        self._meter, self._before_s = LoadMeter(), time.process_time()

    def add(self, used_cpu_s: float) -> None:
        """Count what a process has used for this cell as ours; call it once for each, at its end."""
        self._before_s -= used_cpu_s

    def read(self) -> float | None:
        """See `LoadMeter.read`."""
        return self._meter.read(time.process_time() - self._before_s)


def is_noisy(other_load_frac: float | None) -> bool:
    """Whether other work took more than ``NOISY_FRAC``; what is not known is not called noisy."""
    return other_load_frac is not None and other_load_frac > NOISY_FRAC


def _busy_seconds() -> dict[int, float]:
    """Seconds that each usable core has worked since the machine began; nothing where cores cannot be told apart."""
    every = psutil.cpu_times(percpu=True)
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(len(every))
    if max(usable) >= len(every):  # a container that sees its own cores renumbered
        return {}
    return {core: sum(getattr(every[core], kind, 0.0) for kind in _BUSY) for core in usable}
