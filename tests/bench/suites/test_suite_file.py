import dataclasses
from pathlib import Path

import pytest

from bench.suites.suite import ParamSet, Suite
from bench.suites.suite_faults import corpus_faults, split_sizes
from bench.suites.suite_file import find_suite, read_suite
from ris_core.backbone import BackboneSpec, build_backbone, save_weights
from ris_core.engines.falconn import FalconnParams, FalconnQuery
from ris_core.errors import SuiteError
from ris_core.feature_batches import ExtractOptions

SMALL = """
[suite]
title = "A small suite"

[corpus]
scene_px = 1024
tile_px = 128

[backbone.colour]
model = "colour"

[engine.exact]

[queries]
count = 20
k = 10
"""


def write(folder: Path, text: str, name: str = "small.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def faults_of(path: Path, *overrides: str) -> str:
    with pytest.raises(SuiteError) as caught:
        read_suite(path, overrides)
    return str(caught.value)


def test_suite_is_read_with_its_defaults(tmp_path: Path) -> None:
    suite = read_suite(write(tmp_path, SMALL))
    assert (suite.name, suite.about.title) == ("small", "A small suite")
    assert suite.corpus.tile_px == 128
    assert suite.queries.space == ("corrected",)
    assert [entry.name for entry in suite.backbones] == ["colour"]


def test_five_faults_are_told_at_once(tmp_path: Path) -> None:
    text = """
    [corpus]
    scene_px = 1024
    tile_px = 128
    tile_pixels = 4
    [backbone.colour]
    modle = "colour"
    [engine.lsh]
    [engine.falconn]
    hash_bits = 30
    [queries]
    count = "many"
    k = 64
    """
    message = faults_of(write(tmp_path, text), "measure.rounds=0")
    lines = message.splitlines()
    assert "7 faults" in lines[0]
    assert "small.toml" in lines[0]
    assert len(lines) == 8
    for part in (
        "[corpus] has unknown key 'tile_pixels'. Did you mean 'tile_px'?",
        "[backbone.colour] has unknown key 'modle'. Did you mean 'model'?",
        "[engine.lsh] kind = 'lsh' is no engine",
        "[queries] count = 'many'; it must be a whole number.",
        "[measure] rounds = 0; it must be at least 1.",
    ):
        assert part in message


def test_faults_that_need_the_corpus_size_are_told_before_anything_runs(tmp_path: Path) -> None:
    engine = "[engine.falconn]\nhash_bits = 20\n"
    overrides = ("queries.k=64", "queries.count=65", "corpus.sample=100")
    message = faults_of(write(tmp_path, SMALL + engine), *overrides)
    assert "4 faults" in message
    assert "k = 64, but the index holds 64 tiles" in message
    assert "k must be at most 63" in message
    assert "count = 65; the index holds only 64 tiles" in message
    assert "sample = 100; the corpus gives at most 64 tiles" in message
    assert "[engine.falconn] hash_bits = 20; allowed: 1 to 8" in message


def test_split_halves_what_is_indexed(tmp_path: Path) -> None:
    path = write(tmp_path, SMALL)
    assert "the index holds 32 tiles" in faults_of(path, "corpus.train_frac=0.5", "queries.k=32")
    assert split_sizes(10, 0) == (10, 10)
    assert split_sizes(10, 0.3) == (7, 3)


def test_wrong_value_hides_no_fault_elsewhere_and_is_told_once(tmp_path: Path) -> None:
    message = faults_of(write(tmp_path, SMALL), "queries.k='x'", "measure.warmup=-1")
    assert message.count("[queries] k") == 1
    assert "2 faults" in message


@pytest.mark.parametrize(
    ("override", "finding"),
    [
        ("corpus.source=nowhere.tif", "source = 'nowhere.tif' does not exist"),
        ("corpus.labels=nowhere.csv", "labels = 'nowhere.csv' does not exist"),
        ("corpus.scene_px=100", "scene_px = 100; it must be at least 512"),
        ("corpus.train_frac=1", "train_frac = 1.0; it must be in [0, 1)"),
        ("corpus.tile_px=2048", "tile_px = 2048 is larger than the scene"),
        ("corpus.stride_px=0", "stride is 0 px"),
        ("backbone.colour.train.method=dino", "model 'colour' has nothing to train"),
        ("backbone.x.model=vit_tiny_patch16_225", "is no timm model"),
        ("backbone.x.arch={ depht = 3 }", "depht"),
        ("backbone.x.train={ epochs = 3, method = 'mae' }", "method = 'mae'; it must be one of 'dino'"),
        ("engine.exact.query.tables=3", "has unknown key 'tables'. It takes no keys."),
        ("engine.falconn.query.probes=3", "Did you mean 'probes_per_table'?"),
        ("engine.falconn.query=3", "must be a table"),
        ("engine.falconn.tables=[]", "empty list"),
        ("engine.falconn={ hash_bits = 5, tables = [3, 3] }", "names a value twice"),
        ("engine.falconn={ hash_bits = 5, tables = 0 }", "tables = 0; allowed: 1 or more"),
        ("queries.space=['corrected', 'corrected']", "names one twice"),
        ("measure.modes=[]", "modes is empty"),
        ("measure.threads=[0]", "each must be at least 1"),
        ("space.whiten=7", "whiten = 7; colour has only 6 dimensions"),
        ("judge.easy_depth=0", "easy_depth = 0"),
        ("backbone='x'", "no [backbone.NAME] table"),
        ("corpus.tile_px.x=1", "corpus.tile_px is 128, not a table"),
        ("corpsu.tile_px=1", "unknown key 'corpsu'. Did you mean 'corpus'?"),
    ],
)
def test_fault_names_key_finding_and_remedy(tmp_path: Path, override: str, finding: str) -> None:
    assert finding in faults_of(write(tmp_path, SMALL), override)


def test_raw_queries_do_not_fit_a_whitened_index(tmp_path: Path) -> None:
    message = faults_of(write(tmp_path, SMALL), "space.whiten=4", "queries.space=['corrected', 'as_published']")
    assert "raw queries of colour have 6 dimensions, the index 4. Leave it out" in message
    read_suite(write(tmp_path, SMALL), ["space.whiten=6", "queries.space=['as_published']"])


def test_empty_suite_says_what_it_needs(tmp_path: Path) -> None:
    message = faults_of(write(tmp_path, ""))
    assert "no [backbone.NAME] table; at least one backbone is needed" in message
    assert "no [engine.NAME] table" in message


def test_file_that_is_no_toml_names_the_line(tmp_path: Path) -> None:
    assert "at line 1" in faults_of(write(tmp_path, "[corpus\n[x]"))


def test_missing_file_names_the_known_suites() -> None:
    with pytest.raises(SuiteError, match=r"Did you mean 'demo'\?.*rsscn7"):
        find_suite("dmo")


def test_override_beats_the_file_and_is_kept(tmp_path: Path) -> None:
    suite = read_suite(write(tmp_path, SMALL), ["queries.k=7", "backbone.b.model=colour"])
    assert suite.queries.k == 7
    assert [entry.name for entry in suite.backbones] == ["colour", "b"]
    assert suite.overrides == ("queries.k=7", "backbone.b.model=colour")


def test_lists_become_variants_with_names(tmp_path: Path) -> None:
    network = """
    [backbone.net]
    model = "vit_tiny_patch16_224"
    seed = [0, 1]
    train = { method = "dino", epochs = [20, 30], batch = 8, global_px = 112 }
    """
    suite = read_suite(write(tmp_path, SMALL + network))
    names = [entry.name for entry in suite.backbones[1:]]
    assert names == ["net-seed0-epochs20", "net-seed0-epochs30", "net-seed1-epochs20", "net-seed1-epochs30"]
    assert suite.backbone("net-seed1-epochs30").recipe.epochs == 30


LIKE = """
[backbone.wide]
like = "net"
arch.embed_dim = 384
train.out_dim = 128

[backbone.net]
model = "vit_tiny_patch16_224"
arch = { img_size = 64, embed_dim = 192 }
train = { method = "dino", epochs = 20, batch = 8, global_px = 64, local_px = 32 }

[backbone.untrained]
like = "wide"
train = false
"""


def test_backbone_may_be_like_another(tmp_path: Path) -> None:
    suite = read_suite(write(tmp_path, SMALL + LIKE))
    net, wide, untrained = (suite.backbone(name) for name in ("net", "wide", "untrained"))
    assert wide.spec == dataclasses.replace(net.spec, arch={"img_size": 64, "embed_dim": 384})
    assert wide.recipe == dataclasses.replace(net.recipe, out_dim=128)
    assert (untrained.spec, untrained.recipe) == (wide.spec, None)
    assert [entry.name for entry in suite.backbones] == ["colour", "wide", "net", "untrained"]


def test_variant_is_like_the_variant_of_the_same_lists(tmp_path: Path) -> None:
    lists = ("backbone.net.seed=[0, 1]", "backbone.net.train.seed=[3, 4]", "backbone.wide.train.local_crops=[0, 2]")
    suite = read_suite(write(tmp_path, SMALL + LIKE), lists)
    likes = {entry.name: entry.like for entry in suite.backbones}
    assert len(likes) == 1 + 8 + 4 + 2
    assert likes["wide-seed1-train.seed3-local_crops2"] == "net-seed1-train.seed3"
    assert likes["net-seed0-train.seed4"] == ""
    assert set(likes.values()) - {""} <= {*likes, "wide-seed0", "wide-seed1"}  # wide has no untrained variant


def test_backbones_of_one_name_are_a_fault(tmp_path: Path) -> None:
    again = '[backbone."net-seed1"]\nmodel = "colour"\n'
    path = write(tmp_path, SMALL + LIKE + again)
    assert "[backbone] 'net-seed1' names several" in faults_of(path, "backbone.net.seed=[0, 1]")
    assert "'net-seed1' names several" in faults_of(write(tmp_path, SMALL + LIKE), "backbone.net.seed=[1, 1]")


def test_empty_list_makes_no_backbone_vanish(tmp_path: Path) -> None:
    for key in ("seed", "train.seed"):
        told = faults_of(write(tmp_path, SMALL + LIKE), f"backbone.net.{key}=[]", f"backbone.wide.{key}=1")
        assert "[backbone.net] has an empty list; name at least one value." in told
        assert "[backbone.wide]" not in told


def test_override_of_a_backbone_reaches_those_like_it(tmp_path: Path) -> None:
    path = write(tmp_path, SMALL + LIKE)
    suite = read_suite(path, ["backbone.net.train.epochs=30", "backbone.net.train.out_dim=64"])
    recipes = [suite.backbone(name).recipe for name in ("net", "wide")]
    assert [(recipe.epochs, recipe.out_dim) for recipe in recipes] == [(30, 64), (30, 128)]
    assert suite.text == SMALL + LIKE  # the run's record keeps what was written
    assert [entry["like"] for entry in suite.to_json()["backbones"]] == ["", "net", "", "wide"]


def test_likeness_is_for_backbones_that_exist(tmp_path: Path) -> None:
    assert "[backbone.wide] like = 'nte'; it must name another table of the section: colour, net" in faults_of(
        write(tmp_path, SMALL + LIKE), "backbone.wide.like=nte"
    )
    assert "[engine.exact] has unknown key 'like'" in faults_of(write(tmp_path, SMALL), "engine.exact.like=falconn")
    assert "train = True must be a table" in faults_of(write(tmp_path, SMALL), "backbone.colour.train=true")


def test_build_and_query_grids_are_apart(tmp_path: Path) -> None:
    engine = """
    [engine.fast]
    kind = "falconn"
    tables = [1, 2]
    hash_bits = 5
    query.probes_per_table = [1, 3]
    """
    grid = read_suite(write(tmp_path, SMALL + engine)).engines[1]
    assert (grid.name, grid.kind) == ("fast", "falconn")
    assert [point.params.tables for point in grid.builds] == [1, 2]
    assert [point.params.probes_per_table for point in grid.queries] == [1, 3]
    assert grid.builds[0].label() == "tables1-hash_bits5"


def test_labels_are_looked_for_beside_the_source(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "labels.csv").write_text("row,col,label\n", encoding="utf-8")
    (folder / "ortho.tif").write_bytes(b"")
    message = faults_of(write(tmp_path, SMALL), f"corpus.source={folder / 'ortho.tif'}", "corpus.labels=labels.csv")
    assert "labels =" not in message
    assert "ortho.tif" in message  # no raster, and said so


def test_source_is_looked_for_beside_the_suite(tmp_path: Path) -> None:
    (tmp_path / "ortho.tif").write_bytes(b"")
    assert "source =" not in faults_of(write(tmp_path, SMALL), "corpus.source=ortho.tif")


def test_resolved_suite_is_json_and_holds_the_defaults(tmp_path: Path) -> None:
    resolved = read_suite(write(tmp_path, SMALL), ["corpus.classes=small.toml"]).to_json()
    assert resolved["measure"]["rounds"] == 5
    assert resolved["corpus"]["classes"].endswith("small.toml")
    assert resolved["engines"][0]["builds"] == [{"params": {"device": "cpu"}, "named": []}]


def test_labels_of_parameters_say_only_what_the_suite_names() -> None:
    assert ParamSet(FalconnParams(tables=3)).label() == ""
    assert ParamSet(FalconnParams(family="hyperplane", tables=3), ("family", "tables")).label() == "hyperplane-tables3"
    assert ParamSet(FalconnQuery(max_candidates=9), ("max_candidates",)).label() == "max_candidates9"


def suite_of(tmp_path: Path, text: str = "") -> Suite:
    return read_suite(write(tmp_path, SMALL + text))


def test_corpus_faults_know_the_real_size(tmp_path: Path) -> None:
    train = 'train = { method = "dino", epochs = 20, batch = 30, global_px = 112 }'
    text = f"[backbone.net]\n{train}\n[engine.falconn]\nhash_bits = 8\n"
    suite = suite_of(tmp_path, text)
    assert corpus_faults(suite, 64, 64, {"colour": 6}) == []
    found = corpus_faults(suite, 10, 20, {"colour": 6})
    assert len(found) == 4  # k, count, batch, bits
    assert any("train batch = 30, but only 20 tiles train" in fault for fault in found)


@pytest.mark.parametrize(
    ("crops", "told"),
    [
        ("global_px = 64, local_px = 16", "tiles of 48 px are smaller than crops of 64 px"),
        ("global_px = 48, local_px = 20", "local_px = 20: vit_tiny_patch16_224 takes no crop of that size"),
    ],
)
def test_crops_that_tiles_or_network_cannot_give_are_faults(tmp_path: Path, crops: str, told: str) -> None:
    net = 'model = "vit_tiny_patch16_224"\narch = { img_size = 48, embed_dim = 24, depth = 1 }\npreprocess = "native"'
    train = f'train = {{ method = "dino", epochs = 20, batch = 2, {crops} }}'
    faults = faults_of(write(tmp_path, f"{SMALL}\n[backbone.net]\n{net}\n{train}\n"), "corpus.stored_px=48")
    assert "[backbone.net]" in faults
    assert told in faults


@pytest.mark.parametrize(
    "name",
    ["demo", "gpu", "lsh", "thesis_lsh", "lsh_scale", "lsh_speed", "revisited_small", "fingerprints", "siblings"],
)
def test_shipped_suites_on_what_is_embedded_are_sound(name: str) -> None:
    suite = read_suite(find_suite(name))
    for text in (suite.about.title, suite.about.purpose, suite.about.source, suite.about.hardware):
        assert text
    assert suite.about.duration
    assert suite.about.expected


@pytest.mark.parametrize("name", ["rsscn7", "brighton", "discrete_codes", "siblings_rsscn7"])
def test_shipped_suites_on_files_lack_nothing_but_the_files(name: str) -> None:
    lines = faults_of(find_suite(name)).splitlines()
    assert all("does not exist" in line for line in lines[-1:])
    assert "--set corpus.source=" in find_suite(name).read_text(encoding="utf-8")


def test_extraction_is_the_same_for_all_backbones(tmp_path: Path) -> None:
    text = SMALL + '[backbone.net]\nmodel = "resnet18"\n[extract]\nbatch = 8\nprecision = "fp32"\n'
    suite = read_suite(write(tmp_path, text), ["extract.threads=2"])
    for entry in suite.backbones:
        assert (entry.extract.batch, entry.extract.precision, entry.extract.threads) == (8, "fp32", 2)
    assert read_suite(write(tmp_path, SMALL)).backbones[0].extract == ExtractOptions()


@pytest.mark.parametrize(
    ("override", "finding"),
    [
        ("extract.device=cuda:99", "[extract] device = 'cuda:99': PyTorch sees"),
        ("extract.precision=fp8", "[extract] precision = 'fp8' is unknown"),
        ("extract.batch=0", "[extract] batch = 0 must be at least 1"),
        ("extract.backend=onnx", "[extract] backend = 'onnx' is unknown; known: torch, openvino"),
        ("extract.threads=0", "[extract] threads = 0 must be at least 1"),
        ("extract.bach=8", "[extract] has unknown key 'bach'. Did you mean 'batch'?"),
    ],
)
def test_impossible_extraction_is_told_before_anything_runs(tmp_path: Path, override: str, finding: str) -> None:
    assert finding in faults_of(write(tmp_path, SMALL), override)


def test_backbones_that_do_not_fit_are_told_before_anything_runs(tmp_path: Path) -> None:
    save_weights(build_backbone(BackboneSpec(arch={"depth": 1, "embed_dim": 24})), tmp_path / "other.safetensors")
    whole = (tmp_path / "other.safetensors").read_bytes()
    (tmp_path / "half.safetensors").write_bytes(whole[: len(whole) // 2])
    text = (
        SMALL
        + """
    [backbone.other]
    weights = "other.safetensors"
    [backbone.half]
    weights = "half.safetensors"
    [backbone.uneven]
    preprocess = "native"
    arch = { patch_size = 14 }
    [backbone.fixed]
    model = "mixer_s32_224"
    preprocess = "native"
    """
    )
    told = faults_of(write(tmp_path, text))
    for finding in (
        "[backbone.other] " + str(tmp_path / "other.safetensors") + ": does not fit the network",
        "[backbone.half] " + str(tmp_path / "half.safetensors") + ": not a whole checkpoint",
        "[backbone.uneven] images of 128 x 128 px do not divide into the 14 px patches",
        "[backbone.fixed] mixer_s32_224 takes no images of 128 px",
    ):
        assert finding in told


def test_a_path_that_cannot_be_looked_at_is_a_fault_of_the_suite(tmp_path: Path) -> None:
    path = tmp_path / "long.toml"
    path.write_text(f'[corpus]\nsource = "{"z" * 5000}"\n', encoding="utf-8")
    with pytest.raises(SuiteError, match=r"long\.toml: names a path that cannot be looked at"):
        read_suite(path)
