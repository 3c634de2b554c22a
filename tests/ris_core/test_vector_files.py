import struct
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ris_core import vector_files
from ris_core.errors import CorpusError
from ris_core.vector_files import is_vector_file, read_vectors

RNG = np.random.default_rng(0)
BASE = RNG.standard_normal((7, 3)).astype(np.float32)
QUERIES = RNG.standard_normal((2, 3)).astype(np.float32)


def write_vecs(path: Path, vectors: np.ndarray, value: str) -> Path:
    """The format by its definition, one `struct` a vector: independent of the reader's records."""
    d = vectors.shape[1]
    path.write_bytes(b"".join(struct.pack(f"<i{d}{value}", d, *vector) for vector in vectors.tolist()))
    return path


def write_hdf5(path: Path, distance: str | None = "angular", **data: np.ndarray) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in data.items():
            file[name] = values
        if distance is not None:
            file.attrs["distance"] = distance
    return path


@given(
    arrays.arrays(
        st.sampled_from([np.float32, np.float64, np.float16, np.int64, np.uint8, ">f4"]),
        st.tuples(st.integers(1, 9), st.integers(1, 4)),
        elements=st.integers(0, 200),
    )
)
def test_every_real_type_becomes_float32(tmp_path_factory: pytest.TempPathFactory, values: np.ndarray) -> None:
    path = tmp_path_factory.mktemp("v") / "v.npy"
    np.save(path, values)
    read = read_vectors(path).read()
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, values.astype(np.float64))


def test_all_formats_give_the_same_vectors(tmp_path: Path) -> None:
    whole = RNG.integers(0, 256, (7, 3)).astype(np.float32)
    np.save(tmp_path / "a.npy", np.asfortranarray(whole.astype(np.float64)))
    np.savez_compressed(tmp_path / "b.npz", vectors=whole)
    write_vecs(tmp_path / "c.fvecs", whole, "f")
    write_vecs(tmp_path / "d.bvecs", whole.astype(np.uint8), "B")
    write_hdf5(tmp_path / "e.hdf5", train=whole)
    write_hdf5(tmp_path / "f.H5", train=whole)
    paths = sorted(tmp_path.iterdir())
    assert len(paths) == 6
    for path in paths:
        assert is_vector_file(path)
        vectors = read_vectors(path)
        assert (vectors.n, vectors.d) == (7, 3)
        assert vectors.ids.tolist() == list(range(7))
        np.testing.assert_array_equal(vectors.read(), whole)
    assert is_vector_file(Path("x.ivecs"))
    assert not is_vector_file(Path("x.tif"))


@pytest.mark.parametrize("per_block", [1, 2, 5, 100])
def test_wanted_rows_are_read_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, per_block: int) -> None:
    monkeypatch.setattr(vector_files, "_BLOCK_BYTES", per_block * 4 * 3)
    rows = np.array([0, 1, 5, 6])
    for path in (write_vecs(tmp_path / "v.fvecs", BASE, "f"), write_hdf5(tmp_path / "v.h5", train=BASE)):
        vectors = read_vectors(path)
        blocks = list(vectors.blocks())
        assert max(len(block) for block in blocks) <= per_block
        np.testing.assert_array_equal(np.concatenate(blocks), BASE)
        np.testing.assert_array_equal(vectors.read(rows), BASE[rows])


def test_npz_brings_queries_labels_and_ids(tmp_path: Path) -> None:
    ids = np.array([4, 9, 2, 0, 7, 8, 1], np.uint16)
    np.savez(tmp_path / "v.npz", base=BASE, queries=QUERIES.astype(np.float64), labels=[*"aabbcc", ""], ids=ids)
    vectors = read_vectors(tmp_path / "v.npz")
    assert vectors.labels is not None
    assert vectors.queries is not None
    assert vectors.labels.tolist() == ["a", "a", "b", "b", "c", "c", ""]
    assert vectors.ids.tolist() == ids.tolist()
    np.testing.assert_array_equal(vectors.queries, QUERIES)


