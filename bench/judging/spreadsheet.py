"""CSV files that people fill in, also in a spreadsheet: commas or semicolons, with or without a byte order mark."""

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ris_core.errors import ArtifactError

_MOST_TOLD = 10
_TOO_LARGE = 2**63
_FORMULA = re.compile(r"'?[=+@\t\r]|'?-(?!\d*\.?\d*$)")  # that begins one; a number with a sign is none


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Line number and the values of these columns, spaces trimmed, for each line that holds anything.

    Further columns are passed over; where the separator is a semicolon, the heading says so.

    Raises:
        ArtifactError: If the file is missing or no text, or lacks a column.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            heading = file.readline()
            file.seek(0)
            reader = csv.DictReader(file, delimiter=";" if ";" in heading and "," not in heading else ",")
            lacking = [column for column in columns if column not in (reader.fieldnames or [])]
            if lacking:
                raise ArtifactError(
                    f"{path}: its heading {heading.strip()!r} lacks {', '.join(lacking)}. The first line of this CSV "
                    f"names its columns: {','.join(columns)}."
                )
            for row in reader:
                values = [unguarded(in_one_line(row[column] or "")) for column in columns]
                if any(values):
                    yield reader.line_num, values
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ArtifactError(f"{path}: cannot be read as a CSV in UTF-8 ({error}). Check the file.") from error


def guarded(text: str) -> str:
    """The text as a CSV holds it: after an apostrophe where a spreadsheet would compute what it says."""
    return f"'{text}" if _FORMULA.match(text) else text


def unguarded(text: str) -> str:
    """What `guarded` was given."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text[1:]) else text


def in_one_line(text: str) -> str:
    """The text with each run of blanks and line ends as one blank, so that it is one key wherever it was written."""
    return " ".join(text.split())


def whole_number(text: str) -> int | None:
    """The number that a cell holds; None where it holds none, or one that no id of a tile can be."""
    try:
        number = int(text)
    except ValueError:
        return None
    return number if abs(number) < _TOO_LARGE else None


def listed(path: Path, faults: Sequence[str]) -> str:
    """All faults of a file as one message; of many the first ten."""
    told = [*faults[:_MOST_TOLD], *([f"and {len(faults) - _MOST_TOLD} more."] if len(faults) > _MOST_TOLD else [])]
    return f"{path}: {told[0]}" if len(told) == 1 else "\n".join([f"{path}:", *(f"- {fault}" for fault in told)])
