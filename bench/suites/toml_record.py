"""TOML tables read into frozen dataclasses, every fault collected before anything is raised.

The dataclass is the schema: its fields are the allowed keys, their types the allowed values, its
defaults the defaults, and its ``faults()`` method, where it has one, says which values go together.
"""

import dataclasses
import difflib
import itertools
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ris_core.errors import RisError

T = TypeVar("T")

_LISTED_KEYS = 16  # longer lists of known keys are left out where a near one is named

_NAMES = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text in quotes",
    Path: "a path in quotes",
    types.NoneType: "nothing",
}


class _WrongTypeError(Exception):
    """A value does not fit its field."""


def read_record(record: type[T], table: object, where: str, faults: list[str], check: bool = True) -> T | None:
    """The dataclass instance that a TOML table describes.

    Args:
        record: A dataclass whose fields are scalars, tuples, mappings, dataclasses or ``X | None``.
        table: The table; anything else is a fault.
        where: File and table for messages, such as ``"demo.toml: [corpus]"``.
        faults: Every fault found is appended here.
        check: Whether to ask the instance's own ``faults()``; False where that takes arguments.

    Returns:
        The instance. Where keys are at fault, one with their defaults, so that the reader can go on looking for
        other faults; None where there is no default.
    """
    if not isinstance(table, Mapping):
        faults.append(f"{where} is {_shown(table)}; it must be a table of keys.")
        table = {}
    fields = {f.name: f for f in dataclasses.fields(record) if f.init}  # type: ignore[arg-type]
    hints = typing.get_type_hints(record)
    values: dict[str, Any] = {}
    wrong = []
    for key, value in table.items():
        if key not in fields:
            faults.append(unknown_key(where, key, fields))
            continue
        try:
            values[key] = _convert(value, hints[key], f"{where} {key}", faults)
        except _WrongTypeError:
            wrong.append(key)
            faults.append(f"{where} {key} = {_shown(value)}; it must be {describe_type(hints[key])}.")
    for name, field in fields.items():
        no_default = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if no_default and name not in values:
            if name not in wrong:
                faults.append(f"{where} lacks {name}, {describe_type(hints[name])}.")
            return None
    try:
        instance = record(**values)
    except RisError as error:
        faults.append(f"{where} {error}")
        return None
    own = instance.faults() if check and hasattr(instance, "faults") else []
    faults.extend(f"{where} {fault}" for fault in own if not any(key in fault for key in wrong))
    return instance


def unknown_key(where: str, key: str, known: typing.Iterable[str]) -> str:
    """The fault for a key that the schema does not have, with the nearest known one."""
    names = sorted(known)
    near = difflib.get_close_matches(key, names, n=1) or [name for name in names if key in name][:1]
    hint = f" Did you mean {near[0]!r}?" if near else ""
    if near and len(names) > _LISTED_KEYS:
        return f"{where} has unknown key {key!r}.{hint}"
    allowed = f"Known keys: {', '.join(names)}." if names else "It takes no keys."
    return f"{where} has unknown key {key!r}.{hint} {allowed}"


def describe_type(hint: Any) -> str:
    """A type in words, as a message names what is allowed."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(describe_type(a) for a in arguments if a is not types.NoneType)
    if origin is typing.Literal:
        return "one of " + ", ".join(repr(a) for a in arguments)
    if origin in (tuple, list, Sequence):
        if (len(arguments) == 2 and arguments[1] is Ellipsis) or origin is not tuple:
            return f"a list, each {describe_type(arguments[0])}"
        return f"a list of {len(arguments)}: {', '.join(describe_type(a) for a in arguments)}"
    if (origin is not None and issubclass(origin, Mapping)) or hint is dict or dataclasses.is_dataclass(hint):
        return "a table of keys"
    return _NAMES.get(hint, getattr(hint, "__name__", str(hint)))


def _is_mapping(hint: Any) -> bool:
    origin = typing.get_origin(hint) or hint
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _convert(value: object, hint: Any, where: str, faults: list[str]) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or hint is object:
        return value
    if origin in (typing.Union, types.UnionType):
        return _convert_union(value, arguments, where, faults)
    if origin is typing.Literal:
        if value in arguments:
            return value
        raise _WrongTypeError
    if dataclasses.is_dataclass(hint):
        return read_record(typing.cast(type, hint), value, where, faults)
    if origin in (tuple, list, Sequence) and isinstance(value, list):
        return _convert_list(value, origin, arguments, where, faults)
    if _is_mapping(hint):
        if isinstance(value, Mapping):
            return dict(value)
        raise _WrongTypeError
    return _convert_scalar(value, hint)


def _convert_union(value: object, options: Sequence[Any], where: str, faults: list[str]) -> Any:
    for option in options:
        if option is types.NoneType:
            continue
        try:
            return _convert(value, option, where, faults)
        except _WrongTypeError:
            continue
    raise _WrongTypeError


def _convert_list(value: list[Any], origin: Any, arguments: Any, where: str, faults: list[str]) -> Any:
    if origin is tuple and arguments[1:] != (Ellipsis,):
        if len(value) != len(arguments):
            raise _WrongTypeError
        return tuple(_convert(v, a, where, faults) for v, a in zip(value, arguments, strict=True))
    items = [_convert(v, arguments[0], where, faults) for v in value]
    return tuple(items) if origin is not list else items


def _convert_scalar(value: object, hint: Any) -> Any:
    if hint is bool and isinstance(value, bool):
        return value
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if hint is str and isinstance(value, str):
        return value
    if hint is Path and isinstance(value, str):
        return Path(value)
    raise _WrongTypeError


def takes_list(record: type, key: str) -> bool:
    """Whether a field of a dataclass is a list itself, so that only a list of lists makes a grid of it."""
    hint = typing.get_type_hints(record).get(key)
    options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    return any(typing.get_origin(option) in (tuple, list, Sequence) for option in options)


def expand_grid(table: Mapping[str, Any], record: type) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Every combination of a table's lists, the last key varying fastest.

    Args:
        table: Keys and values; a list is an axis unless the field takes a list.
        record: The dataclass that the table will be read into.

    Returns:
        For each combination the values of the axes alone, and the whole flat table.
    """
    axes = {key: table[key] for key in list_keys(table, record)}
    combinations = []
    for chosen in itertools.product(*axes.values()):
        choice = dict(zip(axes, chosen, strict=True))
        combinations.append((choice, {**table, **choice}))
    return combinations


