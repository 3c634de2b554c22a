import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional

from ris_core.errors import CheckpointError, SearchError
from ris_core.local_sets import VALUES, LocalSets
from ris_core.rerank import RERANKERS
from ris_core.rerank.ames import Ames, AmesParams
from ris_core.rerank.ames_network import AmesNetwork, load_ames
from ris_core.rerank.contract import Asked, Searched

D, C = 12, 8
LAYER_NAMES = [
    *(f"{kind}_attn.{w}" for kind in ("self", "cross") for w in ("in_proj_weight", "in_proj_bias", "out_proj.weight")),
    *(f"{part}.{w}" for part in ("linear1", "linear2", "norm1", "norm2", "norm3") for w in ("weight", "bias")),
    *(f"{kind}_attn.out_proj.bias" for kind in ("self", "cross")),
]


def network(is_binary: bool = False) -> AmesNetwork:
    torch.manual_seed(0)
    made = AmesNetwork(D, C, 16, 2, is_binary).eval()
    for weight in made.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    return made


@pytest.fixture(params=[False, True], ids=["float", "binary"])
def weights(request, tmp_path):
    path = tmp_path / "ames.pt"
    torch.save({"state": network(request.param).state_dict()}, path)
    return path


def tokens(seed: int, *shape: int) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal((*shape, D)).astype(np.float32)
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def sets_of(folder, values: np.ndarray) -> LocalSets:
    folder.mkdir(exist_ok=True)
    np.save(folder / VALUES, values.astype(np.float16))
    return LocalSets(folder)


def engine(weights, folder, values: np.ndarray, **changed) -> Ames:
    params = AmesParams(weights=str(weights), top=3, count=4, query_count=6, **changed)
    vectors, sets = np.eye(len(values), dtype=np.float32), sets_of(folder, values)
    return Ames(Searched(vectors, lambda *asked: np.empty(0), local=sets), params)


def test_names_are_those_of_the_published_code():
    names = set(network().state_dict())
    assert names == {
        "mtc_token", "classifier.weight", "classifier.bias",
        *(f"remap_local.{i}.{w}" for i in (0, 1) for w in ("weight", "bias")),
        *(f"decoder.layers.{i}.{name}" for i in (0, 1) for name in LAYER_NAMES),
    }  # fmt: skip
    binary = set(network(is_binary=True).state_dict())
    assert {n for n in binary if n.startswith("remap_local")} == {
        "remap_local.0.W", *(f"remap_local.{i}.{w}" for i in (1, 2) for w in ("weight", "bias")),
    }  # fmt: skip


