"""The number of threads that every numeric library may use, set and read back."""

import contextlib
import sys
from collections.abc import Iterator

import threadpoolctl


@contextlib.contextmanager
def limited_threads(threads: int) -> Iterator[dict[str, int]]:
    """Hold BLAS, OpenMP (faiss) and, where it is loaded, torch to a number of threads.

    Yields:
        The pools that were found and the threads that they report, by library name.
    """
    torch = sys.modules.get("torch")
    before = 0 if torch is None else torch.get_num_threads()
    with threadpoolctl.threadpool_limits(limits=threads):
        if torch is not None:
            torch.set_num_threads(threads)
        try:
            seen = {pool["prefix"]: int(pool["num_threads"]) for pool in threadpoolctl.threadpool_info()}
            yield seen if torch is None else {**seen, "torch": torch.get_num_threads()}
        finally:
            if torch is not None:
                torch.set_num_threads(before)
