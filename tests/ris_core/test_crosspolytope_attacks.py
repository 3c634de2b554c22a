"""Our LSH engine under attack: shapes, values and files that once crashed it, or made it answer wrongly."""

import dataclasses
import os
import re
import tomllib
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ris_core import native
from ris_core.engines import crosspolytope as module
from ris_core.engines import crosspolytope_params
from ris_core.engines.crosspolytope import build_crosspolytope, load_crosspolytope
from ris_core.engines.crosspolytope_params import (
    DISTANCES,
    CrosspolytopeParams,
    CrosspolytopeQuery,
    building_bytes,
    theoretical_bytes,
)
from ris_core.engines.principal_axes import principal_axes
from ris_core.engines.recall_tuning import choose_cheapest, hold_out, ladder
from ris_core.errors import SearchError

pytestmark = pytest.mark.skipif(
    native.crosspolytope_unavailable() is not None,
    reason=f"the extension cannot run here: {native.crosspolytope_unavailable()}",
)

SMALL = CrosspolytopeParams(tables=2, hash_bits=6)
EVERYTHING = CrosspolytopeQuery(probes_per_table=2**30, rerank=0)
TINY = np.float32(2.0**-83)  # about 1e-25, whose square is no float32; a power of two, so that no digit is lost
BASE, QUERIES = (np.random.default_rng(seed).standard_normal((n, 24), np.float32) for seed, n in ((0, 600), (1, 40)))


# --- rotations beyond memory ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "bits"), [("cross_polytope", 1), ("hyperplane", 5)])
def test_rotations_beyond_memory_are_refused(family: str, bits: int) -> None:
    params = CrosspolytopeParams(family, 65_536, bits, rotations=1024, hash_dimension=0, sketch=False)
    base = np.ones((2, 40_000), np.float32)
    with pytest.raises(SearchError, match=r"take \d+ values of rotated .*; allowed are up to 268435456"):
        build_crosspolytope(base, params)
    settings = native.CrosspolytopeSettings()
    settings.family, settings.tables, settings.hash_bits, settings.rotations = family, 65_536, bits, 1024
    with pytest.raises(ValueError, match=r"must be at most 2\^28"):
        native.CrosspolytopeIndex(base, settings, np.empty((0, 0), np.float32))


