import numpy as np
import torch

from ris_core.second_order import SecondOrderAttention


def untrained(channels: int = 6) -> SecondOrderAttention:
    torch.manual_seed(0)
    return SecondOrderAttention(channels)


def some_maps(height: int = 3, width: int = 4) -> torch.Tensor:
    return torch.rand(2, 6, height, width, generator=torch.Generator().manual_seed(1))


def test_untrained_block_changes_nothing() -> None:
    block, maps = untrained(), some_maps()
    assert torch.equal(block(maps), maps)
    assert torch.equal(block.eval()(maps), maps)


def test_trained_block_is_that_of_plain_numpy() -> None:
    block, maps = untrained().eval(), some_maps()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel())))
        block.query[1].running_mean.fill_(0.3)
        found = block(maps).numpy()
    state = {name: w.numpy().astype(np.float64) for name, w in block.state_dict().items()}
    places = maps.numpy().astype(np.float64).reshape(2, 6, 12).transpose(0, 2, 1)  # (b, hw, c)

    def linear(name: str, values: np.ndarray) -> np.ndarray:
        return values @ state[f"{name}.weight"][:, :, 0, 0].T + state[f"{name}.bias"]

    def projected(name: str) -> np.ndarray:
        mean, variance = state[f"{name}.1.running_mean"], state[f"{name}.1.running_var"]
        scaled = (linear(f"{name}.0", places) - mean) / np.sqrt(variance + 1e-5)
        return np.maximum(scaled * state[f"{name}.1.weight"] + state[f"{name}.1.bias"], 0)

    agreement = projected("query") @ projected("key").transpose(0, 2, 1) / np.sqrt(3)  # three channels within
    weights = np.exp(agreement - agreement.max(axis=2, keepdims=True))
    weights /= weights.sum(axis=2, keepdims=True)
    gathered = places + linear("out", weights @ linear("value", places))
    np.testing.assert_allclose(found, gathered.transpose(0, 2, 1).reshape(2, 6, 3, 4), rtol=1e-4, atol=1e-5)


def test_every_part_learns_once_the_last_one_has_left_zero() -> None:
    block, maps = untrained(), some_maps()
    optimizer = torch.optim.SGD(block.parameters(), lr=0.1)
    before = {name: p.detach().clone() for name, p in block.named_parameters()}
    for _ in range(3):
        optimizer.zero_grad()
        block(maps).square().sum().backward()
        optimizer.step()
    unmoved = [name for name, p in block.named_parameters() if torch.equal(p, before[name])]
    # the bias before a batch normalisation has no effect; its gradient is rounding
    assert set(unmoved) <= {"query.0.bias", "key.0.bias"}
