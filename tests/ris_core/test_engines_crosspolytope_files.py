"""Our LSH engine: vectors added to an index, and files of one."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from ris_core import native
from ris_core.engines import crosspolytope as module
from ris_core.engines.crosspolytope import Crosspolytope, build_crosspolytope, load_crosspolytope
from ris_core.engines.crosspolytope_params import DISTANCES, CrosspolytopeParams, CrosspolytopeQuery
from ris_core.engines.principal_axes import principal_axes
from ris_core.errors import SearchError

pytestmark = pytest.mark.skipif(
    native.crosspolytope_unavailable() is not None,
    reason=f"the extension cannot run here: {native.crosspolytope_unavailable()}",
)

SMALL = CrosspolytopeParams(tables=2, hash_bits=6)
EVERYTHING = CrosspolytopeQuery(probes_per_table=2**30, rerank=0)
BASE, QUERIES = (np.random.default_rng(seed).standard_normal((n, 24), np.float32) for seed, n in ((0, 600), (1, 40)))


@pytest.mark.parametrize("sketch", [True, False])
def test_added_vectors_are_found_as_if_they_had_been_there(sketch: bool) -> None:
    params = dataclasses.replace(SMALL, sketch=sketch)
    index = build_crosspolytope(BASE[:400].copy(), params)
    before = index.size_bytes()
    index.add(BASE[400:433], threads=2)
    index.add(BASE[433:])
    rows, _ = index.search(QUERIES, 20, EVERYTHING)
    np.testing.assert_array_equal(rows, build_crosspolytope(BASE, params).search(QUERIES, 20, EVERYTHING)[0])
    assert (index.search(BASE, 1, CrosspolytopeQuery(1, 5))[0][:, 0] == np.arange(600)).all()
    assert index.size_bytes() > before


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("params", [SMALL, dataclasses.replace(SMALL, hash_dimension=0, sketch=False)])
def test_adding_equals_building_with_the_same_axes(
    params: CrosspolytopeParams, distance: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Centroids come from all rows, so those are repeated to make both bases alike; axes would differ in last bits."""
    params = dataclasses.replace(params, distance=distance)
    axes = principal_axes(BASE, distance)
    monkeypatch.setattr(module, "principal_axes", lambda base, distance: axes)
    index = build_crosspolytope(BASE, params)
    index.add(BASE)
    index.save(tmp_path / "added")
    build_crosspolytope(np.concatenate([BASE, BASE]), params).save(tmp_path / "built")
    assert (tmp_path / "added").read_bytes() == (tmp_path / "built").read_bytes()


def test_vectors_cannot_be_added_to_a_changed_base() -> None:
    base = BASE.copy()
    index = build_crosspolytope(base, SMALL)
    base[7, 3] += 1
    with pytest.raises(SearchError, match="does not hold the vectors"):
        index.add(QUERIES)


