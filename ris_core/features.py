"""Tiles + backbone -> one feature a tile, in bounded memory, resumable."""

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ris_core.artifacts import disk_error, write_json
from ris_core.backbone import Backbone, BackboneSpec, build_backbone
from ris_core.device import choose_bf16, choose_device, device_faults, threads
from ris_core.errors import CheckpointError, CorpusError, SuiteError
from ris_core.preprocess import prepare
from ris_core.records import Features, Tiles

PROGRESS = "progress.json"

_FINGERPRINT_TILES = 16


@dataclasses.dataclass(frozen=True)
class ExtractOptions:
    """How features are computed; none of it changes what they mean.

    Attributes:
        batch: Tiles a forward pass.
        device: ``"auto"`` (CUDA where it is there), ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
        precision: ``"fp32"``, ``"bf16"`` (autocast: weights and features stay float32), or ``"auto"``: bf16 on CUDA
            and on CPUs that have it in hardware.
        threads: PyTorch's threads on the CPU; None = as they are set.
        shard_tiles: Tiles after which finished work is on disk; an interruption loses at most one shard.
        progress: Whether a progress line goes to stderr.
    """

    batch: int = 256
    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    shard_tiles: int = 4096
    progress: bool = False

    def faults(self) -> list[str]:
        """Everything that is impossible about these options on this machine, one sentence a fault."""
        faults = [
            f"{name} = {value} must be at least 1."
            for name, value in (("batch", self.batch), ("shard_tiles", self.shard_tiles))
            if value < 1
        ]
        return faults + device_faults(self.device, self.precision, self.threads)


def extract_features(
    tiles: Tiles,
    backbone: Backbone | BackboneSpec,
    *,
    out: Path | None = None,
    options: ExtractOptions = ExtractOptions(),
) -> Features:
    """One feature a tile, in the tiles' order, in the space ``"raw"``.

    Runs in evaluation mode without gradients; a backbone that is passed in comes back in the mode and on the device
    that it had. Memory: one batch of images, one shard of features, and the network; with ``out`` the features
    themselves stay on disk.

    Args:
        tiles: What to describe.
        backbone: The network, or what to build it from.
        out: Folder for ``features.npy``, ``ids.npy``, ``space.json`` and ``progress.json``, which says how many rows
            are done. Where it holds part of the same work, the rest is done, with the result of an undisturbed run
            on the same device and threads, bit for bit; other work there is overwritten. None = in memory.
        options: How to compute.

    Raises:
        CorpusError: If there are no tiles, or they do not divide into the backbone's patches.
        SuiteError: If an option is impossible here, or a batch exceeds the device's memory.
        CheckpointError: If the backbone cannot be built or returns NaN.
        ArtifactError: If the disk cannot take the features.
    """
    faults = options.faults()
    if faults:
        raise SuiteError("extraction: " + " ".join(faults))
    if len(tiles) == 0:
        raise CorpusError("there are no tiles to extract features from. Check the corpus and min_coverage.")
    network = build_backbone(backbone) if isinstance(backbone, BackboneSpec) else backbone
    device = choose_device(options.device)
    use_bf16 = choose_bf16(options.precision, device)
    forward = functools.partial(_shard, network, options.batch, device, use_bf16)
    with threads(options.threads), _evaluating(network, device), torch.inference_mode():
        if out is not None:
            settings = f"{options.batch} {device.type} {use_bf16}"
            work = {
                "fingerprint": _fingerprint(tiles, network, settings),
                "n": len(tiles),
                "d": network.d,
                "shard_tiles": options.shard_tiles,
            }
            return _extract_into(out, tiles, work, forward, options)
        values = np.empty((len(tiles), network.d), np.float32)
        _fill(values, tiles, forward, options)
        return Features(values, tiles.ids)


