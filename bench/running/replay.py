"""pytest-benchmark keeps the books: times measured in another process are handed to it as if its own timer had run."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_benchmark.fixture import BenchmarkFixture

_readings: Iterator[float] = iter(())


def recorded_time() -> float:
    """A timer for ``@pytest.mark.benchmark(timer=...)``: at the start of a round 0, at its end the recorded seconds."""
    return next(_readings)


def enter_times(books: BenchmarkFixture, facts: Mapping[str, Any], times_s: Sequence[float]) -> None:
    """Put a cell's times, and facts that tell it from others, into pytest-benchmark's statistics and its JSON."""
    global _readings
    _readings = iter([reading for seconds in times_s for reading in (0.0, seconds)])
    books.extra_info |= facts
    books.pedantic(lambda: None, rounds=len(times_s), iterations=1)
