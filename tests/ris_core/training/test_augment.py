import dataclasses
import functools
import math

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter, ImageOps
from scipy import ndimage
from torchvision import transforms
from torchvision.transforms import functional as pil

from ris_core.preprocess import IMAGENET_MEAN, IMAGENET_STD
from ris_core.training.augment import CropRecipe, ViewDraws, draw_crops, make_crops
from ris_core.training.photometric import JITTERS

SMALL = CropRecipe(global_px=32, local_px=16, local_crops=2)
PLAIN = dataclasses.replace(
    SMALL, jitter=0.0, grey=0.0, blur=(0.0, 0.0, 0.0), solarise=0.0, horizontal_flip=0.0, global_scale=(1.0, 1.0)
)


def some_tiles(n: int, size_px: int = 48, seed: int = 0) -> torch.Tensor:
    return torch.randint(
        0, 256, (n, size_px, size_px, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


def textured_tiles(n: int, size_px: int = 56) -> np.ndarray:
    """Blotches of several colours under fine noise, as imagery has them."""
    noise = np.random.default_rng(0).random((n, size_px, size_px, 3))
    rough = ndimage.gaussian_filter(noise, (0, 2, 2, 0))
    rough = (rough - rough.min()) / np.ptp(rough) * [0.9, 0.7, 0.5]
    return np.round(255 * np.clip(rough + 0.05 * noise, 0, 1)).astype(np.uint8)


def crops_of(
    tiles: torch.Tensor, recipe: CropRecipe, seed: int, preprocess: str = "native"
) -> tuple[torch.Tensor, torch.Tensor | None]:
    draws = draw_crops(len(tiles), tiles.shape[1], recipe, torch.Generator().manual_seed(seed))
    return make_crops(tiles, draws, recipe, preprocess)


def denormalised(crops: torch.Tensor) -> torch.Tensor:
    return crops * torch.tensor(IMAGENET_STD).view(3, 1, 1) + torch.tensor(IMAGENET_MEAN).view(3, 1, 1)


def test_crops_are_whole_tile_normalised_when_nothing_is_drawn():
    tiles = some_tiles(4, 32)
    whole, local = crops_of(tiles, PLAIN, 0)
    expected = (tiles.permute(0, 3, 1, 2) / 255).repeat(2, 1, 1, 1)
    torch.testing.assert_close(denormalised(whole), expected, atol=1e-5, rtol=0)
    assert local is not None
    assert local.shape == (8, 3, 16, 16)


def test_crops_take_the_statistics_of_the_preprocessing():
    tiles = some_tiles(2, 32)
    whole, _ = crops_of(tiles, PLAIN, 0, "native_half")
    expected = (tiles.permute(0, 3, 1, 2) / 255).repeat(2, 1, 1, 1)
    torch.testing.assert_close(whole * 0.5 + 0.5, expected, atol=1e-5, rtol=0)


def test_crops_without_local_ones():
    whole, local = crops_of(some_tiles(3), dataclasses.replace(SMALL, local_crops=0), 0)
    assert whole.shape == (6, 3, 32, 32)
    assert local is None


def test_crops_depend_on_the_generator_alone():
    tiles = some_tiles(4)
    torch.manual_seed(0)
    first, _ = crops_of(tiles, SMALL, 7)
    torch.manual_seed(1)
    again, _ = crops_of(tiles, SMALL, 7)
    other, _ = crops_of(tiles, SMALL, 8)
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert (first - other).abs().mean() > 0.1


def test_crops_of_equal_tiles_differ():
    crops, _ = crops_of(some_tiles(1).expand(8, -1, -1, -1), SMALL, 0)
    assert (torch.cdist(crops.flatten(1), crops.flatten(1)) + 1e9 * torch.eye(16)).min() > 1


def test_crops_leave_the_tiles_as_they_are():
    tiles = some_tiles(2)
    before = tiles.clone()
    crops_of(tiles, SMALL, 0)
    assert torch.equal(tiles, before)


@hypothesis.given(
    n=st.integers(1, 6),
    start=st.integers(0, 5),
    stop=st.integers(1, 6),
    local_crops=st.integers(0, 3),
    seed=st.integers(0, 9),
)
@hypothesis.settings(max_examples=25, deadline=None)
def test_crops_of_a_part_are_a_part_of_the_crops(n, start, stop, local_crops, seed):
    """So that several processes can share one batch's draws."""
    rows = slice(min(start, n - 1), max(min(start, n - 1) + 1, min(stop, n)))
    recipe = dataclasses.replace(SMALL, local_crops=local_crops, quarter_turns=True)
    tiles = some_tiles(n, 24)
    draws = draw_crops(n, 24, recipe, torch.Generator().manual_seed(seed))
    together, alone = make_crops(tiles, draws, recipe), make_crops(tiles[rows], draws.part(rows), recipe)
    for ours, theirs in zip(together, alone, strict=True):
        if ours is None or theirs is None:
            assert ours is theirs
        else:
            torch.testing.assert_close(ours.unflatten(0, (-1, n))[:, rows].flatten(0, 1), theirs, atol=1e-4, rtol=0)


def pil_crop(tile: np.ndarray, views: ViewDraws, i: int, out_px: int) -> torch.Tensor:
    """The crop that PIL and torchvision make of a tile with the draws that we made."""
    windows, looks = views.windows, views.looks
    top, left, height, width = (int(side[i]) for side in (windows.top, windows.left, windows.height, windows.width))
    image = pil.resized_crop(
        Image.fromarray(tile), top, left, height, width, [out_px, out_px], transforms.InterpolationMode.BICUBIC
    )
    for is_turned, turn in (
        (windows.flip_rows, Image.Transpose.FLIP_TOP_BOTTOM),
        (windows.flip_columns, Image.Transpose.FLIP_LEFT_RIGHT),
        (windows.transpose, Image.Transpose.TRANSPOSE),
    ):
        image = image.transpose(turn) if is_turned[i] else image
    for number in looks.order[i].tolist():
        if number >= 0:
            image = getattr(pil, f"adjust_{JITTERS[number]}")(image, float(looks.factors[i, number]))
    if looks.grey[i]:
        image = pil.to_grayscale(image, 3)
    if looks.blur_sigma_px[i] > 0:
        image = image.filter(ImageFilter.GaussianBlur(float(looks.blur_sigma_px[i])))
    if looks.solarise[i]:
        image = ImageOps.solarize(image, 128)
    return pil.to_tensor(image)


def test_crops_are_those_that_pil_makes_of_the_same_draws():
    """Pixel by pixel, PIL's rounding after each of up to nine changes included: see the tolerances, in grey levels."""
    n = 100
    tiles = textured_tiles(n)
    recipe = dataclasses.replace(SMALL, local_crops=1, vertical_flip=0.5, quarter_turns=True)
    draws = draw_crops(n, tiles.shape[1], recipe, torch.Generator().manual_seed(2))
    whole, local = make_crops(torch.from_numpy(tiles), draws, recipe)
    assert local is not None
    assert draws.local is not None
    for ours, views, out_px in ((whole, draws.whole, 32), (local, draws.local, 16)):
        theirs = torch.stack([pil_crop(tiles[i % n], views, i, out_px) for i in range(len(ours))])
        difference = (denormalised(ours) - theirs).abs().mean(dim=(1, 2, 3)) * 255
        assert difference.mean() < 1.6  # PIL cuts fractions off, half a level a change
        assert difference.max() < 3
    for drawn in (draws.whole.looks.solarise, draws.whole.looks.grey, draws.local.looks.blur_sigma_px > 0):
        assert drawn.any()  # each change was among those compared


def test_draws_are_those_of_the_published_recipe():
    n, recipe = 3000, CropRecipe()
    draws = draw_crops(n, 256, recipe, torch.Generator().manual_seed(0))
    assert draws.local is not None
    assert (len(draws.whole.windows.top), len(draws.local.windows.top)) == (2 * n, 8 * n)
    whole, local = draws.whole.looks, draws.local.looks
    for drawn, probability in (
        (whole.blur_sigma_px[:n] > 0, 1.0),
        (whole.blur_sigma_px[n:] > 0, 0.1),
        (local.blur_sigma_px > 0, 0.5),
        (whole.solarise[:n], 0.0),
        (whole.solarise[n:], 0.2),
        (local.solarise, 0.0),
        (whole.grey, 0.2),
        (local.grey, 0.2),
        (whole.order[:, 0] >= 0, 0.8),
        (local.order[:, 0] >= 0, 0.8),
        (draws.whole.windows.flip_columns, 0.5),
        (draws.local.windows.flip_columns, 0.5),
        (draws.whole.windows.flip_rows, 0.0),
        (draws.local.windows.transpose, 0.0),
    ):
        spread = math.sqrt(probability * (1 - probability) / len(drawn))
        assert abs(float(drawn.float().mean()) - probability) <= 4 * spread
    for views, (low, high) in ((draws.whole, (0.4, 1.0)), (draws.local, (0.05, 0.4))):
        share = (views.windows.height * views.windows.width).double() / 256**2
        assert low * 0.97 < share.min() < share.max() < high * 1.03


def pil_pipeline(px: int, scale: tuple[float, float], blur: float, solarise: float) -> transforms.Compose:
    """As DINO's code composes it."""

    class Blur:
        def __call__(self, image: Image.Image) -> Image.Image:
            radius = float(0.1 + 1.9 * torch.rand(()))
            return image.filter(ImageFilter.GaussianBlur(radius)) if torch.rand(()) < blur else image

    return transforms.Compose(
        [
            transforms.RandomResizedCrop(px, scale=scale, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.RandomHorizontalFlip(0.5),
            transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.2, 0.1)], 0.8),
            transforms.RandomGrayscale(0.2),
            Blur(),
            transforms.RandomSolarize(128, solarise),
            transforms.ToTensor(),
        ]
    )