def list_keys(table: Mapping[str, Any], record: type) -> list[str]:
    """The keys of a table that `expand_grid` takes for axes, in their order."""
    return [key for key, value in table.items() if _is_axis(value, record, key)]


def _is_axis(value: object, record: type, key: str) -> bool:
    if not isinstance(value, list):
        return False
    return not takes_list(record, key) or (bool(value) and all(isinstance(v, list) for v in value))


def inherit(tables: Mapping[str, Any], where: str, faults: list[str]) -> dict[str, Any]:
    """Tables completed by those that they are like: ``like = "a"`` takes over what ``a`` holds.

    Own keys win; tables within tables are joined key by key, lists are replaced. ``a`` may itself be like another.

    Args:
        tables: Tables by name.
        where: File and section for messages, such as ``"demo.toml: [backbone"``; the table's name follows.
        faults: A ``like`` that names no table, or leads back to itself, is appended here, once.

    Returns:
        The tables in their order, each with its own ``like``; those at fault are left out.
    """
    told: dict[str, None] = {}
    found = {name: _inherited(tables, [name], where, told) for name in tables}
    faults.extend(told)
    return {name: table for name, table in found.items() if table is not None}


def _inherited(tables: Mapping[str, Any], path: list[str], where: str, faults: dict[str, None]) -> Any:
    """The last table on a path of likes, completed; None where it, or one that it is like, is at fault."""
    table = tables[path[-1]]
    if not isinstance(table, Mapping) or "like" not in table:
        return table
    base = table["like"]
    fault = f"{where}.{path[-1]}] like = {_shown(base)}"
    if not isinstance(base, str) or not isinstance(tables.get(base), Mapping):
        others = ", ".join(name for name in tables if name != path[-1]) or "there is none"
        faults[f"{fault}; it must name another table of the section: {others}."] = None
        return None
    if base in path:
        circle = " -> ".join([*path[path.index(base) :], base])
        faults[f"{fault} leads back to itself: {circle}. Write one of these tables out."] = None
        return None
    taken = _inherited(tables, [*path, base], where, faults)
    return None if taken is None else _joined(taken, table)


def _joined(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Both tables as one: own keys win, tables within them are joined likewise."""
    joined = {**base, **own}
    for key in base.keys() & own.keys():
        if isinstance(base[key], Mapping) and isinstance(own[key], Mapping):
            joined[key] = _joined(base[key], own[key])
    return joined


def parse_override(text: str) -> tuple[list[str], Any]:
    """Key path and value of one ``--set`` argument; a value that is not TOML is a text.

    Raises:
        ValueError: If there is no key or no equals sign.
    """
    path, equals, value = text.partition("=")
    keys = [key.strip() for key in path.split(".")]
    if not equals or not all(keys):
        raise ValueError(f"--set {text}: expected KEY=VALUE, such as corpus.source=ortho.tif.")
    try:
        return keys, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return keys, value.strip()


def apply_override(table: dict[str, Any], keys: Sequence[str], value: object) -> None:
    """Set a nested key, making tables on the way.

    Raises:
        ValueError: If a key on the way is not a table.
    """
    for depth, key in enumerate(keys[:-1]):
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            raise ValueError(f"--set {'.'.join(keys)}: {'.'.join(keys[: depth + 1])} is {_shown(table)}, not a table.")
    table[keys[-1]] = value


def _shown(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
