"""A named network that turns image batches into features, with strict loading and saving of its weights."""

import contextlib
import dataclasses
import difflib
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from timm.layers import to_2tuple
from timm.models import is_model_in_modules
from torch import nn
from torch.nn import functional

from ris_core.bottleneck import Bottleneck, BottleneckLayer
from ris_core.errors import CheckpointError, CorpusError
from ris_core.pooling import GEM_POWER, POOLINGS, SCALE_POOLS, Gem, pool_scales, resize_images
from ris_core.preprocess import PREPROCESSING, WHOLE
from ris_core.preprocess import prepare as prepare
from ris_core.second_order import SecondOrderAttention
from ris_core.weights import load_weights
from ris_core.weights import save_weights as save_weights

COLOUR = "colour"  # the one model that is no network
RANDOM = "random"
PRETRAINED = "pretrained"
POOLS = ("cls", "mean", "cls_gem", *POOLINGS)
ONE_SCALE = (1.0,)

_DYNAMIC_FAMILIES = ("vision_transformer", "deit", "eva")  # timm modules whose networks take dynamic_img_size
_RESERVED = {"num_classes", "pretrained", "checkpoint_path", "features_only", "drop_path_rate"}  # set here, not by arch
_LATER_KEYS = ("scales", "scale_pool", "soa", "whole_px", "bottleneck")
_SMALLEST_WHOLE_PX = 32
_COPY_GEM_POWER = 4.0
_LISTED_NAMES = 6


@dataclasses.dataclass(frozen=True)
class BackboneSpec:
    """Which network, with which weights, reads which form of a tile.

    Attributes:
        model: A name that timm knows, such as ``"vit_small_patch16_224"`` or ``"resnet18"``; or ``"colour"``: mean
            and standard deviation of each channel, 6 numbers, the baseline that every network has to beat.
        arch: Keyword arguments for timm: ``patch_size``, ``embed_dim``, ``depth``, ``num_heads``, ``img_size``, ...
        weights: ``"random"`` (by ``seed``), ``"pretrained"`` (timm's hub), or the path of a ``.safetensors`` file or
            PyTorch checkpoint, the public DINO ones included.
        seed: Of random weights.
        preprocess: Key of `PREPROCESSING`.
        pool: ``"cls"``: the class token (a network that has none, such as a ResNet, gives its own pooled map).
            ``"mean"``: mean of the patch tokens, or of the map. ``"cls_gem"``: class token followed by the
            generalised mean (power 4) of the patch tokens, twice as long, as DINO's copy detection uses. ``"mac"``,
            ``"spoc"``, ``"gem"``, ``"rmac"``, ``"superglobal"``: see `ris_core.pooling`; of the map, or of the patch
            tokens in their places, with unit length.
        scales: Of the images, in the order of their descriptors, which are pooled into one of unit length. Training
            sees them at scale 1 alone.
        scale_pool: Key of `ris_core.pooling.SCALE_POOLS`; ``"gem"`` takes the power of the pool of that name.
        soa: Whether second-order attention comes before the pooling, see `ris_core.second_order`.
        whole_px: With ``preprocess = "whole"`` the longer side of an image.
        bottleneck: The layer after pooling whose output is the feature; None: the pooled descriptor is.
    """

    model: str = "vit_tiny_patch16_224"
    arch: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    weights: str = RANDOM
    seed: int = 0
    preprocess: str = "thesis"
    pool: str = "cls"
    scales: tuple[float, ...] = ONE_SCALE
    scale_pool: str = "sum"
    soa: bool = False
    whole_px: int = 1024
    bottleneck: Bottleneck | None = None

    def named(self) -> dict[str, Any]:
        """Its fields, without later ones that are at their defaults: keys of older work stay as they were."""
        later = {field.name: field.default for field in dataclasses.fields(self) if field.name in _LATER_KEYS}
        return {key: v for key, v in dataclasses.asdict(self).items() if key not in later or v != later[key]}

    def as_trained(self) -> "BackboneSpec":
        """What is trained where this is wanted: without what takes effect afterwards alone."""
        pool = "gem" if self.pool == "superglobal" else self.pool
        plain = BackboneSpec()
        return dataclasses.replace(
            self, pool=pool, scales=plain.scales, scale_pool=plain.scale_pool, whole_px=plain.whole_px
        )

    def faults(self) -> list[str]:
        """Everything that is impossible about this spec, one sentence a fault; nothing is built or downloaded."""
        faults = []
        if self.model != COLOUR and not timm.is_model(self.model):
            close = _close_names(self.model)
            near = f"close names: {', '.join(close)}" if close else "timm.list_models() lists them"
            faults.append(f"model = {self.model!r} is no timm model ({near}), nor {COLOUR!r}.")
        if self.model == COLOUR and (self.arch or self.weights != RANDOM):
            faults.append(f"model = {COLOUR!r} is no network: it takes neither arch nor weights. Remove them.")
        if reserved := sorted(_RESERVED & set(self.arch)):
            faults.append(f"arch cannot set {', '.join(reserved)}. Remove it.")
        if self.weights == PRETRAINED and timm.is_model(self.model) and not timm.is_model_pretrained(self.model):
            tags = timm.list_pretrained(f"{self.model.partition('.')[0]}.*")
            known = f"names with weights: {', '.join(tags[:_LISTED_NAMES])}" if tags else "it has none there"
            faults.append(f"weights = {PRETRAINED!r}: timm's hub has none for {self.model!r} ({known}).")
        elif self.model != COLOUR and self.weights not in (RANDOM, PRETRAINED) and not Path(self.weights).is_file():
            faults.append(
                f"weights = {self.weights!r} is no file, nor {RANDOM!r} or {PRETRAINED!r}. Fetch it or mend the path."
            )
        if self.preprocess not in PREPROCESSING:
            faults.append(f"preprocess = {self.preprocess!r} is unknown; known: {', '.join(PREPROCESSING)}.")
        if self.pool not in POOLS:
            faults.append(f"pool = {self.pool!r} is unknown; known: {', '.join(POOLS)}.")
        if not 0 <= self.seed < 2**63:
            faults.append(f"seed = {self.seed} must be in [0, 2^63).")
        return faults + self._descriptor_faults()

    def _descriptor_faults(self) -> list[str]:
        faults = []
        if not self.scales or len(set(self.scales)) < len(self.scales) or not all(0 < s <= 4 for s in self.scales):
            faults.append(f"scales = {list(self.scales)} must be different numbers in (0, 4], at least one.")
        if self.scale_pool not in SCALE_POOLS:
            faults.append(f"scale_pool = {self.scale_pool!r} is unknown; known: {', '.join(SCALE_POOLS)}.")
        elif self.scale_pool == "gem" != self.pool:
            faults.append(f"scale_pool = 'gem' takes the power of pool = 'gem', not of {self.pool!r}. Take 'sum'.")
        if self.model == COLOUR and (self.soa or self.scales != ONE_SCALE):
            faults.append(f"model = {COLOUR!r} is no network: it takes neither scales nor soa. Remove them.")
        elif self.soa and self.pool not in POOLINGS:
            faults.append(f"soa comes before a pooling of the map: set pool to one of {', '.join(POOLINGS)}.")
        if self.model == COLOUR and self.bottleneck is not None:
            faults.append(f"model = {COLOUR!r} is no network: nothing trains its bottleneck. Remove it.")
        if self.whole_px < _SMALLEST_WHOLE_PX:
            faults.append(f"whole_px = {self.whole_px} must be at least {_SMALLEST_WHOLE_PX}.")
        return faults


