"""The number of threads that every numeric library may use, set and read back."""

import contextlib
from collections.abc import Iterator

import threadpoolctl
import torch


@contextlib.contextmanager
def limited_threads(threads: int) -> Iterator[dict[str, int]]:
    """Hold BLAS, OpenMP (faiss) and torch to a number of threads.

    Yields:
        The pools that were found and the threads that they report, by library name.
    """
    before = torch.get_num_threads()
    with threadpoolctl.threadpool_limits(limits=threads):
        torch.set_num_threads(threads)
        try:
            seen = {pool["prefix"]: int(pool["num_threads"]) for pool in threadpoolctl.threadpool_info()}
            yield {**seen, "torch": torch.get_num_threads()}
        finally:
            torch.set_num_threads(before)