def describe(crops: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of each crop: brightness and spread of each channel, colourfulness, sharpness, left less right, extremes."""
    edges = (crops[..., 1:] - crops[..., :-1]).abs().mean(dim=(1, 2, 3))
    spread = crops.std(dim=(1, 2, 3))
    half = crops.shape[3] // 2
    return {
        **dict(zip(("red", "green", "blue"), crops.mean(dim=(2, 3)).unbind(1), strict=True)),
        "spread": spread,
        "colour": (crops.amax(dim=1) - crops.amin(dim=1)).mean(dim=(1, 2)),
        "sharpness": edges / (spread + 0.01),
        "lean": crops[..., :half].mean(dim=(1, 2, 3)) - crops[..., half:].mean(dim=(1, 2, 3)),
        "brightest": crops.amax(dim=(1, 2, 3)),
        "darkest": crops.amin(dim=(1, 2, 3)),
    }


@functools.cache
def pil_descriptions(n: int) -> list[dict[str, torch.Tensor]]:
    """Of n first, second and local crops of one tile by the published pipeline."""
    torch.manual_seed(1)
    image = Image.fromarray(textured_tiles(1)[0])
    kinds = [(24, (0.4, 1.0), 1.0, 0.0), (24, (0.4, 1.0), 0.1, 0.2), (16, (0.05, 0.4), 0.5, 0.0)]
    found = []
    for px, scale, blur, solarise in kinds:
        pipeline = pil_pipeline(px, scale, blur, solarise)
        found.append(describe(torch.stack([pipeline(image) for _ in range(n)])))
    return found


def differences(recipe: CropRecipe) -> dict[str, float]:
    """By how much our crops' descriptions differ from the published pipeline's; above 1 = more than is tolerated.

    Tolerated are, between the means, the 1.5 grey levels that PIL's cut-off fractions make, and 4.5 standard errors;
    between the spreads, 15 %.
    """
    n = 1000
    tile = torch.from_numpy(textured_tiles(1))
    whole, local = crops_of(tile.expand(n, -1, -1, -1), recipe, 1)
    assert local is not None
    found = {}
    kinds = zip(("first", "second", "local"), (whole[:n], whole[n:], local), pil_descriptions(n), strict=True)
    for kind, crops, theirs in kinds:
        for name, ours in describe(denormalised(crops)).items():
            other = theirs[name]
            error = math.sqrt(float(ours.var() + other.var()) / n)
            mean = abs(float(ours.mean() - other.mean())) / (1.5 / 255 + 4.5 * error)
            spread = abs(math.log(float(ours.std() / other.std()))) / 0.15
            found[f"{kind} {name}"] = max(mean, spread)
    return found


PUBLISHED = CropRecipe(global_px=24, local_px=16, local_crops=1)


def test_crops_are_distributed_as_the_published_pil_pipeline():
    beyond = {name: times for name, times in differences(PUBLISHED).items() if times > 1}
    assert beyond == {}


@pytest.mark.parametrize(
    ("change", "seen_in"),
    [
        ({"brightness": 0.3}, "first red"),
        ({"jitter": 0.5}, "first red"),
        ({"grey": 0.05}, "first colour"),
        ({"blur_sigma_px": (0.2, 4.0)}, "first sharpness"),
        ({"blur": (0.1, 1.0, 0.5)}, "second sharpness"),
        ({"solarise": 0.0}, "second brightest"),
        ({"horizontal_flip": 0.0}, "first lean"),
        ({"global_scale": (0.05, 0.4)}, "first lean"),
    ],
)
def test_comparison_with_pil_notices_another_recipe(change, seen_in):
    assert differences(dataclasses.replace(PUBLISHED, **change))[seen_in] > 1
