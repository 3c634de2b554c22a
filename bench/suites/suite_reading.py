"""One reading of a suite file: its tables, where the paths in them are looked for, and the faults found so far."""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from bench.suites.toml_record import inherit, read_record

T = TypeVar("T")

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclasses.dataclass(frozen=True)
class SuiteReading:
    """One reading of one file.

    Attributes:
        path: The file.
        table: What stands in it, overrides applied.
        faults: What was found wrong so far, one sentence each; readers append to it.
    """

    path: Path
    table: dict[str, Any]
    faults: list[str]

    def where(self, section: str) -> str:
        """File and table, for messages."""
        return f"{self.path}: [{section}]"

    def section(self, name: str, record: type[T]) -> T | None:
        """The record of a section; see `bench.suites.toml_record.read_record`."""
        return read_record(record, self.table.get(name, {}), self.where(name), self.faults)

    def named(self, section: str, read: Callable[[str, dict[str, Any]], Sequence[T]]) -> list[T]:
        """What is read from all tables ``[section.NAME]``, in their order."""
        tables = self.table.get(section, {})
        if not isinstance(tables, Mapping) or not tables:
            self.faults.append(f"{self.path}: no [{section}.NAME] table; at least one {section} is needed.")
            return []
        if section == "backbone":  # engines have grids instead
            tables = inherit(tables, f"{self.path}: [{section}", self.faults)
        items: list[T] = []
        for name, table in tables.items():
            if not _NAME.fullmatch(name):
                self.faults.append(f"{self.where(section)} {name!r} is no name; allowed are letters, digits, _ . -")
            elif not isinstance(table, Mapping):
                self.faults.append(f"{self.where(section)} {name} must be a table: [{section}.{name}].")
            else:
                items.extend(read(name, dict(table)))
        return items

    def found(self, name: str, first: Sequence[Path]) -> Path:
        """A path as given, in the folders that come first, in the working directory, or beside the suite file."""
        for folder in (*first, Path(), self.path.parent):
            if (folder / name).exists():
                return folder / name
        return Path(name)

    def all_found(self, pattern: str, first: Sequence[Path]) -> list[str]:
        """The paths that a pattern matches in the first folder where it matches any; itself where it matches none."""
        given = Path(pattern)
        for folder in (Path(given.anchor),) if given.is_absolute() else (*first, Path(), self.path.parent):
            if (folder / given).exists():
                return [str(folder / given)]
            matched = sorted(folder.glob(str(given.relative_to(given.anchor))))
            if shown := [str(path) for path in matched if not path.name.startswith(".")]:  # as a shell does it
                return shown
        return [pattern]
