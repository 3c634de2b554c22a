import dataclasses
import math

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage, stats
from torchvision import transforms
from torchvision.transforms.v2 import functional as reference

from ris_core.augment import CropRecipe, Windows, cut_windows, draw_windows, make_crops
from ris_core.preprocess import IMAGENET_MEAN, IMAGENET_STD

SMALL = CropRecipe(global_px=32, local_px=16, local_crops=2)
PLAIN = dataclasses.replace(
    SMALL, jitter=0.0, grey=0.0, blur=(0.0, 0.0, 0.0), solarise=0.0, horizontal_flip=0.0, global_scale=(1.0, 1.0)
)


def some_tiles(n: int, size_px: int = 48, seed: int = 0) -> torch.Tensor:
    return torch.randint(
        0, 256, (n, size_px, size_px, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


def denormalised(crops: torch.Tensor) -> torch.Tensor:
    return crops * torch.tensor(IMAGENET_STD).view(3, 1, 1) + torch.tensor(IMAGENET_MEAN).view(3, 1, 1)


def one_window(top: int, left: int, height: int, width: int, *turns: bool) -> Windows:
    numbers = [torch.tensor([number]) for number in (top, left, height, width)]
    return Windows(*numbers, *(torch.tensor([turn]) for turn in turns or (False, False, False)))


@hypothesis.given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    top_frac=st.floats(0, 1),
    left_frac=st.floats(0, 1),
    out_px=st.integers(1, 60),
)
@hypothesis.settings(max_examples=60, deadline=None)
def test_window_equals_torchvision_s_antialiased_bicubic_crop(height, width, top_frac, left_frac, out_px):
    image = torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(1))
    top, left = round(top_frac * (40 - height)), round(left_frac * (40 - width))
    got = cut_windows(image, one_window(top, left, height, width), out_px)
    expected = reference.resized_crop(
        image, top, left, height, width, [out_px, out_px], transforms.InterpolationMode.BICUBIC, antialias=True
    ).clamp(0, 1)
    torch.testing.assert_close(got, expected, atol=2e-5, rtol=0)


def test_window_turns_are_flips_then_transposition():
    image = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(2))
    for rows in (False, True):
        for columns in (False, True):
            for transpose in (False, True):
                got = cut_windows(image, one_window(0, 0, 12, 12, rows, columns, transpose), 12)
                expected = image.flip([2] * rows + [3] * columns)
                expected = expected.transpose(2, 3) if transpose else expected
                torch.testing.assert_close(got, expected, atol=1e-6, rtol=0)


