"""What a suite says about describing: whole images, scales, trained poolings, learned whitening; and its cache keys."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.results import StageNote
from bench.stages import flow as stages
from bench.stages.flow import Cache, prepare_base, prepare_features, prepare_tiles
from bench.stages.whitening import space_parameters
from bench.suites.suite import BackboneEntry, CorpusSpec, QuerySpec, SpaceSpec
from bench.suites.suite_file import read_suite
from ris_core.backbone import BackboneSpec, build_backbone
from ris_core.errors import CorpusError, SuiteError
from ris_core.features import extract_features
from ris_core.learned_whitening import fit_learned_space
from ris_core.space import Space
from ris_core.tiling.image_roles import BOX_COLUMNS
from ris_core.training.recipe import DinoRecipe
from ris_core.whole_images import WholeImages

NETWORK = BackboneSpec(
    arch={"img_size": 16, "patch_size": 8, "embed_dim": 4, "depth": 1, "num_heads": 2}, preprocess="native", pool="gem"
)
RECIPE = DinoRecipe(
    epochs=1, warmup_epochs=0, batch=8, global_px=16, local_px=8, local_crops=1, out_dim=16, hidden_dim=16,
    bottleneck_dim=8, base_lr=0.5, teacher_momentum=0.5,
)  # fmt: skip
LEARNED = SpaceSpec(whitening="learned")
QUERIES = QuerySpec(count=6, k=4)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> CorpusSpec:
    """Two classes of oblong images, one darker than the other."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(1)
    for label, brightest in (("a", 120), ("b", 255)):
        (folder / label).mkdir()
        for i in range(16):
            pixels = rng.integers(1, brightest, (16, 24, 3), np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{i:02}.png")
    return CorpusSpec(source=str(folder), tile_px=16, train_frac=0.5)


class Desk:
    """A cache and the notes that its stages left."""

    def __init__(self, root: Path) -> None:
        self.notes: list[StageNote] = []
        self.cache = Cache(root, self.notes.append)

    def made(self) -> list[str]:
        made = [note.stage for note in self.notes if not note.reused]
        self.notes.clear()
        return made


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "cache")


def test_keys_of_what_older_suites_ask_for_stay_as_they_were(desk: Desk, corpus: CorpusSpec) -> None:
    spec = BackboneSpec("resnet18", arch={"in_chans": 3}, seed=4, preprocess="native", pool="mean")
    old = {"model": "resnet18", "arch": {"in_chans": 3}, "seed": 4, "preprocess": "native", "pool": "mean"}
    assert stages.spec_parameters(spec) == old
    assert stages.spec_parameters(dataclasses.replace(spec, weights="pretrained")) == {**old, "seed": 0}
    assert stages.spec_parameters(dataclasses.replace(spec, scales=(1.0, 0.5)))["scales"] == (1.0, 0.5)
    cut = prepare_tiles(desk.cache, corpus)
    assert space_parameters(cut, SpaceSpec(whiten=3)) == {"center": True, "normalize": True, "whiten": 3}


def test_whole_images_are_described_and_described_anew_where_a_box_is_cut(desk: Desk, corpus: CorpusSpec) -> None:
    spec = BackboneSpec("resnet10t", preprocess="whole", pool="spoc", whole_px=32)
    entry = BackboneEntry("whole", spec)
    cut = prepare_tiles(desk.cache, corpus)
    features, note = prepare_features(desk.cache, entry, cut)
    images = WholeImages.of_tiles(Path(corpus.source), cut.tiles.table, 32)
    alone = extract_features(cut.tiles, spec, images=images)
    np.testing.assert_array_equal(features.values, alone.values)
    squares = extract_features(cut.tiles, dataclasses.replace(spec, preprocess="native"))
    assert np.abs(features.values - squares.values).max() > 1e-3
    assert note.notes["flops"] is None
    assert note.notes["mfu"] is None
    desk.made()
    prepare_features(desk.cache, entry, cut)
    assert desk.made() == []
    boxes = np.full((len(cut.tiles), 4), np.nan)
    boxes[5] = (0, 0, 16, 16)
    table = cut.tiles.table.assign(**dict(zip(BOX_COLUMNS, boxes.T, strict=True)))
    boxed = dataclasses.replace(cut, tiles=dataclasses.replace(cut.tiles, table=table))
    cropped, _ = prepare_features(desk.cache, entry, boxed)
    assert desk.made() == ["features"]
    assert (np.abs(cropped.values - features.values).max(axis=1) > 1e-3).nonzero()[0].tolist() == [5]


def test_what_takes_effect_after_training_alone_trains_nothing_anew(desk: Desk, corpus: CorpusSpec) -> None:
    cut = prepare_tiles(desk.cache, corpus)
    made = {}
    for name, spec in {
        "gem": NETWORK,
        "scales": dataclasses.replace(NETWORK, scales=(1.0, 0.5), scale_pool="gem"),
        "superglobal": dataclasses.replace(NETWORK, pool="superglobal"),
        "mac": dataclasses.replace(NETWORK, pool="mac"),
    }.items():
        features, _ = prepare_features(desk.cache, BackboneEntry(name, spec, RECIPE), cut)
        made[name] = (desk.made(), features)
    assert [made[name][0] for name in made] == [
        ["tiles", "checkpoint", "features"], ["features"], ["features"], ["checkpoint", "features"]
    ]  # fmt: skip
    network, _ = stages.prepare_checkpoint(desk.cache, BackboneEntry("gem", NETWORK, RECIPE), cut, 0)
    assert build_backbone(network).pooling.p.item() != 3.0  # it was trained, saved and read
    assert all(np.isfinite(features.values).all() for _, features in made.values())


