"""Whether values read from JSON are of the types that a record's fields are declared with."""

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from typing import Any


def wrong_fields(record: type, values: Mapping[str, Any]) -> list[str]:
    """Names of the values that do not fit the fields of a dataclass; names of no field are passed over.

    Args:
        record: A dataclass of scalars, and of lists and string-keyed dicts of what fits.
        values: As ``json.loads`` gives them.
    """
    hints = _hints(record)
    return [name for name, value in values.items() if name in hints and not fits(value, hints[name])]


@functools.cache
def _hints(record: type) -> dict[str, Any]:
    names = {field.name for field in dataclasses.fields(record)}
    return {name: hint for name, hint in typing.get_type_hints(record).items() if name in names}


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type as JSON has it: a whole number fits a float, and neither fits a bool."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, option) for option in arguments)
    if origin is dict:
        return isinstance(value, dict) and all(fits(item, arguments[1]) for item in value.values())
    if origin is list:
        return isinstance(value, list) and all(fits(item, arguments[0]) for item in value)
    if hint in (int, float):
        return isinstance(value, (int, hint)) and not isinstance(value, bool)
    return isinstance(value, hint)