def test_windows_of_a_batch_are_independent():
    images = torch.rand(5, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    windows = draw_windows(5, 20, (0.1, 0.9), SMALL, torch.Generator().manual_seed(0))
    together = cut_windows(images, windows, 8)
    for i in range(5):
        alone = Windows(*(getattr(windows, field.name)[i : i + 1] for field in dataclasses.fields(Windows)))
        torch.testing.assert_close(together[i : i + 1], cut_windows(images[i : i + 1], alone, 8))


@pytest.mark.parametrize("scale", [(0.4, 1.0), (0.05, 0.4), (0.99, 1.0)])
def test_windows_are_distributed_as_random_resized_crop(scale):
    n, size_px = 3000, 96
    drawn = draw_windows(n, size_px, scale, SMALL, torch.Generator().manual_seed(5))
    torch.manual_seed(5)
    image = torch.zeros(3, size_px, size_px)
    theirs = torch.tensor([transforms.RandomResizedCrop.get_params(image, scale, (3 / 4, 4 / 3)) for _ in range(n)])
    ours = torch.stack([drawn.top, drawn.left, drawn.height, drawn.width], dim=1)
    for name, ours_of, theirs_of in (
        ("area", ours[:, 2] * ours[:, 3], theirs[:, 2] * theirs[:, 3]),
        ("aspect", ours[:, 3] / ours[:, 2], theirs[:, 3] / theirs[:, 2]),
        ("top", ours[:, 0], theirs[:, 0]),
        ("left", ours[:, 1], theirs[:, 1]),
    ):
        assert stats.ks_2samp(ours_of, theirs_of, method="asymp").pvalue > 1e-3, name
    assert (drawn.top >= 0).all()
    assert (drawn.top + drawn.height <= size_px).all()
    assert (drawn.left + drawn.width <= size_px).all()


def test_windows_flip_as_often_as_the_recipe_says():
    n = 20_000
    recipe = dataclasses.replace(SMALL, horizontal_flip=0.5, vertical_flip=0.2)
    drawn = draw_windows(n, 32, (0.4, 1.0), recipe, torch.Generator().manual_seed(0))
    assert abs(drawn.flip_columns.float().mean() - 0.5) < 0.015
    assert abs(drawn.flip_rows.float().mean() - 0.2) < 0.015
    assert not drawn.transpose.any()


def test_quarter_turns_are_the_four_rotations_equally_often():
    n = 2000
    tile = some_tiles(1, 32)
    recipe = dataclasses.replace(PLAIN, quarter_turns=True, local_crops=0)
    crops, _ = make_crops(tile.expand(n, -1, -1, -1), recipe, torch.Generator().manual_seed(0))
    image = tile[0].permute(2, 0, 1) / 255
    found = torch.stack(
        [((denormalised(crops) - torch.rot90(image, k, (1, 2))).abs().amax(dim=(1, 2, 3)) < 1e-5) for k in range(4)]
    )
    assert found.any(dim=0).all()
    assert stats.chisquare(found.sum(dim=1)).pvalue > 1e-3


def test_crops_are_whole_tile_normalised_when_nothing_is_drawn():
    tiles = some_tiles(4, 32)
    whole, local = make_crops(tiles, PLAIN, torch.Generator().manual_seed(0))
    expected = (tiles.permute(0, 3, 1, 2) / 255).repeat(2, 1, 1, 1)
    torch.testing.assert_close(denormalised(whole), expected, atol=1e-5, rtol=0)
    assert local is not None
    assert local.shape == (8, 3, 16, 16)


def test_crops_take_the_statistics_of_the_preprocessing():
    tiles = some_tiles(2, 32)
    whole, _ = make_crops(tiles, PLAIN, torch.Generator().manual_seed(0), "native_half")
    expected = (tiles.permute(0, 3, 1, 2) / 255).repeat(2, 1, 1, 1)
    torch.testing.assert_close(whole * 0.5 + 0.5, expected, atol=1e-5, rtol=0)


def test_crops_without_local_ones():
    whole, local = make_crops(some_tiles(3), dataclasses.replace(SMALL, local_crops=0), torch.Generator())
    assert whole.shape == (6, 3, 32, 32)
    assert local is None


def test_crops_depend_on_the_generator_alone():
    tiles = some_tiles(4)
    torch.manual_seed(0)
    first, _ = make_crops(tiles, SMALL, torch.Generator().manual_seed(7))
    torch.manual_seed(1)
    again, _ = make_crops(tiles, SMALL, torch.Generator().manual_seed(7))
    other, _ = make_crops(tiles, SMALL, torch.Generator().manual_seed(8))
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert (first - other).abs().mean() > 0.1


def test_crops_of_equal_tiles_differ():
    crops, _ = make_crops(some_tiles(1).expand(8, -1, -1, -1), SMALL, torch.Generator().manual_seed(0))
    assert (torch.cdist(crops.flatten(1), crops.flatten(1)) + 1e9 * torch.eye(16)).min() > 1


def test_crops_leave_the_tiles_as_they_are():
    tiles = some_tiles(2)
    before = tiles.clone()
    make_crops(tiles, SMALL, torch.Generator())
    assert torch.equal(tiles, before)


def pil_pipeline(px: int, scale: tuple[float, float], blur: float, solarise: float) -> transforms.Compose:
    class PilBlur:
        def __call__(self, image: Image.Image) -> Image.Image:
            if torch.rand(()) >= blur:
                return image
            sigma = float(0.1 + 1.9 * torch.rand(()))
            return Image.fromarray(ndimage.gaussian_filter(np.asarray(image), (sigma, sigma, 0)))

    return transforms.Compose(
        [
            transforms.RandomResizedCrop(px, scale=scale, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.RandomHorizontalFlip(0.5),
            transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.2, 0.1)], 0.8),
            transforms.RandomGrayscale(0.2),
            PilBlur(),
            transforms.RandomSolarize(128, solarise),
            transforms.ToTensor(),
        ]
    )


def test_crops_are_distributed_as_the_published_pil_pipeline():
    """Mean, contrast, colour and sharpness of 700 crops: means within 4.5 standard errors, spreads within 25 %."""
    n = 700
    noise = np.random.default_rng(0).random((56, 56, 3))
    rough = ndimage.gaussian_filter(noise, (2, 2, 0))
    rough = (rough - rough.min()) / np.ptp(rough) * [0.9, 0.7, 0.5]
    tile = np.round(255 * np.clip(rough + 0.05 * noise, 0, 1)).astype(np.uint8)
    recipe = dataclasses.replace(SMALL, local_crops=1)
    whole, local = make_crops(torch.from_numpy(tile).expand(n, -1, -1, -1), recipe, torch.Generator().manual_seed(1))
    assert local is not None
    torch.manual_seed(1)
    kinds = [
        (whole[:n], 32, recipe.global_scale, recipe.blur[0], 0.0),
        (whole[n:], 32, recipe.global_scale, recipe.blur[1], recipe.solarise),
        (local, 16, recipe.local_scale, recipe.blur[2], 0.0),
    ]
    for ours, px, scale, blur, solarise in kinds:
        pipeline = pil_pipeline(px, scale, blur, solarise)
        theirs = torch.stack([pipeline(Image.fromarray(tile)) for _ in range(n)])
        for a, b in zip(describe(denormalised(ours)), describe(theirs), strict=True):
            assert abs(a.mean() - b.mean()) < 4.5 * math.sqrt((a.var() + b.var()) / n)
            assert 0.8 < a.std() / b.std() < 1.25


def describe(crops: torch.Tensor) -> list[torch.Tensor]:
    spread = crops.amax(dim=1) - crops.amin(dim=1)
    edges = (crops[..., 1:] - crops[..., :-1]).abs()
    return [
        *crops.mean(dim=(2, 3)).unbind(1),
        crops.std(dim=(1, 2, 3)),
        spread.mean(dim=(1, 2)),
        edges.mean(dim=(1, 2, 3)),
    ]
