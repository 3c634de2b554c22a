"""Shards of images that distract: read where they lie, always searched, never right."""

import io
import os
import shutil
import tarfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.judging.judge import JudgeSpec, judge_tiles
from bench.stages.base import without_pixels
from bench.stages.flow import Cache, prepare_base, prepare_tiles
from bench.suites.suite import BackboneEntry, CorpusSpec, QuerySpec
from bench.suites.suite_file import read_suite
from ris_core.backbone import BackboneSpec
from ris_core.errors import CorpusError, SuiteError
from ris_core.tiles import TileSpec, count_cells, cut_tiles
from ris_core.tiling.image_folder import list_images
from ris_core.tiling.image_shards import join_shards, list_shard, shard_fingerprint


def jpeg(number: int) -> bytes:
    rng, file = np.random.default_rng(number), io.BytesIO()
    Image.fromarray(rng.integers(1, 255, (12, 12, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


def tar(path: Path, contents: dict[str, bytes], mode: Any = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Four labelled images; a tar, a zip and a folder with three, two and one to distract."""
    root = tmp_path / "images"
    for number, name in enumerate(("water/a", "water/b", "field/a", "field/b")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / f"{name}.png").write_bytes(jpeg(number))
    (tmp_path / "r1m").mkdir()
    files = {"im/x.png": jpeg(10), "./im/y.png": jpeg(11), "z.png": jpeg(12), "list.txt": b"x"}
    tar(tmp_path / "r1m" / "shard_0.tar", files)
    (tmp_path / "packed").mkdir()
    for number, name in ((13, "u.png"), (14, "v.png")):
        (tmp_path / "packed" / name).write_bytes(jpeg(number))
    shutil.make_archive(str(tmp_path / "r1m" / "shard_1"), "zip", tmp_path / "packed")
    (tmp_path / "r1m" / "shard_2").mkdir()
    (tmp_path / "r1m" / "shard_2" / "w.png").write_bytes(jpeg(15))
    return tmp_path


def shards(corpus: Path) -> tuple[Path, ...]:
    return tuple(sorted((corpus / "r1m").iterdir()))


def spec_of(corpus: Path, **keys: Any) -> CorpusSpec:
    named = tuple(map(str, shards(corpus)))
    return CorpusSpec(source=str(corpus / "images"), tile_px=12, distractors=named, **keys)


def test_distractors_follow_the_images_and_are_read_in_place(corpus: Path) -> None:
    spec = TileSpec(size_px=12, distractors=shards(corpus))
    before = sorted(path for path in corpus.rglob("*"))
    tiles = cut_tiles(corpus / "images", spec, threads=3)
    assert sorted(path for path in corpus.rglob("*")) == before  # nothing was unpacked
    assert count_cells(corpus / "images", spec) == len(tiles) == 10
    assert tiles.table["raster"].tolist()[4:] == [
        "shard_0.tar/im/x.png", "shard_0.tar/im/y.png", "shard_0.tar/z.png", "shard_1.zip/u.png", "shard_1.zip/v.png",
        "shard_2/w.png"]  # fmt: skip
    assert tiles.table["is_distractor"].tolist() == [False] * 4 + [True] * 6
    assert tiles.labels is not None
    assert tiles.labels.tolist() == ["field", "field", "water", "water"] + [""] * 6
    for place, number in enumerate(range(10, 16), start=4):
        np.testing.assert_array_equal(tiles.pixels[place], np.asarray(Image.open(io.BytesIO(jpeg(number)))))


def test_threads_read_one_tar_at_once(corpus: Path) -> None:
    images = list_shard(shards(corpus)[0])
    wrong: list[str] = []
    with images.reading() as read:

        def check(name: str, number: int) -> None:
            wrong.extend(name for _ in range(200) if read(name) != jpeg(number))

        workers = [threading.Thread(target=check, args=a) for a in zip(images.names, (10, 11, 12), strict=True)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert wrong == []


def test_distractors_are_searched_and_never_train_ask_or_count(corpus: Path) -> None:
    cache = Cache(corpus / "cache", lambda note: None)
    for train_frac, sizes in ((0.0, (4, 10)), (0.5, (2, 8))):
        cut = prepare_tiles(cache, spec_of(corpus, train_frac=train_frac))
        assert (len(cut.train_rows), len(cut.base_rows)) == sizes
        assert not cut.tiles.table["is_distractor"].to_numpy()[cut.train_rows].any()
    cut = prepare_tiles(cache, spec_of(corpus))
    judged = judge_tiles(without_pixels(cut.tiles, cut.base_rows), JudgeSpec(per_label=2, label_depth=3))
    assert judged is not None
    assert set(judged.queries["query_id"]) == {0, 1, 2, 3}
    assert judged.relevant[:, 4:].sum() == 0
    assert judged.chance.tolist() == [1 / 9] * 4
    entry = BackboneEntry("colour", BackboneSpec(model="colour", preprocess="native"))
    assert len(prepare_base(cache, entry, cut, QuerySpec(count=4, k=9)).corrected) == 10


def test_whole_images_are_described_from_the_shards(corpus: Path) -> None:
    cache = Cache(corpus / "cache", lambda note: None)
    spec = BackboneSpec("resnet10t", preprocess="whole", whole_px=32, pool="spoc")
    base = prepare_base(cache, BackboneEntry("net", spec), prepare_tiles(cache, spec_of(corpus)), QuerySpec(2, 3))
    cut = prepare_tiles(cache, CorpusSpec(str(corpus / "images"), tile_px=12))
    alone = prepare_base(cache, BackboneEntry("net", spec), cut, QuerySpec(2, 3))
    assert len(base.raw) == 10
    np.testing.assert_allclose(base.raw.values[:4], alone.raw.values, rtol=1e-4, atol=1e-5)
    assert len(np.unique(base.raw.values.round(4), axis=0)) == 10


def test_the_cache_notices_a_shard_that_changed(corpus: Path) -> None:
    cache = Cache(corpus / "cache", lambda note: None)
    first = prepare_tiles(cache, spec_of(corpus)).key
    assert prepare_tiles(cache, spec_of(corpus)).key == first
    tar(corpus / "r1m" / "shard_0.tar", {"im/x.png": jpeg(77)})
    os.utime(corpus / "r1m" / "shard_0.tar", ns=(1, 1))
    assert prepare_tiles(cache, spec_of(corpus)).key != first
    old = shard_fingerprint(corpus / "r1m" / "shard_2")
    (corpus / "r1m" / "shard_2" / "w.png").write_bytes(jpeg(99))
    os.utime(corpus / "r1m" / "shard_2" / "w.png", ns=(5, 5))
    assert shard_fingerprint(corpus / "r1m" / "shard_2") != old


SUITE = """
corpus = { source = "images", tile_px = 12, distractors = ["r1m/shard_*.tar", "r1m/shard_2"] }
backbone.colour = { model = "colour", preprocess = "native" }
engine.exact = {}
queries = { count = 3, k = 5 }
judge = { label_depth = 3 }
"""


def test_a_suite_names_shards_by_pattern(corpus: Path) -> None:
    path = corpus / "mine.toml"
    path.write_text(SUITE, encoding="utf-8")
    suite = read_suite(path)
    assert [Path(name).name for name in suite.corpus.distractors] == ["shard_0.tar", "shard_2"]
    (corpus / "r1m" / ".shard_0.tar").touch()  # as some systems leave them beside each file
    for pattern in ("r1m/*", f"{corpus}/r1m/*"):
        assert len(read_suite(path, (f'corpus.distractors=["{pattern}"]',)).corpus.distractors) == 3
    with pytest.raises(SuiteError, match=r"distractors: 'r2m/\*' matches nothing"):
        read_suite(path, ('corpus.distractors=["r2m/*"]',))
    with pytest.raises(SuiteError, match="k must be at most 7"):
        read_suite(path, ("queries.k=8",))
    with pytest.raises(SuiteError, match="sample is 2, which would leave out distractors"):
        read_suite(path, ("corpus.sample=2",))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.tar", b"no tar at all" * 100, "a.tar: is no readable, uncompressed tar file"),
        ("a.tar.gz", b"x", "A compressed tar file cannot be read in place"),
        ("a.zip", b"x", "is no readable zip file"),
    ],
)
def test_what_is_no_shard_is_told(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorpusError, match=words):
        list_shard(tmp_path / name)


@pytest.mark.parametrize("name", ["../x.png", "/etc/x.png", "a/../../x.png", "..\\x.png"])
def test_shard_with_an_unsafe_path_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CorpusError, match="unsafe path"):
        list_shard(tar(tmp_path / "evil.tar", {"ok.png": jpeg(0), name: jpeg(1)}))


def test_shard_is_read_in_place_only_where_images_lie_in_one_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "shard.tar"
    with tarfile.open(path, "w") as archive:
        for name, content, kind in (
            ("a.png", b"old", tarfile.REGTYPE),
            ("a.png", jpeg(1), tarfile.REGTYPE),
            ("link.png", b"", tarfile.SYMTYPE),
            ("hard.png", b"", tarfile.LNKTYPE),
            ("sparse.png", b"", tarfile.GNUTYPE_SPARSE),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.size, member.linkname = kind, len(content), "/etc/passwd"
            archive.addfile(member, io.BytesIO(content))
    images = list_shard(path)
    assert images.names == ("a.png",)  # of one name the last counts
    with images.reading() as read:
        assert read("a.png") == jpeg(1)
    monkeypatch.setattr("ris_core.tiling.image_folder._MOST_BYTES", 100)
    with pytest.raises(CorpusError, match=r"large\.tar: a\.png unpacks to \d+ bytes; .* at most 100"):
        list_shard(tar(tmp_path / "large.tar", {"a.png": jpeg(1), "notes.txt": bytes(200)}))
    assert list_shard(tar(tmp_path / "notes.tar", {"a.png": b"x", "notes.txt": bytes(200)})).names == ("a.png",)


def test_damaged_empty_and_equal_shards_are_told(corpus: Path) -> None:
    whole = shards(corpus)[0].read_bytes()
    for number, length in enumerate((600, 1280, 2048, 3000)):
        (corpus / f"cut_{number}.tar").write_bytes(whole[:length])
        with pytest.raises(CorpusError, match=r"cut_\d.tar: (is cut off|is no readable)"):
            list_shard(corpus / f"cut_{number}.tar")
    with pytest.raises(CorpusError, match="holds no image"):
        list_shard(tar(corpus / "none.tar", {"a.txt": b"x"}))
    with pytest.raises(CorpusError, match=r"another shard, or a folder of .*, is called shard_0\.tar, too"):
        join_shards(list_images(corpus / "images"), [shards(corpus)[0], shards(corpus)[0]])
    with pytest.raises(CorpusError, match=r"no uncompressed|no readable, uncompressed"):
        list_shard(tar(corpus / "gz.tar", {"a.png": jpeg(1)}, "w:gz"))
