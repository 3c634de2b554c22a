"""Bad input: bytes, texts and JSON values damaged in the ways that files get damaged, or that an attacker would choose.

Every function draws from the generator that it is given and from nothing else, so a seed names an input.
"""

import re
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Rng = np.random.Generator

HOSTILE = (
    "",
    " ",
    "../x",
    "../../../../x",
    "/x/../../etc/passwd",
    "..",
    ".",
    "a/b",
    "a\\..\\b",
    "C:\\x",
    "file:///etc/passwd",
    "nul\0byte",
    "two\nlines",
    "carriage\rreturn",
    "tab\there",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\"><svg onload='x'>",
    "javascript:alert(1)",
    "</textarea></style></title>",
    "&lt;&amp;&#60;",
    "{{ 7 * 7 }}{% raw %}",
    "%s %(x)s {0} {x} $HOME `id` $(id)",
    "\\input{/etc/passwd} \\end{document} $x_1^2$ #1 & % ~ {",
    "a|b | [x](javascript:alert(1)) `c` *d* _e_ # f\n| g |",
    "=1+1",
    "@SUM(A1)",
    "+cmd|' /C calc'!A0",
    "-2+3",
    "'; DROP TABLE x; --",
    "double \"quotes\" and 'single'",
    "\u202egnp.exe\u200f\u2066",  # marks that turn the direction of text
    "\ufeffbom",
    "\x1b[31mred\x07",
    "caf\u00e9 e\u0301 \u00df \u0130 \U0001f600",
    "\u2028\u2029\x85",  # what str.splitlines calls lines
    "nan",
    "inf",
    "-0",
    "1e400",
    "9" * 30,
    "null",
    "true",
    "__class__",
    "con",
    "x" * 300,
)
LARGE = "y" * 2**20
SURROGATE = "half \ud800 pair"  # JSON can hold it, UTF-8 cannot

INTEGERS = (0, 1, 2, 3, 127, 128, 255, 256, 2**15 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63)
NUMBERS = (0, -1, 1, 2**31, -(2**63), 2**64, 10**30, 0.5, -0.0, 1e308, 1e-308, float("nan"), float("inf"))
TOML_VALUES = (
    *("true", "false", "-1", "0", "1", "2", "7", "65536", "1000000007", "9223372036854775807", "9" * 30),
    *("0.5", "-0.0", "1e308", "nan", "inf", "-inf", '""', '"../x"', '"/x"', '"a/b"', '"nul\\u0000"', '"two\\nlines"'),
    *('"<script>"', '"=1+1"', '"\\u202e"', '"exact"', '"colour"', '"self"', "[]", "[[]]", "{}", '["a", 1]', "[1, 2]"),
    *('["a", "a"]', "[[1, 2], [3]]", "[1.5, -2]", "{ a = 1 }", "{ a = { b = [] } }", "1979-05-27", "07:32:00"),
    *("1979-05-27T07:32:00Z", "[true, false]", '"' + "z" * 5000 + '"', "[" * 50 + "]" * 50),
)
_TOML_KEYS = ("x", "like", "kind", '"../x"', '""', '"<b>"')
_HEADER_BYTES = 512  # of a file: where most formats have what steers the rest
_MOST_CHANGES = 4
_TOKEN = re.compile(r"\s+|\w+|[^\w\s]")
_TOML_KEY = re.compile(r"^(\s*[\w.\"-]+\s*=\s*)(.+)$")


def chosen(rng: Rng, items: Sequence[Any]) -> Any:
    """One of them, each as likely; never a copy as NumPy would make it."""
    return items[int(rng.integers(len(items)))]


def hostile(rng: Rng) -> str:
    """A text that harms whoever pastes it unread; rarely one of a megabyte."""
    return LARGE if rng.random() < 0.01 else str(chosen(rng, HOSTILE))


def _changes(rng: Rng) -> int:
    """One more often than not: what is damaged all over is refused at its first byte."""
    return min(int(rng.geometric(0.6)), _MOST_CHANGES)


def damaged_bytes(rng: Rng, content: bytes, other: bytes = b"") -> bytes:
    """A file's bytes with one change or a few.

    Args:
        rng: Draws them.
        content: The bytes.
        other: Those of another file, of which a part may take the place of some.
    """
    for _ in range(_changes(rng)):
        change: Callable[..., bytes] = chosen(rng, _BYTE_CHANGES)
        content = change(rng, content, other)
    return content


def _at(rng: Rng, content: bytes) -> int:
    """A place in it, every second time in its header."""
    end = min(len(content), _HEADER_BYTES) if rng.random() < 0.5 else len(content)
    return int(rng.integers(max(1, end)))


def _put(content: bytes, at: int, part: bytes) -> bytes:
    return content[:at] + part + content[at + len(part) :]


def _flip(rng: Rng, content: bytes, _: bytes) -> bytes:
    at = _at(rng, content)
    return _put(content, at, bytes([content[at] ^ 1 << int(rng.integers(8))])) if content else b"\0"


