"""Tilings that are cut off and go on, here and on a cluster: held against one that is not disturbed."""

import dataclasses
import io
import os
import shutil
import signal
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ris_core.cluster import IN_PROCESS, Cluster, open_cluster
from ris_core.errors import ArtifactError, CorpusError, RisError
from ris_core.tiles import TileSpec, cut_tiles
from ris_core.tiling import gathering, image_reader, pixel_store, strips
from ris_core.tiling.gathering import ShardOrder, make_shard, open_shard
from ris_core.tiling.pixel_store import JOURNAL, PARTIAL, Batch
from ris_core.tiling.strips import TileReader

MakeRaster = Callable[..., Path]
Corpus = tuple[Path, TileSpec]
FILES = ("pixels.npy", "tiles.parquet", "tiling.json")


def noise(side: int, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).integers(1, 255, (3, side, side)).astype(np.uint8)
    values[:, side // 4 : side // 2, side // 3 :] = 0  # holds no information
    return values


def png(seed: int, side: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(1, 255, (side, side + 3, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(params=["raster", "labels", "sample", "several rasters", "pictures", "roles and distractors"])
def corpus(request: pytest.FixtureRequest, make_raster: MakeRaster, tmp_path: Path) -> Corpus:
    """A corpus of each kind, and how its tiles are cut."""
    if request.param in ("raster", "labels", "sample"):
        path = make_raster(noise(96))
        table = pd.DataFrame({"row": [1, 4, 0, 5], "col": [0, 2, 5, 5], "label": ["a", "b", "a", "c"]})
        table.to_csv(tmp_path / "labels.csv", index=False)
        return path, {
            "raster": TileSpec(size_px=16, half_offset=True, stored_px=8),
            "labels": TileSpec(size_px=16, labels=tmp_path / "labels.csv"),
            "sample": TileSpec(size_px=16, sample=20, seed=3),
        }[request.param]
    if request.param == "several rasters":
        for number in range(3):
            make_raster(noise(64, number).astype(np.uint16) * 100, f"in/{number}.tif")
        return tmp_path / "in", TileSpec(size_px=16, sample=25)
    for number in range(7):
        path = tmp_path / "images" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(number, 12 + number))
    if request.param == "pictures":
        return tmp_path / "images", TileSpec(size_px=12, sample=5)
    with tarfile.open(tmp_path / "far.tar", "w") as archive:
        for number in range(5):
            member = tarfile.TarInfo(f"{number}.png")
            member.size = len(png(10 + number, 12))
            archive.addfile(member, io.BytesIO(png(10 + number, 12)))
    (tmp_path / "gnd.json").write_text(
        '{"imlist": ["a/0.png", "b/1.png", "a/2.png"], "qimlist": ["b/3.png", "a/4.png"], "gnd": '
        '[{"bbx": [1, 2, 9, 12], "easy": [0], "hard": [], "junk": []}, {"easy": [1], "hard": [2], "junk": []}]}'
    )
    distractors = (tmp_path / "far.tar",)
    return tmp_path / "images", TileSpec(size_px=8, ground_truth=tmp_path / "gnd.json", distractors=distractors)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of a few tiles, and shards of a few pieces."""
    monkeypatch.setattr(strips, "_STRIP_PX", 3 * 16 * 16)
    monkeypatch.setattr(image_reader, "_PIECE", 2)
    monkeypatch.setattr(gathering, "SHARD_TILES", 7)


@pytest.fixture(scope="module")
def two() -> Iterator[Cluster]:
    pytest.importorskip("distributed", reason="dask.distributed is an optional extra")
    with open_cluster("local:2") as cluster:
        yield cluster


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def undisturbed(corpus: Corpus, out: Path) -> dict[str, bytes]:
    cut_tiles(*corpus, out, threads=1)
    assert sorted(content(out)) == sorted(FILES)
    return content(out)


class Killed(Exception):  # noqa: N818 - it is no error
    """In the place of SIGKILL: what the process had written stays as it was."""


@contextmanager
def killed_after(n: int) -> Iterator[None]:
    """Within it, a store dies after so many batches, or else before it puts tiles in order."""
    append, number = pixel_store.PixelStore.append, iter(range(n))

    def dying(store: pixel_store.PixelStore, *arguments: Any) -> None:
        if next(number, None) is None:
            raise Killed
        append(store, *arguments)

    def finish(*_: Any) -> None:
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pixel_store.PixelStore, "append", dying)
        patch.setattr(pixel_store.PixelStore, "finish", finish)
        with pytest.raises(Killed):
            yield


def test_tiling_by_a_cluster_equals_tiling_by_this_process_also_when_killed(
    corpus: Corpus, two: Cluster, tmp_path: Path
) -> None:
    expected = undisturbed(corpus, tmp_path / "one")
    with killed_after(1):
        cut_tiles(*corpus, tmp_path / "many", cluster=two)
    cut_tiles(*corpus, tmp_path / "many", cluster=two)
    assert content(tmp_path / "many") == expected


def test_tiling_that_was_killed_goes_on_and_reads_nothing_twice(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    appended, append = [], pixel_store.PixelStore.append

    def counted(store: pixel_store.PixelStore, pixels: np.ndarray, records: list[Any]) -> None:
        appended.append(len(records))
        append(store, pixels, records)

    monkeypatch.setattr(pixel_store.PixelStore, "append", counted)
    expected = undisturbed(corpus, tmp_path / "one")
    n_pieces = len(appended)
    with killed_after(1):
        cut_tiles(*corpus, tmp_path / "two", threads=1)
    cut_tiles(*corpus, tmp_path / "two", threads=2)
    assert content(tmp_path / "two") == expected
    assert len(appended) == 2 * n_pieces > 2


def test_tiling_that_a_cluster_began_goes_on_here(make_raster: MakeRaster, two: Cluster, tmp_path: Path) -> None:
    corpus = make_raster(noise(96)), TileSpec(size_px=16, sample=20)
    expected = undisturbed(corpus, tmp_path / "one")
    for _ in range(2):
        with killed_after(1):
            cut_tiles(*corpus, tmp_path / "two", cluster=two)
    cut_tiles(*corpus, tmp_path / "two")
    assert content(tmp_path / "two") == expected


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=10)
@given(st.data())
def test_files_torn_at_any_byte_give_the_same_tiles(
    make_raster: MakeRaster, tmp_path: Path, data: st.DataObject
) -> None:
    corpus = tmp_path / "ortho.tif", TileSpec(size_px=16, sample=12, seed=3)
    if not (tmp_path / "one").exists():
        make_raster(noise(96))
        undisturbed(corpus, tmp_path / "one")
        with killed_after(10**6):
            cut_tiles(*corpus, tmp_path / "killed", threads=1)
    shutil.rmtree(tmp_path / "two", ignore_errors=True)
    shutil.copytree(tmp_path / "killed", tmp_path / "two")
    for name in (PARTIAL, JOURNAL):
        whole = (tmp_path / "two" / name).read_bytes()
        (tmp_path / "two" / name).write_bytes(whole[: data.draw(st.integers(0, len(whole)), label=name)])
    cut_tiles(*corpus, tmp_path / "two", threads=1)
    assert content(tmp_path / "two") == content(tmp_path / "one")


def test_tiling_killed_between_pixels_and_table_goes_on(make_raster: MakeRaster, tmp_path: Path) -> None:
    corpus = make_raster(noise(96)), TileSpec(size_px=16, sample=12)
    expected = undisturbed(corpus, tmp_path / "one")

    def killed(*_: Any) -> None:
        raise Killed

    for owner in ("ris_core.tiling.mosaic._table", "ris_core.tiles.write_json"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(owner, killed)
            with pytest.raises(Killed):
                cut_tiles(*corpus, tmp_path / "two")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(TileReader, "_read_stretch", killed)  # is not called again
            cut_tiles(*corpus, tmp_path / "two")
        assert content(tmp_path / "two") == expected
        shutil.rmtree(tmp_path / "two")


@pytest.mark.parametrize("is_shared", [False, True])
def test_a_corpus_that_changed_meanwhile_is_cut_anew(
    make_raster: MakeRaster, tmp_path: Path, is_shared: bool, request: pytest.FixtureRequest
) -> None:
    cluster = request.getfixturevalue("two") if is_shared else IN_PROCESS
    path, spec = make_raster(noise(96)), TileSpec(size_px=16)
    with killed_after(1):
        cut_tiles(path, spec, tmp_path / "two", cluster=cluster)
    make_raster(noise(96, seed=1))
    expected = undisturbed((path, spec), tmp_path / "one")
    cut_tiles(path, spec, tmp_path / "two", cluster=cluster)
    assert content(tmp_path / "two") == expected


def test_too_little_information_leaves_nothing(make_raster: MakeRaster, two: Cluster, tmp_path: Path) -> None:
    path = make_raster(noise(96))
    for cluster in (IN_PROCESS, two):
        with pytest.raises(CorpusError, match="hold information"):
            cut_tiles(path, TileSpec(size_px=16, sample=36), tmp_path / "out", cluster=cluster)
        assert not list((tmp_path / "out").iterdir())


def test_an_error_on_a_worker_comes_out_as_it_does_here(tmp_path: Path, two: Cluster) -> None:
    for number in range(9):
        (tmp_path / "in" / "a").mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / "a" / f"{number}.png").write_bytes(png(number, 16 if number != 7 else 9))
    errors = []
    for cluster in (IN_PROCESS, two):
        with pytest.raises(RisError) as caught:
            cut_tiles(tmp_path / "in", TileSpec(size_px=16), tmp_path / "out", cluster=cluster)
        errors.append((type(caught.value), str(caught.value)))
        assert not list((tmp_path / "out").iterdir())
    assert errors[0] == errors[1]
    assert "7.png is 12 x 9 px, smaller than the tile" in errors[0][1]


@dataclasses.dataclass(frozen=True, eq=False)
class Dying:
    """Reads as another source does, and kills its process at the second piece, once."""

    source: Any
    mark: Path
    threads: int = 1

    def ids(self, piece: Any) -> np.ndarray:
        return np.asarray(self.source.ids(piece))

    @contextmanager
    def reading(self) -> Iterator[Callable[[Any], Batch]]:
        n_read = iter(range(10**6))

        def dying(piece: Any) -> Batch:
            if next(n_read) == 1 and not self.mark.exists():
                self.mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return read(piece)

        with self.source.reading() as read:
            yield dying


def make_dying(order: ShardOrder[Any]) -> None:
    source = Dying(order.source, order.folder.parents[2] / "killed")
    make_shard(dataclasses.replace(order, source=source))


def test_a_shard_whose_worker_was_killed_within_is_made_again(
    make_raster: MakeRaster, two: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = make_raster(noise(96)), TileSpec(size_px=16)
    expected = undisturbed(corpus, tmp_path / "one")
    monkeypatch.setattr(gathering, "make_shard", make_dying)
    cut_tiles(*corpus, tmp_path / "two", cluster=two)
    assert (tmp_path / "killed").exists()
    assert content(tmp_path / "two") == expected


def test_a_shard_that_is_there_is_not_read_again(make_raster: MakeRaster, tmp_path: Path) -> None:
    path, spec = make_raster(noise(96)), TileSpec(size_px=16)
    reader = strips_reader(path, spec)
    pieces = list(reader.stretches([reader.plan.layout.locate(np.arange(12))]))
    part, renumbered = reader.part(pieces)
    order = ShardOrder(tmp_path / "shard", part, renumbered, 16)
    make_shard(order)
    batch = open_shard(order.folder)
    with reader.reading() as read:
        expected = [read(piece) for piece in pieces]
    assert (batch.pixels == np.concatenate([one.pixels for one in expected])).all()
    assert [record["coverage"] for record in batch.records] == [one.records[0]["coverage"] for one in expected]
    make_shard(dataclasses.replace(order, source=None))  # type: ignore[arg-type]  # which nobody could read
    assert [path.name for path in tmp_path.glob("*shard*")] == ["shard"]


def test_a_shard_on_a_full_disk_says_what_to_do(make_raster: MakeRaster, tmp_path: Path) -> None:
    reader = strips_reader(make_raster(noise(96)), TileSpec(size_px=16))
    order = ShardOrder(tmp_path / "gone" / "shard", reader, [], 16)
    with pytest.raises(ArtifactError, match="cannot be written"):
        make_shard(order)


def strips_reader(path: Path, spec: TileSpec) -> TileReader:
    from ris_core.tiling.mosaic import tile_reader

    return tile_reader([path], spec, 1)
