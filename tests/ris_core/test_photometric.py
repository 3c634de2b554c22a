import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torchvision.transforms.v2 import functional as reference

from ris_core.photometric import (
    PhotometricDraws,
    PhotometricRecipe,
    blur,
    change_brightness,
    change_contrast,
    change_hue,
    change_look,
    change_saturation,
    draw_photometric,
)

RECIPE = PhotometricRecipe(
    jitter=0.8,
    brightness=0.4,
    contrast=0.4,
    saturation=0.2,
    hue=0.1,
    grey=0.2,
    blur=0.5,
    blur_sigma_px=(0.1, 2),
    solarise=0.3,
)


def some_images(n: int = 6) -> torch.Tensor:
    images = torch.rand(n, 3, 8, 10, generator=torch.Generator().manual_seed(3))
    images[0] = 0.5  # grey: no hue
    images[1, :, 0, 0] = torch.tensor([1.0, 1.0, 0.0])  # two channels equally bright
    return images


def untouched(n: int) -> PhotometricDraws:
    return PhotometricDraws(
        order=torch.full((n, 4), -1),
        factors=torch.ones(n, 4),
        grey=torch.zeros(n, dtype=torch.bool),
        blur_sigma_px=torch.zeros(n),
        solarise=torch.zeros(n, dtype=torch.bool),
    )


@pytest.mark.parametrize(
    ("ours", "theirs", "amounts"),
    [
        (change_brightness, reference.adjust_brightness, (0.0, 0.6, 1.4)),
        (change_contrast, reference.adjust_contrast, (0.0, 0.6, 1.4)),
        (change_saturation, reference.adjust_saturation, (0.0, 0.8, 1.2)),
        (change_hue, reference.adjust_hue, (-0.5, -0.1, 0.0, 0.07, 0.5)),
    ],
)
def test_change_equals_torchvision(ours, theirs, amounts):
    images = some_images()
    for amount in amounts:
        got = ours(images, torch.full((len(images), 1, 1, 1), amount))
        # torchvision weighs red by 0.2989, PIL and we by 0.299
        torch.testing.assert_close(got, theirs(images, amount), atol=3e-4, rtol=0)


def test_change_treats_each_image_by_its_own_amount():
    images = some_images(2)
    got = change_brightness(images, torch.tensor([0.5, 1.0]).view(-1, 1, 1, 1))
    torch.testing.assert_close(got, torch.stack([images[0] * 0.5, images[1]]))


def test_blur_equals_scipy_away_from_the_edge():
    image = torch.rand(1, 3, 40, 30, generator=torch.Generator().manual_seed(0))
    got = blur(image, torch.full((1, 1, 1, 1), 1.3))[0].numpy()
    expected = ndimage.gaussian_filter(image[0].numpy().astype(np.float64), (0, 1.3, 1.3), truncate=4.0)
    np.testing.assert_allclose(got[:, 6:-6, 6:-6], expected[:, 6:-6, 6:-6], atol=2e-4)


def test_blur_keeps_a_flat_image():
    flat = torch.full((1, 3, 9, 9), 0.3)
    torch.testing.assert_close(blur(flat, torch.full((1, 1, 1, 1), 2.0)), flat)


def test_blur_of_a_tenth_of_a_pixel_changes_nothing():
    images = some_images()
    torch.testing.assert_close(blur(images, torch.full((len(images), 1, 1, 1), 0.1)), images)


def test_change_look_leaves_what_is_not_drawn():
    images = some_images()
    torch.testing.assert_close(change_look(images.clone(), untouched(len(images))), images, rtol=0, atol=0)


def test_change_look_applies_jitters_in_the_drawn_order():
    images = some_images(2)
    draws = untouched(2)
    draws.order[:] = torch.tensor([[0, 1, 2, 3], [3, 2, 1, 0]])
    draws.factors[:] = torch.tensor([1.4, 0.7, 1.2, 0.1])
    got = change_look(images.clone(), draws)
    steps = [
        lambda x: reference.adjust_brightness(x, 1.4),
        lambda x: reference.adjust_contrast(x, 0.7),
        lambda x: reference.adjust_saturation(x, 1.2),
        lambda x: reference.adjust_hue(x, 0.1),
    ]
    for i, order in enumerate([steps, steps[::-1]]):
        expected = images[i : i + 1]
        for step in order:
            expected = step(expected)
        torch.testing.assert_close(got[i : i + 1], expected, atol=1e-3, rtol=0)


def test_change_look_greys_and_solarises_as_torchvision():
    images = some_images(2)
    draws = untouched(2)
    draws.grey[0] = True
    draws.solarise[1] = True
    got = change_look(images.clone(), draws)
    torch.testing.assert_close(got[0], reference.rgb_to_grayscale(images[0], 3), atol=3e-4, rtol=0)
    torch.testing.assert_close(got[1], reference.solarize(images[1], 128 / 255))


def test_draws_have_the_recipe_s_frequencies_and_ranges():
    n = 20_000
    draws = draw_photometric(n, RECIPE, torch.Generator().manual_seed(0))
    jittered = draws.order[:, 0] >= 0
    for drawn, probability in (
        (jittered, 0.8),
        (draws.grey, 0.2),
        (draws.blur_sigma_px > 0, 0.5),
        (draws.solarise, 0.3),
    ):
        assert abs(drawn.float().mean() - probability) < 4 * math.sqrt(probability * (1 - probability) / n)
    low, high = draws.factors.aminmax(dim=0)
    torch.testing.assert_close(low, torch.tensor([0.6, 0.6, 0.8, -0.1]), atol=1e-3, rtol=0)
    torch.testing.assert_close(high, torch.tensor([1.4, 1.4, 1.2, 0.1]), atol=1e-3, rtol=0)
    torch.testing.assert_close(draws.factors.mean(dim=0), torch.tensor([1, 1, 1, 0.0]), atol=0.01, rtol=0)
    blurred = draws.blur_sigma_px[draws.blur_sigma_px > 0]
    assert blurred.min() >= 0.1
    assert blurred.max() <= 2
    orders, counts = draws.order[jittered].unique(dim=0, return_counts=True)
    assert len(orders) == 24  # each order of four as likely
    assert counts.float().std() < 2 * math.sqrt(counts.float().mean())