def header_checksum(header: bytes) -> int:
    """As crosspolytope_image.cpp has it, for a count of bytes that is a multiple of 8."""
    odd, words = 0x9E3779B97F4A7C15, np.frombuffer(header, np.uint64).tolist()
    mask = 2**64 - 1
    lanes = [len(header), odd, ~odd & mask, 1]

    def mix(lane: int, word: int) -> None:
        lanes[lane] = (lanes[lane] ^ word) * odd & mask
        lanes[lane] ^= lanes[lane] >> 32

    for i, word in enumerate(words):
        mix(i % 4 if i < len(words) // 4 * 4 else 0, word)
    for lane in (1, 2, 3):
        mix(0, lanes[lane])
    return lanes[0]


@pytest.mark.parametrize("mmap", [False, True])
def test_files_of_rotations_beyond_memory_are_refused(tmp_path: Path, mmap: bool) -> None:
    base = np.random.default_rng(0).standard_normal((2, 40_000), np.float32)
    params = CrosspolytopeParams(tables=4, hash_bits=18, hash_dimension=0, sketch=False)  # two functions a table
    build_crosspolytope(base, params).save(tmp_path / "index")
    content = bytearray((tmp_path / "index").read_bytes())
    assert int.from_bytes(content[96:104], "little") == header_checksum(bytes(content[:96]))
    content[48:52] = (1024).to_bytes(4, "little")  # rotations
    content[96:104] = header_checksum(bytes(content[:96])).to_bytes(8, "little")
    (tmp_path / "forged").write_bytes(content)
    with pytest.raises(SearchError, match=r"must be at most 2\^28"):
        load_crosspolytope(tmp_path / "forged", base, mmap=mmap)


# --- files ------------------------------------------------------------------------------------------------------------


def test_saving_onto_the_mapped_file_keeps_the_index(tmp_path: Path) -> None:
    build_crosspolytope(BASE, SMALL).save(tmp_path / "index")
    content = (tmp_path / "index").read_bytes()
    index = load_crosspolytope(tmp_path / "index", BASE, mmap=True)
    index.save(tmp_path / "index")
    assert (tmp_path / "index").read_bytes() == content
    assert (index.search(BASE, 1, EVERYTHING)[0][:, 0] == np.arange(600)).all()
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_a_failed_save_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(SearchError, match="folder cannot be written"):
        build_crosspolytope(BASE, SMALL).save(tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_headers_are_read_before_memory_is_taken(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.write(b"no index")
        file.truncate(2**43)
    for mmap in (False, True):
        with pytest.raises(SearchError, match="is no index of the engine crosspolytope"):
            load_crosspolytope(tmp_path / "sparse", BASE, mmap=mmap)


def test_bases_that_no_index_can_have_are_refused(tmp_path: Path) -> None:
    build_crosspolytope(BASE, SMALL).save(tmp_path / "index")
    for base, message in ((BASE[:0], "1 to 2"), (np.ones((1, 70_000), np.float32), "1 to 65535 dimensions")):
        with pytest.raises(SearchError, match=message):
            load_crosspolytope(tmp_path / "index", base)


# --- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [2**31, 2**63])
def test_numbers_beyond_int32_are_refused(number: int) -> None:
    index = build_crosspolytope(BASE, SMALL)
    for query in (CrosspolytopeQuery(rerank=number), CrosspolytopeQuery(number)):
        with pytest.raises(SearchError, match=rf"= {number}; allowed: \d to 2147483647"):
            index.search(QUERIES, 1, query)
    with pytest.raises(SearchError, match=rf"threads = {number}; allowed: 1 to 2147483647"):
        index.search(QUERIES, 1, EVERYTHING, threads=number)


def test_probes_beyond_memory_are_refused_but_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    index = build_crosspolytope(BASE, SMALL)
    monkeypatch.setattr(module, "_MAX_PROBES", 20)
    index.search(QUERIES, 1, CrosspolytopeQuery(10))
    with pytest.raises(SearchError, match=r"probes_per_table = 11; allowed: up to 10, as .* or all 64 buckets"):
        index.search(QUERIES, 1, CrosspolytopeQuery(11))
    assert index.candidates(QUERIES, 1, CrosspolytopeQuery(64)).tolist() == [600] * 40
    assert index.prepare(10, CrosspolytopeQuery(recall=1.0))["probes_per_table"] == 64


def test_the_search_for_probes_comes_from_below() -> None:
    asked = []

    def recalls(probes: int, rerank: int) -> np.ndarray:
        asked.append(probes)
        return np.full(8, 1.0 if probes >= 9 else 0.5)

    choice = choose_cheapest(0.9, 10, ladder(10**6), 10, recalls, lambda probes, rerank: probes)
    assert choice is not None
    assert choice.probes == 9
    assert max(asked) < 100


# --- vectors whose squares vanish -------------------------------------------------------------------------------------


@pytest.mark.parametrize("distance", DISTANCES)
def test_tiny_queries_probe_and_find_what_their_direction_does(distance: str) -> None:
    index = build_crosspolytope(BASE, dataclasses.replace(SMALL, distance=distance))
    for query in QUERIES[:5, None]:
        tables, codes, costs = index._index.probes(query, 20)
        tiny_tables, tiny_codes, tiny_costs = index._index.probes(query * TINY, 20)
        if distance != "cosine":  # which has no direction left to project
            np.testing.assert_array_equal(tiny_tables, tables)
            np.testing.assert_array_equal(tiny_codes, codes)
            np.testing.assert_allclose(tiny_costs, costs, rtol=1e-5)
    if distance == "inner_product":
        wanted = index.search(QUERIES, 10, CrosspolytopeQuery(20, 12))[0]
        np.testing.assert_array_equal(index.search(QUERIES * TINY, 10, CrosspolytopeQuery(20, 12))[0], wanted)


def test_costs_of_cosines_are_those_of_unit_vectors() -> None:
    index = build_crosspolytope(BASE, dataclasses.replace(SMALL, distance="cosine"))
    unit = QUERIES[:1] / np.linalg.norm(QUERIES[:1])
    np.testing.assert_allclose(index._index.probes(QUERIES[:1] * 9, 20)[2], index._index.probes(unit, 20)[2], atol=1e-5)


def test_tiny_vectors_have_no_direction_for_cosine() -> None:
    params = dataclasses.replace(SMALL, distance="cosine")
    base = BASE.copy()
    base[5] *= TINY
    with pytest.raises(SearchError, match="1 of 600 vectors are zero, first in row 5, or shorter than 1e-19"):
        build_crosspolytope(base, params)
    index = build_crosspolytope(BASE, params)
    for call in (lambda: index.search(base[4:7], 1, EVERYTHING), lambda: index.add(base[4:7])):
        with pytest.raises(SearchError, match="1 of 3 vectors are zero, first in row 1"):
            call()


# --- the sample that a recall is measured on --------------------------------------------------------------------------


@pytest.mark.parametrize("distance", DISTANCES)
def test_recall_is_reached_far_from_the_origin(distance: str) -> None:
    base = np.random.default_rng(2).standard_normal((3000, 192), np.float32) + 300
    chosen = build_crosspolytope(base, CrosspolytopeParams(distance=distance)).prepare(
        10, CrosspolytopeQuery(recall=0.9)
    )
    assert chosen["recall_on_sample"] >= 0.9


def test_the_truth_far_from_the_origin_is_exact() -> None:
    base = np.random.default_rng(2).standard_normal((900, 64), np.float32) + 3000
    sample = hold_out(base, 10, "euclidean_squared", 1)
    squared = ((base[sample.rows, None].astype(np.float64) - base) ** 2).sum(axis=2)
    np.testing.assert_array_equal(sample.truth, np.argsort(squared, axis=1)[:, 1:11])
    np.testing.assert_allclose(sample.limits, np.sort(squared, axis=1)[:, 10], rtol=2e-6)


@pytest.mark.parametrize("distance", DISTANCES)
def test_ties_are_hits(distance: str) -> None:
    base = np.random.default_rng(3).integers(0, 2, (3000, 16)).astype(np.float32)
    base[:, 0] = 1  # none is zero
    chosen = build_crosspolytope(base, CrosspolytopeParams(distance=distance)).prepare(
        10, CrosspolytopeQuery(recall=0.99)
    )
    assert chosen["recall_on_sample"] >= 0.99


def test_hits_by_hand() -> None:
    """On a line at 0, 1, 2, 3 and 10: 1's nearest is 0 or 2, and 10's is 3; a row itself and -1 are no hits."""
    sample = hold_out(np.array([[0], [1], [2], [3], [10]], np.float32), 1, "euclidean_squared", 1)
    assert sample.is_tied.tolist() == [False, True, True, False, False]
    assert sample.recalls(np.array([[0, 1], [1, 2], [2, 1], [3, -1], [4, 0]])).tolist() == [1, 1, 1, 0, 0]
    assert sample.recalls(np.array([[0, 2], [0, 2], [0, 4], [2, 3], [3, 2]])).tolist() == [0, 1, 0, 1, 1]


def test_long_lists_take_memory_as_long() -> None:
    base = np.random.default_rng(4).standard_normal((1200, 8), np.float32)
    sample = hold_out(base, 1000, "euclidean_squared", 1)
    found = np.column_stack([sample.truth, sample.rows])
    tracemalloc.start()
    try:
        assert (sample.recalls(found) == 1).all()
        assert tracemalloc.get_traced_memory()[1] < 100e6  # 512 x 1001 x 1000 bytes are five times as many
    finally:
        tracemalloc.stop()


# --- memory -----------------------------------------------------------------------------------------------------------


def test_building_bytes_by_hand() -> None:
    cpus = min(3, os.cpu_count() or 1)
    params = CrosspolytopeParams(tables=3, hash_bits=10)
    # a million points of 3 codes, 8 groups and 2 factors, and 1,024 counters for each table that is laid out
    assert building_bytes(10**6, 32, params) == 10**6 * (12 + 8 + 8) + 4 * 1024 * cpus
    # 16,384 rows of 1,024 dimensions, twice in float64, and five matrices of them
    assert building_bytes(20_000, 1024, params) == 16 * 16_384 * 1024 + 40 * 1024**2
    assert building_bytes(20_000, 1024, dataclasses.replace(params, sketch=False, hash_dimension=0)) == (
        20_000 * 12 + 4 * 1024 * cpus
    )


def test_memory_that_a_build_or_an_addition_takes_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    index, need = build_crosspolytope(BASE, SMALL), theoretical_bytes(600, 24, SMALL) + building_bytes(600, 24, SMALL)
    free = SimpleNamespace(available=need)
    monkeypatch.setattr(crosspolytope_params.psutil, "virtual_memory", lambda: free)
    assert SMALL.faults(600, 24) == []
    with pytest.raises(SearchError, match="GiB are free"):
        index.add(QUERIES)
    free.available = need - 1
    assert "while they are built for 600 vectors" in SMALL.faults(600, 24)[0]


# --- axes, options ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("distance", DISTANCES)
def test_axes_point_one_way(distance: str) -> None:
    axes, moments = principal_axes(BASE, distance)
    assert (axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)] > 0).all()
    np.testing.assert_allclose(axes @ axes.T, np.eye(len(axes)), atol=1e-5)
    assert (np.diff(moments) <= 0).all()


def test_every_option_of_the_build_can_be_given_by_the_environment() -> None:
    root = Path(__file__).parents[2]
    named = set(re.findall(r"^#   (RIS_\w+)", (root / "ris_core/native/CMakeLists.txt").read_text(), re.MULTILINE))
    defines = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["scikit-build"]["cmake"]["define"]
    assert named == {name for name, value in defines.items() if value["env"] == name}
