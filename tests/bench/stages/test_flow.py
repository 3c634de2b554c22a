import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from PIL import Image
from rasterio import Affine

from bench.results import StageNote
from bench.stages import flow as stages
from bench.stages.base import draw_query_rows, split_rows, without_pixels
from bench.stages.flow import Cache, prepare_base, prepare_tiles
from bench.suites.suite import BackboneEntry, CorpusSpec, QuerySpec, SpaceSpec
from ris_core.backbone import BackboneSpec
from ris_core.cluster import InProcess
from ris_core.errors import CorpusError
from ris_core.feature_batches import ExtractOptions
from ris_core.records import Tiles
from ris_core.space import Space
from ris_core.training.recipe import DinoRecipe

NETWORK = BackboneSpec(
    arch={"img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2}, preprocess="native"
)
RECIPE = DinoRecipe(
    epochs=1, warmup_epochs=0, batch=8, global_px=16, local_px=8, local_crops=1, out_dim=16, hidden_dim=16,
    bottleneck_dim=8,
)  # fmt: skip
COLOUR = BackboneEntry("colour", BackboneSpec(model="colour", preprocess="native"))
QUERIES = QuerySpec(count=6, k=4)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> CorpusSpec:
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(1)
    for label in ("a", "b"):
        (folder / label).mkdir()
        for i in range(12):
            Image.fromarray(rng.integers(1, 255, (16, 16, 3), np.uint8)).save(folder / label / f"{i:02}.png")
    return CorpusSpec(source=str(folder), tile_px=16)


class Desk:
    """A cache and the notes that its stages left."""

    def __init__(self, root: Path) -> None:
        self.notes: list[StageNote] = []
        self.cache = Cache(root, self.notes.append)

    def told(self) -> list[tuple[str, bool]]:
        told = [(note.stage, note.reused) for note in self.notes]
        self.notes.clear()
        return told


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "cache")


def test_stages_that_a_cluster_computes_are_those_of_one_process(
    desk: Desk, corpus: CorpusSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ris_core.exact_shards.SHARD_ROWS", 5)
    entry = BackboneEntry("net", NETWORK, RECIPE, extract=ExtractOptions(batch=4, shard_tiles=7))
    alone = prepare_base(desk.cache, entry, prepare_tiles(desk.cache, corpus), QUERIES)
    keys = {note.stage: note.key for note in desk.notes}
    shared = Desk(tmp_path / "shared")
    cache = dataclasses.replace(shared.cache, cluster=InProcess())  # not `IN_PROCESS`: all goes by shards
    spread = prepare_base(cache, entry, prepare_tiles(cache, corpus), QUERIES)
    assert {note.stage: note.key for note in shared.notes} == keys
    np.testing.assert_array_equal(spread.raw.values, alone.raw.values)
    np.testing.assert_array_equal(spread.truth.ids, alone.truth.ids)
    np.testing.assert_array_equal(spread.truth.distances, alone.truth.distances)
    files = {path.name for stage in ("features", "truth") for path in tmp_path.glob(f"shared/{stage}-*/*")}
    assert files == {"features.npy", "ids.npy", "space.json", "progress.json", "distances.npy", "manifest.json"}


def test_every_stage_is_done_once(desk: Desk, corpus: CorpusSpec) -> None:
    entry = BackboneEntry("net", NETWORK, RECIPE)
    for is_reused in (False, True):
        base = prepare_base(desk.cache, entry, prepare_tiles(desk.cache, corpus), QUERIES)
        order = ["tiles", "checkpoint", "features", "space", "truth"]
        assert desk.told() == [(stage, is_reused) for stage in order]
    assert base.corrected.values.shape == (24, 16)


@pytest.mark.parametrize(
    ("change", "made"),
    [
        ({"recipe": DinoRecipe(**{**RECIPE.__dict__, "seed": 1})}, ["checkpoint", "features", "space", "truth"]),
        ({"space": SpaceSpec(normalize=False)}, ["space", "truth"]),
        ({"queries": QuerySpec(count=6, k=5)}, ["truth"]),
        ({"train_frac": 0.5}, ["checkpoint", "features", "space", "truth"]),
    ],
)
def test_change_makes_what_rests_on_it_and_nothing_else(
    desk: Desk, corpus: CorpusSpec, change: dict, made: list[str]
) -> None:
    def prepare(recipe=RECIPE, space=SpaceSpec(), queries=QUERIES, train_frac=0.0) -> None:  # noqa: B008
        spec = CorpusSpec(source=corpus.source, tile_px=16, train_frac=train_frac)
        entry = BackboneEntry("net", NETWORK, recipe, space=space)
        prepare_base(desk.cache, entry, prepare_tiles(desk.cache, spec), queries)

    prepare()
    desk.told()
    prepare(**change)
    assert [stage for stage, is_reused in desk.told() if not is_reused] == made


def test_accuracy_is_read_while_a_backbone_trains(desk: Desk, corpus: CorpusSpec) -> None:
    entry = BackboneEntry("net", NETWORK, dataclasses.replace(RECIPE, epochs=3))

    def prepare(knn_every: int) -> dict[str, StageNote]:
        prepare_base(desk.cache, entry, prepare_tiles(desk.cache, corpus), QUERIES, knn_every)
        found = {note.stage: note for note in desk.notes}
        desk.notes.clear()
        return found

    plain, probed = prepare(0), prepare(2)
    logs = [[json.loads(line) for line in (Path(notes["checkpoint"].folder) / "log.txt").read_text().splitlines()]
            for notes in (plain, probed)]  # fmt: skip
    assert [["knn_20" in record for record in log] for log in logs] == [[False] * 3, [False, True, True]]
    assert [record["train_loss"] for record in logs[0]] == [record["train_loss"] for record in logs[1]]
    finished = {name: probed["space"].notes[name] for name in ("knn_10", "knn_20")}
    assert {name: logs[1][-1][name] for name in finished} == finished
    assert finished == {name: plain["space"].notes[name] for name in finished}
    started = {"knn_10_start", "knn_20_start"}
    assert started <= set(probed["checkpoint"].notes)
    assert not started & set(plain["checkpoint"].notes)
    answers = pd.read_csv(Path(probed["space"].folder) / "knn.csv")
    assert list(answers) == ["tile", "label", "knn_10", "knn_20"]
    assert (answers["knn_20"] == answers["label"]).mean() == finished["knn_20"]
    assert prepare(2)["checkpoint"].reused
    assert not prepare(1)["checkpoint"].reused


def test_another_corpus_file_is_another_corpus(desk: Desk, tmp_path: Path) -> None:
    for value in (50, 60):
        folder = tmp_path / "grey" / "x"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((16, 16, 3), value, np.uint8)).save(folder / f"{value}.png")
        prepare_tiles(desk.cache, CorpusSpec(source=str(tmp_path / "grey"), tile_px=16))
    assert desk.told() == [("tiles", False), ("tiles", False)]