def _extract_into(
    out: Path, tiles: Tiles, work: dict[str, Any], forward: Callable[[np.ndarray], np.ndarray], options: ExtractOptions
) -> Features:
    """Features in ``out``, continued from the shards that are there."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        values, done = _reopen(out, work) or (_allocate(out / "features.npy", work["n"], work["d"]), 0)

        def keep(rows_done: int) -> None:
            values.flush()
            write_json(out / PROGRESS, {**work, "rows": rows_done})

        _fill(values, tiles, forward, options, done, keep)
        features = Features(np.load(out / "features.npy", mmap_mode="r"), tiles.ids)
        features.save(out)
    except OSError as error:
        raise disk_error(out, error) from error
    return features


def _fill(
    values: np.ndarray,
    tiles: Tiles,
    forward: Callable[[np.ndarray], np.ndarray],
    options: ExtractOptions,
    done: int = 0,
    keep: Callable[[int], None] = lambda rows_done: None,
) -> None:
    """Write the features of all shards from row ``done`` on, calling ``keep`` after each."""
    disable = not options.progress
    with tqdm(total=len(tiles), initial=done, desc="features", unit="tile", disable=disable) as progress:
        for start in range(done, len(tiles), options.shard_tiles):
            stop = min(start + options.shard_tiles, len(tiles))
            shard = forward(tiles.pixels[start:stop])
            if not np.isfinite(shard).all():
                bad = tiles.ids[start + int(np.argmin(np.isfinite(shard).all(axis=1)))]
                raise CheckpointError(
                    f"the backbone returns NaN or infinity, first for tile {bad}. Its training may have diverged: "
                    "train again with a lower learning rate, or set precision = 'fp32'."
                )
            values[start:stop] = shard
            keep(stop)
            progress.update(stop - start)


def _shard(backbone: Backbone, batch: int, device: torch.device, use_bf16: bool, pixels: np.ndarray) -> np.ndarray:
    """(b, s, s, 3) uint8 -> (b, d) float32. Copied from the device once, so that reading and computing overlap."""
    features = torch.empty(len(pixels), backbone.d, device=device)
    try:
        for start in range(0, len(pixels), batch):
            images = prepare(pixels[start : start + batch], backbone.spec.preprocess, device)
            with torch.autocast(device.type, torch.bfloat16, enabled=use_bf16):
                features[start : start + batch] = backbone(images)
        return features.cpu().numpy()
    except torch.cuda.OutOfMemoryError as error:
        raise SuiteError(
            f"batch = {batch} exceeds the memory of {device} for {backbone.spec.model}. Choose half of it."
        ) from error


def _reopen(out: Path, work: dict[str, Any]) -> tuple[np.memmap, int] | None:
    """Features and the number of finished rows of an earlier attempt at the same work, or None."""
    try:
        progress = json.loads((out / PROGRESS).read_text(encoding="utf-8"))
        stored = np.load(out / "features.npy", mmap_mode="r", allow_pickle=False)  # "r+" would lengthen a short file
    except (OSError, ValueError):
        return None
    is_same = isinstance(progress, dict) and {k: v for k, v in progress.items() if k != "rows"} == work
    if not is_same or stored.shape != (work["n"], work["d"]) or stored.dtype != np.float32:
        return None
    return np.lib.format.open_memmap(out / "features.npy", mode="r+"), int(progress["rows"])


def _allocate(path: Path, n: int, d: int) -> np.memmap:
    """A new (n, d) float32 file whose room on disk is taken: a full disk is told now, not by a crash later."""
    for name in (PROGRESS, "ids.npy", "space.json"):  # of other work: what is half done must not open as whole
        (path.parent / name).unlink(missing_ok=True)
    values = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n, d))
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return values


def _fingerprint(tiles: Tiles, backbone: Backbone, settings: str) -> str:
    """Identity of the work: weights, ids, pixels of 16 evenly spaced tiles, and what changes the last bit."""
    digest = hashlib.sha256(repr((dataclasses.astuple(backbone.spec), tiles.pixels.shape, settings)).encode())
    digest.update(tiles.ids.tobytes())
    for row in np.linspace(0, len(tiles) - 1, min(len(tiles), _FINGERPRINT_TILES)).astype(int):
        digest.update(tiles.pixels[row].tobytes())
    for name, weight in backbone.state_dict().items():
        digest.update(name.encode() + weight.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@contextlib.contextmanager
def _evaluating(backbone: Backbone, device: torch.device) -> Iterator[None]:
    """The backbone on the device in evaluation mode, then as it was."""
    was_training = backbone.training
    home = next((p.device for p in backbone.parameters()), device)
    backbone.to(device).eval()
    try:
        yield
    finally:
        backbone.to(home).train(was_training)
