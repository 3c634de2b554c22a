"""Where torch computes, in which precision, and on how many threads."""

import contextlib
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import torch

PRECISIONS = ("auto", "bf16", "fp32")

_BF16_FLAGS = {"avx512_bf16", "amx_bf16"}  # CPUs that multiply bf16 in hardware; elsewhere it is slower than fp32


def device_faults(device: str, precision: str, threads: int | None) -> list[str]:
    """Everything that is impossible about these settings on this machine, one sentence a fault."""
    faults = []
    if threads is not None and threads < 1:
        faults.append(f"threads = {threads} must be at least 1.")
    if precision not in PRECISIONS:
        faults.append(f"precision = {precision!r} is unknown; known: {', '.join(PRECISIONS)}.")
    if not re.fullmatch(r"auto|cpu|cuda(:(0|[1-9][0-9]*))?", device):
        faults.append(f"device = {device!r} is unknown; known: auto, cpu, cuda, cuda:<number>.")
    elif device.startswith("cuda"):
        count = torch.cuda.device_count()
        if int(device.partition(":")[2] or 0) >= count:
            found = f"PyTorch sees {count} CUDA devices here" if count else "PyTorch sees no CUDA device here"
            faults.append(f"device = {device!r}: {found}. Set device to 'cpu' or 'auto'.")
    return faults


def choose_device(name: str) -> torch.device:
    """The device of that name; ``"auto"`` is CUDA where it is there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def choose_bf16(precision: str, device: torch.device) -> bool:
    """Whether to multiply in bf16; ``"auto"``: on CUDA, and on CPUs that do so in hardware."""
    if precision == "auto":
        return device.type == "cuda" or bool(_BF16_FLAGS & _cpu_flags())
    return precision == "bf16"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory was too small: the GPU's, Python's, or PyTorch's own on the CPU."""
    is_refused = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return is_refused or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))


def send(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Values of the CPU on the device; the CPU does not wait for a GPU, which copies from memory that is pinned."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values


class LateNumbers:
    """Numbers on their way from the device: asking for them waits only as long as the device has not come so far."""

    def __init__(self, values: torch.Tensor) -> None:
        self._host = values.to("cpu", non_blocking=True)
        self._arrival = torch.cuda.Event() if values.is_cuda else None
        if self._arrival:
            self._arrival.record(torch.cuda.current_stream(values.device))

    def wait(self) -> torch.Tensor:
        """The numbers, on the CPU."""
        if self._arrival:
            self._arrival.synchronize()
        return self._host

    def read(self) -> list[float]:
        """The numbers, of one dimension, as Python's."""
        return self.wait().tolist()


@contextlib.contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Within it torch uses that many threads; None = as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@functools.cache
def _cpu_flags() -> frozenset[str]:
    """The CPU's flags where Linux lists them, else none."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return frozenset()
    match = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    return frozenset(match.group(1).split()) if match else frozenset()