def test_added_vectors_must_fit() -> None:
    index = build_crosspolytope(BASE, dataclasses.replace(SMALL, distance="cosine"))
    for vectors, message in (
        (QUERIES[:, :20].copy(), "20 dimensions, the index has 24"),
        (np.zeros((2, 24), np.float32), "2 of 2 vectors are zero"),
    ):
        with pytest.raises(SearchError, match=message):
            index.add(vectors)


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("distance", DISTANCES)
def test_saved_index_answers_as_before(tmp_path: Path, distance: str, mmap: bool) -> None:
    index = build_crosspolytope(BASE, dataclasses.replace(SMALL, distance=distance))
    index.save(tmp_path / "index")
    loaded = load_crosspolytope(tmp_path / "index", BASE, mmap=mmap)
    query = CrosspolytopeQuery(5, 30)
    for ours, theirs in zip(loaded.search(QUERIES, 10, query), index.search(QUERIES, 10, query), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert loaded.size_bytes() == index.size_bytes()
    assert loaded.derived() == index.derived()
    loaded.add(QUERIES)  # a mapped index is never written to
    fresh = build_crosspolytope(np.concatenate([BASE, QUERIES]), dataclasses.replace(SMALL, distance=distance))
    for ours, theirs in zip(loaded.search(QUERIES, 1, EVERYTHING), fresh.search(QUERIES, 1, EVERYTHING), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def asked(index: Crosspolytope) -> None:
    rows, _ = index.search(QUERIES, 10, CrosspolytopeQuery(20, 30))
    assert ((rows >= -1) & (rows < len(BASE))).all()


@pytest.mark.parametrize("mmap", [False, True])
def test_damaged_files_are_refused_or_safe(tmp_path: Path, mmap: bool) -> None:
    good = tmp_path / "good"
    build_crosspolytope(BASE, SMALL).save(good)
    content = good.read_bytes()
    rng = np.random.default_rng(8)
    bad = tmp_path / "bad"
    refused = 0
    places = [*range(104), *rng.integers(128, len(content), 400).tolist()]  # 104 bytes of header, filled up to 128
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        bad.write_bytes(damaged)
        try:
            asked(load_crosspolytope(bad, BASE, mmap=mmap))
        except SearchError:
            refused += 1
    # mapped, what only a wrong answer can come of is not looked at
    assert refused == len(places) if not mmap else refused >= 104
    for length in [0, 1, 127, 128, *rng.integers(0, len(content), 60).tolist()]:
        bad.write_bytes(content[:length])
        with pytest.raises(SearchError, match=r"too short|announces"):
            load_crosspolytope(bad, BASE, mmap=mmap)


def test_forged_tables_are_refused_even_if_mapped(tmp_path: Path) -> None:
    """Starts and rows decide which memory is read, so they are looked at whatever the checksums say."""
    index = build_crosspolytope(BASE, dataclasses.replace(SMALL, tables=1, sketch=False, hash_dimension=0))
    index.save(tmp_path / "index")
    content = np.fromfile(tmp_path / "index", np.uint32)
    for place in range(
        32, 32 + 65, 7
    ):  # the header has 128 bytes; then come 65 starts, filled up to 80 words, and rows
        for offset, value in ((0, 601), (0, 2**31), (80, 600), (80, 0xFFFFFFFF), (80, content[80 + 32])):
            forged = content.copy()
            if forged[place + offset] == value:
                continue
            forged[place + offset] = value
            forged.tofile(tmp_path / "forged")
            with pytest.raises(SearchError, match="does not hold each row once"):
                load_crosspolytope(tmp_path / "forged", BASE, mmap=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "too short"),
        (b"\x93NUMPY" + bytes(500), "is no index of the engine crosspolytope"),
        (b"RISCPLSH\x09\x00\x00\x00\x04\x03\x02\x01" + bytes(200), "has version 9; this program reads 1"),
        (b"RISCPLSH\x01\x00\x00\x00\x01\x02\x03\x04" + bytes(200), "byte order"),
    ],
)
def test_foreign_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "file").write_bytes(content)
    for mmap in (False, True):
        with pytest.raises(SearchError, match=message):
            load_crosspolytope(tmp_path / "file", BASE, mmap=mmap)


def test_paths_that_cannot_be_opened_are_refused(tmp_path: Path) -> None:
    index = build_crosspolytope(BASE, SMALL)
    with pytest.raises(SearchError, match=r"cannot be opened: No such file"):
        load_crosspolytope(tmp_path / "nothing", BASE)
    with pytest.raises(SearchError, match="cannot be opened"):
        index.save(tmp_path / "no folder" / "index")
    with pytest.raises(SearchError, match="is no regular file"):
        load_crosspolytope(tmp_path, BASE)


def test_another_base_is_refused(tmp_path: Path) -> None:
    build_crosspolytope(BASE, SMALL).save(tmp_path / "index")
    changed = BASE.copy()
    changed[301, 5] += 1e-3
    for base, message in (
        (changed, "does not hold the vectors that were indexed"),
        (BASE[:599], "599 x 24"),
        (BASE[:, :20].copy(), "600 x 20"),
    ):
        with pytest.raises(SearchError, match=message):
            load_crosspolytope(tmp_path / "index", base)


def test_a_changed_base_is_noticed(tmp_path: Path) -> None:
    base = BASE.copy()
    index = build_crosspolytope(base, SMALL)
    base[7, 3] += 1
    with pytest.raises(SearchError, match="does not hold the vectors"):
        index.check_base()
    with pytest.raises(SearchError, match="does not hold the vectors"):
        index.save(tmp_path / "index")
    base[:] = 0
    with pytest.raises(SearchError, match="was changed after it was indexed"):
        index.search(QUERIES, 1, CrosspolytopeQuery())
