"""The published way does the work that ours does: the same patches, features, loss and step."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from rasterio import open as open_raster

from bench.pace.pil_images import load_rounds
from bench.pace.published_crops import MultiCrop
from bench.pace.published_step import PublishedLoss, Trainer, write_attention_out
from bench.pace.published_way import CutTiles, Extract, Train, cut_patches
from bench.pace.work import FP32, WorkOrder
from ris_core.backbone import BackboneSpec, build_backbone
from ris_core.errors import CheckpointError, RasterError
from ris_core.features import extract_features
from ris_core.preprocess import PREPROCESSING
from ris_core.records import Tiles
from ris_core.tiles import TileSpec, cut_tiles
from ris_core.training.augment import draw_crops, make_crops
from ris_core.training.dino import DinoLoss, clip_each, make_networks, parameter_groups, update_teacher
from ris_core.training.recipe import DinoRecipe
from ris_core.training.schedules import make_schedules


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"sample": 9, "seed": 4},
        {"stride_px": 8},
        {"half_offset": True},
        {"min_coverage": 0.0},
        {"bands": (3, 1, 2)},
    ],
)
def test_published_patches_are_our_tiles(raster: Path, tmp_path: Path, changes: dict) -> None:
    spec = TileSpec(size_px=16, **changes)
    ours = cut_tiles(raster, spec)
    patches = cut_patches(raster, spec, tmp_path)
    assert np.array_equal(patches, ours.pixels)
    assert np.array_equal(np.load(tmp_path / "pixels.npy"), ours.pixels)
    assert len(patches) > 0


def test_published_way_refuses_more_than_8_bits(raster: Path, tmp_path: Path) -> None:
    wide = tmp_path / "wide.tif"
    with open_raster(raster) as source:
        profile = {**source.profile, "dtype": "uint16"}
        with open_raster(wide, "w", **profile) as target:
            target.write(source.read().astype(np.uint16))
    with pytest.raises(RasterError, match="holds uint16; the published way reads 8 bits alone"):
        cut_patches(wide, TileSpec(size_px=16), tmp_path)


@pytest.mark.parametrize("preprocess", ["native", "thesis"])
def test_published_features_are_ours(order: Callable[..., WorkOrder], preprocess: str) -> None:
    """Pillow and torch round a resized pixel differently now and then, see `ris_core.preprocess.prepare`."""
    arch = {"img_size": PREPROCESSING[preprocess].input_px(16), "patch_size": 8, "embed_dim": 16, "depth": 2}
    spec = BackboneSpec("vit_tiny_patch16_224", arch={**arch, "num_heads": 2}, preprocess=preprocess)
    asked = order("extract", "published", spec=spec, n=7)
    work = Extract(asked)
    theirs = work.extract(load_rounds(asked, work.transform, 1))
    ours = extract_features(Tiles.open(asked.tiles)[:7], spec).values
    assert theirs.shape == ours.shape
    cosines = (theirs * ours).sum(axis=1) / np.linalg.norm(theirs, axis=1) / np.linalg.norm(ours, axis=1)
    assert cosines.min() > 0.9999
    assert work.precision == FP32


def test_published_features_of_each_round_reach_the_disk_as_ours_do(
    order: Callable[..., WorkOrder], monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    monkeypatch.setattr(np, "save", lambda path, values: written.append((path.name, path.parent.is_dir(), len(values))))
    asked = order("extract", "published", n=7)
    Extract(asked).run(2)
    assert written == [("features.npy", True, 7)] * 2


def test_published_loss_is_ours_and_so_is_the_centre(recipe: DinoRecipe) -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(n * 3, 32, generator=generator) for n in (4, 2))
    ours, theirs = DinoLoss(recipe), PublishedLoss(recipe, "cpu")
    for _ in range(2):  # the second with a centre that is not zero
        expected = ours(student, teacher, 0.05).loss
        ours.update_center(teacher.mean(dim=0, keepdim=True))
        assert theirs(student, teacher, 0.05).item() == pytest.approx(expected.item(), rel=1e-5)
        assert torch.allclose(theirs.center.flatten(), ours.center.flatten(), atol=1e-6)


def test_published_step_on_the_same_crops_is_ours(order: Callable[..., WorkOrder], recipe: DinoRecipe) -> None:
    """Loss, student and teacher after two steps; gradients are large enough to be clipped."""
    asked = order("train", "published", recipe=dataclasses.replace(recipe, clip=0.01, base_lr=0.05))
    recipe = asked.steady_recipe(1)
    trainer = Trainer(asked.spec, recipe, 2, "cpu")
    torch.manual_seed(recipe.seed)
    student, teacher = (network.train() for network in make_networks(asked.spec, recipe))
    loss, schedules = DinoLoss(recipe), make_schedules(recipe, 2)
    optimizer = torch.optim.AdamW(parameter_groups(student), lr=0.0, weight_decay=0.0)
    generator = torch.Generator().manual_seed(1)
    for now in range(2):
        batch = torch.from_numpy(asked.pixels()[4 * now : 4 * now + 4].copy())
        whole, local = make_crops(batch, draw_crops(4, 16, recipe, generator), recipe, "native")
        crops = [*whole.chunk(2), *local.chunk(recipe.local_crops)]
        with torch.no_grad():
            targets = teacher([whole])
        expected = loss(student([whole, local]), targets, recipe.teacher_temp).loss
        for group in optimizer.param_groups:
            group["lr"] = float(schedules.lr[now])
        optimizer.param_groups[0]["weight_decay"] = float(schedules.weight_decay[now])
        optimizer.zero_grad()
        expected.backward()
        clip_each(student.parameters(), recipe.clip)
        optimizer.step()
        update_teacher(teacher, student, float(schedules.teacher_momentum[now]))
        loss.update_center(targets.mean(dim=0, keepdim=True))
        assert trainer.step(crops) == pytest.approx(expected.item(), rel=1e-4)
    for ours, theirs in ((student, trainer.student), (teacher, trainer.teacher)):
        for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            assert torch.allclose(a, b, atol=2e-4), name


def test_published_training_stops_at_a_loss_that_is_no_number(order: Callable[..., WorkOrder]) -> None:
    asked = order("train", "published")
    trainer = Trainer(asked.spec, asked.steady_recipe(1), 1, "cpu")
    crops = [torch.full((4, 3, side, side), torch.nan) for side in (16, 16, 8, 8)]
    with pytest.raises(CheckpointError, match="diverged in step 1: its loss is nan"):
        trainer.step(crops)


def test_attention_written_out_gives_the_same_features(micro: BackboneSpec) -> None:
    backbone = build_backbone(micro).eval()
    images = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        fused = backbone(images)
        written = write_attention_out(backbone)(images)
    assert not any(getattr(module, "fused_attn", False) for module in backbone.modules())
    assert torch.allclose(fused, written, atol=1e-5)


def test_crops_have_the_sizes_and_the_numbers_of_the_recipe(
    order: Callable[..., WorkOrder], recipe: DinoRecipe
) -> None:
    crops = next(load_rounds(order("train", "published"), MultiCrop(recipe, PREPROCESSING["native"]), 1))
    assert [tuple(crop.shape) for crop in crops] == [(4, 3, 16, 16)] * 2 + [(4, 3, 8, 8)] * 2


def test_crop_without_chances_is_the_whole_image_twice(order: Callable[..., WorkOrder], recipe: DinoRecipe) -> None:
    """Nothing left to chance but the window, which is the whole image; solarising shows in the second crop alone."""
    plain = dataclasses.replace(
        recipe, global_scale=(1.0, 1.0), horizontal_flip=0.0, jitter=0.0, grey=0.0, blur=(0.0, 0.0, 0.0), solarise=1.0
    )
    asked = order("train", "published", n=1)
    crops = next(load_rounds(asked, MultiCrop(plain, PREPROCESSING["native_half"]), 1))
    first, second = (((crop[0] + 1) * 127.5).round().permute(1, 2, 0).numpy().astype(int) for crop in crops[:2])
    tile = asked.pixels()[0].astype(int)
    if np.array_equal(first, tile):  # the window's aspect is drawn: whole where ten attempts did not fit
        assert np.array_equal(second, np.where(tile < 128, tile, 255 - tile))


@pytest.mark.parametrize("work", [CutTiles, Extract, Train])
def test_rounds_are_timed_one_by_one(order: Callable[..., WorkOrder], work: type) -> None:
    stage = {CutTiles: "tiles", Extract: "extract", Train: "train"}[work]
    done = work(order(stage, "published"))
    times_s = done.run(3)
    assert len(times_s) == 3
    assert min(times_s) > 0
    prepared_s = done.prepare()
    assert prepared_s is None if work is CutTiles else prepared_s > 0
