"""Results of a function over many items, in the items' order, from a bounded number of threads."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_MOST_THREADS = 8  # decoding saturates a disk long before it saturates more cores than that


def decoding_threads() -> int:
    """Number of threads that decode pixels by default: the cores that this process may use, eight at most."""
    return min(_MOST_THREADS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def in_order(function: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """Yield ``function(item)`` in the order of ``items``, whichever thread finishes first.

    At most ``threads + 1`` results wait in memory, and ``items`` is drawn no further ahead than that. When the
    caller stops early or an item fails, work that has not begun is cancelled and what has begun is waited for.
    """
    if threads <= 1:
        yield from map(function, items)
        return
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
