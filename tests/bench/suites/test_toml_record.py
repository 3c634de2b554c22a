import dataclasses
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.suites.toml_record import apply_override, describe_type, expand_grid, inherit, parse_override, read_record
from ris_core.errors import CorpusError


@dataclasses.dataclass(frozen=True)
class Inner:
    depth: int = 3


@dataclasses.dataclass(frozen=True)
class Sample:
    name: str = "a"
    count: int = 1
    share: float = 0.5
    flag: bool = False
    place: Path | None = None
    pair: tuple[float, float] = (0.0, 1.0)
    many: tuple[int, ...] = ()
    mode: Literal["x", "y"] = "x"
    free: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    inner: Inner = Inner()

    def faults(self) -> list[str]:
        return [] if self.count > 0 else [f"count = {self.count}; it must be at least 1."]


@dataclasses.dataclass(frozen=True)
class Needy:
    name: str


@dataclasses.dataclass(frozen=True)
class Strict:
    count: int = 1

    def __post_init__(self) -> None:
        if self.count < 0:
            raise CorpusError("negative")


def read(text: str, record: type = Sample) -> tuple[Any, list[str]]:
    faults: list[str] = []
    return read_record(record, tomllib.loads(text), "f.toml: [t]", faults), faults


def test_record_takes_every_type() -> None:
    text = """
    name = "b"
    count = 2
    share = 1
    flag = true
    place = "p/q"
    pair = [0.1, 2]
    many = [1, 2, 3]
    mode = "y"
    free = { a = 1, b = [2] }
    inner = { depth = 9 }
    """
    sample, faults = read(text)
    assert faults == []
    expected = Sample("b", 2, 1.0, True, Path("p/q"), (0.1, 2.0), (1, 2, 3), "y", {"a": 1, "b": [2]}, Inner(9))
    assert sample == expected
    assert isinstance(sample.share, float)


def test_record_without_keys_is_the_defaults() -> None:
    assert read("") == (Sample(), [])


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("count = 1.5", "a whole number"),
        ("count = true", "a whole number"),
        ("share = 'much'", "a number"),
        ("flag = 1", "true or false"),
        ("name = 3", "a text in quotes"),
        ("place = 3", "a path in quotes"),
        ("pair = [1]", "a list of 2: a number, a number"),
        ("many = [1, 'x']", "a list, each a whole number"),
        ("mode = 'z'", "one of 'x', 'y'"),
        ("free = 3", "a table of keys"),
    ],
)
def test_wrong_type_names_place_finding_and_what_is_allowed(text: str, allowed: str) -> None:
    sample, faults = read(text)
    key = text.partition(" = ")[0]
    assert len(faults) == 1
    assert faults[0].startswith(f"f.toml: [t] {key} = ")
    assert faults[0].endswith(f"it must be {allowed}.")
    assert sample == Sample()


def test_all_faults_of_a_table_are_told_at_once() -> None:
    _, faults = read("cuont = 3\nshare = 'x'\ncount = 0\ninner = { dpeth = 1 }\nflag = 'no'")
    assert len(faults) == 5
    assert any("'cuont'" in fault and "Did you mean 'count'?" in fault for fault in faults)
    assert any("[t] inner has unknown key 'dpeth'. Did you mean 'depth'?" in fault for fault in faults)


def test_own_faults_that_rest_on_a_wrong_key_are_not_told() -> None:
    _, faults = read("count = 'x'")
    assert len(faults) == 1


def test_missing_key_without_default_is_a_fault_and_no_record() -> None:
    assert read("", Needy) == (None, ["f.toml: [t] lacks name, a text in quotes."])


def test_refusal_at_birth_becomes_a_fault() -> None:
    assert read("count = -1", Strict) == (None, ["f.toml: [t] negative"])


def test_table_that_is_none_is_a_fault() -> None:
    faults: list[str] = []
    assert read_record(Sample, 3, "f.toml: [t]", faults) == Sample()
    assert faults == ["f.toml: [t] is 3; it must be a table of keys."]


def test_grid_is_the_product_of_lists_last_key_fastest() -> None:
    grid = expand_grid({"count": [1, 2], "name": ["a", "b"], "share": 0.1}, Sample)
    assert [(flat["count"], flat["name"]) for _, flat in grid] == [(1, "a"), (1, "b"), (2, "a"), (2, "b")]
    assert all(flat["share"] == 0.1 for _, flat in grid)
    assert grid[0][0] == {"count": 1, "name": "a"}


def test_grid_leaves_lists_alone_where_the_field_takes_one() -> None:
    assert len(expand_grid({"pair": [0.1, 0.2], "many": [1, 2]}, Sample)) == 1
    assert [flat["pair"] for _, flat in expand_grid({"pair": [[0, 1], [0, 2]]}, Sample)] == [[0, 1], [0, 2]]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.lists(st.booleans(), min_size=1, max_size=2))
