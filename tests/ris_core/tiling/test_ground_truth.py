"""Ground truth as the revisited benchmarks ship it, read as data and nothing else."""

import dataclasses
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rasterio import Affine

from ris_core.errors import CorpusError
from ris_core.tiles import TileSpec, count_cells, cut_tiles
from ris_core.tiling.ground_truth import AskedImage, GroundTruth, find_named, read_ground_truth, write_ground_truth
from ris_core.tiling.image_folder import list_images

IMAGES = ("all_souls_000013", "all_souls_000026", "oxford_002985")


def table(**changes: Any) -> dict[str, Any]:
    """Two queries over three images, as the published files have them."""
    entry = {"bbx": [4.0, 2.5, 12.0, 10.5], "easy": np.array([0]), "hard": np.array([2]), "junk": np.array([1])}
    other = {"bbx": np.array([0, 0, 16, 20]), "easy": np.array([]), "hard": np.array([0, 1]), "junk": np.array([])}
    entries = [{**entry, **changes.pop("entry", {})}, {key: np.asarray(v).astype(int) for key, v in other.items()}]
    return {"imlist": list(IMAGES), "qimlist": ["ashmolean_000058", "balliol_000051"], "gnd": entries} | changes


def saved(path: Path, content: Any, protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(content, protocol))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The images in the published layout: 16 x 20 px each, brighter from left to right."""
    (tmp_path / "jpg").mkdir()
    ramp = np.repeat(np.linspace(10, 240, 16, dtype=np.uint8)[None], 20, axis=0)
    for name in (*IMAGES, "ashmolean_000058", "balliol_000051"):
        Image.fromarray(np.stack([ramp] * 3, axis=2)).save(tmp_path / "jpg" / f"{name}.jpg", quality=95)
    return tmp_path


def check(truth: GroundTruth) -> None:
    assert truth.names == IMAGES
    assert [query.name for query in truth.queries] == ["ashmolean_000058", "balliol_000051"]
    assert [query.box for query in truth.queries] == [(4.0, 2.5, 12.0, 10.5), (0, 0, 16, 20)]
    assert {label: places.tolist() for label, places in truth.queries[1].labels.items()} == {
        "easy": [], "hard": [0, 1], "junk": []}  # fmt: skip


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_of_any_protocol_is_read(tmp_path: Path, protocol: int) -> None:
    check(read_ground_truth(saved(tmp_path / "gnd.pkl", table(), protocol)))


def test_strings_of_python_2_are_read(tmp_path: Path) -> None:
    def old(value: Any) -> Any:
        if isinstance(value, dict):
            return {old(key): old(item) for key, item in value.items()}
        if isinstance(value, list):
            return [old(item) for item in value]
        return value.encode("latin1") if isinstance(value, str) else value

    # What Python 2 writes as its str, Python 3 reads as bytes where it is told so; bytes of Python 3 come out the same.
    check(read_ground_truth(saved(tmp_path / "gnd.pkl", old(table()), 3)))
    by_hand = b"(dp0\nS'imlist'\np1\n(lp2\nS'a'\np3\nasS'qimlist'\np4\n(lp5\nS'b'\np6\nasS'gnd'\np7\n(lp8\n(dp9\n"
    by_hand += b"S'bbx'\np10\n(lp11\nF1.5\naF2\naF3\naF4\nasS'easy'\np12\n(lp13\nI0\nasS'hard'\np14\n(lp15\n"
    by_hand += b"sS'junk'\np16\n(lp17\nsas."
    (tmp_path / "old.pkl").write_bytes(by_hand)  # protocol 0, as Python 2's pickle.dump wrote it by default
    truth = read_ground_truth(tmp_path / "old.pkl")
    assert (truth.names, truth.queries[0].name, truth.queries[0].box) == (("a",), "b", (1.5, 2.0, 3.0, 4.0))


def test_json_goes_there_and_back(tmp_path: Path) -> None:
    truth = read_ground_truth(saved(tmp_path / "gnd.pkl", table()))
    write_ground_truth(dataclasses.replace(truth, path=tmp_path / "gnd.json"))
    check(read_ground_truth(tmp_path / "gnd.json"))


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_whatever_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    names = data.draw(st.lists(st.from_regex(r"[a-z]{1,8}(/[a-z0-9_]{1,8})?", fullmatch=True), min_size=2, unique=True))
    n = len(names) - 1
    codes = np.array(data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)))
    labels = {label: np.flatnonzero(codes == i) for i, label in enumerate(("easy", "hard", "junk"))}
    box = data.draw(st.none() | st.just((1.5, 2.0, 30.25, 4.0)))
    path = tmp_path_factory.mktemp("truth") / "gnd.json"
    write_ground_truth(GroundTruth(path, tuple(names[:n]), (AskedImage(names[n], box, labels),)))
    read = read_ground_truth(path)
    assert (read.names, read.queries[0].name, read.queries[0].box) == (tuple(names[:n]), names[n], box)
    assert {k: v.tolist() for k, v in read.queries[0].labels.items()} == {k: v.tolist() for k, v in labels.items()}


class _Runs:
    def __init__(self, flag: Path) -> None:
        self.flag = flag

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.flag),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_harmful_pickle_is_refused_and_runs_nothing(tmp_path: Path, protocol: int) -> None:
    harmful = table(entry={"easy": [_Runs(tmp_path / "ran")]})
    with pytest.raises(CorpusError, match="this pickle asks for"):
        read_ground_truth(saved(tmp_path / "gnd.pkl", harmful, protocol))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"imlist": ["a", "a"]}, "imlist must be a list of different names"),
        ({"imlist": [1, 2]}, r"imlist must be a list of different names; found \[1, 2\]"),
        ({"imlist": [*IMAGES, "../secret"]}, "'../secret' leads out of the images' folder"),
        ({"imlist": [*IMAGES, "/etc/passwd"]}, "'/etc/passwd' leads out"),
        ({"imlist": [*IMAGES, "..\\secret"]}, "leads out"),
        ({"imlist": [*IMAGES, "C:secret"]}, "leads out"),
        ({"imlist": [*IMAGES, "a\0b"]}, "leads out"),
        ({"imlist": [*IMAGES, "balliol_000051"]}, "balliol_000051 is in imlist and in qimlist"),
        ({"qimlist": ["one"]}, "qimlist names 1 queries, gnd has 2"),
        ({"gnd": {"easy": [1]}}, "gnd must be a list of dicts"),
        ({"entry": {"easy": np.array([3])}}, "query ashmolean_000058: easy must list places in imlist, 0 to 2"),
        ({"entry": {"hard": np.array([-1])}}, "hard must list places"),
        ({"entry": {"hard": np.array([0.5])}}, "hard must list places"),
        ({"entry": {"junk": np.array([0])}}, "an image stands twice among its easy, hard and junk ones"),
        ({"entry": {"bbx": [4, 2, 4, 9]}}, r"bbx must be x1 < x2 and y1 < y2 .* found \[4, 2, 4, 9\]"),
        ({"entry": {"bbx": [4, 2, float("nan"), 9]}}, "bbx must be"),
        ({"entry": {"bbx": [0, 0, 10**400, 9]}}, "bbx must be"),
        ({"entry": {"bbx": "all of it"}}, "bbx must be"),
    ],
)
def test_faults_name_query_and_finding(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(CorpusError, match=words):
        read_ground_truth(saved(tmp_path / "gnd.pkl", table(**change)))


@pytest.mark.parametrize("content", [b"", b"nothing", b"\x80\x05.", b"[" * 100_000, b"[1]", b'{"gnd": 1}'])
@pytest.mark.parametrize("name", ["gnd.pkl", "gnd.json"])
def test_what_is_no_ground_truth_is_an_error_and_no_crash(tmp_path: Path, content: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorpusError, match="gnd"):
        read_ground_truth(tmp_path / name)


def test_a_list_that_holds_itself_is_an_error(tmp_path: Path) -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(CorpusError, match=r"is no readable pickle \(RecursionError"):
        read_ground_truth(saved(tmp_path / "gnd.pkl", table(imlist=endless)))


def test_ids_are_places_in_imlist_and_queries_are_cut_to_their_boxes(folder: Path) -> None:
    gnd = saved(folder / "gnd.pkl", table())
    spec = TileSpec(size_px=8, ground_truth=gnd)
    tiles = cut_tiles(folder, spec)
    assert count_cells(folder, spec) == len(tiles) == 5
    assert tiles.ids.tolist() == [0, 1, 2, 3, 4]
    assert tiles.table["raster"].tolist()[:3] == [f"jpg/{name}.jpg" for name in IMAGES]
    assert tiles.table["is_query"].tolist() == [False, False, False, True, True]
    assert "label" not in tiles.table  # the published folder is no class
    boxes = tiles.table[["box_x1", "box_y1", "box_x2", "box_y2"]]
    assert boxes.iloc[:3].isna().to_numpy().all()
    assert boxes.iloc[3].tolist() == [4, 2, 12, 10]  # halves are rounded to even, as the published crop does
    assert tiles.table.loc[3, ["row_px", "col_px"]].tolist() == [2, 4]
    whole = np.asarray(Image.open(folder / "jpg" / "ashmolean_000058.jpg"))
    np.testing.assert_array_equal(tiles.pixels[3], whole[2:10, 4:12])


def test_the_middle_of_a_box_is_enlarged_where_it_is_smaller_than_a_tile(folder: Path) -> None:
    gnd = saved(folder / "gnd.pkl", table(entry={"bbx": [4, 2, 8, 8]}))
    tiles = cut_tiles(folder, TileSpec(size_px=16, ground_truth=gnd))
    whole = np.asarray(Image.open(folder / "jpg" / "ashmolean_000058.jpg")).astype(int)
    assert tiles.pixels[3].shape == (16, 16, 3)
    assert tiles.pixels[3].min() >= whole[:, 3:9].min() - 8
    assert tiles.pixels[3].max() <= whole[:, 3:9].max() + 8
    assert tiles.table.loc[3, ["row_px", "col_px"]].tolist()[1] == 4


@pytest.mark.parametrize("box", [[4, 2, 18, 9], [-2, 2, 12, 9], [4, 2, 9, 21.5], [16.4, 2, 18, 9]])
def test_a_box_outside_of_its_image_names_query_and_size(folder: Path, box: list[float]) -> None:
    gnd = saved(folder / "gnd.pkl", table(entry={"bbx": box}))
    with pytest.raises(CorpusError, match=r"ashmolean_000058\.jpg: its box .* lies outside of its image of 16 x 20 px"):
        cut_tiles(folder, TileSpec(size_px=8, ground_truth=gnd))


def test_a_box_that_juts_out_by_rounding_is_cut_off(folder: Path) -> None:
    gnd = saved(folder / "gnd.pkl", table(entry={"bbx": [-0.6, 2, 16.7, 20.4]}))
    tiles = cut_tiles(folder, TileSpec(size_px=8, ground_truth=gnd))
    assert tiles.table.loc[3, ["box_x1", "box_y1", "box_x2", "box_y2"]].tolist() == [0, 2, 16, 20]


def test_missing_images_are_named_and_counted(folder: Path) -> None:
    for name in IMAGES[:2]:
        (folder / "jpg" / f"{name}.jpg").unlink()
    gnd = saved(folder / "gnd.pkl", table())
    with pytest.raises(CorpusError, match=r"2 of the images that it names lie .*: all_souls_000013, all_souls_000026"):
        cut_tiles(folder, TileSpec(size_px=8, ground_truth=gnd))


def test_names_are_found_with_or_without_folder_and_suffix_and_never_outside(folder: Path) -> None:
    shutil.copy(folder / "jpg" / f"{IMAGES[0]}.jpg", folder.parent / "outside.jpg")
    truth = GroundTruth(folder / "x", (IMAGES[0], f"jpg/{IMAGES[1]}", f"{IMAGES[2]}.jpg"), ())
    assert find_named(list_images(folder), truth) == [f"jpg/{name}.jpg" for name in IMAGES]
    with pytest.raises(CorpusError, match="1 of the images"):
        find_named(list_images(folder), GroundTruth(folder / "x", ("../outside",), ()))


def test_class_folders_label_the_tiles(tmp_path: Path) -> None:
    for name in ("water/a", "field/b", "water/c"):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (9, 9), (90, 90, 90)).save(path)
    labels: dict[str, np.ndarray] = {label: np.array([], np.int64) for label in ("hard", "junk")}
    asked = AskedImage("water/c", None, {"easy": np.array([0]), **labels})
    truth = GroundTruth(tmp_path / "g.json", ("water/a", "field/b"), (asked,))
    write_ground_truth(truth)
    tiles = cut_tiles(tmp_path, TileSpec(size_px=9, ground_truth=truth.path))
    assert tiles.labels is not None
    assert tiles.labels.tolist() == ["water", "field", "water"]
    assert tiles.table["box_x1"].isna().all()


def test_what_does_not_go_with_a_ground_truth_is_refused(folder: Path, tmp_path: Path) -> None:
    gnd = saved(folder / "gnd.pkl", table())
    with pytest.raises(CorpusError, match="sample is 2, which would leave out images"):
        cut_tiles(folder, TileSpec(size_px=8, ground_truth=gnd, sample=2))
    shape = {"width": 16, "height": 16, "count": 3, "dtype": "uint8", "crs": "EPSG:25832"}
    with rasterio.open(tmp_path / "a.tif", "w", "GTiff", transform=Affine(1, 0, 0, 0, -1, 16), **shape):
        pass
    with pytest.raises(CorpusError, match="is no folder of images, and only these have a ground truth"):
        cut_tiles(tmp_path / "a.tif", TileSpec(size_px=8, ground_truth=gnd))