class Colour(nn.Module):
    """Mean and standard deviation of each channel: (b, 3, h, w) -> (b, 6). No parameters."""

    num_features = 6

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(b, 3, h, w) float -> (b, 6): three means, then three standard deviations (divisor h * w)."""
        std, mean = torch.std_mean(images.float(), dim=(2, 3), correction=0)
        return torch.cat([mean, std], dim=1)


class Backbone(nn.Module):
    """A network and its pooling.

    Attributes:
        spec: What it was built from.
        network: The timm module, whose weights bear timm's names.
        d: Length of a feature.
    """

    def __init__(self, spec: BackboneSpec, network: nn.Module) -> None:
        super().__init__()
        self.spec = spec
        self.network = network
        self.prefix_tokens = int(getattr(network, "num_prefix_tokens", 0))
        self.has_class_token = getattr(network, "cls_token", None) is not None
        if spec.pool == "cls_gem" and not self.has_class_token:
            raise CheckpointError(f"pool = 'cls_gem' needs a class token; {spec.model} has none. Use 'cls' or 'mean'.")
        self.uses_own_pooling = spec.model == COLOUR or (spec.pool == "cls" and not self.has_class_token)
        channels = int(network.num_features)  # type: ignore[arg-type]
        own = int(getattr(network, "head_hidden_size", channels))
        self.d = own if self.uses_own_pooling else 2 * channels if spec.pool == "cls_gem" else channels
        pools_map = spec.pool in POOLINGS and not self.uses_own_pooling
        self.pooling = POOLINGS[spec.pool]() if pools_map else None
        self.soa = SecondOrderAttention(channels) if pools_map and spec.soa else None
        self.bottleneck = nn.Identity() if spec.bottleneck is None else BottleneckLayer(spec.bottleneck, self.d)
        self.d = self.d if spec.bottleneck is None else spec.bottleneck.d

    @property
    def parameters_count(self) -> int:
        """Number of weights."""
        return sum(p.numel() for p in self.parameters())

    @property
    def patch_px(self) -> int | None:
        """Side of a patch, in pixels of the input; None for a network without patches."""
        embed: Any = getattr(self.network, "patch_embed", None)
        if hasattr(embed, "feat_ratio"):  # a patch may be one of another network's map
            return int(embed.feat_ratio())
        patch = getattr(embed, "patch_size", None)
        return None if patch is None else int(to_2tuple(patch)[0])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Features of normalised images; in evaluation those of several scales as one, where the spec names them.

        Args:
            images: (b, 3, h, w) float, as `prepare` returns them.

        Returns:
            (b, d).

        Raises:
            CorpusError: If the images do not divide into patches.
        """
        if self.training or self.spec.scales == ONE_SCALE:
            return self.bottleneck(self._describe(images))
        power = self.pooling.p if isinstance(self.pooling, Gem) else GEM_POWER
        scaled = (images if s == 1 else resize_images(images, s, self.patch_px or 1) for s in self.spec.scales)
        return self.bottleneck(pool_scales([self._describe(one) for one in scaled], self.spec.scale_pool, power))

    def _describe(self, images: torch.Tensor) -> torch.Tensor:
        """(b, 3, h, w) at one scale -> (b, channels), before the bottleneck."""
        patch_px = self.patch_px
        if patch_px and (images.shape[2] % patch_px or images.shape[3] % patch_px):
            raise CorpusError(
                f"images of {images.shape[2]} x {images.shape[3]} px do not divide into the {patch_px} px patches of "
                f"{self.spec.model}. Choose a multiple as the stored tile's size, or preprocess = 'thesis'."
            )
        if self.uses_own_pooling:
            return self.network(images)
        tokens = self.network.forward_features(images)  # type: ignore[operator]
        if self.pooling is not None:
            maps = self._map(tokens, images.shape[2:]).float()
            return functional.normalize(self.pooling(maps if self.soa is None else self.soa(maps)), dim=1)
        if tokens.ndim == 4:  # (b, c, h, w), or (b, h, w, c) where timm says so
            return tokens.mean(dim=(1, 2) if getattr(self.network, "output_fmt", "NCHW") == "NHWC" else (2, 3))
        patches = tokens[:, self.prefix_tokens :]  # (b, patches, c)
        if self.spec.pool == "mean":
            return patches.mean(dim=1)
        if self.spec.pool == "cls":
            return tokens[:, 0]
        gem = patches.float().clamp(min=1e-6).pow(_COPY_GEM_POWER).mean(dim=1).pow(1 / _COPY_GEM_POWER)
        return torch.cat([tokens[:, 0].float(), gem], dim=1)

    def _map(self, tokens: torch.Tensor, sides: torch.Size) -> torch.Tensor:
        """(b, c, h, w): the network's last map, or its patch tokens in their places."""
        if tokens.ndim == 4:
            is_last = getattr(self.network, "output_fmt", "NCHW") == "NHWC"
            return tokens.permute(0, 3, 1, 2) if is_last else tokens
        patches = tokens[:, self.prefix_tokens :].mT  # (b, c, patches)
        grid = [side // (self.patch_px or 1) for side in sides]
        if patches.shape[2] != grid[0] * grid[1]:
            raise CheckpointError(
                f"pool = {self.spec.pool!r} needs a map; {self.spec.model} returns {patches.shape[2]} tokens, "
                f"which are no {grid[0]} x {grid[1]} patches. Use 'mean'."
            )
        return patches.unflatten(2, grid)


def build_backbone(spec: BackboneSpec, *, drop_path: float = 0.0, to_train: bool = False) -> Backbone:
    """The backbone that a spec describes, on the CPU, in training mode.

    Args:
        spec: What to build.
        drop_path: Rate of stochastic depth, for training.
        to_train: Whether a training starts from it: a file of weights may then lack what comes after the network.

    Raises:
        CheckpointError: If the spec has faults, timm refuses ``arch``, or the weights do not fit or cannot be had.
    """
    faults = spec.faults() + (spec.bottleneck.faults() if spec.bottleneck else [])
    if faults:
        raise CheckpointError("backbone: " + " ".join(faults))
    if spec.model == COLOUR:
        return Backbone(spec, Colour())
    arguments: dict[str, Any] = {"num_classes": 0, **spec.arch}
    if is_model_in_modules(spec.model, _DYNAMIC_FAMILIES):
        arguments.setdefault("dynamic_img_size", True)
    if drop_path > 0:
        arguments["drop_path_rate"] = drop_path
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(spec.seed)  # unlike torch.manual_seed, leaves the GPU's generators alone
        network = _pretrained(spec, arguments) if spec.weights == PRETRAINED else _create(spec, arguments)
        backbone = Backbone(spec, network)  # which may have random weights of its own
    if spec.weights not in (RANDOM, PRETRAINED):
        load_weights(backbone, Path(spec.weights), to_train=to_train)
    return backbone


def refuse_tiles(spec: BackboneSpec, size_px: int) -> None:
    """Raise unless the network takes tiles of that size; their shape is passed through it, without weights.

    Raises:
        CheckpointError: If timm cannot build it.
        CorpusError: If it does not take them.
    """
    with torch.device("meta"), torch.no_grad():
        backbone = build_backbone(dataclasses.replace(spec, weights=RANDOM)).eval()
        side_px = PREPROCESSING[spec.preprocess].input_px(size_px)
        if spec.preprocess == WHOLE:
            multiple_px = backbone.patch_px or 1
            side_px = multiple_px * max(1, round(spec.whole_px / multiple_px))
        try:
            backbone(torch.empty(1, 3, side_px, side_px))
        except (AssertionError, RuntimeError, ValueError) as error:
            raise CorpusError(
                f"{spec.model} takes no images of {side_px} px, which preprocess = {spec.preprocess!r} makes of tiles "
                f"of {size_px} px ({str(error).rstrip('.')}). Choose another preprocess, such as 'resize224', or set "
                "img_size in arch."
            ) from error


@contextlib.contextmanager
def evaluating(backbone: Backbone, device: torch.device) -> Iterator[None]:
    """Within it the backbone is on the device in evaluation mode, then as it was."""
    was_training = backbone.training
    home = next((p.device for p in backbone.parameters()), device)
    backbone.to(device).eval()
    try:
        yield
    finally:
        backbone.to(home).train(was_training)


def _close_names(model: str) -> list[str]:
    """Up to three known names that begin like this one."""
    names = sorted([COLOUR, *timm.list_models()], key=len, reverse=True)
    beginnings = {name[: len(model)]: name for name in names}  # of equal beginnings the shortest name stays
    return [beginnings[beginning] for beginning in difflib.get_close_matches(model, beginnings, n=3)]


def _create(spec: BackboneSpec, arguments: Mapping[str, Any]) -> nn.Module:
    """The network with random weights."""
    try:
        return timm.create_model(spec.model, **arguments)
    except (TypeError, ValueError, AssertionError, RuntimeError, KeyError) as error:
        raise CheckpointError(
            f"backbone: timm cannot build {spec.model} with arch = {dict(spec.arch)} ({error}). "
            "Correct arch; its keys are the keyword arguments of timm's class."
        ) from error


def _pretrained(spec: BackboneSpec, arguments: Mapping[str, Any]) -> nn.Module:
    """The network with the weights of timm's hub."""
    plain = _create(spec, arguments)  # so that what fails below is the download or the fit, not arch
    config: Mapping[str, Any] = plain.pretrained_cfg  # type: ignore[assignment]
    file = config.get("hf_hub_filename") or "model.safetensors"
    source = f"https://huggingface.co/{config['hf_hub_id']} (file {file})" if config.get("hf_hub_id") else config["url"]
    chosen = PREPROCESSING[spec.preprocess]
    if not (np.allclose(config["mean"], chosen.mean, atol=0.01) and np.allclose(config["std"], chosen.std, atol=0.01)):
        warnings.warn(
            f"{spec.model} was trained on images normalised by mean {config['mean']} and standard deviation "
            f"{config['std']}; preprocess = {spec.preprocess!r} uses {chosen.mean} and {chosen.std}.",
            stacklevel=3,
        )
    try:
        return timm.create_model(spec.model, pretrained=True, **arguments)
    except OSError as error:
        raise CheckpointError(
            f"backbone: the pretrained weights of {spec.model} are not on this machine and cannot be fetched from "
            f"{source} ({type(error).__name__}). Connect, or fetch the file elsewhere and set "
            'weights = "/path/model.safetensors".'
        ) from error
    except (RuntimeError, KeyError) as error:
        raise CheckpointError(
            f"backbone: the pretrained weights of {spec.model} do not fit arch = {dict(spec.arch)} ({error})."
        ) from error
