import itertools
import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from scipy import ndimage, stats
from torchvision.transforms.v2 import functional as reference

from ris_core.training.photometric import (
    JITTERS,
    SOLARISE_FROM,
    PhotometricDraws,
    PhotometricRecipe,
    _convolve,
    _toeplitz,
    blend,
    blur,
    change_look,
    draw_photometric,
    jitter,
    shift_hue,
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
    ("name", "theirs", "amounts"),
    [
        ("brightness", reference.adjust_brightness, (0.0, 0.6, 1.4)),
        ("contrast", reference.adjust_contrast, (0.0, 0.6, 1.4)),
        ("saturation", reference.adjust_saturation, (0.0, 0.8, 1.2)),
        ("hue", reference.adjust_hue, (-0.5, -0.1, 0.0, 0.07, 0.5)),
    ],
)
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 3e-4), (torch.float16, 8e-3)])
def test_each_jitter_equals_torchvision_s(name, theirs, amounts, dtype, atol):
    """In single precision, and in half as on a GPU: at most two grey levels off, a tenth of one on the mean."""
    images, number = some_images(), JITTERS.index(name)
    order = torch.tensor([number, *(i for i in range(4) if i != number)]).expand(len(images), 4)
    for amount in amounts:
        factors = torch.tensor([1.0, 1.0, 1.0, 0.0]).repeat(len(images), 1)
        factors[:, number] = amount
        got = images.clone().to(dtype)
        jitter(got, order, factors)
        assert got.dtype == dtype
        difference = (got.float() - theirs(images, amount)).abs()
        assert difference.max() < atol  # torchvision weighs red by 0.2989, PIL and we by 0.299
        assert difference.mean() < 4e-4


def test_blend_by_hand():
    image = torch.tensor([[0.2, 0.6], [0.4, 0.0], [1.0, 0.5]]).view(1, 3, 1, 2)
    grey = [0.299 * 0.2 + 0.587 * 0.4 + 0.114 * 1.0, 0.299 * 0.6 + 0.114 * 0.5]
    blend(image, torch.tensor([0.5]), torch.tensor([0.3]), torch.tensor([0.1]))
    mean = sum(grey) / 2
    expected = [[0.5 * x + 0.3 * mean + 0.1 * grey[i] for i, x in enumerate(channel)] for channel in
                ([0.2, 0.6], [0.4, 0.0], [1.0, 0.5])]  # fmt: skip
    torch.testing.assert_close(image.view(3, 2), torch.tensor(expected))


def test_hue_by_hand():
    """A sixth of a turn takes red to yellow, and yellow to green; against the circle red becomes magenta."""
    red, yellow = torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1), torch.tensor([1.0, 1, 0]).view(1, 3, 1, 1)
    images = torch.cat([red, yellow, red])
    shift_hue(images, torch.tensor([1 / 6, 1 / 6, -1 / 6]))
    torch.testing.assert_close(images.view(3, 3), torch.tensor([[1.0, 1, 0], [0, 1, 0], [1, 0, 1]]), atol=1e-6, rtol=0)