@pytest.mark.parametrize("labels", [np.array([b"x", "é".encode()]), np.array([1, 2], np.int8)])
def test_labels_may_be_bytes_or_numbers(tmp_path: Path, labels: np.ndarray) -> None:
    np.savez(tmp_path / "v.npz", anything=BASE[:2], labels=labels)
    found = read_vectors(tmp_path / "v.npz").labels
    assert found is not None
    assert found.tolist() in (["x", "é"], ["1", "2"])


@pytest.mark.parametrize("distance", ["angular", "euclidean", None])
def test_hdf5_brings_queries_neighbours_and_metric(tmp_path: Path, distance: str | None) -> None:
    neighbours = np.array([[3, 1], [0, 6]], np.int32)
    path = write_hdf5(tmp_path / "v.hdf5", distance, train=BASE, test=QUERIES, neighbors=neighbours)
    vectors = read_vectors(path)
    assert vectors.queries is not None
    assert vectors.neighbours is not None
    assert vectors.metric == (distance or "")
    assert vectors.neighbours.tolist() == neighbours.tolist()
    np.testing.assert_array_equal(vectors.queries, QUERIES)


def test_queries_lie_beside_or_are_named(tmp_path: Path) -> None:
    base = write_vecs(tmp_path / "sift_base.fvecs", BASE, "f")
    assert read_vectors(base).queries is None
    write_vecs(tmp_path / "sift_query.fvecs", QUERIES, "f")
    other = write_vecs(tmp_path / "other.bvecs", np.array([[1, 2, 3]], np.uint8), "B")
    np.testing.assert_array_equal(read_vectors(base).queries, QUERIES)
    np.testing.assert_array_equal(read_vectors(base, other).queries, [[1, 2, 3]])
    assert read_vectors(tmp_path / "sift_query.fvecs").queries is None


def test_named_queries_leave_the_files_own_and_their_neighbours_out(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "v.h5", train=BASE, test=QUERIES, neighbors=np.zeros((2, 1), int))
    np.save(tmp_path / "q.npy", QUERIES[:1] + 1)
    vectors = read_vectors(path, tmp_path / "q.npy")
    assert vectors.neighbours is None
    np.testing.assert_array_equal(vectors.queries, QUERIES[:1] + 1)


def save(values: object, **side: object) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        if side:
            np.savez(folder / "v.npz", vectors=values, **side)
            return folder / "v.npz"
        np.save(folder / "v.npy", values, allow_pickle=True)  # written so that reading can be seen to refuse it
        return folder / "v.npy"

    return write


