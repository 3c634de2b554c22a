import dataclasses

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torchvision import transforms
from torchvision.transforms.v2 import functional as reference

from ris_core.training.windows import (
    WindowRecipe,
    Windows,
    cut_windows,
    draw_windows,
    interpolate_windows,
    multiply_windows,
)

RECIPE = WindowRecipe(scale=(0.4, 1.0), horizontal_flip=0.5, vertical_flip=0.0, quarter_turns=False)
BICUBIC = transforms.InterpolationMode.BICUBIC
LEVEL = 1 / 255


def some_tiles(n: int, size_px: int = 40, seed: int = 0) -> torch.Tensor:
    """Noise of middle grey levels: bicubic weights overshoot, but nothing is clipped between the two passes."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(64, 192, (n, size_px, size_px, 3), dtype=torch.uint8, generator=generator)


def in_float32(pixels: torch.Tensor, windows: Windows, out_px: int) -> torch.Tensor:
    return multiply_windows(pixels, windows, out_px, torch.float32)


def one_window(top: int, left: int, height: int, width: int, *turns: bool) -> Windows:
    numbers = [torch.tensor([number]) for number in (top, left, height, width)]
    return Windows(*numbers, *(torch.tensor([turn]) for turn in turns or (False, False, False)))


some_windows = hypothesis.given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    top_frac=st.floats(0, 1),
    left_frac=st.floats(0, 1),
    out_px=st.integers(1, 60),  # enlarged as well as reduced
)


@some_windows
@hypothesis.settings(max_examples=60, deadline=None)
def test_window_is_torchvision_s_antialiased_bicubic_crop(height, width, top_frac, left_frac, out_px):
    tile = some_tiles(1)
    top, left = round(top_frac * (40 - height)), round(left_frac * (40 - width))
    windows = one_window(top, left, height, width)
    args = (top, left, height, width, [out_px, out_px], BICUBIC)
    image = tile.permute(0, 3, 1, 2)
    expected = reference.resized_crop(image, *args, antialias=True)
    assert torch.equal((interpolate_windows(tile, windows, out_px) * 255).round().byte(), expected)
    exact = reference.resized_crop(image.float() / 255, *args, antialias=True)
    torch.testing.assert_close(in_float32(tile, windows, out_px), exact, atol=2e-5, rtol=0)
    halves = multiply_windows(tile, windows, out_px, torch.float16)
    torch.testing.assert_close(halves.float(), exact, atol=LEVEL / 3, rtol=0)


@some_windows
@hypothesis.settings(max_examples=40, deadline=None)
def test_window_is_pil_s_within_two_grey_levels(height, width, top_frac, left_frac, out_px):
    tile = some_tiles(1)
    top, left = round(top_frac * (40 - height)), round(left_frac * (40 - width))
    cut = cut_windows(tile, one_window(top, left, height, width), out_px)[0].permute(1, 2, 0) * 255
    image = Image.fromarray(tile[0].numpy()).crop((left, top, left + width, top + height))
    expected = np.asarray(image.resize((out_px, out_px), Image.Resampling.BICUBIC), dtype=np.float32)
    difference = np.abs(cut.numpy() - expected)  # Pillow may begin with the other axis, and rounds in between
    assert difference.max() < 2.01
    assert difference.mean() < 0.5


def test_half_precision_errs_by_less_than_a_third_of_a_grey_level():
    tiles, windows = some_tiles(40, 64) + 64, draw_windows(40, 64, RECIPE, torch.Generator().manual_seed(0))
    error = multiply_windows(tiles, windows, 48, torch.float16).float() - in_float32(tiles, windows, 48)
    assert error.abs().max() < LEVEL / 3
    assert error.std() < LEVEL / 12


@pytest.mark.parametrize("cut", [interpolate_windows, in_float32])
def test_window_turns_are_flips_then_transposition(cut):
    tile = some_tiles(1, 12)
    image = tile.permute(0, 3, 1, 2) / 255
    for rows in (False, True):
        for columns in (False, True):
            for transpose in (False, True):
                got = cut(tile, one_window(0, 0, 12, 12, rows, columns, transpose), 12)
                expected = image.flip([2] * rows + [3] * columns)
                expected = expected.transpose(2, 3) if transpose else expected
                torch.testing.assert_close(got, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("cut", [interpolate_windows, in_float32])
def test_windows_of_a_batch_are_independent_crop_by_crop(cut):
    tiles = some_tiles(3, 20)
    recipe = WindowRecipe((0.1, 0.9), horizontal_flip=0.5, vertical_flip=0.5, quarter_turns=True)
    windows = draw_windows(6, 20, recipe, torch.Generator().manual_seed(0))
    together = cut(tiles, windows, 8)
    assert together.shape == (6, 3, 8, 8)
    for i in range(6):
        alone = Windows(*(getattr(windows, field.name)[i : i + 1] for field in dataclasses.fields(Windows)))
        torch.testing.assert_close(together[i : i + 1], cut(tiles[i % 3 : i % 3 + 1], alone, 8))


def test_both_ways_to_cut_agree_within_rounding():
    recipe = WindowRecipe((0.05, 1.0), horizontal_flip=0.5, vertical_flip=0.5, quarter_turns=True)
    tiles, windows = some_tiles(32, 32), draw_windows(64, 32, recipe, torch.Generator().manual_seed(1))
    tiles[:16] = (tiles[:16] > 128) * 255  # black and white: the overshoot is clipped after each pass
    difference = interpolate_windows(tiles, windows, 24) - in_float32(tiles, windows, 24)
    assert difference.abs().max() < 2 * LEVEL  # two passes, each rounded to whole levels
    assert abs(float(difference.mean())) < 0.02 * LEVEL


@pytest.mark.parametrize("scale", [(0.4, 1.0), (0.05, 0.4), (0.99, 1.0)])
def test_windows_are_distributed_as_random_resized_crop(scale):
    n, size_px = 3000, 96
    recipe = dataclasses.replace(RECIPE, scale=scale)
    drawn = draw_windows(n, size_px, recipe, torch.Generator().manual_seed(5))
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
    recipe = dataclasses.replace(RECIPE, horizontal_flip=0.5, vertical_flip=0.2)
    drawn = draw_windows(n, 32, recipe, torch.Generator().manual_seed(0))
    assert abs(drawn.flip_columns.float().mean() - 0.5) < 0.015
    assert abs(drawn.flip_rows.float().mean() - 0.2) < 0.015
    assert not drawn.transpose.any()


def test_quarter_turns_are_the_four_rotations_equally_often():
    n = 2000
    tile = some_tiles(1, 16)
    recipe = WindowRecipe((1.0, 1.0), horizontal_flip=0.0, vertical_flip=0.0, quarter_turns=True)
    drawn = draw_windows(n, 16, recipe, torch.Generator().manual_seed(0))
    start, side = torch.zeros(n, dtype=torch.int64), torch.full((n,), 16)
    windows = dataclasses.replace(drawn, top=start, left=start, height=side, width=side)  # an area of 1 seldom fits
    crops = cut_windows(tile, windows, 16)
    image = tile[0].permute(2, 0, 1) / 255
    found = torch.stack([((crops - torch.rot90(image, k, (1, 2))).abs().amax(dim=(1, 2, 3)) < 1e-5) for k in range(4)])
    assert found.any(dim=0).all()
    assert stats.chisquare(found.sum(dim=1)).pvalue > 1e-3


def test_windows_of_a_single_pixel_tile_are_the_pixel():
    windows = draw_windows(5, 1, RECIPE, torch.Generator().manual_seed(0))
    tiles = some_tiles(5, 1)
    expected = (tiles.permute(0, 3, 1, 2) / 255).expand(-1, -1, 4, 4)
    torch.testing.assert_close(cut_windows(tiles, windows, 4), expected)
