"""What the cells cost and what they found: running times, and every setting with its recall."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.measuring.other_load import is_noisy
from bench.results import BuildResult, QueryResult
from bench.scores.inference import median_time, nested_interval
from bench.scores.score import bootstrap_interval, latency_summary
from bench.tables.names import setting_words, value_words, variant_of
from bench.tables.published import add_published, published_table
from bench.tables.table_schemas import SCHEMAS
from bench.tables.training_table import read_log

SINGLE = "single"
PUBLISHED_KIND = "falconn"  # the thesis' engine: its rows bear the names that the thesis' table uses
_OWN_PARAMS = ("family", "tables", "hash_bits", "probes_per_table")
_OWN_DERIVED = ("hash_functions", "last_cp_dimension")


def runtime_table(
    builds: Sequence[BuildResult],
    queries: Sequence[QueryResult],
    notes: Mapping[str, Mapping[str, Any]],
    logs: Mapping[str, Path],
) -> pd.DataFrame:
    """``runtimes``: one row for each quantity and cell, cells without a time left out.

    The published build time is that of loading the features, bringing them into the space and building the index, so
    ``build_lsh_index`` is the sum of the three; ``construct_lsh_index`` is the last alone.

    Args:
        builds: Build cells.
        queries: Query cells.
        notes: For each backbone, ``extract_s`` and ``tiles``.
        logs: For each trained backbone, the ``log.txt`` of its checkpoint.
    """
    rows = []
    for backbone, path in logs.items():
        times = [[record["epoch_s"] for record in read_log(path) if record.get("epoch_s") is not None]]
        rows.append(_row("train_epoch", "s", (backbone, "", ""), times, notes.get(backbone, {}).get("tiles")))
    for backbone, noted in notes.items():
        times = [[noted["extract_s"]]] if noted.get("extract_s") is not None else []
        rows.append(_row("extract_features", "s", (backbone, "", ""), times, noted.get("tiles")))
    for build in builds:
        rows += _build_rows(build)
    for query in queries:
        scale = _per_query_ms(query)
        suffix = "" if query.mode == SINGLE else f"_{query.mode}"
        quantity = f"query_{_engine_word(query.kind)}_index_k{query.k}{suffix}"
        times = [[seconds * scale for seconds in process] for process in query.times_s]
        rows.append(_row(quantity, "ms_per_query", (query.backbone, query.engine, query.cell), times, query.n))
    table = pd.DataFrame([row for row in rows if row["rounds"]], columns=_COLUMNS)
    return add_published(table, published_table("runtimes"), ["quantity", "unit"])[list(SCHEMAS["runtimes"])]


def setting_table(
    builds: Sequence[BuildResult],
    queries: Sequence[QueryResult],
    overhead: Mapping[str, Sequence[Sequence[float]]],
) -> pd.DataFrame:
    """``lsh_parameters``: one row a query cell, failed ones with their reason.

    Args:
        builds: Build cells; a query cell takes build time and size from the one of its index, with as many threads
            if there is one.
        queries: Query cells.
        overhead: For each way of asking, such as ``"single-1t"``, what asking an engine that does nothing took.
    """
    rows = [_setting(query, _build_of(query, builds), overhead) for query in queries]
    return pd.DataFrame(rows, columns=list(SCHEMAS["lsh_parameters"]))


def memory_table(builds: Sequence[BuildResult]) -> pd.DataFrame:
    """``memory``: one row an index, measured in a process of its own, or where a slow one was built and timed.

    Args:
        builds: Build cells; of one index built with several numbers of threads the first stands for all.
    """
    firsts: dict[str, BuildResult] = {}
    for build in builds:
        if build.memory:
            firsts.setdefault(repr((build.backbone, build.engine, sorted(build.params.items()))), build)
    names = ("cell", "backbone", "engine", "kind", "n", "d")
    rows = [{name: getattr(build, name) for name in names} | build.memory for build in firsts.values()]
    return pd.DataFrame(rows, columns=list(SCHEMAS["memory"]))


def memory_page(memory: pd.DataFrame) -> pd.DataFrame:
    """The memory as people read it, in MiB."""
    page = pd.DataFrame({"backbone": memory["backbone"], "index": _without_backbone(memory), "n": memory["n"]})
    words = {
        "vector_bytes": "vectors",
        "theoretical_bytes": "index, by formula",
        "size_bytes": "index, by engine",
        "anon_growth_bytes": "index, measured",
        "disk_bytes": "on disk",
        "peak_rss_bytes": "peak of process",
        "start_rss_bytes": "before building",
    }
    for name, word in words.items():
        page[f"{word} MiB"] = memory[name].astype("float64") / 2**20
    return page.dropna(axis=1, how="all")


def settings_page(settings: pd.DataFrame) -> pd.DataFrame:
    """The settings as people read them: what differs and what counts, columns that say nothing left out."""
    page = pd.DataFrame(
        {
            "backbone": settings["backbone"],
            "engine": _variants(settings),
            "setting": settings["setting"].fillna("").replace("", "defaults"),
            "chosen": settings["chosen"].fillna(""),
            "space": settings["space"],
            "mode": settings["mode"],
            "threads": settings["threads"],
            "build s": settings["build_s"],
            "index MiB": settings["size_bytes"].astype("float64") / 2**20,
            "prepare s": settings["prepare_s"].where(settings["chosen"] != ""),
            "query ms": settings["query_ms_median"],
            "95 % interval": _spans(settings, "query_ms_ci_low", "query_ms_ci_high"),
            "p95": settings["query_ms_p95"],
            "max": settings["query_ms_max"],
            "harness ms": settings["overhead_ms"],
            "queries/s": settings["queries_per_s"],
            "recall": settings["recall"],
            "n": settings["q"],
            "candidates": settings["candidates"],
            "short lists": settings["shorter_than_k_frac"],
            "easy": settings["precision_easy"],
            "medium": settings["precision_medium"],
            "hard": settings["precision_hard"],
            "label": settings["precision_label"],
            "qrels": settings["precision_qrels"],
            "noisy": ["noisy" if noisy else "" for noisy in settings["other_load_frac"].map(is_noisy)],
            "failed": settings["reason"],
        }
    )
    silent = [name for name in page if page[name].isna().all() or (page[name] == "").all()]
    constant = [name for name in ("space", "mode", "threads") if page[name].nunique() == 1]
    return page.drop(columns=[*silent, *constant])


def runtimes_page(runtimes: pd.DataFrame) -> pd.DataFrame:
    """The running times as people read them."""
    return pd.DataFrame(
        {
            "quantity": runtimes["quantity"],
            "unit": runtimes["unit"].str.replace("_per_", "/"),
            "backbone": runtimes["backbone"],
            "setting": _without_backbone(runtimes),
            "median": runtimes["median"],
            "95 % interval": _spans(runtimes, "ci_low", "ci_high"),
            "quartiles": _spans(runtimes, "q1", "q3"),
            "min": runtimes["min"],
            "rounds": runtimes["rounds"],
            "processes": runtimes["processes"],
            "tiles": runtimes["n"],
            "thesis, tiny": runtimes["published_tiny"],
        }
    )


_SUMMARY = ["median", "mean", "q1", "q3", "min", "rounds", "n", "ci_low", "ci_high", "processes"]
_COLUMNS = ["quantity", "unit", "backbone", "engine", "cell", *_SUMMARY]


def _row(
    quantity: str, unit: str, who: tuple[str, str, str], processes: Sequence[Sequence[float]], n: Any
) -> dict[str, Any]:
    """Summary of the times of some processes: the median over them of each one's median; one time has no spread."""
    times = [seconds for process in processes for seconds in process]
    counts = {"rounds": len(times), "n": n, "processes": len(processes)}
    row = dict(zip(_COLUMNS, (quantity, unit, *who), strict=False)) | counts
    if not times:
        return row
    q1, q3 = np.quantile(times, [0.25, 0.75])
    low, high = nested_interval(processes)
    spread = {"q1": q1, "q3": q3, "ci_low": low, "ci_high": high} if len(times) > 1 else {}
    return row | {"median": median_time(processes), "mean": np.mean(times), "min": np.min(times)} | spread