def raw(name: str, content: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return write


def hdf5(distance: str | None = None, **data: object) -> Callable[[Path], Path]:
    return lambda folder: write_hdf5(folder / "v.hdf5", distance, **data)


def mixed(folder: Path) -> Path:
    path = write_vecs(folder / "v.fvecs", BASE, "f")
    content = bytearray(path.read_bytes())
    content[16 * 4 : 16 * 4 + 4] = struct.pack("<i", 2)
    path.write_bytes(content)
    return path


def truncated(name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / name
        if path.suffix == ".npy":
            np.save(path, BASE)
        elif path.suffix == ".npz":
            np.savez(path, vectors=BASE)
        elif path.suffix == ".hdf5":
            write_hdf5(path, train=BASE)
        else:
            write_vecs(path, BASE, "f")
        path.write_bytes(path.read_bytes()[: -5 if path.suffix != ".hdf5" else 1000])
        return path

    return write


BAD = BASE.copy()
BAD[4, 1] = np.nan


@pytest.mark.parametrize(
    ("write", "finding"),
    [
        (lambda folder: folder / "none.npy", "none.npy: does not exist"),
        (raw("v.ivecs", b""), "an ivecs file holds the ids of neighbours"),
        (raw("v.pkl", b""), "known are .npy, .npz"),
        (raw("v.npy", b""), "is no readable .npy file"),
        (raw("v.npz", b"PK\x03\x04 and no more"), "is no readable .npz file"),
        (raw("v.npz", b"\x93NUMPY"), "is no readable .npz file"),
        (raw("v.hdf5", b"nothing"), "is no readable .hdf5 file"),
        (raw("v.fvecs", b""), "0 bytes are no whole number of vectors"),
        (raw("v.fvecs", struct.pack("<i", -3)), "no whole number of vectors of d = -3"),
        (raw("v.bvecs", b"some text that is no vector"), "empty, truncated or no .bvecs file"),
        (truncated("v.npy"), "is no readable .npy file"),
        (truncated("v.npz"), "is no readable .npz file"),
        (truncated("v.hdf5"), "is no readable .hdf5 file"),
        (truncated("v.fvecs"), "truncated"),
        (mixed, "vector 4 has d = 2, the first one d = 3"),
        (save(np.array([{}, {}], object)), "never unpickled"),
        (save(BASE, labels=np.array([{}] * 7, object)), "never unpickled"),
        (save(BASE[0]), r"has the shape (3,)"),
        (save(BASE[:0]), r"has the shape (0, 3)"),
        (save(BASE.astype(complex)), "holds complex128"),
        (save(BASE > 0), "holds bool"),
        (save(BAD), "vector 4 is NaN, infinite or beyond float32"),
        (save(BASE.astype(float) * 1e300), "vector 0 is NaN, infinite or beyond float32, and so are 6 more"),
        (save(BASE, queries=BAD[4:]), "query 0 is NaN"),
        (save(BASE, queries=BASE[:, :2]), "queries have d = 2, the base of"),
        (save(BASE, queries=BASE[0]), r"its queries has the shape (3,)"),
        (save(BASE, labels=list("abc")), r"labels are <U1 of shape (3,)"),
        (save(BASE, labels=np.array("a")), r"labels are <U1 of shape ()"),
        (save(BASE, labels=np.ones(7)), "labels are float64"),
        (save(BASE, ids=np.zeros(7, int)), "7 different whole numbers"),
        (save(BASE, ids=np.arange(7) - 1), "7 different whole numbers"),
        (save(BASE, ids=np.arange(6)), "7 different whole numbers"),
        (save(BASE, base=BASE), "which array holds the vectors? It has vectors, base"),
        (hdf5(test=BASE), "has no data set 'train' (found: test)"),
        (hdf5("hamming", train=BASE), "compared by 'hamming'"),
        (hdf5(train=BASE.ravel()), "has the shape (21,)"),
        (hdf5(train=BASE, test=QUERIES, neighbors=np.array([[1], [7]])), "are not rows of its 7 vectors"),
        (hdf5(train=BASE, test=QUERIES, neighbors=np.array([[1]])), "for each of its queries"),
    ],
)
def test_fault_names_file_finding_and_remedy(tmp_path: Path, write: Callable[[Path], Path], finding: str) -> None:
    path = write(tmp_path)
    with pytest.raises(CorpusError) as caught:
        read_vectors(path).read()
    assert str(caught.value).startswith(str(path))
    assert finding in str(caught.value)


def test_npz_without_a_single_matrix_asks_which(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", a=BASE, b=BASE, queries=QUERIES)
    np.savez(tmp_path / "none.npz", queries=QUERIES)
    for name in ("two", "none"):
        with pytest.raises(CorpusError, match="which array holds the vectors"):
            read_vectors(tmp_path / f"{name}.npz")


def test_base_stays_unread_until_it_is_asked_for(tmp_path: Path) -> None:
    np.savez(tmp_path / "v.npz", vectors=BAD, labels=list("abcdefg"))
    assert read_vectors(tmp_path / "v.npz").n == 7


def test_header_that_is_no_python_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.ones((3, 2), np.float32))
    content = path.read_bytes()
    path.write_bytes(content[:10] + b"{'descr': (".ljust(118) + content[128:])
    with pytest.raises(CorpusError, match=r"a\.npy"):
        read_vectors(path)
