"""Tiles + backbone -> one feature a tile, in bounded memory, resumable."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ris_core.artifacts import disk_error, new_matrix, reopen_array, write_json
from ris_core.backbone import Backbone, BackboneSpec, build_backbone, refuse_tiles
from ris_core.device import threads
from ris_core.errors import UNREADABLE, ArtifactError, CheckpointError, CorpusError, SuiteError
from ris_core.feature_batches import (
    DEFAULT_OPTIONS,
    OPENVINO,
    ExtractPlan,
    Images,
    describing,
    feature_shards,
    image_shards,
    plan_extraction,
)
from ris_core.feature_batches import ExtractOptions as ExtractOptions
from ris_core.records import Features, Tiles, finite_rows
from ris_core.shards import clear_shards

PROGRESS = "progress.json"

Shards = Callable[[int], Iterable[np.ndarray]]  # the features of each shard from that row on

_FINGERPRINT_TILES = 16


def extract_features(
    tiles: Tiles,
    backbone: Backbone | BackboneSpec,
    *,
    out: Path | None = None,
    options: ExtractOptions = DEFAULT_OPTIONS,
    progress: bool = False,
    images: Images | None = None,
) -> Features:
    """One feature a tile, in the tiles' order, in the space ``"raw"``.

    Runs in evaluation mode without gradients; a backbone that is passed in comes back in the mode and on the device
    that it had. Memory: a few batches of tiles, one of images, one shard of features, and the network; with ``out``
    the features themselves stay on disk.

    Args:
        tiles: What to describe.
        backbone: The network, or what to build it from.
        out: Folder for ``features.npy``, ``ids.npy``, ``space.json`` and ``progress.json``, which says how many rows
            are done. Where it holds part of the same work, the rest is done, with the result of an undisturbed run
            on the same device and threads, bit for bit; other work there is overwritten. None = in memory.
        options: How to compute.
        progress: Whether a progress line goes to stderr.
        images: What is described in place of the tiles' pixels, one a tile, such as
            `ris_core.whole_images.WholeImages`; they are not resized any more.

    Raises:
        CorpusError: If there are no tiles, the backbone does not take their size, or an image cannot be read.
        SuiteError: If an option is impossible here, or a batch exceeds the device's memory.
        CheckpointError: If the backbone cannot be built or returns NaN.
        ArtifactError: If the disk cannot take the features.
    """
    refuse_options(options, has_one_shape=images is None)
    refuse_work(tiles, backbone if isinstance(backbone, BackboneSpec) else backbone.spec)
    network = build_backbone(backbone) if isinstance(backbone, BackboneSpec) else backbone
    plan = plan_extraction(options, len(tiles), has_one_shape=images is None)
    work = identify_work(tiles, network, plan, images)
    with threads(options.threads), describing(network, plan, tiles.size_px) as describe:
        shards: Shards = functools.partial(feature_shards, tiles.pixels, describe, plan)
        if images is not None:
            shards = functools.partial(image_shards, images, describe, plan, len(tiles))
        if out is not None:
            return extract_into(out, tiles, work, shards, progress)
        values = np.empty((len(tiles), network.d), np.float32)
        _fill(values, tiles.ids, shards, progress)
        return Features(values, tiles.ids)


def refuse_options(options: ExtractOptions, *, has_one_shape: bool = True) -> None:
    """Refuse options that are impossible on this machine, for tiles or for images of many shapes.

    Raises:
        SuiteError: If there are such.
    """
    faults = options.faults()
    if not has_one_shape and options.backend == OPENVINO:
        faults.append(f"backend = {OPENVINO!r} takes images of one shape, not whole ones. Set backend = 'torch'.")
    if faults:
        raise SuiteError("extraction: " + " ".join(faults))


def refuse_work(tiles: Tiles, spec: BackboneSpec) -> None:
    """Refuse no tiles at all, and tiles of a size that a network does not take.

    Raises:
        CorpusError: For both.
    """
    if len(tiles) == 0:
        raise CorpusError("there are no tiles to extract features from. Check the corpus and min_coverage.")
    refuse_tiles(spec, tiles.size_px)


def extract_into(out: Path, tiles: Tiles, work: dict[str, Any], shards: Shards, progress: bool) -> Features:
    """Features in ``out``, continued from the shards that are there.

    Args:
        out: See `extract_features`.
        tiles: What is described.
        work: See `identify_work`.
        shards: Computes the features from a row on.
        progress: Whether a progress line goes to stderr.

    Raises:
        CheckpointError: If the backbone returns NaN.
        ArtifactError: If the disk cannot take the features.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        values, done = _reopen(out, work) or (_begin(out, work), 0)

        def keep(rows_done: int) -> None:
            values.flush()
            write_json(out / PROGRESS, {**work, "rows": rows_done})

        _fill(values, tiles.ids, shards, progress, done, keep)
        features = _checked(out, tiles.ids)
        features.save(out)
        clear_shards(out)
    except OSError as error:
        raise disk_error(out, error) from error
    return features