def test_hue_of_many_images_is_that_of_each():
    images = torch.rand(5, 3, 200, 300, generator=torch.Generator().manual_seed(0))  # more than a cache holds
    turns = torch.linspace(-0.4, 0.4, 5)
    expected = torch.cat([reference.adjust_hue(images[i : i + 1], float(turns[i])) for i in range(5)])
    shift_hue(images, turns)
    torch.testing.assert_close(images, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("sigma_px", [0.3, 1.3, 2.0])
def test_blur_equals_scipy(sigma_px):
    image = torch.rand(1, 3, 40, 30, generator=torch.Generator().manual_seed(0))
    got = blur(image, torch.tensor([sigma_px]))[0].numpy()
    expected = ndimage.gaussian_filter(image[0].double().numpy(), (0, sigma_px, sigma_px), mode="nearest", truncate=4.0)
    np.testing.assert_allclose(got, expected, atol=2e-4)


def test_blur_is_pil_s_within_two_grey_levels_on_average():
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    image = torch.from_numpy(noise).permute(2, 0, 1).unsqueeze(0) / 255
    for sigma_px in (0.5, 1.0, 1.5, 2.0):
        expected = np.asarray(Image.fromarray(noise).filter(ImageFilter.GaussianBlur(sigma_px)), dtype=np.float64)
        got = blur(image, torch.tensor([sigma_px]))[0].permute(1, 2, 0).double().numpy() * 255
        assert np.abs(got - expected).mean() < 2
        assert got.std() == pytest.approx(expected.std(), rel=0.06)


def test_blur_treats_each_image_by_its_own_sigma():
    images, sigma_px = some_images(3), torch.tensor([0.4, 2.0, 1.0])
    together = blur(images, sigma_px)
    for i in range(3):
        torch.testing.assert_close(together[i : i + 1], blur(images[i : i + 1], sigma_px[i : i + 1]))


def test_blur_by_matrices_is_that_by_convolution():
    """The GPU's way against the CPU's."""
    framed = torch.rand(4, 3, 8 + 6, 10 + 6, generator=torch.Generator().manual_seed(0))
    kernels = torch.rand(4, 7, generator=torch.Generator().manual_seed(1)).softmax(dim=1)
    kernels[:, 0] += 0.1  # not symmetric
    products = _toeplitz(kernels, 8) @ framed @ _toeplitz(kernels, 10).transpose(2, 3)
    torch.testing.assert_close(products, _convolve(framed, kernels))


def test_blur_keeps_a_flat_image():
    flat = torch.full((1, 3, 9, 9), 0.3)
    torch.testing.assert_close(blur(flat, torch.tensor([2.0])), flat)


def test_blur_of_a_tenth_of_a_pixel_changes_nothing():
    images = some_images()
    torch.testing.assert_close(blur(images, torch.full((len(images),), 0.1)), images)


def test_change_look_leaves_what_is_not_drawn():
    images = some_images()
    torch.testing.assert_close(change_look(images.clone(), untouched(len(images))), images, rtol=0, atol=0)


def test_change_look_applies_jitters_in_the_drawn_order():
    """All 24 orders in one batch, among images that are not jittered."""
    orders = torch.tensor([[-1] * 4, *itertools.permutations(range(4)), [-1] * 4])
    images = some_images(len(orders))
    draws = untouched(len(orders))
    draws.order[:] = orders
    draws.factors[:] = torch.tensor([1.4, 0.7, 1.2, 0.1]) + torch.linspace(-0.1, 0.1, len(orders)).unsqueeze(1)
    got = change_look(images.clone(), draws)
    steps = [reference.adjust_brightness, reference.adjust_contrast, reference.adjust_saturation, reference.adjust_hue]
    for i, order in enumerate(orders.tolist()):
        expected = images[i : i + 1]
        for number in order if order[0] >= 0 else ():
            expected = steps[number](expected, float(draws.factors[i, number]))
        torch.testing.assert_close(got[i : i + 1], expected, atol=1e-3, rtol=0)


def test_change_look_greys_and_solarises_as_torchvision():
    images = some_images(2)
    draws = untouched(2)
    draws.grey[0] = True
    draws.solarise[1] = True
    got = change_look(images.clone(), draws)
    torch.testing.assert_close(got[0], reference.rgb_to_grayscale(images[0], 3), atol=3e-4, rtol=0)
    torch.testing.assert_close(got[1], reference.solarize(images[1], SOLARISE_FROM))


def test_draws_have_the_recipe_s_frequencies_and_ranges():
    n = 20_000
    draws = draw_photometric(n, RECIPE, torch.Generator().manual_seed(1))
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
    for i, (start, span) in enumerate([(0.6, 0.8), (0.6, 0.8), (0.8, 0.4), (-0.1, 0.2)]):
        assert stats.kstest(draws.factors[:, i], stats.uniform(start, span).cdf).pvalue > 1e-3
    blurred = draws.blur_sigma_px[draws.blur_sigma_px > 0]
    assert stats.kstest(blurred, stats.uniform(0.1, 1.9).cdf).pvalue > 1e-3
    orders, counts = draws.order[jittered].unique(dim=0, return_counts=True)
    assert len(orders) == 24  # each order of four as likely
    assert counts.float().std() < 2 * math.sqrt(counts.float().mean())