def _build_rows(build: BuildResult) -> list[dict[str, Any]]:
    who = (build.backbone, build.engine, build.cell)
    word = _engine_word(build.kind)
    before = [load + transform for load, transform in zip(build.load_s, build.transform_s, strict=True)]
    whole = [[start + seconds for seconds in process] for start, process in zip(before, build.build_s, strict=False)]
    parts = {
        f"build_{word}_index": whole,
        "load_features": [[seconds] for seconds in build.load_s],
        "transform_features": [[seconds] for seconds in build.transform_s],
        f"construct_{word}_index": build.build_s,
        f"ready_{word}_index": [[seconds] for seconds in build.ready_s],
    }
    return [_row(quantity, "s", who, times, build.n) for quantity, times in parts.items()]


def _engine_word(kind: str) -> str:
    return "lsh" if kind == PUBLISHED_KIND else kind


def _build_of(query: QueryResult, builds: Iterable[BuildResult]) -> BuildResult | None:
    same = [b for b in builds if (b.backbone, b.engine, b.params) == (query.backbone, query.engine, query.params)]
    return next((build for build in same if build.threads == query.threads), same[0] if same else None)


def _setting(
    query: QueryResult, build: BuildResult | None, overhead: Mapping[str, Sequence[Sequence[float]]]
) -> dict[str, Any]:
    params = query.params | query.query_params
    names = ("cell", "backbone", "engine", "kind", "space", "mode", "threads", "k", "status", "reason")
    row: dict[str, Any] = {name: getattr(query, name) for name in names}
    row |= {name: params.get(name) for name in _OWN_PARAMS}
    row["setting"], row["build_setting"] = (setting_words(query.cell, named) for named in (params, query.params))
    row["chosen"] = value_words(query.chosen)
    row["prepare_s"] = np.median(query.prepare_s) if query.prepare_s else None
    row["other_params"] = "; ".join(f"{key}={value}" for key, value in params.items() if key not in _OWN_PARAMS)
    row |= {name: getattr(query, name) or None for name in ("n", "d", "q")}
    if build is not None:
        row |= {name: build.derived.get(name) for name in _OWN_DERIVED}
        row["size_bytes"] = build.size_bytes
        if build.build_s:
            row["build_s"] = median_time(build.build_s)
            row["build_s_ci_low"], row["build_s_ci_high"] = nested_interval(build.build_s)
            row["ready_ms"] = np.median(build.ready_s) * 1000
    if query.times_s:
        row |= _query_times(query)
        idle = overhead.get(f"{query.mode}-{query.threads}t")
        row["overhead_ms"] = median_time(idle) * _per_query_ms(query) if idle else None
    if query.recall_at_k:
        low, high = bootstrap_interval(query.recall_at_k)
        row |= {"recall": np.mean(query.recall_at_k), "recall_ci_low": low, "recall_ci_high": high}
    if query.recall_ids_at_k:
        low, high = bootstrap_interval(query.recall_ids_at_k)
        row |= {"recall_ids": np.mean(query.recall_ids_at_k), "recall_ids_ci_low": low, "recall_ids_ci_high": high}
    shares = ("shorter_than_k_frac", "self_first_frac", "self_missed_frac", "unstable_frac", "other_load_frac")
    row |= {"candidates": query.candidates_mean} | {name: getattr(query, name) for name in shares}
    return row | {f"precision_{stratum}": np.mean(values) for stratum, values in query.precision.items() if values}


