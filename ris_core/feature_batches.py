"""Batches of tiles -> shards of features: which device, precision and backend compute, and how tiles reach them."""

import contextlib
import dataclasses
import importlib.util
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from typing import Protocol

import numpy as np
import torch

from ris_core.backbone import Backbone, evaluating
from ris_core.class_token import class_token_only
from ris_core.device import LateNumbers, choose_bf16, choose_device, device_faults, is_out_of_memory
from ris_core.errors import SuiteError
from ris_core.parallel import decoding_threads, in_order
from ris_core.preprocess import PREPROCESSING, prepare
from ris_core.tile_batches import read_batches

TORCH = "torch"
OPENVINO = "openvino"
COMPILING = ("auto", "on", "off")

_BATCH = {"cpu": 16, "cuda": 256}  # tiles a pass: a core's caches hold so few, a GPU wants many
_COMPILING_PAYS = 1_000_000  # tiles: it takes the better part of a minute and saves tens of microseconds a tile

_TILE_PIXELS = 224 * 224  # of which a pass takes `ExtractPlan.batch`: so many images fit as have no more pixels

Describe = Callable[[torch.Tensor], torch.Tensor]


class Images(Protocol):
    """Images of different shapes, such as `ris_core.whole_images.WholeImages`."""

    @property
    def fingerprint(self) -> str:
        """What tells them from others."""

    def reading(self) -> AbstractContextManager[Callable[[int], np.ndarray]]:
        """A function from a row to its (h, w, 3) uint8 pixels, safe in threads."""


@dataclasses.dataclass(frozen=True)
class ExtractOptions:
    """How features are computed; none of it changes what they mean.

    Attributes:
        batch: Tiles a forward pass; None = 16 on a CPU, 256 on a GPU.
        device: ``"auto"`` (CUDA where it is there), ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
        precision: ``"fp32"``, ``"bf16"`` (weights and features stay float32), or ``"auto"``: bf16 on CUDA and on CPUs
            that have it in hardware.
        backend: ``"torch"``, or ``"openvino"``, on CPUs, where that package is installed.
        compile: Whether torch compiles the network: ``"on"``, ``"off"``, or ``"auto"``: on CUDA from a million tiles
            on, because it costs the better part of a minute first.
        threads: Threads on the CPU; None = PyTorch's, as they are set.
        shard_tiles: Tiles after which finished work is on disk; an interruption loses at most one shard, on CUDA two.
    """

    batch: int | None = None
    device: str = "auto"
    precision: str = "auto"
    backend: str = TORCH
    compile: str = "auto"
    threads: int | None = None
    shard_tiles: int = 4096

    def faults(self) -> list[str]:
        """Everything that is impossible about these options on this machine, one sentence a fault."""
        faults = [
            f"{name} = {value} must be at least 1."
            for name, value in (("batch", self.batch), ("shard_tiles", self.shard_tiles))
            if value is not None and value < 1
        ]
        if self.compile not in COMPILING:
            faults.append(f"compile = {self.compile!r} is unknown; known: {', '.join(COMPILING)}.")
        return faults + self._backend_faults() + device_faults(self.device, self.precision, self.threads)

    def _backend_faults(self) -> list[str]:
        if self.backend not in _BACKENDS:
            return [f"backend = {self.backend!r} is unknown; known: {', '.join(_BACKENDS)}."]
        if self.backend != OPENVINO:
            return []
        faults, name = [], f"backend = {OPENVINO!r}"
        if self.device.startswith("cuda"):
            faults.append(f"{name} computes on the CPU, not on {self.device!r}. Set device to 'cpu' or 'auto'.")
        if self.precision == "bf16" and not choose_bf16("auto", torch.device("cpu")):
            faults.append(f"{name} needs a CPU that multiplies in bf16 for precision = 'bf16'. Set 'auto' or 'fp32'.")
        if importlib.util.find_spec("openvino") is None:
            faults.append(f"{name}: the package is not installed. Run `pip install 'ris-bench[openvino]'`.")
        return faults


DEFAULT_OPTIONS = ExtractOptions()


@dataclasses.dataclass(frozen=True)
class ExtractPlan:
    """What the options come to on this machine, for so many tiles.

    Attributes:
        device: Where it is computed.
        use_bf16: Whether products are computed in bf16.
        backend: What computes.
        compiles: Whether torch compiles the network.
        batch: Tiles a forward pass.
        shard_tiles: Tiles that are finished together.
    """

    device: torch.device
    use_bf16: bool
    backend: str
    compiles: bool
    batch: int
    shard_tiles: int

    @property
    def settings(self) -> str:
        """All that may change the last bit of a feature."""
        return f"{self.device.type} {self.use_bf16} {self.backend} {self.compiles} {self.batch} {self.shard_tiles}"

    def spans(self, done: int, n: int) -> list[tuple[int, int]]:
        """First row of each batch and the one after its last, from row ``done`` on; no batch is in two shards."""
        shards = [(start, min(start + self.shard_tiles, n)) for start in range(done, n, self.shard_tiles)]
        return [(row, min(row + self.batch, stop)) for start, stop in shards for row in range(start, stop, self.batch)]

    def rows(self, start: int, stop: int) -> np.ndarray:
        """The rows of one batch; on a GPU the last one is repeated to fill it, so that all have one shape."""
        length = self.batch if self.device.type == "cuda" else stop - start
        return np.minimum(np.arange(start, start + length), stop - 1)


def plan_extraction(options: ExtractOptions, n: int, *, has_one_shape: bool = True) -> ExtractPlan:
    """What options without faults come to for ``n`` tiles, or images; for those of many shapes nothing is compiled."""
    is_openvino = options.backend == OPENVINO
    device = choose_device("cpu" if is_openvino else options.device)
    wants = options.compile == "on" or (options.compile == "auto" and device.type == "cuda" and n >= _COMPILING_PAYS)
    return ExtractPlan(
        device,
        choose_bf16(options.precision, device),
        options.backend,
        wants and has_one_shape and not is_openvino,
        min(options.batch or _BATCH[device.type], n),
        options.shard_tiles,
    )