def _set_integer(rng: Rng, content: bytes, _: bytes) -> bytes:
    size, letter = chosen(rng, ((1, "B"), (2, "H"), (4, "I"), (8, "Q")))
    value = chosen(rng, INTEGERS) % 256**size
    return _put(content, _at(rng, content) // size * size, struct.pack(chosen(rng, "<>") + letter, value))


def _truncate(rng: Rng, content: bytes, _: bytes) -> bytes:
    return content[: _at(rng, content)]


def _insert(rng: Rng, content: bytes, _: bytes) -> bytes:
    at = _at(rng, content)
    return content[:at] + rng.bytes(int(rng.integers(1, 9))) + content[at:]


def _span(rng: Rng, content: bytes) -> slice:
    at = _at(rng, content)
    return slice(at, at + int(rng.integers(1, 65)))


def _remove(rng: Rng, content: bytes, _: bytes) -> bytes:
    part = _span(rng, content)
    return content[: part.start] + content[part.stop :]


def _repeat(rng: Rng, content: bytes, _: bytes) -> bytes:
    part = _span(rng, content)
    return content[: part.stop] + content[part] * int(rng.integers(1, 4)) + content[part.stop :]


def _splice(rng: Rng, content: bytes, other: bytes) -> bytes:
    return _put(content, _at(rng, content), (other or content)[_span(rng, other or content)])


def _blank(rng: Rng, content: bytes, _: bytes) -> bytes:
    return _put(content, _at(rng, content), chosen(rng, (b"\0", b"\xff")) * int(rng.integers(1, 65)))[: len(content)]


_BYTE_CHANGES = (_flip, _flip, _set_integer, _set_integer, _truncate, _insert, _remove, _repeat, _splice, _blank)


def damaged_text(rng: Rng, text: str, other: str = "") -> str:
    """A text with one change or a few: tokens swapped, lost or repeated, lines too, and hostile ones put in.

    Args:
        rng: Draws them.
        text: The text.
        other: Another one, whose tokens may be put in.
    """
    for _ in range(_changes(rng)):
        parts = text.splitlines(keepends=True) if rng.random() < 0.3 else _TOKEN.findall(text)
        others = _TOKEN.findall(other) or parts or [""]
        at = int(rng.integers(len(parts))) if parts else 0
        new = chosen(rng, ([], [hostile(rng)], [chosen(rng, others)], parts[at : at + 1] * 2, [_number(rng)]))
        text = "".join([*parts[:at], *new, *parts[at + 1 :]])
    return text


def _number(rng: Rng) -> str:
    return str(chosen(rng, (*NUMBERS, *INTEGERS)))


def damaged_toml(rng: Rng, text: str, other: str = "") -> str:
    """A TOML text, most of the time still TOML: values replaced by other types, keys and tables by those of another."""
    lines, others = text.splitlines(), (other or text).splitlines()
    for _ in range(_changes(rng)):
        at = int(rng.integers(len(lines))) if lines else 0
        line = lines[at] if lines else ""
        how = rng.random()
        if (found := _TOML_KEY.match(line)) and how < 0.7:
            new = [found[1] + chosen(rng, TOML_VALUES)]
        elif found and how < 0.8:
            new = [f"{chosen(rng, _TOML_KEYS)} = {found[2]}", line]
        elif line.startswith("[") and how < 0.5:
            new = [line.rstrip("] ") + chosen(rng, ("x]", ".x]", '."../x"]', '."a/b"]', '.""]', "]]\n[x]", '."<b>"]'))]
        elif how < 0.95:
            new = chosen(rng, ([], [chosen(rng, others)]))
        else:
            new = chosen(rng, ([line, line], [hostile(rng)]))
        lines[at : at + 1] = new
    return "\n".join(lines)


def damaged_value(rng: Rng, value: Any) -> Any:
    """A JSON value in which one place, or a few, hold something else: another type, a hostile text, nothing."""
    for _ in range(_changes(rng)):
        value = _changed(rng, value, int(rng.integers(1, 9)))
    return value


def _changed(rng: Rng, value: Any, depth: int) -> Any:
    """The value with one place changed, at most so deep."""
    if depth and isinstance(value, dict) and value:
        key = chosen(rng, list(value))
        if rng.random() < 0.1:
            return {name: item for name, item in value.items() if name != key}
        if rng.random() < 0.05:
            return {hostile(rng) if name == key else name: item for name, item in value.items()}
        return {**value, key: _changed(rng, value[key], depth - 1)}
    if depth and isinstance(value, list) and value:
        at = int(rng.integers(len(value)))
        if rng.random() < 0.15:
            return value[:at] + chosen(rng, ([], [value[at]] * 2)) + value[at + 1 :]
        return [*value[:at], _changed(rng, value[at], depth - 1), *value[at + 1 :]]
    return _other(rng)


def _other(rng: Rng) -> Any:
    nested: Any = []
    for _ in range(100):
        nested = [nested]
    plain = (None, True, False, [], {}, [[]], {"a": {"b": 1}}, [1, "a", None], nested, SURROGATE)
    return chosen(rng, (chosen(rng, plain), chosen(rng, NUMBERS), hostile(rng)))
