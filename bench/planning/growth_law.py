"""From what a stage took at a few small sizes to what it will take at a large one, as a range."""

import dataclasses
import math
from collections.abc import Callable, Sequence

from bench.scores.growth import fit_power_law

MOOD = 1.3  # by how much one and the same work differs from hour to hour on a machine that others use too


@dataclasses.dataclass(frozen=True)
class Seconds:
    """A forecast.

    Attributes:
        low: Least that is likely.
        expected: The forecast proper.
        high: Most that is likely.
    """

    low: float
    expected: float
    high: float

    def __add__(self, other: "Seconds") -> "Seconds":
        """Both, one after the other: a slow hour is slow for both."""
        return Seconds(self.low + other.low, self.expected + other.expected, self.high + other.high)

    def times(self, factor: float) -> "Seconds":
        """The same work so many times."""
        return Seconds(self.low * factor, self.expected * factor, self.high * factor)


NOTHING = Seconds(0.0, 0.0, 0.0)


@dataclasses.dataclass(frozen=True)
class Law:
    """Seconds of one kind of work at a few sizes.

    Attributes:
        n: The sizes, ascending.
        costs: Seconds at each.
        is_linear: Whether the work is known to be a fixed part and one that is proportional to n.
    """

    n: tuple[float, ...]
    costs: tuple[float, ...]
    is_linear: bool = False

    def at(self, n: float) -> Seconds:
        """The forecast for ``n``.

        Within the sizes measured, and for work that is known to be linear, it is the straight line. Beyond, a line says
        too much of what grows slowly, and a power law too little of what a fixed part hides at small n: the range has
        both, and the forecast is their geometric mean.
        """
        line = self._line(n)
        law = None if self.is_linear or n <= self.n[-1] else fit_power_law(self.n[-2:], self.costs[-2:])
        power = line if law is None else law.factor * n**law.exponent
        low, high = sorted((line, power))
        return Seconds(low / MOOD, math.sqrt(low * high), high * MOOD)

    def _line(self, n: float) -> float:
        """A fixed and a proportional part, neither below 0, through the two largest sizes; of one size no fixed one."""
        n_high, high = self.n[-1], self.costs[-1]
        slope = high / n_high
        if len(self.n) > 1:
            slope = min(slope, max(0.0, (high - self.costs[-2]) / (n_high - self.n[-2])))
        return high + slope * (n - n_high)


def proportional(cost: float, n: float) -> Law:
    """Work that took so long for ``n``, without a fixed part."""
    return Law((n,), (cost,), is_linear=True)


def exponent_at(cost: Callable[[float], Seconds], n: float) -> float:
    """Growth of a cost around ``n``: 1 where twice as many cost twice as much."""
    here, there = cost(n).expected, cost(2 * n).expected
    return math.log2(there / here) if here > 0 else math.nan


def summed(parts: Sequence[Seconds]) -> Seconds:
    """All parts, one after the other."""
    total = NOTHING
    for part in parts:
        total += part
    return total
