from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from ris_core import preprocess
from ris_core.errors import SuiteError
from ris_core.preprocess import IMAGENET_MEAN, IMAGENET_STD, PREPROCESSING, prepare, resize_in_float

GREY_LEVEL = 1 / 255 / min(IMAGENET_STD)  # one grey level after normalisation


def textured(size_px: int, n: int = 2) -> np.ndarray:
    """Tiles with smooth parts, edges and noise, black and white included."""
    rng = np.random.default_rng(size_px)
    row, col = np.mgrid[:size_px, :size_px] / size_px
    waves = np.stack([np.sin(9 * row + i) * np.cos(7 * col * (i + 1)) for i in range(3)], axis=-1)
    tiles = 128 + 160 * waves + rng.normal(0, 20, (n, size_px, size_px, 3))
    tiles[:, : size_px // 3, : size_px // 2] = 255
    return tiles.clip(0, 255).astype(np.uint8)


def through_pil(tiles: np.ndarray, resize_px: int, crop_px: int) -> torch.Tensor:
    chain = transforms.Compose(
        [
            transforms.Resize((resize_px, resize_px), interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(crop_px),
            transforms.ToTensor(),
            transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    return torch.stack([chain(Image.fromarray(tile)) for tile in tiles])


@pytest.mark.parametrize("size_px", [512, 400, 256, 128])
@pytest.mark.parametrize(("name", "resize_px", "crop_px"), [("thesis", 256, 224), ("resize224", 224, 224)])
def test_pixels_are_those_of_pillow(size_px: int, name: str, resize_px: int, crop_px: int) -> None:
    tiles = textured(size_px)
    expected = through_pil(tiles, resize_px, crop_px)
    images = prepare(tiles, name)
    assert images.shape == (2, 3, 224, 224) == (2, 3, *[PREPROCESSING[name].input_px(size_px)] * 2)
    difference = (images - expected).abs()
    assert difference.max() <= 2.001 * GREY_LEVEL
    assert (difference < 1e-5).float().mean() > 0.99


@pytest.mark.parametrize("size_px", [512, 400, 128])
def test_resizing_in_float_gives_pillows_pixels_too(size_px: int) -> None:
    """The way that CUDA takes, walked on the CPU."""
    tiles = textured(size_px)
    pillow = np.stack(
        [np.asarray(Image.fromarray(tile).resize((256, 256), Image.Resampling.BICUBIC)) for tile in tiles]
    )
    resized = resize_in_float(torch.from_numpy(tiles).permute(0, 3, 1, 2).float(), 256).permute(0, 2, 3, 1).numpy()
    difference = np.abs(resized - pillow)
    assert difference.max() <= 2
    assert (difference == 0).mean() > 0.99


def test_native_normalises_by_hand() -> None:
    tile = np.array([[[[0, 255, 51]]]], np.uint8)
    expected = [(0 - 0.485) / 0.229, (1 - 0.456) / 0.224, (0.2 - 0.406) / 0.225]
    np.testing.assert_allclose(prepare(tile, "native").flatten(), expected, atol=1e-6)
    np.testing.assert_allclose(prepare(tile, "native_half").flatten(), [-1, 1, -0.6], atol=1e-6)
    assert PREPROCESSING["native"].input_px(48) == 48


def test_input_is_left_alone_and_output_is_contiguous(tmp_path: Path) -> None:
    tiles = textured(32)
    np.save(tmp_path / "pixels.npy", tiles)
    mapped = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    images = prepare(mapped, "native")  # a read-only array must not warn
    assert images.is_contiguous()
    assert images.dtype == torch.float32
    np.testing.assert_array_equal(mapped, tiles)
    assert torch.equal(prepare(torch.from_numpy(tiles), "native"), images)


def test_unknown_name_is_refused() -> None:
    with pytest.raises(SuiteError, match="'thesys' is unknown; known: thesis"):
        prepare(textured(32), "thesys")


def test_statistics_go_to_the_device_without_a_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[torch.Tensor] = []
    monkeypatch.setattr(preprocess, "send", lambda values, device: sent.append(values) or values)
    prepare(textured(16), "native")
    assert [tuple(values.shape) for values in sent] == [(2, 3)]