def test_truth_is_exact_and_leaves_the_query_out(desk: Desk, corpus: CorpusSpec) -> None:
    base = prepare_base(desk.cache, COLOUR, prepare_tiles(desk.cache, corpus), QUERIES)
    values = base.corrected.values.astype(np.float64)
    assert base.truth.ids.shape == (6, 14)
    for row, found, distances in zip(base.timed.rows, base.truth.ids, base.truth.distances, strict=True):
        expected = np.square(values - values[row]).sum(axis=1)
        expected[row] = np.inf
        assert base.corrected.ids[row] not in found
        np.testing.assert_allclose(distances, np.sort(expected)[:14], rtol=1e-5)


def test_split_halves_are_disjoint_and_searched_tiles_are_one_of_them(desk: Desk, corpus: CorpusSpec) -> None:
    cut = prepare_tiles(desk.cache, CorpusSpec(source=corpus.source, tile_px=16, train_frac=0.25))
    assert (len(cut.train_rows), len(cut.base_rows)) == (6, 18)
    assert not set(cut.train_rows) & set(cut.base_rows)
    base = prepare_base(desk.cache, COLOUR, cut, QUERIES)
    assert base.corrected.ids.tolist() == base.raw.ids[base.rows].tolist() == cut.tiles.ids[cut.base_rows].tolist()
    again = base.asked_by(base.corrected.ids[[0, 17]])
    np.testing.assert_array_equal(again.raw, base.raw.values[cut.base_rows[[0, 17]]])
    np.testing.assert_array_equal(again.corrected, base.corrected.values[[0, 17]])


