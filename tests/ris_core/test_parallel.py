import threading
import time
from collections.abc import Iterator

import pytest

from ris_core.parallel import in_order


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_results_come_in_the_order_of_items(threads: int) -> None:
    def slow_at_first(item: int) -> int:
        time.sleep(0.01 if item == 0 else 0)
        return item * item

    assert list(in_order(slow_at_first, range(40), threads)) == [i * i for i in range(40)]


def test_items_are_drawn_only_as_far_as_results_wait() -> None:
    drawn = []

    def items() -> Iterator[int]:
        for i in range(100):
            drawn.append(i)
            yield i

    results = in_order(lambda item: item, items(), 2)
    assert [next(results) for _ in range(4)] == [0, 1, 2, 3]
    results.close()  # type: ignore[attr-defined]
    assert len(drawn) <= 4 + 3


@pytest.mark.parametrize("threads", [1, 3])
def test_error_of_an_item_reaches_the_caller_and_stops_the_rest(threads: int) -> None:
    done = []
    before = set(threading.enumerate())

    def work(item: int) -> int:
        if item == 5:
            raise ValueError("five")
        done.append(item)
        return item

    with pytest.raises(ValueError, match="five"):
        list(in_order(work, range(1000), threads))
    assert len(done) < 20
    assert set(threading.enumerate()) <= before
