"""A network's weights in a file: read strictly, written as safetensors."""

import argparse
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import nn

from ris_core.artifacts import disk_error
from ris_core.errors import UNREADABLE, CheckpointError, CorpusError
from ris_core.published_weights import rename_published
from ris_core.safe_pickle import STAND_INS

_WRAPPERS = ("module.", "_orig_mod.", "backbone.")  # of DistributedDataParallel, torch.compile, DINO's MultiCropWrapper
_LISTED_NAMES = 6
_ARCH_REMEDY = "Set model and arch (img_size, patch_size, embed_dim, depth) to those that the file was trained with."
_BARE_REMEDY = (
    "The file holds the network alone, without what the backbone has after it (bottleneck, learnt pooling): train it "
    "with labels (a table train with method = 'classify'), or give the weights that such a training left."
)
# Beginnings of names that files may lack: GeM's power then is 3, as published; attention changes nothing, untrained.
_DEFAULTED = ("pooling.", "soa.")
_KEPT = "These keep what they begin with: a power of 3, and attention that changes nothing."
_COUNTER = ".num_batches_tracked"  # which torchvision's first checkpoints lack, and nothing of ours reads
_NETWORK = "network."  # before the names of a `Backbone`'s timm network
# Arrays pickled beside the weights, such as the whitening in "meta" of cnnimageretrieval: read past, safely.
_ARRAYS = [(stand_in, name) for name, stand_in in STAND_INS.items()]
# What the two readers were seen to raise on files cut short or with one byte changed.
DAMAGE = (
    *UNREADABLE,
    *(AssertionError, pickle.UnpicklingError, safetensors.SafetensorError),
)


def load_weights(module: nn.Module, path: Path, *, to_train: bool = False) -> None:
    """Load a checkpoint into a network, all of it or nothing.

    Args:
        module: A timm network, or a `Backbone` around one.
        path: ``.safetensors``, or a file of ``torch.save``, read without unpickling code. Of a DINO training
            checkpoint the teacher is taken. Wrapper prefixes (``module.``, ``backbone.``) are removed, and the head
            of DINO or of a classifier is dropped where the network has none.
        to_train: Whether a training starts from them: what a `Backbone` has after its network may then be missing
            and stays as it is.

    Raises:
        CheckpointError: If the file is missing, damaged, or no checkpoint; or if one weight is missing, unknown or
            of another shape. Nothing is loaded then.

    Source:
        ``load_pretrained_weights`` of the DINO repository. Differs: strict.
    """
    found = read_weights(module, path, to_train=to_train)
    kept = [name for name in _named_by_file(module) if name not in found and not name.endswith(_COUNTER)]
    if kept and not to_train:
        warnings.warn(f"{path}: lacks {_listed(kept)}. {_KEPT}", stacklevel=2)
    module.load_state_dict(module.state_dict() | _named_by_module(module, found))


def read_weights(module: nn.Module, path: Path, *, to_train: bool = False) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint under the network's names, all of them and of its shapes; see `load_weights`.

    Args:
        module: The network, which is left as it is; it may be on the meta device.
        path: See `load_weights`.
        to_train: See `load_weights`.

    Raises:
        CheckpointError: See `load_weights`.
    """
    own = _named_by_file(module)
    found = _unwrap(rename_published(read_state(path), own), own, _heads(_network(module)), path)
    added = set(own) - set(_network(module).state_dict())
    dispensable = added if to_train else {name for name in added if name.startswith(_DEFAULTED)}
    dispensable |= {name for name in own if name.endswith(_COUNTER)}
    needed = {name: weight for name, weight in own.items() if name in found or name not in dispensable}
    is_bare = bool(added & set(needed)) and not added & set(found)
    check_fit(needed, found, path, _BARE_REMEDY if is_bare else _ARCH_REMEDY)
    return found


def check_fit(own: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor], path: Path, remedy: str) -> None:
    """Refuse weights of a file that are not exactly a network's own, by name and shape.

    Args:
        own: The network's weights.
        found: Those of the file, under the network's names.
        path: The file.
        remedy: What to do, in a sentence.

    Raises:
        CheckpointError: If one is missing, unknown or of another shape.
    """
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
        raise CheckpointError(f"{path}: does not fit the network. Weights {'; '.join(faults)}. {remedy}")


def save_weights(module: nn.Module, path: Path) -> None:
    """Write a network's weights as safetensors under timm's names; the file is the old one or the new one.

    Args:
        module: A timm network, or a `Backbone` around one.
        path: File to write; timm reads it as ``checkpoint_path``.

    Raises:
        ArtifactError: If the disk cannot take it.
    """
    state = {name: weight.detach().cpu().contiguous().clone() for name, weight in _named_by_file(module).items()}
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


def _named_by_file(module: nn.Module) -> dict[str, torch.Tensor]:
    """The weights by their names in a file: timm's own, beside those of what a `Backbone` has after its network."""
    state = module.state_dict()
    return {name.removeprefix(_NETWORK): w for name, w in state.items()} if hasattr(module, "spec") else state


def _named_by_module(module: nn.Module, found: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights of a file under the names that they have in the module."""
    if not hasattr(module, "spec"):
        return dict(found)
    names = {name.removeprefix(_NETWORK): name for name in module.state_dict()}
    return {names[name]: weight for name, weight in found.items()}


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """The weights in a file by their names there, read without unpickling code.

    Raises:
        CheckpointError: If the file is missing, damaged, or no checkpoint.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file. Give the path of a .safetensors or .pth checkpoint.")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        with torch.serialization.safe_globals([argparse.Namespace, *_ARRAYS]):  # DINO stores its command line; inert
            # weights_only: tensors and plain containers, nothing that a pickle could call
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (*DAMAGE, CorpusError) as error:  # the latter of an array that is not plain
        reason = f"{type(error).__name__}: {error}".partition("\n")[0][:200]
        raise CheckpointError(
            f"{path}: not a whole checkpoint that can be read safely ({reason}). Fetch or train it again."
        ) from error
    for key in ("teacher", "state_dict", "model", "state"):
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
        if (
            name.startswith((*heads, "pooling.")) and name not in own
        ):  # another pooling of the same network has no power
            continue
        if name in found:
            raise CheckpointError(f"{path}: holds {name} twice, the second time as {full_name}. Give one network.")
        found[name] = weight
    return found


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED_NAMES} more" if len(names) > _LISTED_NAMES else ""
    return ", ".join(names[:_LISTED_NAMES]) + more