def attend(x: torch.Tensor, state: dict[str, torch.Tensor], name: str, may_look) -> torch.Tensor:
    """Two-headed attention token by token, each over the tokens that it may look at."""
    q, k, v = (x @ state[f"{name}.in_proj_weight"].T + state[f"{name}.in_proj_bias"]).split(C, dim=1)
    rows = []
    for i in range(len(x)):
        seen = [j for j in range(len(x)) if may_look(i, j)]
        heads = []
        for part in (slice(0, C // 2), slice(C // 2, C)):
            share = torch.softmax(q[i, part] @ k[seen, part].T / (C // 2) ** 0.5, dim=0)
            heads.append(share @ v[seen, part])
        rows.append(torch.cat(heads))
    return torch.stack(rows) @ state[f"{name}.out_proj.weight"].T + state[f"{name}.out_proj.bias"]


def test_network_equals_one_written_token_by_token():
    made = network()
    state = made.state_dict()
    query, answer = torch.from_numpy(tokens(0, 3)), torch.from_numpy(tokens(1, 2))

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return functional.layer_norm(x, (C,), state[f"{name}.weight"], state[f"{name}.bias"])

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    side = [0, 1, 1, 1, 2, 2]  # 0: the matching token, which sees and is seen by all
    mapped = norm(linear(torch.cat([query, answer]), "remap_local.0"), "remap_local.1")
    x = torch.cat([state["mtc_token"][None], mapped])
    for number in range(2):
        layer = f"decoder.layers.{number}"
        own = attend(x, state, f"{layer}.self_attn", lambda i, j: 0 in (side[i], side[j]) or side[i] == side[j])
        x = norm(x + own, f"{layer}.norm1")
        other = attend(x, state, f"{layer}.cross_attn", lambda i, j: 0 in (side[i], side[j]) or side[i] != side[j])
        x = norm(x + other, f"{layer}.norm2")
        x = norm(x + linear(functional.relu(linear(x, f"{layer}.linear1")), f"{layer}.linear2"), f"{layer}.norm3")
    expected = linear(x[:1], "classifier")
    with torch.inference_mode():
        found = made(made.map(query), made.map(answer)[None])
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)


def test_a_file_makes_the_network_of_its_sizes(weights):
    loaded = load_ames(weights)
    expected = network(loaded.is_binary)
    assert (loaded.d, len(loaded.decoder.layers), loaded.training) == (D, 2, False)
    assert all(torch.equal(w, loaded.state_dict()[name]) for name, w in expected.state_dict().items())


def test_similarities_are_those_of_pairs_asked_one_by_one(weights, tmp_path):
    values = tokens(2, 5, 6)
    made = engine(weights, tmp_path / "sets", values)
    rows = np.array([4, 0, 2])
    together = made.similarities(values[1], rows)
    np.testing.assert_allclose(together, [made.similarities(values[1], rows[[i]])[0] for i in range(3)], rtol=1e-4)
    plain = load_ames(weights)
    stored = torch.from_numpy(values[rows, :4].astype(np.float16).astype(np.float32))
    with torch.inference_mode():
        expected = plain(plain.map(torch.from_numpy(values[1])), plain.map(stored))
    np.testing.assert_allclose(together, expected, atol=2e-2)  # what is stored has half the precision


def test_reranking_orders_by_the_weighted_sum(weights, tmp_path):
    values = tokens(3, 5, 6)
    given = np.array([[4, 0, 2, -1]])
    asked = Asked(np.eye(5, dtype=np.float32)[[2]], np.array([-1]), local=sets_of(tmp_path / "asked", values[[1]]))
    local_only = engine(weights, tmp_path / "sets", values, global_weight=0.0)
    query = asked.local.strongest(0, 6)
    order = np.argsort(-local_only.similarities(query, given[0, :3]), kind="stable")
    np.testing.assert_array_equal(local_only.rerank(asked, given)[0, :3], given[0, :3][order])
    assert engine(weights, tmp_path / "sets", values, global_weight=1.0).rerank(asked, given).tolist() == [
        [2, 4, 0, -1]
    ]


def test_memory_is_that_of_the_mapped_descriptors(weights, tmp_path):
    made = engine(weights, tmp_path / "sets", tokens(0, 5, 6))
    assert made.size_bytes() == 5 * 4 * C * (1 if load_ames(weights).is_binary else 2)


def test_descriptors_of_another_backbone_are_refused(weights, tmp_path):
    with pytest.raises(SearchError, match=r"have 12 dimensions, the backbone's 6\. Name the backbone"):
        engine(weights, tmp_path / "sets", tokens(0, 5, 6)[..., :6])


def test_a_missing_file_says_where_it_is():
    assert RERANKERS["ames"].needs == ("local",)
    faults = dataclasses.replace(AmesParams(), weights="dinov2_ames.pt").faults(200, 4)
    assert len(faults) == 1
    assert faults[0].startswith("weights = 'dinov2_ames.pt' is no file. Fetch one from http://ptak.felk.cvut.cz/")


def test_files_of_other_networks_are_refused(tmp_path):
    path = tmp_path / "other.pt"
    torch.save({"state": torch.nn.Linear(2, 2).state_dict()}, path)
    with pytest.raises(CheckpointError, match="no weights of AMES"):
        load_ames(path)
    state = network().state_dict()
    torch.save({"state": state | {"remap_local.0.weight": torch.zeros(7, 8)}}, path)
    with pytest.raises(CheckpointError, match="7 dimensions are no multiple of 2 heads"):
        load_ames(path)
    del state["classifier.bias"]
    torch.save({"state": state}, path)
    with pytest.raises(CheckpointError, match=r"1 missing: classifier\.bias\. Name one of"):
        load_ames(path)