def test_grid_has_as_many_points_as_its_axes_say(counts: list[int], flags: list[bool]) -> None:
    assert len(expand_grid({"count": counts, "flag": flags}, Sample)) == len(counts) * len(flags)


def inherited(text: str) -> tuple[dict[str, Any], list[str]]:
    faults: list[str] = []
    return inherit(tomllib.loads(text), "f.toml: [t", faults), faults


def test_likeness_joins_tables_key_by_key_and_replaces_lists() -> None:
    tables, faults = inherited(
        """
        b = { like = "a", deep = { y = 3, deeper = { v = 5 } }, list = [9], gone = false }
        a = { name = "a", deep = { x = 1, y = 2, deeper = { u = 4 } }, list = [1, 2], gone = { z = 1 } }
        """
    )
    assert tables["b"] == {
        "like": "a", "name": "a", "deep": {"x": 1, "y": 3, "deeper": {"u": 4, "v": 5}}, "list": [9], "gone": False,
    }  # fmt: skip
    assert tables["a"]["deep"] == {"x": 1, "y": 2, "deeper": {"u": 4}}  # the base stays as it was
    assert (list(tables), faults) == (["b", "a"], [])


@given(st.permutations(["a", "b", "c", "d"]))
def test_chain_of_likenesses_holds_in_any_order(order: list[str]) -> None:
    chain = {
        "a": {"x": 1, "y": 1, "z": 1}, "b": {"like": "a", "y": 2, "z": 2}, "c": {"like": "b", "z": 3},
        "d": {"like": "c"},
    }  # fmt: skip
    faults: list[str] = []
    tables = inherit({name: chain[name] for name in order}, "", faults)
    assert tables == {
        "a": {"x": 1, "y": 1, "z": 1}, "b": {"like": "a", "x": 1, "y": 2, "z": 2},
        "c": {"like": "b", "x": 1, "y": 2, "z": 3}, "d": {"like": "c", "x": 1, "y": 2, "z": 3},
    }  # fmt: skip
    assert (list(tables), faults) == (order, [])


@pytest.mark.parametrize(
    ("text", "left", "told"),
    [
        ("a.like = 'a'", [], ["f.toml: [t.a] like = 'a' leads back to itself: a -> a. Write one of these tables out."]),
        (
            "c.like = 'a'\na.like = 'b'\nb.like = 'a'\nd.x = 1",
            ["d"],
            [
                "f.toml: [t.b] like = 'a' leads back to itself: a -> b -> a. Write one of these tables out.",
                "f.toml: [t.a] like = 'b' leads back to itself: b -> a -> b. Write one of these tables out.",
            ],
        ),
        (
            "b.like = 'x'\nc.like = 'b'\na.y = 1",
            ["a"],
            ["f.toml: [t.b] like = 'x'; it must name another table of the section: c, a."],
        ),
        ("b.like = 3", [], ["f.toml: [t.b] like = 3; it must name another table of the section: there is none."]),
        ("b.like = 'a'\na = 5", ["a"], ["f.toml: [t.b] like = 'a'; it must name another table of the section: a."]),
    ],
)
def test_likeness_that_leads_nowhere_is_told_once(text: str, left: list[str], told: list[str]) -> None:
    tables, faults = inherited(text)
    assert (list(tables), faults) == (left, told)


@pytest.mark.parametrize(
    ("text", "keys", "value"),
    [
        ("a.b=3", ["a", "b"], 3),
        ("a=[1, 2]", ["a"], [1, 2]),
        ("a.b = true", ["a", "b"], True),
        ("corpus.source=ortho.tif", ["corpus", "source"], "ortho.tif"),
        ("corpus.source=a=b.tif", ["corpus", "source"], "a=b.tif"),
        ('a="3"', ["a"], "3"),
        ("a=", ["a"], ""),
    ],
)
def test_override_is_toml_or_else_a_text(text: str, keys: list[str], value: object) -> None:
    assert parse_override(text) == (keys, value)


@pytest.mark.parametrize("text", ["a", "=3", "a..b=3", ""])
def test_override_without_key_or_value_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="KEY=VALUE"):
        parse_override(text)


def test_override_makes_tables_on_its_way() -> None:
    table: dict[str, Any] = {"a": {"b": 1}}
    apply_override(table, ["a", "c", "d"], 2)
    assert table == {"a": {"b": 1, "c": {"d": 2}}}


def test_override_through_a_value_is_refused() -> None:
    with pytest.raises(ValueError, match="a is 1, not a table"):
        apply_override({"a": 1}, ["a", "b"], 2)


def test_types_are_described_in_words() -> None:
    assert describe_type(int | None) == "a whole number"
    assert describe_type(str | int) == "a text in quotes or a whole number"
