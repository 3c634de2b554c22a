"""A tiny Grounding DINO of random weights, made here: no network, no published weights."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ris_core.errors import CheckpointError
from ris_core.regions.detector import Detector, DetectorSpec

transformers = pytest.importorskip("transformers", reason="the optional package transformers is not installed")

PICTURE = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector as transformers saves it, its tokenizer of nine words included."""
    folder = tmp_path_factory.mktemp("grounding-dino")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "greenhouse", "car", "?"]
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    text = transformers.BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=64,
    )  # fmt: skip
    swin = transformers.SwinConfig(
        image_size=64, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4,
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = transformers.GroundingDinoConfig(
        backbone_config=swin, text_config=text, num_queries=6, encoder_layers=1, decoder_layers=2, d_model=32,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, max_text_len=32,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.GroundingDinoForObjectDetection(config).save_pretrained(folder)
    images = transformers.GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})
    tokenizer = transformers.BertTokenizerFast.from_pretrained(folder)
    transformers.GroundingDinoProcessor(images, tokenizer).save_pretrained(folder)
    return folder


def spec(folder: Path, **changes: object) -> DetectorSpec:
    return DetectorSpec(**{"prompt": "Greenhouse. car", "model": str(folder), "threshold": 0.0, **changes})


def test_boxes_are_those_of_transformers_own_reading(folder: Path) -> None:
    processor = transformers.AutoProcessor.from_pretrained(folder)
    network = transformers.GroundingDinoForObjectDetection.from_pretrained(folder).eval()
    inputs = processor(images=PICTURE, text="greenhouse. car.", return_tensors="pt")
    with torch.inference_mode():
        outputs = network(**inputs)
    (theirs,) = processor.post_process_grounded_object_detection(
        outputs, inputs.input_ids, threshold=0.5, text_threshold=0.5, target_sizes=[PICTURE.shape[:2]]
    )
    order = torch.argsort(theirs["scores"], descending=True)
    assert 0 < len(order) < 6
    ours = Detector(spec(folder, threshold=0.5)).find(PICTURE)
    np.testing.assert_allclose(ours, theirs["boxes"][order].numpy(), atol=1e-3)


def test_most_confident_boxes_are_kept(folder: Path) -> None:
    every = Detector(spec(folder)).find(PICTURE)
    assert np.array_equal(Detector(spec(folder, most=2)).find(PICTURE), every[:2])
    assert Detector(spec(folder, threshold=0.9999999)).find(PICTURE).shape == (0, 4)


def test_missing_files_are_named_with_their_source(folder: Path, tmp_path: Path) -> None:
    for name in ("config.json", "vocab.txt"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    words = "lacks model.safetensors, preprocessor_config.json or processor_config.json.*huggingface.co/IDEA-Research"
    with pytest.raises(CheckpointError, match=words):
        Detector(spec(tmp_path))


def test_weights_that_lack_a_part_are_refused(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    lost = sorted(name for name in weights if "encoder" in name)[0]
    save_file({name: value for name, value in weights.items() if name != lost}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="lacks 1 weights, first "):
        Detector(spec(tmp_path))


def test_model_that_is_not_there_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: object, **__: object) -> str:
        raise OSError("Name or service not known")

    monkeypatch.setattr("huggingface_hub.snapshot_download", no_network)
    with pytest.raises(CheckpointError, match=r"is no folder, and cannot be fetched .Name or service not known"):
        Detector(DetectorSpec("car."))


def test_faults_of_a_spec_say_what_is_allowed() -> None:
    faults = " ".join(DetectorSpec("  ", threshold=1.0, most=0).faults())
    assert "prompt is empty" in faults
    assert "threshold = 1.0" in faults
    assert "most = 0" in faults
