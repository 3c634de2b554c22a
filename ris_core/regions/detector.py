"""Regions of a picture that a text asks for: Grounding DINO, through transformers."""

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ris_core.device import choose_device
from ris_core.errors import CheckpointError

PUBLISHED_MODEL = "IDEA-Research/grounding-dino-tiny"
_FILES = (  # what transformers saves; of several names on a line one
    ("config.json",),
    ("model.safetensors",),
    ("preprocessor_config.json", "processor_config.json"),
    ("tokenizer.json", "vocab.txt"),
)
_REMEDY = (
    f"A folder with {', '.join(names[0] for names in _FILES)} is needed, as https://huggingface.co/{PUBLISHED_MODEL} "
    'has them: connect, or fetch them elsewhere and set model = "/path/grounding-dino-tiny".'
)
_LONGEST_FRAC = 0.95  # of the picture's sides: a longer box is the picture itself, which is asked for anyway


@dataclasses.dataclass(frozen=True)
class DetectorSpec:
    """Which detector looks for what.

    Attributes:
        prompt: What is looked for, in small letters, each thing ended by a full stop: ``"greenhouse. car."``.
        model: A folder as transformers saves it, or a name on the Hugging Face hub.
        threshold: Least confidence of a box, in [0, 1].
        most: How many boxes are kept at most, the most confident.
    """

    prompt: str
    model: str = PUBLISHED_MODEL
    threshold: float = 0.25
    most: int = 10

    def faults(self) -> list[str]:
        """What is impossible, one sentence a fault."""
        faults = []
        if not self.prompt.strip():
            faults.append('prompt is empty. Say what is looked for, such as "greenhouse. car.".')
        if not 0 <= self.threshold < 1:
            faults.append(f"threshold = {self.threshold}; it must be in [0, 1).")
        if self.most < 1:
            faults.append(f"most = {self.most}; it must be at least 1.")
        if importlib.util.find_spec("transformers") is None:
            faults.append("a detector needs the package transformers. Run `pip install 'ris-bench[methods]'`.")
        return faults


class Detector:
    """A detector in memory, asked for one picture at a time.

    Args:
        spec: What it looks for.

    Raises:
        CheckpointError: If the model or a part of it is not there, or is no Grounding DINO.

    Source:
        Liu et al. 2023, Grounding DINO, arXiv:2303.05499, as transformers implements it. Differs: a box is scored by
        its most confident word; phrases are not read off, for the crop is searched whatever it is called.
    """

    def __init__(self, spec: DetectorSpec) -> None:
        self.spec = spec
        self._device = choose_device("auto")
        self._processor, network = _load(spec.model)
        self._network = network.to(self._device).eval()
        self._text = spec.prompt.lower().strip().rstrip(".") + "."

    def find(self, picture: np.ndarray) -> np.ndarray:
        """(m, 4) float64 boxes x1, y1, x2, y2 in the pixels of a (h, w, 3) uint8 picture, most confident first."""
        inputs = self._processor(images=picture, text=self._text, return_tensors="pt").to(self._device)
        with torch.inference_mode():
            outputs = self._network(**inputs)
        scores = outputs.logits[0].float().sigmoid().amax(dim=1).cpu().numpy()
        middle, extent = np.split(outputs.pred_boxes[0].double().cpu().numpy(), 2, axis=1)  # shares of the sides
        corners = np.clip(np.hstack([middle - extent / 2, middle + extent / 2]), 0, 1)
        sides = corners[:, 2:] - corners[:, :2]
        order = np.argsort(-scores, kind="stable")
        good = (scores > self.spec.threshold) & (sides > 0).all(axis=1) & (sides < _LONGEST_FRAC).any(axis=1)
        height, width = picture.shape[:2]
        return corners[order[good[order]][: self.spec.most]] * [width, height, width, height]


def _load(model: str) -> tuple[Any, Any]:
    """Processor and network of a folder or a name of the hub."""
    from transformers import AutoProcessor, GroundingDinoForObjectDetection  # optional, and slow to import

    folder = _fetched(model)
    missing = [" or ".join(names) for names in _FILES if not any((folder / name).is_file() for name in names)]
    if missing:
        raise CheckpointError(f"detector: {folder} lacks {', '.join(missing)}. {_REMEDY}")
    try:
        processor = AutoProcessor.from_pretrained(folder)
        kind: Any = GroundingDinoForObjectDetection  # its stubs do not know that it returns a report as well
        network, report = kind.from_pretrained(folder, use_safetensors=True, output_loading_info=True)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:  # damaged, or of another network
        raise CheckpointError(f"detector: {folder} cannot be loaded ({_first_line(error)}). {_REMEDY}") from error
    if lacking := sorted(report["missing_keys"]):  # transformers would draw them by chance
        raise CheckpointError(f"detector: {folder} lacks {len(lacking)} weights, first {lacking[0]}. {_REMEDY}")
    return processor, network


def _fetched(model: str) -> Path:
    """Folder of a model, fetched from the hub unless it is one, or was fetched before."""
    from huggingface_hub import snapshot_download  # comes with transformers

    if Path(model).is_dir():
        return Path(model)
    try:
        return Path(snapshot_download(model, allow_patterns=["*.json", "vocab.txt", "model.safetensors"]))
    except (OSError, ValueError) as error:  # no network, no such model, or no name of one
        raise CheckpointError(
            f"detector: {model} is no folder, and cannot be fetched ({_first_line(error)}). {_REMEDY}"
        ) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