def _checked(out: Path, ids: np.ndarray) -> Features:
    """The finished matrix; what the backbone returned was finite, so what is not was damaged on disk."""
    try:
        return Features(np.load(out / "features.npy", mmap_mode="r", allow_pickle=False), ids)
    except CheckpointError as error:
        raise ArtifactError(f"{out}: an earlier attempt left damaged features ({error}). Delete the folder.") from error


def _fill(
    values: np.ndarray,
    ids: np.ndarray,
    shards: Shards,
    progress: bool,
    done: int = 0,
    keep: Callable[[int], None] = lambda rows_done: None,
) -> None:
    """Write the features of all shards from row ``done`` on, calling ``keep`` after each."""
    with tqdm(total=len(ids), initial=done, desc="features", unit="tile", disable=not progress) as bar:
        for shard in shards(done):
            if not np.isfinite(shard).all():
                bad = ids[done + int(np.argmin(np.isfinite(shard).all(axis=1)))]
                raise CheckpointError(
                    f"the backbone returns NaN or infinity, first for tile {bad}. Its training may have diverged: "
                    "train again with a lower learning rate, or set precision = 'fp32'."
                )
            values[done : done + len(shard)] = shard
            done += len(shard)
            keep(done)
            bar.update(len(shard))


def _reopen(out: Path, work: dict[str, Any]) -> tuple[np.memmap, int] | None:
    """Features and the number of finished rows of an earlier attempt at the same work, or None."""
    try:
        progress = json.loads((out / PROGRESS).read_text(encoding="utf-8"))
        stored = np.load(out / "features.npy", mmap_mode="r", allow_pickle=False)  # "r+" would lengthen a short file
    except UNREADABLE:
        return None
    if not isinstance(progress, dict):
        return None
    done = progress.pop("rows", None)
    is_boundary = (
        type(done) is int and 0 <= done <= work["n"] and (done % work["shard_tiles"] == 0 or done == work["n"])
    )
    if not is_boundary or progress != work or stored.shape != (work["n"], work["d"]) or stored.dtype != np.float32:
        return None
    if not finite_rows(stored[:done]).all():  # extraction writes no such row: the file was damaged since
        return None
    return reopen_array(out / "features.npy"), done


def _begin(out: Path, work: dict[str, Any]) -> np.memmap:
    """Room for all features, and nothing else of earlier work in ``out``."""
    for name in (PROGRESS, "ids.npy", "space.json"):  # of other work: what is half done must not open as whole
        (out / name).unlink(missing_ok=True)
    return new_matrix(out / "features.npy", work["n"], work["d"])


def identify_work(tiles: Tiles, backbone: Backbone, plan: ExtractPlan, images: Images | None) -> dict[str, Any]:
    """What tells one extraction from any other: what half of it left is used for the same one alone."""
    return {
        "fingerprint": _fingerprint(tiles, backbone, plan.settings + (f" {images.fingerprint}" if images else "")),
        "n": len(tiles),
        "d": backbone.d,
        "shard_tiles": plan.shard_tiles,
    }


def _fingerprint(tiles: Tiles, backbone: Backbone, settings: str) -> str:
    """Identity of the work: weights, ids, pixels of 16 evenly spaced tiles, and what changes the last bit."""
    digest = hashlib.sha256(repr((dataclasses.astuple(backbone.spec), tiles.pixels.shape, settings)).encode())
    digest.update(tiles.ids.tobytes())
    for row in np.linspace(0, len(tiles) - 1, min(len(tiles), _FINGERPRINT_TILES)).astype(int):
        digest.update(tiles.pixels[row].tobytes())
    for part in _weight_bytes(backbone):
        digest.update(part)
    return digest.hexdigest()


def weights_digest(backbone: Backbone) -> str:
    """SHA-256 of a network's weights and their names."""
    digest = hashlib.sha256()
    for part in _weight_bytes(backbone):
        digest.update(part)
    return digest.hexdigest()


def _weight_bytes(backbone: Backbone) -> Iterator[bytes]:
    for name, weight in backbone.state_dict().items():
        yield name.encode() + weight.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