@contextlib.contextmanager
def describing(backbone: Backbone, plan: ExtractPlan, size_px: int) -> Iterator[Describe]:
    """A function from (b, s, s, 3) uint8 tiles on the plan's device to their (b, d) float32 features there.

    Outside of it the backbone is in the mode and on the device that it had.

    Args:
        backbone: The network.
        plan: How it computes.
        size_px: Side of the tiles.

    Raises:
        SuiteError: Where a batch exceeds the device's memory, also from within.
    """
    with passing(backbone.spec.model, plan), ready(backbone, plan, size_px) as describe:
        yield describe


@contextlib.contextmanager
def ready(backbone: Backbone, plan: ExtractPlan, size_px: int) -> Iterator[Describe]:
    """The function of `describing`, to be called within `passing`, in whichever thread and as often as one likes."""
    with evaluating(backbone, plan.device), class_token_only(backbone):
        yield _BACKENDS[plan.backend](backbone, plan, size_px)


@contextlib.contextmanager
def passing(model: str, plan: ExtractPlan) -> Iterator[None]:
    """Within it batches pass the network of that name, without gradients, and memory that is too small is told."""
    try:
        with torch.inference_mode():
            yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise SuiteError(
            f"batch = {plan.batch} exceeds the memory of {plan.device} for {model}. Choose half of it."
        ) from error


def feature_shards(pixels: np.ndarray, describe: Describe, plan: ExtractPlan, done: int = 0) -> Iterator[np.ndarray]:
    """The features of each shard from row ``done`` on, (b, d) float32.

    Tiles are read ahead in threads.
    """
    spans = plan.spans(done, len(pixels))
    rows = (plan.rows(*span) for span in spans)
    readers = decoding_threads() if plan.device.type == "cuda" else 1
    batches = zip(spans, read_batches(pixels, rows, plan.device, readers), strict=True)
    described = (describe(tiles)[: stop - start] for (start, stop), tiles in batches)
    return _in_shards(described, spans, plan, len(pixels))


def image_shards(images: Images, describe: Describe, plan: ExtractPlan, n: int, done: int = 0) -> Iterator[np.ndarray]:
    """`feature_shards` of ``n`` images of different shapes: those of a batch that have one shape pass together."""
    with images.reading() as read:
        pictures = in_order(read, range(done, n), decoding_threads())
        spans = plan.spans(done, n)
        described = (_describe_each(list(islice(pictures, stop - start)), describe, plan) for start, stop in spans)
        yield from _in_shards(described, spans, plan, n)


def _describe_each(pictures: Sequence[np.ndarray], describe: Describe, plan: ExtractPlan) -> torch.Tensor:
    """(b, d) features of (h, w, 3) pictures, in their order."""
    places: dict[tuple[int, ...], list[int]] = {}
    for place, picture in enumerate(pictures):
        places.setdefault(picture.shape, []).append(place)
    rows: dict[int, torch.Tensor] = {}
    for (height, width, _), alike in places.items():
        step = max(1, plan.batch * _TILE_PIXELS // (height * width))
        for group in (alike[start : start + step] for start in range(0, len(alike), step)):
            batch = torch.from_numpy(np.stack([pictures[place] for place in group])).to(plan.device)
            rows.update(zip(group, describe(batch), strict=True))
    return torch.stack([rows[place] for place in range(len(pictures))])


def _in_shards(
    described: Iterator[torch.Tensor], spans: Sequence[tuple[int, int]], plan: ExtractPlan, n: int
) -> Iterator[np.ndarray]:
    """The features of batches, joined to shards. A GPU begins the next one before the last one is waited for."""
    parts: list[torch.Tensor] = []
    late: deque[LateNumbers] = deque()
    for (_, stop), features in zip(spans, described, strict=True):
        parts.append(features)
        if stop % plan.shard_tiles == 0 or stop == n:
            late.append(LateNumbers(torch.cat(parts)))
            parts = []
            if len(late) > (plan.device.type == "cuda"):
                yield late.popleft().wait().numpy()
    for numbers in late:
        yield numbers.wait().numpy()


def _by_torch(backbone: Backbone, plan: ExtractPlan, size_px: int) -> Describe:
    network = torch.compile(backbone, dynamic=False) if plan.compiles else backbone

    def describe(tiles: torch.Tensor) -> torch.Tensor:
        images = prepare(tiles, backbone.spec.preprocess, plan.device)
        with torch.autocast(plan.device.type, torch.bfloat16, enabled=plan.use_bf16):
            return network(images).float()

    return describe


def _by_openvino(backbone: Backbone, plan: ExtractPlan, size_px: int) -> Describe:
    import openvino  # optional

    side = PREPROCESSING[backbone.spec.preprocess].input_px(size_px)
    example = torch.zeros(1, 3, side, side)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it traces: torch says that this is old, and that shapes become constants
        model = openvino.convert_model(backbone, example_input=example, input=[-1, 3, side, side])
    precision = "bf16" if plan.use_bf16 else "f32"
    hints = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": precision}
    compiled = openvino.compile_model(model, "CPU", hints)

    def describe(tiles: torch.Tensor) -> torch.Tensor:
        images = prepare(tiles, backbone.spec.preprocess)
        return torch.from_numpy(compiled(images.numpy())[0])

    return describe


_BACKENDS: dict[str, Callable[[Backbone, ExtractPlan, int], Describe]] = {TORCH: _by_torch, OPENVINO: _by_openvino}
