"""Local descriptors as an artifact of a run: made once each, and the right tile's reach the re-ranker."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.__main__ import main
from bench.results import RerankResult, read_results, read_run
from bench.running import run_suite
from bench.suites.suite_file import read_suite
from ris_core.errors import SuiteError
from ris_core.local_sets import LocalSets
from ris_core.records import Tiles
from ris_core.rerank.set_similarity import chamfer, set_similarity

SUITE = """
[corpus]
source = "pictures"
queries = "asked"
tile_px = 16

[backbone.tiny]
model = "vit_tiny_patch16_224"
arch = { img_size = 16, patch_size = 4, embed_dim = 16, depth = 2, num_heads = 2 }
preprocess = "native"

[backbone.colour]
model = "colour"
preprocess = "native"

[engine.exact]
backbones = ["tiny", "colour"]

[rerank.local]
kind = "local_descriptors"
backbones = ["tiny"]
top = 8
count = 4
query_count = 6
dimensions = 8
layer = [-1, -2]
global_weight = 0.0

[queries]
count = 4
k = 5

[judge]
per_label = 3
label_depth = 8

[measure]
rounds = 1
processes = 1
"""


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with pictures of two kinds, six of them held out; reports are not drawn."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_suite, "write_report", lambda folder: folder / "index.html")
    monkeypatch.delenv("RIS_CACHE", raising=False)
    rng = np.random.default_rng(0)
    for label, count in (("field", 12), ("water", 12), ("asked/field", 3), ("asked/water", 3)):
        folder = tmp_path / "pictures" / label
        folder.mkdir(parents=True)
        for i in range(count):
            blocks = rng.integers(20, 235, (4, 4, 3))
            pixels = np.kron(blocks, np.ones((4, 4, 1))) + rng.normal(0, 12, (16, 16, 3))
            Image.fromarray(np.clip(pixels, 1, 254).astype(np.uint8)).save(folder / f"{i:02}.png")
    (tmp_path / "small.toml").write_text(SUITE, encoding="utf-8")
    return tmp_path


def test_answers_are_ordered_by_the_descriptors_of_their_own_tiles(desk: Path) -> None:
    assert main(["run", "small.toml", "-k", "rerank", "--run-id", "one"]) == 0
    folder = desk / "reports" / "small" / "one"
    notes = [note for note in read_run(folder).stage_notes if note.stage == "local"]
    assert [(note.notes["n"], note.notes["d"], note.notes["tile_bytes"]) for note in notes] == [(30, 8, 6 * 8 * 2)] * 2
    rows = [row for row in read_results(folder) if isinstance(row, RerankResult)]
    (tiles_folder,) = (desk / ".ris_cache").glob("tiles-*")
    place = {int(tile): number for number, tile in enumerate(Tiles.open(tiles_folder).ids)}
    for row, note in zip(rows, notes, strict=True):
        assert row.size_bytes == 24 * 4 * 8 * 2  # four descriptors of each indexed tile
        sets, hits = LocalSets(Path(note.folder)), np.load(folder / row.hits_file)
        for query, ids in zip(hits["query_ids"], hits["ids"], strict=True):
            own = sets.strongest(place[int(query)], 6)
            scores = chamfer(set_similarity(own, sets.strongest([place[int(tile)] for tile in ids], 4)))
            assert (np.diff(scores) <= 1e-6).all()
            assert place[int(query)] not in [place[int(tile)] for tile in ids]


def test_backbones_without_a_map_are_refused_before_anything_runs(desk: Path) -> None:
    (desk / "small.toml").write_text(SUITE.replace('backbones = ["tiny"]\n', ""), encoding="utf-8")
    with pytest.raises(SuiteError, match=r"\[rerank\.local\] kind = 'local_descriptors' needs a network's map"):
        read_suite(Path("small.toml"))


@pytest.mark.parametrize(
    ("kind", "keys", "message"),
    [
        ("ames", 'weights = "dinov2_ames.pt"', "weights = 'dinov2_ames.pt' is no file. Fetch one from http://ptak"),
        ("geometric", 'matcher = "loftr"', "needs loftr_outdoor.ckpt of https://huggingface.co/kornia/loftr"),
    ],
)
def test_missing_weights_are_told_before_anything_runs(desk: Path, kind: str, keys: str, message: str) -> None:
    head, _, rest = SUITE.partition("[rerank.local]")
    tail = rest.partition("[queries]")[2]
    table = f'[rerank.local]\nkind = "{kind}"\nbackbones = ["tiny"]\ntop = 8\n{keys}\n\n[queries]'
    (desk / "small.toml").write_text(head + table + tail, encoding="utf-8")
    with pytest.raises(SuiteError) as error:
        read_suite(Path("small.toml"))
    assert message in str(error.value)
