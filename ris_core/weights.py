"""A network's weights in a file: read strictly, written as safetensors."""

import argparse
import pickle
import struct
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import nn

from ris_core.artifacts import disk_error
from ris_core.errors import CheckpointError

_WRAPPERS = ("module.", "_orig_mod.", "backbone.")  # of DistributedDataParallel, torch.compile, DINO's MultiCropWrapper
_LISTED_NAMES = 6
# What the two readers were seen to raise on files cut short or with one byte changed.
_DAMAGE = (
    *(OSError, EOFError, LookupError, RuntimeError, TypeError, ValueError, AssertionError),
    *(struct.error, pickle.UnpicklingError, safetensors.SafetensorError),
)


def load_weights(module: nn.Module, path: Path) -> None:
    """Load a checkpoint into a network, all of it or nothing.

    Args:
        module: A timm network, or a `Backbone` around one.
        path: ``.safetensors``, or a file of ``torch.save``, read without unpickling code. Of a DINO training
            checkpoint the teacher is taken. Wrapper prefixes (``module.``, ``backbone.``) are removed, and the head
            of DINO or of a classifier is dropped where the network has none.

    Raises:
        CheckpointError: If the file is missing, damaged, or no checkpoint; or if one weight is missing, unknown or
            of another shape. Nothing is loaded then.

    Source:
        ``load_pretrained_weights`` of the DINO repository. Differs: strict.
    """
    _network(module).load_state_dict(read_weights(module, path))


def read_weights(module: nn.Module, path: Path) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint under the network's names, all of them and of its shapes; see `load_weights`.

    Args:
        module: The network, which is left as it is; it may be on the meta device.
        path: See `load_weights`.

    Raises:
        CheckpointError: See `load_weights`.
    """
    network = _network(module)
    own = network.state_dict()
    found = _unwrap(_read_state(path), own, _heads(network), path)
    faults = []
    missing = [name for name in own if name not in found]
    if missing:
        faults.append(f"{len(missing)} missing: {_listed(missing)}")
    unexpected = [name for name in found if name not in own]
    if unexpected:
        faults.append(f"{len(unexpected)} unexpected: {_listed(unexpected)}")
    misshapen = [n for n, w in found.items() if n in own and w.shape != own[n].shape]
    if misshapen:
        shapes = [f"{n} {tuple(found[n].shape)} in the file, {tuple(own[n].shape)} in the network" for n in misshapen]
        faults.append(f"{len(misshapen)} of another shape: {_listed(shapes)}")
    if faults:
        raise CheckpointError(
            f"{path}: does not fit the network. Weights {'; '.join(faults)}. "
            "Set model and arch (img_size, patch_size, embed_dim, depth) to those that the file was trained with."
        )
    return found


def save_weights(module: nn.Module, path: Path) -> None:
    """Write a network's weights as safetensors under timm's names; the file is the old one or the new one.

    Args:
        module: A timm network, or a `Backbone` around one.
        path: File to write; timm reads it as ``checkpoint_path``.

    Raises:
        ArtifactError: If the disk cannot take it.
    """
    network = _network(module)
    state = {name: weight.detach().cpu().contiguous().clone() for name, weight in network.state_dict().items()}
    temporary = path.with_name(f".{path.name}.partial")
    try:
        temporary.write_bytes(safetensors.torch.save(state, metadata={"format": "pt"}))
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise disk_error(path, error) from error


def _network(module: nn.Module) -> nn.Module:
    """The timm network of a `Backbone`, told by its spec: some of timm's networks have a part named network too."""
    return module.network if hasattr(module, "spec") else module  # type: ignore[return-value]


def _read_state(path: Path) -> dict[str, torch.Tensor]:
    """The weights in a file by their names there."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file. Give the path of a .safetensors or .pth checkpoint.")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        with torch.serialization.safe_globals([argparse.Namespace]):  # DINO stores its command line; inert
            # weights_only: tensors and plain containers, nothing that a pickle could call
            content = torch.load(path, map_location="cpu", weights_only=True)
    except _DAMAGE as error:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0][:200]
        raise CheckpointError(
            f"{path}: not a whole checkpoint that can be read safely ({reason}). Fetch or train it again."
        ) from error
    for key in ("teacher", "state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    is_state = isinstance(content, dict) and all(
        isinstance(name, str) and isinstance(weight, torch.Tensor) for name, weight in content.items()
    )
    if not is_state:
        keys = f"keys {_listed([str(k) for k in content])}" if isinstance(content, dict) else type(content).__name__
        raise CheckpointError(f"{path}: no weights by name in it, but {keys}. Give a file of a state_dict.")
    return content


def _heads(network: nn.Module) -> tuple[str, ...]:
    """Beginnings of the names of heads: DINO's, and those of the network's classifiers, which timm knows."""
    classifiers = getattr(network, "pretrained_cfg", {}).get("classifier") or ()
    return "head.", *(f"{name}." for name in ([classifiers] if isinstance(classifiers, str) else classifiers))


def _unwrap(
    state: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor], heads: tuple[str, ...], path: Path
) -> dict[str, torch.Tensor]:
    """The weights under the network's names, without the head that the network does not have."""
    found: dict[str, torch.Tensor] = {}
    for full_name, weight in state.items():
        name = full_name
        while name not in own and name.startswith(_WRAPPERS):
            name = name.partition(".")[2]
        if name.startswith(heads) and name not in own:
            continue
        if name in found:
            raise CheckpointError(f"{path}: holds {name} twice, the second time as {full_name}. Give one network.")
        found[name] = weight
    return found


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED_NAMES} more" if len(names) > _LISTED_NAMES else ""
    return ", ".join(names[:_LISTED_NAMES]) + more
