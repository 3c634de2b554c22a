import argparse
import errno
import os
from pathlib import Path

import pytest
import timm
import torch

from ris_core.backbone import Backbone, BackboneSpec, build_backbone, load_weights, save_weights
from ris_core.errors import ArtifactError, CheckpointError

ARCH = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 3}


def network(seed: int = 0, **arch: int) -> Backbone:
    return build_backbone(BackboneSpec(arch={**ARCH, **arch}, seed=seed))


def assert_same_weights(one: Backbone, other: Backbone) -> None:
    for (name, weight), expected in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(weight, expected), name


def dino_checkpoint(teacher: Backbone, student: Backbone) -> dict[str, object]:
    """What DINO's main script saves: wrapped twice, with a head, and with its command line."""

    def wrap(backbone: Backbone, prefix: str) -> dict[str, torch.Tensor]:
        state = {f"{prefix}backbone.{name}": weight for name, weight in backbone.network.state_dict().items()}
        return {
            **state,
            f"{prefix}head.mlp.0.weight": torch.ones(8, 24),
            f"{prefix}head.last_layer.weight_g": torch.ones(4),
        }

    return {
        "student": wrap(student, "module."),
        "teacher": wrap(teacher, ""),
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]},
        "epoch": 100,
        "args": argparse.Namespace(arch="vit_tiny", global_crops_scale=(0.4, 1.0)),
        "dino_loss": {"center": torch.zeros(1, 4)},
    }


def test_saved_weights_load_again_here_and_in_timm(tmp_path: Path) -> None:
    trained, path = network(seed=1), tmp_path / "model.safetensors"
    save_weights(trained, path)
    loaded = network()
    load_weights(loaded, path)
    assert_same_weights(loaded, trained)
    plain = timm.create_model("vit_tiny_patch16_224", num_classes=0, checkpoint_path=str(path), **ARCH).eval()
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(plain(images), trained.eval()(images))
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("is_zip", [True, False])
def test_teacher_of_a_dino_checkpoint_is_loaded(tmp_path: Path, is_zip: bool) -> None:
    teacher, path = network(seed=1), tmp_path / "checkpoint.pth"
    torch.save(dino_checkpoint(teacher, network(seed=2)), path, _use_new_zipfile_serialization=is_zip)
    loaded = network()
    load_weights(loaded, path)
    assert_same_weights(loaded, teacher)


@pytest.mark.parametrize("prefix", ["", "module.", "module.backbone.", "_orig_mod.backbone."])
def test_wrapper_prefixes_and_classifier_are_removed(tmp_path: Path, prefix: str) -> None:
    trained = network(seed=1)
    state = {prefix + name: weight for name, weight in trained.network.state_dict().items()}
    torch.save({"state_dict": {**state, f"{prefix}head.weight": torch.ones(10, 24)}}, tmp_path / "wrapped.pth")
    loaded = network()
    load_weights(loaded, tmp_path / "wrapped.pth")
    assert_same_weights(loaded, trained)


@pytest.mark.parametrize(
    ("model", "arch", "classifiers"),
    [
        ("deit_tiny_distilled_patch16_224", ARCH, ("head", "head_dist")),
        ("resnet18", {}, ("fc",)),
    ],
)
def test_classifier_of_a_supervised_network_is_dropped(tmp_path: Path, model: str, arch: dict, classifiers) -> None:
    trained = build_backbone(BackboneSpec(model, arch, seed=1))
    state = dict(trained.network.state_dict())
    for name in classifiers:
        state |= {f"{name}.weight": torch.ones(10, 24), f"{name}.bias": torch.ones(10)}
    torch.save({"model": state}, tmp_path / "supervised.pth")  # as DeiT's files have it
    loaded = build_backbone(BackboneSpec(model, arch, weights=str(tmp_path / "supervised.pth")))
    assert_same_weights(loaded, trained)


def test_weights_of_one_size_serve_tiles_of_another(tmp_path: Path) -> None:
    """The positions of a file stay as they are, and are interpolated when tiles of another size come."""
    trained, path = network(seed=1), tmp_path / "model.safetensors"
    save_weights(trained, path)
    loaded = network()
    load_weights(loaded, path)
    plain = timm.create_model(
        "vit_tiny_patch16_224", num_classes=0, checkpoint_path=str(path), dynamic_img_size=True, **ARCH
    ).eval()
    for size_px in (16, 32, 48):
        images = torch.randn(2, 3, size_px, size_px)
        torch.testing.assert_close(loaded.eval()(images), plain(images))
    with pytest.raises(CheckpointError, match=r"pos_embed \(1, 17, 24\) in the file, \(1, 37, 24\) in the network"):
        load_weights(network(img_size=48), path)


