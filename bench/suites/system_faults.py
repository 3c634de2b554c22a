"""What is impossible about the systems that a suite names: parts that are not there, or that have several settings."""

import difflib
from collections.abc import Iterator
from typing import Any

from bench.suites.suite import Suite, takes
from bench.suites.system_spec import SystemSpec


def system_faults(suite: Suite) -> Iterator[str]:
    """For each fault a sentence, from the table's name on; a part that is not known hides the other faults."""
    if suite.systems and suite.corpus.sizes:
        yield "[system] compares answers that are judged, and nothing is judged in several sizes. Remove corpus.sizes."
    for system in suite.systems:
        found = list(_unknown_parts(suite, system)) or list(_unfit_parts(suite, system))
        if system.rerank and system.regions:
            found.append("names rerank and regions; answers to regions are merged and not re-ranked. Remove one.")
        yield from (f"[system.{system.name}] {fault}" for fault in found)


def _parts(suite: Suite) -> dict[str, tuple[Any, ...]]:
    """The grids that each key may name."""
    return {"engine": suite.engines, "rerank": suite.reranks, "regions": suite.regions}


def _unknown_parts(suite: Suite, system: SystemSpec) -> Iterator[str]:
    names = {key: [grid.name for grid in grids] for key, grids in _parts(suite).items()}
    for key, known in {"backbone": [entry.name for entry in suite.backbones], **names}.items():
        name = getattr(system, key)
        if name and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            yield f"{key} = {name!r} is not in the suite.{hint} Known: {', '.join(known) or 'none'}."


def _unfit_parts(suite: Suite, system: SystemSpec) -> Iterator[str]:
    """Parts that are for other backbones, or that stand for several cells, of which a row could show one only."""
    entry = suite.backbone(system.backbone)
    for key, grids in _parts(suite).items():
        for grid in (grid for grid in grids if grid.name == getattr(system, key)):
            settings = len(grid.builds) * len(grid.queries) if key == "engine" else len(grid.points)
            if settings > 1:
                yield f"is one setting, and [{key}.{grid.name}] makes {settings}. Give each of its keys one value."
            if not takes(grid.backbones, entry):
                yield f"{key} = {grid.name!r} is for other backbones. Add {entry.table!r} to its backbones."
