"""Any folder of labelled images in the format of the revisited benchmarks, and back."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.__main__ import main
from bench.judging.judge import JudgeSpec, judge_tiles
from bench.judging.labelled_truth import TruthRules, labelled_truth, write_labelled_truth
from ris_core.errors import ArtifactError, CorpusError
from ris_core.tiles import TileSpec, cut_tiles
from ris_core.tiling.ground_truth import read_ground_truth
from ris_core.tiling.image_folder import list_images


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six images of water, four of field, one of sand."""
    root = tmp_path / "images"
    for label, count in (("water", 6), ("field", 4), ("sand", 1)):
        (root / label).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (12, 10), (10 * i + 20, 90, 120)).save(root / label / f"{i}.png")
    return root


def test_classes_become_easy_images_and_the_round_trip_keeps_them(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "gnd.json"
    assert main(["ground-truth", str(folder), "--out", str(out), "--per-class", "2", "--seed", "3"]) == 0
    truth = read_ground_truth(out)
    asked = [query.name for query in truth.queries]
    assert [name.split("/")[0] for name in asked] == ["field", "field", "water", "water"]  # of sand none can be spared
    assert len(truth.names) == 7
    tiles = cut_tiles(folder, TileSpec(size_px=10, ground_truth=out))
    assert tiles.labels is not None
    held_out, searched = tiles[np.arange(7, 11)], tiles[np.arange(7)]
    judged = judge_tiles(searched, JudgeSpec(easy_depth=3, medium_depth=3, hard_depth=3), held_out, truth)
    assert judged is not None
    assert set(judged.queries["stratum"]) == {"easy", "medium"}  # nothing is hard, so that medium is easy again
    for row, (label, stratum) in enumerate(zip([*held_out.labels] * 2, judged.queries["stratum"], strict=True)):  # type: ignore[misc]
        assert judged.queries["stratum"][row] == stratum
        np.testing.assert_array_equal(judged.relevant[row], searched.labels == label)
    assert judged.ignored is not None
    assert not judged.ignored.any()


def test_the_draw_follows_the_seed(folder: Path, tmp_path: Path) -> None:
    images = list_images(folder)
    names = [
        tuple(query.name for query in labelled_truth(images, TruthRules(2, seed), tmp_path / "g.json").queries)
        for seed in (0, 0, 1, 2, 3)
    ]
    assert names[0] == names[1]
    assert len(set(names)) > 1


def test_files_of_pairs_and_boxes_go_before_the_classes(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text(
        "query,image,label\nwater/0,water/1.png,hard\nwater/0,water/2,junk\nwater/0,field/0,easy\n"
        "water/0,water/3,negative\n"
    )
    (tmp_path / "boxes.csv").write_text("query;x1;y1;x2;y2\nsand/0;1;2;9.5;8\n")
    rules = TruthRules(pairs=tmp_path / "pairs.csv", boxes=tmp_path / "boxes.csv")
    truth = labelled_truth(list_images(folder), rules, tmp_path / "gnd.json")
    sand, water = truth.queries
    assert (sand.name, sand.box) == ("sand/0.png", (1, 2, 9.5, 8))
    assert (water.name, water.box) == ("water/0.png", None)
    named = {label: [truth.names[place] for place in places] for label, places in water.labels.items()}
    easy = ["field/0.png", "water/4.png", "water/5.png"]
    assert named == {"easy": easy, "hard": ["water/1.png"], "junk": ["water/2.png"]}
    assert not any(len(places) for places in sand.labels.values())


@pytest.mark.parametrize(
    ("heading", "lines", "words"),
    [
        ("query,image,label", ["water/0,water/9,easy"], "line 2: 'water/9' is no image of the folder"),
        ("query,image,label", ["water/0,water/1,fine"], "line 2: label is 'fine'; it must be one of easy, hard, junk"),
        ("query,image,label", ["water/0,water/1,easy", "water/0,water/1,junk"], "line 3: .* stand there again"),
        ("query,image,label", ["water/0,water/1,easy", "water/1,water/2,easy"], "water/1.png is an image to be found"),
        ("query,x1,y1,x2,y2", ["water/0,1,2,x,4"], "line 2: 1, 2, x, 4 is no box"),
        ("query,x1,y1,x2,y2", ["water/0,4,2,1,4"], "line 2: 'water/0' must be an image, once, with x1 < x2"),
    ],
)
def test_faults_of_the_files_name_their_line(
    folder: Path, tmp_path: Path, heading: str, lines: list[str], words: str
) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("\n".join([heading, *lines]))
    rules = TruthRules(pairs=path) if "image" in heading else TruthRules(boxes=path)
    with pytest.raises(CorpusError, match=words):
        labelled_truth(list_images(folder), rules, tmp_path / "gnd.json")


def test_what_cannot_be_converted_is_told(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"gnd\.pkl: the ground truth is written as JSON"):
        write_labelled_truth(folder, TruthRules(), tmp_path / "gnd.pkl")
    with pytest.raises(CorpusError, match="per class = 0"):
        write_labelled_truth(folder, TruthRules(per_class=0), tmp_path / "gnd.json")
    (tmp_path / "c.csv").write_text("tile\n1\n")
    with pytest.raises(ArtifactError, match="lacks query"):
        labelled_truth(list_images(folder), TruthRules(boxes=tmp_path / "c.csv"), tmp_path / "g.json")
    for path in [path for path in folder.rglob("*.png") if path.stem != "0"]:
        path.unlink()
    with pytest.raises(CorpusError, match="0 queries leave 3 images to be searched; a class needs two images"):
        labelled_truth(list_images(folder), TruthRules(), tmp_path / "g.json")
