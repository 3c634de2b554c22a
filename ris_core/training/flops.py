"""Floating-point operations: of a network, of a training step, and those that this device can do in a second.

Model FLOPs utilisation = images a second x FLOPs an image / peak FLOP/s. Only products of matrices and convolutions
count, a multiplication and an addition as two; augmentation and optimiser do not.

Source:
    The definition of utilisation: Chowdhery et al. 2022, PaLM, arXiv:2204.02311, appendix B. Differs: the peak is that
    of a product measured here and now, not the one on the data sheet.
"""

import dataclasses
import functools
import time

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ris_core.backbone import RANDOM, Backbone, BackboneSpec, evaluating
from ris_core.training.augment import GLOBAL_CROPS
from ris_core.training.dino import DinoLoss, make_networks
from ris_core.training.recipe import DinoRecipe

_COUNTED_TILES = 2  # batch normalisation refuses to train on one value; FLOPs are proportional to the tiles
# Sides of the squares multiplied. About a millisecond of an H200; on a CPU two milliseconds of a core, which fit
# between the turns of other processes, and enough to occupy many cores.
_PEAK_SIDES = {"cuda": (8192,), "cpu": (384, 1536)}
_PEAK_ROUNDS = 100
_PEAK_S = 0.2  # no further rounds of one side after so long


def count_flops(backbone: Backbone, size_px: int) -> int:
    """FLOPs of one image's forward pass.

    Args:
        backbone: The network.
        size_px: Side of its input image.
    """
    device = next(backbone.parameters(), torch.zeros(())).device
    counter = FlopCounterMode(display=False)
    with evaluating(backbone, device), torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        backbone(torch.zeros(1, 3, size_px, size_px, device=device))
    return int(counter.get_total_flops())


def training_flops(spec: BackboneSpec, recipe: DinoRecipe) -> int:
    """FLOPs of one tile's training step: student forward and backward on all crops, teacher forward on the global ones.

    The heads are included. Counted on a network without weights, so it costs no memory; nothing is read or fetched.
    """
    with torch.device("meta"):
        student, teacher = make_networks(dataclasses.replace(spec, weights=RANDOM), recipe)
        n, local = _COUNTED_TILES, recipe.local_crops
        whole = torch.empty(GLOBAL_CROPS * n, 3, recipe.global_px, recipe.global_px)
        crops = [whole, torch.empty(local * n, 3, recipe.local_px, recipe.local_px)] if local else [whole]
        loss = DinoLoss(recipe)
        counter = FlopCounterMode(display=False)
        with sdpa_kernel(SDPBackend.MATH), counter:
            with torch.no_grad():
                targets = teacher([whole])
            loss(student(crops), targets, recipe.teacher_temp).loss.backward()
    return int(counter.get_total_flops()) // n


def peak_flops(device: torch.device, use_bf16: bool) -> float:
    """FLOP/s of a large square matrix product on the device, the fastest of many; on the CPU with torch's threads.

    Measured once a process for each device, precision and number of threads.
    """
    return _measure_peak(device, use_bf16, torch.get_num_threads())


@functools.cache
def _measure_peak(device: torch.device, use_bf16: bool, _threads: int) -> float:
    dtype = torch.bfloat16 if use_bf16 else torch.float32
    return max(_product_rate(side, device, dtype) for side in _PEAK_SIDES[device.type])


def _product_rate(side: int, device: torch.device, dtype: torch.dtype) -> float:
    matrix = torch.ones(side, side, device=device, dtype=dtype)
    product = torch.empty_like(matrix)
    seconds: list[float] = []
    while len(seconds) < _PEAK_ROUNDS and sum(seconds) < _PEAK_S:
        _wait(device)
        start = time.perf_counter()
        torch.mm(matrix, matrix, out=product)
        _wait(device)
        seconds.append(time.perf_counter() - start)
    return 2 * side**3 / min(seconds)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
