"""Pickles of strangers: plain values pass, everything that would run something does not."""

import collections
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ris_core.errors import CorpusError
from ris_core.safe_pickle import read_pickle

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner, inner),
    max_leaves=12,
)


@given(value=PLAIN, protocol=st.integers(2, pickle.HIGHEST_PROTOCOL))
def test_plain_values_come_back(value: Any, protocol: int) -> None:
    assert read_pickle(pickle.dumps(value, protocol), "here") == value


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_and_numpy_scalars_come_back(protocol: int) -> None:
    value = {"data": np.arange(12, dtype=np.uint8).reshape(3, 4), "box": [np.float32(1.5), np.int64(7)]}
    read = read_pickle(pickle.dumps(value, protocol), "here")
    np.testing.assert_array_equal(read["data"], value["data"])
    assert read["box"] == [1.5, 7]


class _Runs:
    def __init__(self, function: Any, *given: Any) -> None:
        self._call = (function, given)

    def __reduce__(self) -> Any:
        return self._call


@pytest.mark.parametrize(
    ("function", "given", "name"),
    [
        (os.system, ("true",), r"(posix|nt)\.system"),
        (eval, ("1 + 1",), r"(builtins|__builtin__)\.eval"),
        (getattr, ("text", "upper"), r"(builtins|__builtin__)\.getattr"),
        (np.load, ("x.npy", None, True), r"numpy\.load"),
        (collections.OrderedDict, (), r"collections\.OrderedDict"),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_everything_that_is_called_is_refused(function: Any, given: Any, name: str, protocol: int) -> None:
    harmful = pickle.dumps({"gnd": [_Runs(function, *given)]}, protocol)
    with pytest.raises(CorpusError, match=rf"there\.pkl: this pickle asks for {name}; allowed are dicts"):
        read_pickle(harmful, "there.pkl")


def test_arrays_of_objects_run_nothing_either(tmp_path: Path) -> None:
    marker = tmp_path / "touched"
    inner = np.empty(1, object)
    inner[0] = _Runs(Path.touch, marker)
    with pytest.raises(CorpusError, match=r"asks for pathlib"):
        read_pickle(pickle.dumps(inner), "here")
    assert not marker.exists()


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps([1, 2])[:-1], b"\x80\x02cnumpy\nndarray\n)R."])
def test_damaged_pickles_are_refused(content: bytes) -> None:
    with pytest.raises(CorpusError, match="here: is no readable pickle"):
        read_pickle(content, "here")


@pytest.mark.parametrize("values", [np.array([None, 1]), np.zeros(2, "V8"), np.zeros(2, "i4,O"), np.zeros(2, "M8[s]")])
def test_arrays_of_anything_but_numbers_and_text_are_refused(values: np.ndarray) -> None:
    with pytest.raises(CorpusError, match="allowed are arrays of numbers or text"):
        read_pickle(pickle.dumps(values, 2), "here")


def test_bytes_are_never_taken_for_objects() -> None:
    kind = np.dtype("O,i8")
    state = list(kind.__reduce__()[2])
    state[-1] = 0  # the flag that says "holds objects" is gone: NumPy would take the bytes for addresses
    harmful = _Builds(np.dtype, ("V16", False, True), tuple(state))
    array = _Builds(np.ndarray, ((1,),), (1, (1,), harmful, False, b"\1" * 16))
    with pytest.raises(CorpusError, match="holds an array of 'V16'"):
        read_pickle(pickle.dumps(array, 2), "here")


class _Builds:
    def __init__(self, *reduced: Any) -> None:
        self._reduced = reduced

    def __reduce__(self) -> Any:
        return self._reduced


def test_a_few_bytes_do_not_become_gigabytes() -> None:
    nested: list[Any] = []
    for _ in range(40):
        nested = [nested, nested]  # 2^40 lists in 200 bytes
    endless: list[Any] = []
    endless.append({1: endless})
    for value in (nested, endless, [np.zeros(9000, np.uint8)] * 9000):
        with pytest.raises(CorpusError, match=r"repeats its values|RecursionError"):
            read_pickle(pickle.dumps(value), "here")
    for harmful in (b"\x80\x02Nr\xff\xff\xff\x7f.", b"Np2147483647\n.", b"\x80\x04\x8e\0\0\0\0\xff\0\0\0."):
        with pytest.raises(CorpusError, match="is no readable pickle"):
            read_pickle(harmful, "here")


def test_references_and_other_encodings_are_refused() -> None:
    with pytest.raises(CorpusError, match="refers to objects outside"):
        read_pickle(b"\x80\x02K\x01Q.", "here")
    with pytest.raises(CorpusError, match="encodes by 'rot13'"):
        read_pickle(b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.", "here")