def test_corrected_features_lie_beside_their_space_over_what_an_earlier_attempt_left(
    desk: Desk, corpus: CorpusSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save_half(space: Space, folder: Path) -> None:
        np.save(folder / "features.npy", np.zeros((3, 6), np.float32))
        raise KeyboardInterrupt

    cut = prepare_tiles(desk.cache, corpus)
    with monkeypatch.context() as patched:
        patched.setattr(Space, "save", save_half)
        with pytest.raises(KeyboardInterrupt):
            prepare_base(desk.cache, COLOUR, cut, QUERIES)
    base = prepare_base(desk.cache, COLOUR, cut, QUERIES)
    space = Space.open(base.space_folder)
    expected = space.apply(base.raw).values
    np.testing.assert_array_equal(np.load(base.space_folder / "features.npy"), expected)
    np.testing.assert_array_equal(base.corrected.values, expected)
    assert base.corrected.space == space.key


def test_split_that_leaves_nothing_is_refused(desk: Desk, corpus: CorpusSpec) -> None:
    with pytest.raises(CorpusError, match="24 tiles leave 0 to train on"):
        prepare_tiles(desk.cache, CorpusSpec(source=corpus.source, tile_px=16, train_frac=0.01))


def test_split_by_blocks_tears_no_block_apart() -> None:
    blocks = np.repeat(np.arange(10), [1, 2, 3, 4, 5, 5, 4, 3, 2, 1])
    trained, searched = split_rows(30, 0.5, 0, blocks)
    assert not set(blocks[trained]) & set(blocks[searched])
    assert np.sort(np.concatenate([trained, searched])).tolist() == list(range(30))
    assert abs(len(trained) - 15) <= 2  # half of the largest block at most
    assert split_rows(30, 0.5, 1, blocks)[0].tolist() != trained.tolist()


def test_tiles_of_one_block_of_ground_lie_in_one_half(desk: Desk) -> None:
    scene = CorpusSpec(scene_px=512, tile_px=32, train_frac=0.5, split_block_px=128)
    cut = prepare_tiles(desk.cache, scene)
    places = (cut.tiles.table[["row_px", "col_px"]].to_numpy() + 16) // 128
    halves = [{tuple(place) for place in places[rows]} for rows in (cut.train_rows, cut.base_rows)]
    assert halves[0]
    assert halves[1]
    assert not halves[0] & halves[1]


def test_two_splits_never_share_what_was_made_of_their_tiles(desk: Desk) -> None:
    """Of equally many tiles, the first of them the same: block sizes of 64 and 128 px are such a pair for this seed."""
    bases = []
    for block_px in (64, 128):
        scene = CorpusSpec(scene_px=512, tile_px=32, train_frac=0.5, split_block_px=block_px)
        base = prepare_base(desk.cache, COLOUR, prepare_tiles(desk.cache, scene), QUERIES)
        bases.append(base)
        rows = base.timed.rows
        nearest = np.square(base.corrected.values[None] - base.timed.corrected[:, None]).sum(axis=2)
        nearest[np.arange(len(rows)), rows] = np.inf
        assert np.allclose(base.truth.distances[:, 0], nearest.min(axis=1), rtol=1e-4, atol=1e-6)
    assert bases[0].space_folder != bases[1].space_folder


def test_split_depends_on_the_seed_alone() -> None:
    first, again, other = (split_rows(100, 0.5, seed)[0].tolist() for seed in (1, 1, 2))
    assert first == again != other
    everything = np.arange(100).tolist()
    assert [rows.tolist() for rows in split_rows(100, 0, 1)] == [everything, everything]


def test_queries_are_different_tiles_drawn_by_seed() -> None:
    rows = draw_query_rows(50, 20, 3)
    assert len(set(rows.tolist())) == 20
    assert rows.tolist() == draw_query_rows(50, 20, 3).tolist() != draw_query_rows(50, 20, 4).tolist()


def test_judges_see_no_pixels() -> None:
    table = pd.DataFrame({"id": np.arange(5), "label": list("abcde")})
    seen = without_pixels(Tiles(np.ones((5, 8, 8, 3), np.uint8), table), np.array([1, 3]))
    assert seen.ids.tolist() == [1, 3]
    assert seen.labels is not None
    assert seen.labels.tolist() == ["b", "d"]
    assert not seen.pixels.any()


def draw_two_halves(folder: Path, size_px: int, seed: int, progress: bool) -> None:
    """A scene of two classes, left and right, in place of the real one, which takes seconds."""
    ids = np.ones((1, size_px, size_px), np.uint8)
    ids[:, :, size_px // 2 :] = 2
    place = {"transform": Affine(0.2, 0, 0, 0, -0.2, 0), "crs": "EPSG:3857", "width": size_px, "height": size_px}
    for name, pixels in (("ortho.tif", np.repeat(ids * 90, 3, axis=0)), ("classes.tif", ids)):
        with rasterio.open(folder / name, "w", "GTiff", count=len(pixels), dtype="uint8", nodata=0, **place) as raster:
            raster.write(pixels)
            raster.update_tags(CLASSES=json.dumps({"1": "land", "2": "sea"}))


def test_scene_brings_its_classes(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "make_scene", draw_two_halves)
    cut = prepare_tiles(desk.cache, CorpusSpec(scene_px=512, tile_px=128))
    assert [stage for stage, _ in desk.told()] == ["scene", "tiles"]
    assert cut.tiles.class_fractions is not None
    assert cut.tiles.class_fractions["sea"].tolist() == [0, 0, 1, 1] * 4
