"""What is done to a process from within before its run begins: a disk, clock, memory or network that fails.

Each function is called by its name, with arguments as JSON has them; see `tests.reliability.launcher.launch`.
"""

import itertools
import os
import re
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

from tests.reliability.strike import changed

_TAKES_NO_ROOM = {"os.remove", "os.rmdir"}


def failing_disk(number: int, code: int, pattern: str = r"\.ris_cache|reports") -> None:
    """From the n-th file operation on, counted from 1, all in folders of that pattern fail with this error."""
    seen, pid, sought = itertools.count(1), os.getpid(), re.compile(pattern)

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        path = changed(event, arguments)
        if path is None or os.getpid() != pid or not sought.search(path) or event in _TAKES_NO_ROOM:
            return
        if next(seen) >= number:
            raise OSError(code, os.strerror(code), path)

    sys.addaudithook(hear)


def small_files(most_bytes: int) -> None:
    """No file may grow longer, whoever writes it: as on a full disk, each write is cut short."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, resource.RLIM_INFINITY))


def few_handles(most: int) -> None:
    """No more open files than that."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def little_memory(more_bytes: int) -> None:
    """No more address space than is taken now and so much more; for all processes that it starts, too."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - no path of ours
        taken = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + more_bytes, taken + more_bytes))


def lost_cache(number: int, pattern: str) -> None:
    """The cache is renamed at the n-th file operation whose path a pattern names."""
    seen, sought = itertools.count(1), re.compile(pattern)

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        path = changed(event, arguments)
        if path is not None and sought.search(path) and next(seen) == number:
            os.rename(".ris_cache", ".ris_cache.gone")  # noqa: PTH104 - audited, as all of them

    sys.addaudithook(hear)


def clock_that_jumps(step_s: float) -> None:
    """Each look at the time of day is that much further than the true one: backwards where it is negative."""
    true, jumps = time.time, itertools.count()
    time.time = lambda: true() + step_s * next(jumps)


def deaf_streams() -> None:
    """Who read standard output and standard error is gone."""
    ours, theirs = os.pipe()
    os.close(ours)
    os.dup2(theirs, 1)
    os.dup2(theirs, 2)


def no_streams() -> None:
    """All three standard streams are closed."""
    for number in range(3):
        os.close(number)
    sys.stdin = sys.stdout = sys.stderr = None  # type: ignore[assignment] - as Python sets them


def loss_of_no_number(step: int) -> None:
    """A weight of the student becomes NaN before the n-th training step."""
    from ris_core.training.loop import TrainingLoop

    def spoil(loop: Any, *_: Any) -> None:
        next(iter(loop.state.student.parameters())).data.view(-1)[0] = float("nan")

    _before_call(TrainingLoop, "train_step", step, spoil)


def memory_of_the_device_full(owner: str, method: str, number: int) -> None:
    """The n-th call of a function raises what PyTorch raises where a GPU's memory does not suffice."""
    import torch

    def refuse(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    _before_call(_found(owner), method, number, refuse)


def memory_full(owner: str, method: str, number: int) -> None:
    """The n-th call of a function raises MemoryError."""

    def refuse(*_: Any) -> None:
        raise MemoryError("Unable to allocate 2.00 GiB for an array")

    _before_call(_found(owner), method, number, refuse)


def features_of_no_number(number: int) -> None:
    """The n-th batch that a backbone describes has a NaN among its features."""
    from ris_core.backbone import Backbone

    true, seen = Backbone.forward, itertools.count(1)

    def forward(self: Any, images: Any) -> Any:
        features = true(self, images)
        is_batch = not features.is_meta and len(features) > 1  # one image counts operations
        return features * float("nan") if is_batch and next(seen) == number else features

    Backbone.forward = forward  # type: ignore[method-assign]


def _found(name: str) -> Any:
    import importlib

    module, _, attribute = name.partition(":")
    found = importlib.import_module(module)
    return getattr(found, attribute) if attribute else found


def _before_call(owner: Any, name: str, number: int, act: Callable[..., None]) -> None:
    """Have the n-th call of a function or method do something first."""
    true, seen = getattr(owner, name), itertools.count(1)

    def call(*arguments: Any, **named: Any) -> Any:
        if next(seen) == number:
            act(*arguments)
        return true(*arguments, **named)

    setattr(owner, name, call)


def torch_threads(count: int) -> None:
    """So many threads compute in torch."""
    import torch

    torch.set_num_threads(count)
