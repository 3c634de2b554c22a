"""Tables of a suite whose lists make grids: engines, re-rankers, regions; and the systems that are made of them."""

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from bench.suites.suite import EngineGrid, ParamSet, RegionGrid, RerankGrid, engine_kinds
from bench.suites.suite_reading import SuiteReading
from bench.suites.system_spec import SystemSpec
from bench.suites.toml_record import expand_grid, read_record
from ris_core.engines import ENGINES
from ris_core.regions.params import OBJECTS, SOURCES, WHOLE
from ris_core.rerank import RERANKERS


def read_engine(reading: SuiteReading, name: str, table: dict[str, Any]) -> list[EngineGrid]:
    """``[engine.NAME]``: one grid; none where its kind is unknown."""
    where = reading.where(f"engine.{name}")
    kind, backbones = table.pop("kind", name), _taken(reading, where, table)
    if kind not in engine_kinds():
        reading.faults.append(f"{where} kind = {kind!r} is no engine.{_near(kind, engine_kinds())}")
        return []
    queries = table.pop("query", {})
    builds = _points(reading, where, table, ENGINES[kind].build_params)
    asked = _points(reading, f"{where} query", queries, ENGINES[kind].query_params)
    return [EngineGrid(name, kind, tuple(builds), tuple(asked), backbones)]


def read_rerank(reading: SuiteReading, name: str, table: dict[str, Any]) -> list[RerankGrid]:
    """``[rerank.NAME]``: one grid; none where its kind is unknown."""
    where = reading.where(f"rerank.{name}")
    kind, backbones = table.pop("kind", name), _taken(reading, where, table)
    if kind not in [*RERANKERS]:
        reading.faults.append(f"{where} kind = {kind!r} is no re-ranker.{_near(kind, sorted(RERANKERS))}")
        return []
    files = {key: table[key] for key in ("weights", "detector") if isinstance(table.get(key), str) and table[key]}
    table |= {key: str(reading.found(path, ())) for key, path in files.items()}
    return [RerankGrid(name, kind, tuple(_points(reading, where, table, RERANKERS[kind].params)), backbones)]


def read_regions(reading: SuiteReading, name: str, table: dict[str, Any]) -> list[RegionGrid]:
    """``[regions.NAME]``: one grid; none where its source is unknown."""
    where = reading.where(f"regions.{name}")
    source, backbones = table.pop("source", name), _taken(reading, where, table)
    if name == WHOLE:
        reading.faults.append(f"{where} is what regions are held against, and is measured in any case. Rename it.")
    if source not in (known := sorted(set(SOURCES) - {WHOLE})):
        reading.faults.append(f"{where} source = {source!r} is no source of regions.{_near(source, known)}")
        return []
    if isinstance(table.get("boxes"), str) and table["boxes"] != str(OBJECTS):
        table["boxes"] = str(reading.found(table["boxes"], ()))
    return [RegionGrid(name, source, tuple(_points(reading, where, table, SOURCES[source])), backbones)]


def read_system(reading: SuiteReading, name: str, table: dict[str, Any]) -> list[SystemSpec]:
    """``[system.NAME]``."""
    where = reading.where(f"system.{name}")
    if table.pop("name", None) is not None:
        reading.faults.append(f"{where} has unknown key 'name': its heading names it. Write title instead.")
    system = read_record(SystemSpec, table, where, reading.faults)
    return [] if system is None else [dataclasses.replace(system, name=name, title=system.title or name)]


def _taken(reading: SuiteReading, where: str, table: dict[str, Any]) -> tuple[str, ...]:
    """``backbones``, taken out of a table that is for some of them alone; empty where it is for all."""
    if "backbones" not in table:
        return ()
    names, known = table.pop("backbones"), list(reading.table.get("backbone", {}))
    if not isinstance(names, list) or not names:
        reading.faults.append(f"{where} backbones = {names!r}; it must be a list of names, or left out to take all.")
        return ()
    for name in (name for name in names if name not in known):
        reading.faults.append(f"{where} backbones: {name!r} is no backbone.{_near(name, known)}")
    return tuple(names)


def _near(name: object, known: Iterable[str]) -> str:
    """What else may have been meant, behind a fault."""
    names = list(known)
    near = difflib.get_close_matches(str(name), names, n=1)
    return (f" Did you mean {near[0]!r}?" if near else "") + f" Known: {', '.join(names)}."


def _points(reading: SuiteReading, where: str, table: object, record: type[Any]) -> list[ParamSet]:
    """Every combination of the lists of a table."""
    if not isinstance(table, Mapping):
        reading.faults.append(f"{where} = {table!r} must be a table of keys, such as query.probes_per_table = 5.")
        return []
    order = [field.name for field in dataclasses.fields(record)]
    named = tuple(sorted((key for key in table if key in order), key=order.index))
    fresh: list[str] = []
    points = []
    for _, flat in expand_grid(table, record):
        before = len(fresh)
        params = read_record(record, flat, where, fresh, check=False)
        if params is not None and len(fresh) == before:
            points.append(ParamSet(params, named))
    reading.faults.extend(dict.fromkeys(fresh))  # a fault that every point of the grid shares is told once
    if not fresh and not points:
        reading.faults.append(f"{where} has an empty list; name at least one value.")
    if len(set(points)) < len(points):
        reading.faults.append(f"{where} names a value twice.")
    return points