def _query_times(query: QueryResult) -> dict[str, float]:
    """Milliseconds a query and queries a second; a batch has no percentiles, for its queries have no own times.

    Percentiles and maximum are those of each process' queries, and of these the median over the processes.
    """
    scale = _per_query_ms(query)
    processes = [np.asarray(process, dtype=np.float64) * scale for process in query.times_s]
    median_ms, mean_ms = median_time(processes), float(np.mean(np.concatenate(processes)))
    low, high = nested_interval(processes)
    row = {
        "query_ms_median": median_ms,
        "query_ms_mean": mean_ms,
        "query_ms_ci_low": low,
        "query_ms_ci_high": high,
        "queries_per_s": 1000 / (mean_ms if query.mode == SINGLE else median_ms),
        "processes": len(processes),
    }
    if query.mode == SINGLE:
        tails = [latency_summary(process / 1000) for process in processes]
        row |= {f"query_ms_{name}": np.median([tail[f"{name}_ms"] for tail in tails]) for name in ("p95", "p99", "max")}
    return row


def _per_query_ms(query: QueryResult) -> float:
    """From the seconds of a call to the milliseconds of each of its queries."""
    return 1000.0 if query.mode == SINGLE else 1000.0 / max(1, query.q)


def _variants(table: pd.DataFrame) -> list[str]:
    names = zip(table["engine"], table["kind"], table["family"].fillna(""), strict=True)
    return [variant_of(*name) for name in names]


def _without_backbone(table: pd.DataFrame) -> list[str]:
    cells = zip(table["cell"], table["backbone"], strict=True)
    return [cell.removeprefix(f"{backbone}/").replace("/", " ") for cell, backbone in cells]


def _spans(table: pd.DataFrame, low: str, high: str) -> list[str]:
    """The intervals that two columns hold, in words."""
    pairs = zip(table[low], table[high], strict=True)
    return ["" if pd.isna(first) else f"{first:#.3g} to {last:#.3g}" for first, last in pairs]