def test_student_alone_is_no_checkpoint(tmp_path: Path) -> None:
    checkpoint = dino_checkpoint(network(seed=1), network(seed=2))
    del checkpoint["teacher"]
    torch.save(checkpoint, tmp_path / "student.pth")
    with pytest.raises(CheckpointError, match="no weights by name in it, but keys student, optimizer, epoch"):
        load_weights(network(), tmp_path / "student.pth")


def test_names_are_those_of_the_public_dino_files() -> None:
    """Of ``dino_deitsmall16_pretrain.pth``, as its vision_transformer.py defines them."""
    block = ["norm1.weight", "norm1.bias", "attn.qkv.weight", "attn.qkv.bias", "attn.proj.weight", "attn.proj.bias"]
    block += ["norm2.weight", "norm2.bias", "mlp.fc1.weight", "mlp.fc1.bias", "mlp.fc2.weight", "mlp.fc2.bias"]
    names = ["cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias", "norm.weight", "norm.bias"]
    names += [f"blocks.{i}.{name}" for i in range(12) for name in block]
    with torch.device("meta"):
        state = build_backbone(BackboneSpec("vit_small_patch16_224")).network.state_dict()
    assert set(state) == set(names)
    assert state["pos_embed"].shape == (1, 197, 384)


def test_misfits_are_all_listed_and_nothing_is_loaded(tmp_path: Path) -> None:
    state = dict(network(seed=1).network.state_dict())
    del state["norm.bias"]
    state["stranger"] = torch.zeros(1)
    state["pos_embed"] = torch.zeros(1, 65, 24)
    torch.save(state, tmp_path / "misfit.pth")
    loaded = network()
    with pytest.raises(CheckpointError) as caught:
        load_weights(loaded, tmp_path / "misfit.pth")
    told = str(caught.value)
    assert "1 missing: norm.bias; 1 unexpected: stranger; 1 of another shape: pos_embed (1, 65, 24)" in told
    assert "(1, 17, 24) in the network" in told
    assert "img_size" in told
    assert_same_weights(loaded, network())


def test_long_lists_are_cut_short(tmp_path: Path) -> None:
    torch.save(network(depth=3).network.state_dict(), tmp_path / "deep.pth")
    with pytest.raises(CheckpointError, match=r"24 unexpected: blocks\.1\.[^;]* and 18 more"):
        load_weights(network(), tmp_path / "deep.pth")


@pytest.mark.parametrize("name", ["half.safetensors", "half.pth", "legacy.pth"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_half_a_file_is_refused(tmp_path: Path, name: str, share: float) -> None:
    path = tmp_path / name
    if path.suffix == ".safetensors":
        save_weights(network(), path)
    else:
        torch.save(network().network.state_dict(), path, _use_new_zipfile_serialization=name != "legacy.pth")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(CheckpointError, match="not a whole checkpoint"):
        load_weights(network(), path)


class Intruder:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    torch.save({"teacher": Intruder(tmp_path / "intruded")}, tmp_path / "evil.pth")
    with pytest.raises(CheckpointError, match="read safely"):
        load_weights(network(), tmp_path / "evil.pth")
    assert not (tmp_path / "intruded").exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"epoch": 3, "lr": 0.1}, "no weights by name in it, but keys epoch, lr"),
        (torch.zeros(3), "no weights by name in it, but Tensor"),
        ({"norm.bias": torch.zeros(24), "module.norm.bias": torch.zeros(24)}, "holds norm.bias twice"),
    ],
)
def test_what_is_no_network_is_refused(tmp_path: Path, content: object, told: str) -> None:
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=told):
        load_weights(network(), tmp_path / "other.pth")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"absent\.pth: no such file"):
        load_weights(network(), tmp_path / "absent.pth")


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.safetensors"
    save_weights(network(seed=1), path)

    def full(self: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(ArtifactError, match="Free some space"):
        save_weights(network(seed=2), path)
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]
    loaded = network()
    load_weights(loaded, path)
    assert_same_weights(loaded, network(seed=1))


def test_numbers_for_names_are_no_weights(tmp_path: Path) -> None:
    torch.save({0: torch.zeros(2)}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="no weights by name in it, but keys 0"):
        load_weights(torch.nn.Linear(2, 2), tmp_path / "a.pth")
