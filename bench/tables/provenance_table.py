"""What every number of a run can be traced by, as keys and values that are fit to be published.

No host name, no user name and no path: files are named by their last name.
"""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import PurePath
from typing import Any

import pandas as pd

from bench.machine import blas_words, commit_words
from bench.measuring.cpu_settings import UNTOLD, setting_words
from bench.measuring.other_load import is_noisy
from bench.results import OK, Result, RunRecord

LOADED_CELLS, NOISY_CELLS = "load.cells", "load.noisy_cells"
_SHOWN_HASH = 8  # characters, in a caption


def provenance_table(record: RunRecord, results: Sequence[Result]) -> pd.DataFrame:
    """``provenance``: one row a fact, its key the group and the name with a dot between; what is empty is left out.

    Groups: run, suite, seed, corpus, artifact (keys, which hash parameters and data), machine, version, cluster (whose
    workers computed stages), measure, threads (for each number that cells were given, what the libraries reported) and
    load (at the start; and what other work took of the cores while cells were measured).

    Args:
        record: The run.
        results: Its cells.
    """
    groups = {
        "run": _run(record),
        "suite": _suite(record),
        "seed": _seeds(record.suite),
        "corpus": _corpus(record.corpus),
        "artifact": {" ".join(filter(None, (n.stage, n.backbone))): n.key for n in record.stage_notes},
        "machine": _machine(record.machine),
        "version": record.machine.get("versions") or {},
        "cluster": record.cluster,
        "measure": {"how": record.measuring},
        "threads": _threads(results),
        "load": _load(record.machine, results),
    }
    rows = [(f"{group}.{name}", str(value)) for group, facts in groups.items() for name, value in facts.items()]
    return pd.DataFrame([row for row in rows if row[1]], columns=["key", "value"])


def trace_words(record: RunRecord) -> str:
    """Run, commit and suite in one sentence, for the caption of a table that may be copied away from its run."""
    commit = commit_words(record.machine.get("commit"))
    suite = f"{record.suite_name} (SHA-256 {_suite_hash(record)[:_SHOWN_HASH]})"
    return f"Run {record.run_id}, commit {commit}, suite {suite}."


def without_path(override: str) -> str:
    """A ``--set`` argument whose value, if it is a path, is cut to its last name."""
    key, equals, value = override.partition("=")
    return f"{key}{equals}{_last_name(value)}"


def _last_name(text: str) -> str:
    """The last name of a path, of whatever system."""
    return PurePath(text.replace("\\", "/")).name if "/" in text or "\\" in text else text


def _suite_hash(record: RunRecord) -> str:
    return sha256(record.suite_text.encode()).hexdigest()


def _run(record: RunRecord) -> dict[str, Any]:
    return {
        "id": record.run_id,
        "started": record.started,
        "finished": record.finished,
        "status": record.status,
        "ris-bench": record.version,
        "commit": commit_words(record.machine.get("commit")),
    }


def _suite(record: RunRecord) -> dict[str, Any]:
    about = record.suite.get("about", {})
    return {
        "name": record.suite_name,
        "file": _last_name(record.suite_file),
        "sha256": _suite_hash(record),
        "overrides": ", ".join(map(without_path, record.overrides)),
        **{key: about.get(key, "") for key in ("source", "hardware", "duration", "expected")},
    }


def _seeds(suite: Any) -> dict[str, str]:
    """Every seed of a suite by its place, such as ``backbones tiny recipe``; equal places of a grid in one row."""
    found: dict[str, list[str]] = {}
    for place, seed in _walk(suite, ()):
        values = found.setdefault(place, [])
        if str(seed) not in values:
            values.append(str(seed))
    return {place: ", ".join(values) for place, values in found.items()}


def _walk(settings: Any, place: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    if isinstance(settings, Mapping):
        for key, value in settings.items():
            if key == "seed":
                yield " ".join(place), value
            elif key.endswith("_seed"):
                yield " ".join((*place, key)), value
            else:
                yield from _walk(value, (*place, key))
    elif isinstance(settings, list | tuple):
        for item in settings:
            name = item.get("name") if isinstance(item, Mapping) else None
            yield from _walk(item, place if name is None else (*place, name))


def _corpus(corpus: Mapping[str, Any]) -> dict[str, str]:
    return {key: _last_name(str(value)) for key, value in corpus.items()}


def _machine(machine: Mapping[str, Any]) -> dict[str, str]:
    cpu, gpu = machine.get("cpu") or {}, machine.get("gpu")
    cores = [f"{cpu.get(f'{kind}_cores', '?')} {kind}" for kind in ("physical", "logical", "usable")]
    return {
        "processor": f"{cpu.get('model') or UNTOLD} ({cpu.get('architecture', '?')})",
        "instruction sets": " ".join(cpu.get("flags") or []),
        "cores": ", ".join(cores),
        **dict(setting_words(cpu).values()),
        "memory": f"{machine['memory_gib']} GiB" if machine.get("memory_gib") else UNTOLD,
        "GPU": "{count} x {name}, driver {driver}, CUDA {cuda}".format_map({"cuda": "?", **gpu}) if gpu else "none",
        "system": " ".join(str(machine.get(key) or "") for key in ("system", "kernel")).strip() or UNTOLD,
        "Python": str(machine.get("python") or UNTOLD),
        "BLAS and OpenMP": blas_words(machine),
    }


def _threads(results: Sequence[Result]) -> dict[str, str]:
    found: dict[int, set[str]] = {}
    for result in results:
        if result.status == OK:
            seen = found.setdefault(result.threads, set())
            seen |= {f"{library} {threads}" for library, threads in result.threads_seen.items()}
    return {f"{threads} given": ", ".join(sorted(seen)) for threads, seen in sorted(found.items())}


def _load(machine: Mapping[str, Any], results: Sequence[Result]) -> dict[str, str]:
    fracs = [r.other_load_frac for r in results if r.status == OK and r.other_load_frac is not None]
    facts = {"average_1_5_15_min": " ".join(f"{load:g}" for load in machine.get("load_average") or [])}
    if fracs:
        facts |= {"other_frac_median": f"{statistics.median(fracs):.3f}", "other_frac_max": f"{max(fracs):.3f}"}
        facts[LOADED_CELLS.removeprefix("load.")] = str(len(fracs))
        facts[NOISY_CELLS.removeprefix("load.")] = str(sum(map(is_noisy, fracs)))
    return facts
