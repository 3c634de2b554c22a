"""What the cells cost and what they found: running times, and every setting with its recall."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.precision_table import setting_of
from bench.published import add_published, published_table
from bench.results import BuildResult, QueryResult
from bench.score import bootstrap_interval, latency_summary
from bench.table_schemas import SCHEMAS
from bench.training_table import read_log

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
        times = [record["epoch_s"] for record in read_log(path) if record.get("epoch_s") is not None]
        rows.append(_row("train_epoch", "s", (backbone, "", ""), times, notes.get(backbone, {}).get("tiles")))
    for backbone, noted in notes.items():
        times = [noted["extract_s"]] if noted.get("extract_s") is not None else []
        rows.append(_row("extract_features", "s", (backbone, "", ""), times, noted.get("tiles")))
    for build in builds:
        rows += _build_rows(build)
    for query in queries:
        scale = 1000 if query.mode == SINGLE else 1000 / max(1, query.q)
        suffix = "" if query.mode == SINGLE else f"_{query.mode}"
        quantity = f"query_{_engine_word(query.kind)}_index_k{query.k}{suffix}"
        times = [seconds * scale for seconds in query.times_s]
        rows.append(_row(quantity, "ms_per_query", (query.backbone, query.engine, query.cell), times, query.n))
    table = pd.DataFrame([row for row in rows if row["rounds"]], columns=_COLUMNS)
    return add_published(table, published_table("runtimes"), ["quantity", "unit"])[list(SCHEMAS["runtimes"])]


def setting_table(builds: Sequence[BuildResult], queries: Sequence[QueryResult]) -> pd.DataFrame:
    """``lsh_parameters``: one row a query cell, failed ones with their reason.

    Args:
        builds: Build cells; a query cell takes build time and size from the one of its index, with as many threads
            if there is one.
        queries: Query cells.
    """
    rows = [_setting(query, _build_of(query, builds)) for query in queries]
    return pd.DataFrame(rows, columns=list(SCHEMAS["lsh_parameters"]))


def settings_page(settings: pd.DataFrame) -> pd.DataFrame:
    """The settings as people read them: what differs and what counts, columns that say nothing left out."""
    page = pd.DataFrame(
        {
            "backbone": settings["backbone"],
            "setting": _words(settings),
            "space": settings["space"],
            "mode": settings["mode"],
            "threads": settings["threads"],
            "build s": settings["build_s"],
            "index MiB": settings["size_bytes"].astype("float64") / 2**20,
            "query ms": settings["query_ms_median"],
            "queries/s": settings["queries_per_s"],
            "recall": settings["recall"],
            "candidates": settings["candidates"],
            "short lists": settings["shorter_than_k_frac"],
            "easy": settings["precision_easy"],
            "medium": settings["precision_medium"],
            "hard": settings["precision_hard"],
            "label": settings["precision_label"],
            "qrels": settings["precision_qrels"],
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
            "quartiles": [_span(low, high) for low, high in zip(runtimes["q1"], runtimes["q3"], strict=True)],
            "min": runtimes["min"],
            "rounds": runtimes["rounds"],
            "tiles": runtimes["n"],
            "thesis, tiny": runtimes["published_tiny"],
        }
    )


_COLUMNS = ["quantity", "unit", "backbone", "engine", "cell", "median", "mean", "q1", "q3", "min", "rounds", "n"]


def _row(quantity: str, unit: str, who: tuple[str, str, str], times: Sequence[float], n: Any) -> dict[str, Any]:
    """Summary of some times; one time has no spread."""
    row = dict(zip(_COLUMNS, (quantity, unit, *who), strict=False)) | {"rounds": len(times), "n": n}
    if not times:
        return row
    q1, median, q3 = np.quantile(times, [0.25, 0.5, 0.75])
    spread = {"q1": q1, "q3": q3} if len(times) > 1 else {}
    return row | {"median": median, "mean": np.mean(times), "min": np.min(times)} | spread


def _build_rows(build: BuildResult) -> list[dict[str, Any]]:
    who = (build.backbone, build.engine, build.cell)
    word = _engine_word(build.kind)
    rows = [_row(f"construct_{word}_index", "s", who, build.build_s, build.n)]
    if build.load_s is not None and build.transform_s is not None:
        before = build.load_s + build.transform_s
        rows.insert(0, _row(f"build_{word}_index", "s", who, [before + seconds for seconds in build.build_s], build.n))
    return rows


def _engine_word(kind: str) -> str:
    return "lsh" if kind == PUBLISHED_KIND else kind


def _build_of(query: QueryResult, builds: Iterable[BuildResult]) -> BuildResult | None:
    same = [b for b in builds if (b.backbone, b.engine, b.params) == (query.backbone, query.engine, query.params)]
    return next((build for build in same if build.threads == query.threads), same[0] if same else None)


def _setting(query: QueryResult, build: BuildResult | None) -> dict[str, Any]:
    params = query.params | query.query_params
    names = ("cell", "backbone", "engine", "kind", "space", "mode", "threads", "k", "status", "reason")
    row: dict[str, Any] = {name: getattr(query, name) for name in names}
    row |= {name: params.get(name) for name in _OWN_PARAMS}
    row["other_params"] = "; ".join(f"{key}={value}" for key, value in params.items() if key not in _OWN_PARAMS)
    row |= {name: getattr(query, name) or None for name in ("n", "d", "q")}
    if build is not None:
        row |= {name: build.derived.get(name) for name in _OWN_DERIVED}
        row |= {"build_s": np.median(build.build_s) if build.build_s else None, "size_bytes": build.size_bytes}
    if query.times_s:
        row |= _query_times(query)
    if query.recall_at_k:
        low, high = bootstrap_interval(query.recall_at_k)
        row |= {"recall": np.mean(query.recall_at_k), "recall_ci_low": low, "recall_ci_high": high}
    if query.recall_ids_at_k:
        row["recall_ids"] = np.mean(query.recall_ids_at_k)
    row |= {"candidates": query.candidates_mean, "shorter_than_k_frac": query.shorter_than_k_frac}
    row["self_first_frac"] = query.self_first_frac
    return row | {f"precision_{stratum}": np.mean(values) for stratum, values in query.precision.items() if values}


def _query_times(query: QueryResult) -> dict[str, float]:
    """Milliseconds a query and queries a second; a batch has no percentiles, for its queries have no own times."""
    times = np.asarray(query.times_s, dtype=np.float64)
    if query.mode == SINGLE:
        summary = latency_summary(times)
        named = {f"query_ms_{name}": summary[f"{name}_ms"] for name in ("median", "mean", "p95", "p99")}
        return named | {"queries_per_s": len(times) / times.sum()}
    each_ms = times * 1000 / query.q
    return {
        "query_ms_median": float(np.median(each_ms)),
        "query_ms_mean": float(each_ms.mean()),
        "queries_per_s": query.q / float(np.median(times)),
    }


def _words(table: pd.DataFrame) -> list[str]:
    cells = zip(table["cell"], table["backbone"], table["engine"], strict=True)
    return [setting_of(cell, backbone, engine) for cell, backbone, engine in cells]


def _without_backbone(table: pd.DataFrame) -> list[str]:
    cells = zip(table["cell"], table["backbone"], strict=True)
    return [cell.removeprefix(f"{backbone}/").replace("/", " ") for cell, backbone in cells]


def _span(low: float, high: float) -> str:
    return "" if pd.isna(low) else f"{low:#.3g} to {high:#.3g}"
