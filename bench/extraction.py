"""One extraction of features under the clock, and what it cost."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.measuring.process_memory import read_memory, reset_peak
from ris_core.backbone import Backbone, BackboneSpec, build_backbone
from ris_core.class_token import class_token_only
from ris_core.device import threads
from ris_core.feature_batches import ExtractOptions, plan_extraction
from ris_core.features import extract_features
from ris_core.flops import count_flops, peak_flops
from ris_core.preprocess import PREPROCESSING
from ris_core.records import Tiles
from ris_core.tiling.image_folder import ImageFolder
from ris_core.whole_images import WholeImages

_MB = 1e6


def extract_timed(
    tiles: Tiles,
    spec: BackboneSpec,
    out: Path,
    options: ExtractOptions,
    progress: bool,
    source: Path | ImageFolder | None = None,
) -> dict[str, Any]:
    """Features of all tiles, written to ``out``, and what is noted of them.

    Args:
        tiles: What is described.
        spec: The network.
        out: See `ris_core.features.extract_features`.
        options: How it computes.
        progress: Whether a progress line goes to stderr.
        source: The corpus, where its images are described whole in place of their tiles; None: the tiles are.

    Returns:
        Among others ``flops``: of the network's forward pass of one tile, None of whole images; ``mfu``: share of the
        device's FLOP/s that the passes used, without what `class_token_only` leaves out; None without a network;
        ``extract_peak_mb``: most memory meanwhile: what torch held on the GPU; without one the process, with Python,
        its libraries, what earlier work left and the pixels that it maps; None where the system does not tell.

    Raises:
        CheckpointError, CorpusError, SuiteError: See `ris_core.features.extract_features`.
    """
    backbone = build_backbone(spec)
    images = None if source is None else _whole_images(source, tiles, backbone)
    plan = plan_extraction(options, len(tiles), has_one_shape=images is None)
    knows_peak = _forget_peak(plan.device)
    start = time.perf_counter()
    features = extract_features(tiles, backbone, out=out, options=options, progress=progress, images=images)
    seconds = time.perf_counter() - start
    peak_mb = _peak_mb(plan.device) if knows_peak else None
    norms = np.linalg.norm(features.values, axis=1)
    whole, computed = _count(backbone, tiles.size_px) if images is None else (None, None)  # no two may be alike
    with threads(options.threads):
        share = computed * len(tiles) / seconds / peak_flops(plan.device, plan.use_bf16) if computed else None
    return {
        "n": len(features),
        "d": features.values.shape[1],
        "parameters": backbone.parameters_count,
        "flops": whole,
        "extract_s": seconds,
        "tiles_per_s": len(features) / seconds,
        "mfu": share,
        "extract_peak_mb": peak_mb,
        "norm_mean": float(norms.mean()),
        "norm_std": float(norms.std()),
    }


def _whole_images(source: Path | ImageFolder, tiles: Tiles, backbone: Backbone) -> WholeImages:
    return WholeImages.of_tiles(source, tiles.table, backbone.spec.whole_px, backbone.patch_px or 1)


def _count(backbone: Backbone, size_px: int) -> tuple[int, int]:
    """FLOPs of the forward pass of a tile, and those of them that extraction needs."""
    side = PREPROCESSING[backbone.spec.preprocess].input_px(size_px)
    whole = count_flops(backbone, side)
    with class_token_only(backbone):
        return whole, count_flops(backbone, side)


def _forget_peak(device: torch.device) -> bool:
    """Let the peak of memory begin anew from what is held now; whether the system can do that."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return True
    return reset_peak()


def _peak_mb(device: torch.device) -> float | None:
    held = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else read_memory().peak_rss_bytes
    return None if held is None else held / _MB
