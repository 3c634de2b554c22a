"""The number of threads that every numeric library may use, set and read back."""

import contextlib
import sys
from collections.abc import Iterator

import threadpoolctl


@contextlib.contextmanager
def limited_threads(threads: int) -> Iterator[dict[str, int]]:
    """Hold BLAS, OpenMP (faiss) and, where they are loaded, torch and OpenCV to a number of threads.

    Yields:
        The pools that were found and the threads that they report, by library name.
    """
    own = {}  # libraries with threads that threadpoolctl does not know: how to read and how to set their number
    if (torch := sys.modules.get("torch")) is not None:
        own["torch"] = torch.get_num_threads, torch.set_num_threads
    if (cv2 := sys.modules.get("cv2")) is not None:
        own["cv2"] = cv2.getNumThreads, cv2.setNumThreads
    before = {name: read() for name, (read, _) in own.items()}
    with threadpoolctl.threadpool_limits(limits=threads):
        for _, hold in own.values():
            hold(threads)
        try:
            seen = {pool["prefix"]: int(pool["num_threads"]) for pool in threadpoolctl.threadpool_info()}
            yield {**seen, **{name: read() for name, (read, _) in own.items()}}
        finally:
            for name, (_, hold) in own.items():
                hold(before[name])
