import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ris_core.pooling import (
    POOLINGS,
    SUPERGLOBAL_POWER,
    Gem,
    gem,
    mac,
    pool_scales,
    regional_gem,
    resize_images,
    rmac,
    rmac_regions,
    spoc,
    superglobal,
)


def some_maps(height: int, width: int, channels: int = 4, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, channels, height, width, generator=generator) + 0.1


def plain_gem(maps: np.ndarray, power: float) -> np.ndarray:
    return (np.maximum(maps, 1e-6) ** power).mean(axis=(2, 3)) ** (1 / power)


def plain_regions(height: int, width: int, levels: int) -> list[tuple[int, int, int]]:
    """Tolias et al.'s grid, written down anew: the overlap decides how many squares lie along the longer side."""
    short = min(height, width)
    candidates = range(2, 8)
    best = min(candidates, key=lambda m: abs((short - (max(height, width) - short) / (m - 1)) / short - 0.4))
    regions = []
    for level in range(1, levels + 1):
        side = math.floor(2 * short / (level + 1))
        counts = [level + (best - 1 if length > short else 0) for length in (height, width)]
        steps = [(length - side) / max(1, count - 1) for length, count in zip((height, width), counts, strict=True)]
        for i in range(counts[0]):
            regions += [
                (math.floor(i * steps[0] + 1e-9), math.floor(j * steps[1] + 1e-9), side) for j in range(counts[1])
            ]
    return regions


def plain_rmac(maps: np.ndarray, levels: int = 3) -> np.ndarray:
    total = np.zeros(maps.shape[:2])
    for row, col, side in plain_regions(*maps.shape[2:], levels):
        region = maps[:, :, row : row + side, col : col + side].max(axis=(2, 3))
        total += region / np.linalg.norm(region, axis=1, keepdims=True)
    return total