def test_learned_whitening_is_fitted_on_labels_of_tiles_that_train_alone(desk: Desk, corpus: CorpusSpec) -> None:
    cut = prepare_tiles(desk.cache, corpus)
    entry = BackboneEntry("network", NETWORK, space=LEARNED)
    base = prepare_base(desk.cache, entry, cut, QUERIES)
    features = base.raw
    expected = fit_learned_space(features[cut.train_rows], cut.tiles.labels[cut.train_rows])
    fitted = Space.open(base.space_folder)
    assert fitted.key == expected.key
    np.testing.assert_array_equal(base.corrected.values, expected.apply(features[cut.base_rows]).values)
    np.testing.assert_array_equal(base.timed.corrected, base.corrected.values[base.timed.rows])
    desk.made()
    fewer = dataclasses.replace(entry, space=dataclasses.replace(LEARNED, whiten=2))
    assert prepare_base(desk.cache, fewer, cut, QUERIES).corrected.values.shape == (16, 2)
    assert desk.made() == ["space", "truth"]


def test_learned_whitening_without_labels_or_tiles_that_train_is_refused_before_anything_is_described(
    desk: Desk, corpus: CorpusSpec
) -> None:
    entry = BackboneEntry("network", NETWORK, space=LEARNED)
    cut = prepare_tiles(desk.cache, corpus)
    unlabelled = dataclasses.replace(
        cut, tiles=dataclasses.replace(cut.tiles, table=cut.tiles.table.drop(columns="label"))
    )
    searched = prepare_tiles(desk.cache, dataclasses.replace(corpus, train_frac=0.0))
    one_class = dataclasses.replace(cut, train_rows=cut.train_rows[cut.tiles.labels[cut.train_rows] == "a"])
    desk.made()
    for wrong, message in (
        (unlabelled, "needs labelled tiles among those that train, and there are none"),
        (searched, "needs tiles that train and are not searched. Set corpus.train_frac above 0"),
        (one_class, "have 1 labels; pairs that match and pairs that do not are needed"),
    ):
        with pytest.raises(CorpusError, match=message):
            prepare_base(desk.cache, entry, wrong, QUERIES)
    assert desk.made() == []


def suite_text(source: str, **changes: str) -> str:
    lines = {
        "corpus": f'source = "{source}"\ntile_px = 16\n',
        "backbone.a": 'model = "resnet10t"\npreprocess = "native"\npool = "gem"\n',
        "engine.exact": "",
        "queries": "count = 4\nk = 3\n",
        "judge": 'method = "labels"\nrelevant = "same_label"\n',
    }
    lines.update({key.replace("__", "."): text for key, text in changes.items()})
    lines.pop("judge")
    return "\n".join(f"[{table}]\n{text}" for table, text in lines.items())


def faults_of(tmp_path: Path, text: str) -> str:
    path = tmp_path / "suite.toml"
    path.write_text(text)
    with pytest.raises(SuiteError) as caught:
        read_suite(path)
    return str(caught.value)


def test_suites_that_describe_what_is_not_there_are_refused(tmp_path: Path, corpus: CorpusSpec) -> None:
    whole = suite_text("scene", backbone__a='model = "resnet10t"\npreprocess = "whole"\n')
    assert "preprocess = 'whole' describes the files of a folder or zip of images" in faults_of(tmp_path, whole)
    learned = suite_text(corpus.source, space='whitening = "learned"\n')
    assert "with corpus.train_frac = 0 there are none" in faults_of(tmp_path, learned)
    uncentred = suite_text(corpus.source, space='whitening = "learned"\ncenter = false\n')
    assert "whitening = 'learned' needs center = true" in faults_of(tmp_path, uncentred)
    unknown = suite_text(corpus.source, space='whitening = "zca"\n')
    assert "whitening = 'zca'; it must be one of 'pca', 'learned'" in faults_of(tmp_path, unknown)
    pool = suite_text(corpus.source, backbone__a='model = "resnet10t"\npreprocess = "native"\npool = "netvlad"\n')
    assert "pool = 'netvlad' is unknown; known: cls, mean, cls_gem, mac, spoc, gem" in faults_of(tmp_path, pool)


def test_scales_are_a_list_and_lists_of_lists_make_variants(tmp_path: Path, corpus: CorpusSpec) -> None:
    path = tmp_path / "suite.toml"
    scales = "scales = [[1], [1.0, 0.7071, 0.5]]\n"
    path.write_text(suite_text(corpus.source, backbone__a=f'model = "resnet10t"\npreprocess = "native"\n{scales}'))
    suite = read_suite(path)
    assert [entry.spec.scales for entry in suite.backbones] == [(1.0,), (1.0, 0.7071, 0.5)]
    first, second = suite.to_json()["backbones"]
    assert "scales" not in first["spec"]
    assert second["spec"]["scales"] == [1.0, 0.7071, 0.5]
    assert "whitening" not in suite.to_json()["space"]