def plain_regional_gem(maps: np.ndarray) -> np.ndarray:
    mirrored = np.pad(maps, ((0, 0), (0, 0), (2, 2), (2, 2)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(mirrored, (5, 5), axis=(2, 3))
    return (maps + (windows**2.5).mean(axis=(4, 5)) ** (1 / 2.5)) / 2


def test_pools_by_hand() -> None:
    maps = torch.tensor([[[[1.0, 2.0], [3.0, 2.0]], [[0.0, 0.0], [0.0, 4.0]]]])
    assert mac(maps).tolist() == [[3.0, 4.0]]
    assert spoc(maps).tolist() == [[2.0, 1.0]]
    # means of cubes: (1 + 8 + 27 + 8) / 4 = 11 and 64 / 4 = 16
    torch.testing.assert_close(gem(maps, 3.0), torch.tensor([[11 ** (1 / 3), 16 ** (1 / 3)]]))
    # levels 1 to 3 of 2 x 2: the whole; side 2 * 2 // 3 = 1 at four corners; side 2 * 2 // 4 = 1, nine that start at
    # 0, 0 and 1
    vectors = {(0, 0): [1.0, 0.0], (0, 1): [1.0, 0.0], (1, 0): [1.0, 0.0], (1, 1): [1 / 5**0.5, 2 / 5**0.5]}
    counts = {(0, 0): 1 + 4, (0, 1): 1 + 2, (1, 0): 1 + 2, (1, 1): 1 + 1}
    expected = np.array([0.6, 0.8]) + sum(counts[place] * np.array(vectors[place]) for place in vectors)
    np.testing.assert_allclose(rmac(maps)[0], expected, rtol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(7, 7), (7, 10), (12, 5), (24, 32), (1, 3), (3, 2)])
def test_pools_are_those_of_plain_numpy(height: int, width: int) -> None:
    maps = some_maps(height, width)
    exact = maps.numpy().astype(np.float64)
    np.testing.assert_allclose(mac(maps), exact.max(axis=(2, 3)), rtol=1e-6)
    np.testing.assert_allclose(spoc(maps), exact.mean(axis=(2, 3)), rtol=1e-6)
    np.testing.assert_allclose(gem(maps, 2.7), plain_gem(exact, 2.7), rtol=1e-5)
    np.testing.assert_allclose(rmac(maps), plain_rmac(exact, 3 if min(height, width) > 1 else 1), rtol=1e-5)
    if min(height, width) > 2:
        np.testing.assert_allclose(regional_gem(maps), plain_regional_gem(exact), rtol=1e-5)
        expected = plain_gem(plain_regional_gem(exact), SUPERGLOBAL_POWER)
        np.testing.assert_allclose(superglobal(maps), expected, rtol=1e-5)


def test_regions_of_an_oblong_map_by_hand() -> None:
    # 6 x 9: two squares of side 6 overlap by 3 / 6, three by 4.5 / 6: two are nearer to 40 %
    assert rmac_regions(6, 9, levels=1) == [(0, 0, 6), (0, 3, 6)]
    assert rmac_regions(9, 6, levels=1) == [(0, 0, 6), (3, 0, 6)]
    # level 2: side 4, two along the height, three along the width
    assert rmac_regions(6, 9, levels=2)[2:] == [(row, col, 4) for row in (0, 2) for col in (0, 2, 5)]
    # 10 x 40: steps of 6 would be best; 30 / 5 = 6
    assert [col for _, col, _ in rmac_regions(10, 40, levels=1)] == [0, 6, 12, 18, 24, 30]


@given(st.integers(1, 40), st.integers(1, 200), st.integers(1, 4))
@settings(deadline=None)
def test_regions_lie_in_the_map_and_reach_its_edges(height: int, width: int, levels: int) -> None:
    regions = rmac_regions(height, width, levels)
    assert min(height, width) in {side for _, _, side in regions}
    for row, col, side in regions:
        assert row >= 0
        assert col >= 0
        assert row + side <= height
        assert col + side <= width
    assert max(row + side for row, _, side in regions) == height
    assert max(col + side for _, col, side in regions) == width
    mirrored = {(col, row, side) for row, col, side in rmac_regions(width, height, levels)}
    assert set(regions) == mirrored


@given(st.integers(0, 100))
@settings(deadline=None, max_examples=20)
def test_generalised_mean_lies_between_mean_and_maximum(seed: int) -> None:
    maps = some_maps(5, 6, seed=seed).double()
    torch.testing.assert_close(gem(maps, 1.0), spoc(maps))
    rising = [gem(maps, power) for power in (1.0, 2.0, 3.0, 10.0, 100.0)]
    for lower, higher in itertools.pairwise(rising):
        assert (higher >= lower - 1e-12).all()
    torch.testing.assert_close(gem(maps, 1000.0), mac(maps), rtol=0.01, atol=0)


def test_pools_do_not_care_where_but_regions_do() -> None:
    maps = some_maps(6, 6)
    shuffled = maps.flatten(2)[:, :, torch.randperm(36, generator=torch.Generator().manual_seed(3))].view_as(maps)
    for pool in (mac, spoc, lambda m: gem(m, 3.0)):
        torch.testing.assert_close(pool(shuffled), pool(maps))
    assert not torch.allclose(rmac(shuffled), rmac(maps), rtol=1e-3)
    torch.testing.assert_close(rmac(maps.flip(2, 3)), rmac(maps), rtol=0.05, atol=0)  # regions are rounded to the left


def test_regional_mean_of_an_even_map_changes_nothing_and_takes_the_smallest_maps() -> None:
    even = torch.full((1, 3, 4, 7), 2.5)
    torch.testing.assert_close(regional_gem(even), even)
    for shape in ((1, 1), (1, 5), (2, 2)):
        maps = some_maps(*shape)
        assert regional_gem(maps).shape == maps.shape
        assert torch.isfinite(superglobal(maps)).all()
    torch.testing.assert_close(regional_gem(some_maps(1, 1)), some_maps(1, 1))


def test_power_is_learned_towards_the_maximum_where_that_fits() -> None:
    maps, layer = some_maps(5, 5), Gem()
    optimizer = torch.optim.SGD(layer.parameters(), lr=20.0)
    for _ in range(20):
        optimizer.zero_grad()
        loss = (layer(maps) - mac(maps)).square().mean()
        loss.backward()
        optimizer.step()
    assert float(layer.p.detach()) > 4
    assert [name for name, _ in layer.named_parameters()] == ["p"]
    assert all(not list(POOLINGS[name]().parameters()) for name in POOLINGS if name != "gem")


def test_scales_are_pooled_by_hand() -> None:
    one, other = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.6, 0.8]])
    half = 2**-0.5
    expected = {
        "sum": [1.6, 0.8],
        "max": [1.0, 0.8],
        "gem": [math.sqrt((1 + 0.36) * 0.5), math.sqrt(0.64 * 0.5)],  # power 2
    }
    for how, numbers in expected.items():
        pooled = pool_scales([one, other], how, power=2.0)
        np.testing.assert_allclose(pooled[0], np.array(numbers) / np.linalg.norm(numbers), rtol=1e-5)
        torch.testing.assert_close(pool_scales([one, 7 * one], how), torch.tensor([[1.0, 0.0]]), atol=1e-4, rtol=0)
    alike = pool_scales([torch.tensor([[3.0, 3.0]])], "sum")
    torch.testing.assert_close(alike, torch.tensor([[half, half]]))


def test_images_are_resized_to_whole_patches() -> None:
    images = torch.arange(2 * 3 * 6 * 8).view(2, 3, 6, 8).float()
    assert resize_images(images, 0.5, 1).shape == (2, 3, 3, 4)
    torch.testing.assert_close(resize_images(images, 0.5, 1)[0, 0, 0, 0], images[0, 0, :2, :2].mean())
    assert resize_images(images, 0.7071, 1).shape == (2, 3, 4, 5)
    assert resize_images(images, 0.7071, 4).shape == (2, 3, 4, 4)  # 4.2 and 5.7
    assert resize_images(images, 0.1, 4).shape == (2, 3, 4, 4)
