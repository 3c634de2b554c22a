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
from bench.tables.published import MODELS, add_published, beside, published_table
from bench.tables.table_schemas import SCHEMAS
from bench.tables.training_table import read_log

SINGLE, CORRECTED, AS_PUBLISHED = "single", "corrected", "as_published"
PUBLISHED_KIND = "falconn"  # the thesis' engine: its rows bear the names that the thesis' table uses
_OWN_PARAMS = ("family", "tables", "hash_bits", "probes_per_table")
_OWN_DERIVED = ("hash_functions", "last_cp_dimension")
_PARTS = r"(?:load|transform)_features|ready_.*_index"
# What FALCONN makes of 20 bits: of 192 dimensions (256 after its rotation) 9 bits a hash, of 384 (512) 10 bits.
THESIS_HASHES = {"tiny": (3, 2), "small": (2, 512)}


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
        notes: For each backbone, ``extract_s``, ``tiles`` and ``train_tiles``.
        logs: For each trained backbone, the ``log.txt`` of its checkpoint.
    """
    rows = []
    for backbone, path in logs.items():
        times = [[record["epoch_s"] for record in read_log(path) if record.get("epoch_s") is not None]]
        rows.append(_row("train_epoch", "s", (backbone, "", ""), times, notes.get(backbone, {}).get("train_tiles")))
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
    """The settings as people read them: what differs and what counts, columns that say nothing left out.

    Where FALCONN was measured, the thesis' times of it stand below: its build as it was timed, with loading and
    normalising, and the mean of its query times.
    """
    recall = f"recall@{settings['k'].iloc[0]}" if settings["k"].nunique() == 1 else "recall"
    own = settings.where(settings["kind"] == PUBLISHED_KIND)
    page = pd.DataFrame(
        {
            "backbone": settings["backbone"],
            "engine": _variants(settings),
            "tables": own["tables"],
            "bits": own["hash_bits"],
            "k": own["hash_functions"],
            "last dim": own["last_cp_dimension"],
            "probes": own["probes_per_table"],
            "setting": [_other_setting(row) for row in settings.to_dict("records")],
            "queries": settings["space"],
            "mode": settings["mode"],
            "threads": settings["threads"],
            "build s": settings["build_s"],
            "with loading s": settings["build_whole_s"],
            "index MiB": settings["size_bytes"].astype("float64") / 2**20,
            "query ms": _with_spans(settings, "query_ms_median", ("query_ms_ci_low", "query_ms_ci_high")),
            "mean ms": settings["query_ms_mean"],
            "queries/s": settings["queries_per_s"],
            recall: settings["recall"],
            "n": settings["q"],
            "candidates": settings["candidates"],
            "noisy": ["noisy" if noisy else "" for noisy in settings["other_load_frac"].map(is_noisy)],
            "failed": settings["reason"],
        }
    )
    if (settings["kind"] == PUBLISHED_KIND).any():
        page = pd.concat([page, _thesis_settings().reindex(columns=page.columns)], ignore_index=True)
    silent = [name for name in page if (page[name].isna() | (page[name] == "")).all()]
    constant = [name for name in ("mode", "threads", "queries") if page[name].nunique() == 1]
    return page.drop(columns=[*silent, *constant])


def runtimes_page(runtimes: pd.DataFrame) -> pd.DataFrame:
    """The running times as people read them: mean and median of each, a column a backbone, the thesis' beside it.

    The thesis gives means, of single queries alone; batches stand in ``lsh_parameters``, the parts of a build in the
    CSV.
    """
    shown = runtimes[~runtimes["quantity"].str.fullmatch(_PARTS)]
    single = shown[~shown["quantity"].str.endswith("_batch")]
    shown = single if single["quantity"].str.startswith("query").any() else shown
    raw_asked = bool(shown["cell"].str.contains(AS_PUBLISHED).any())
    lines: dict[tuple[str, str, str], dict[str, str]] = {}
    times: dict[tuple[str, str, str], dict[str, None]] = {}  # counts of a line, of several backbones each once
    for row, setting in zip(shown.to_dict("records"), _without_backbone(shown), strict=True):
        for statistic in ("mean", "median") if row["rounds"] > 1 else ("once",):
            key = _quantity_words(row), setting, statistic
            line = lines.setdefault(key, {})
            line[row["backbone"]] = _time_words(row, statistic)
            if statistic != "median" and _is_published(setting, raw_asked):
                published = {f"thesis {model}": row[f"published_{model}"] for model in MODELS}
                line |= {name: _short(value) for name, value in published.items() if not pd.isna(value)}
            times.setdefault(key, {})[_count_words(row)] = None
    names = ("time", "setting", "of them")
    page = pd.DataFrame(
        [dict(zip(names, key, strict=True)) | line | {"times": "; ".join(times[key])} for key, line in lines.items()]
    )
    columns = [*names, *beside(list(dict.fromkeys(shown["backbone"]))), "times"]
    return page[[name for name in columns if name in page]].fillna("")


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
    parts = {
        f"build_{word}_index": _whole_builds(build),
        "load_features": [[seconds] for seconds in build.load_s],
        "transform_features": [[seconds] for seconds in build.transform_s],
        f"construct_{word}_index": build.build_s,
        f"ready_{word}_index": [[seconds] for seconds in build.ready_s],
    }
    return [_row(quantity, "s", who, times, build.n) for quantity, times in parts.items()]


def _whole_builds(build: BuildResult) -> list[list[float]]:
    """For each process the seconds of each build, loading the features and bringing them into the space included."""
    before = [load + transform for load, transform in zip(build.load_s, build.transform_s, strict=True)]
    return [[start + seconds for seconds in process] for start, process in zip(before, build.build_s, strict=False)]


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
            row["build_whole_s"] = median_time(whole) if (whole := _whole_builds(build)) else None
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


def _quantity_words(row: Mapping[Any, Any]) -> str:
    """What was timed, and its unit: ``build, loading and normalising included, s``."""
    unit = row["unit"].replace("_per_", "/")
    quantity = row["quantity"]
    words = {
        "train_epoch": "an epoch of training",
        "extract_features": "extract all features",
        "build": "build, loading and normalising included",
        "construct": "build the index alone",
        "query": f"query, k = {quantity.rpartition('_k')[2].removesuffix('_batch')}",
    }
    return f"{words.get(quantity) or words[quantity.partition('_')[0]]}, {unit}"


def _count_words(row: Mapping[Any, Any]) -> str:
    """How many times stand behind a number, and in how many processes if in several: ``15 in 3``."""
    return f"{row['rounds']:,} in {row['processes']}" if row["processes"] > 1 else f"{row['rounds']:,}"


def _is_published(setting: str, raw_asked: bool) -> bool:
    """Whether a setting is of the kind that the thesis timed: cross-polytope hashing, asked with raw queries."""
    return "hyperplane" not in setting and not (raw_asked and CORRECTED in setting)


def _time_words(row: Mapping[Any, Any], statistic: str) -> str:
    """A mean; or a median with its interval, which is that of the median: ``0.160 [0.158, 0.163]``."""
    if statistic != "median":
        return _short(row["mean"])
    return f"{_short(row['median'])}{_interval(row['ci_low'], row['ci_high'])}"


def _other_setting(row: Mapping[Any, Any]) -> str:
    """What the suite names of a setting besides what has columns of its own, and what was chosen meanwhile."""
    apart = _OWN_PARAMS if row["kind"] == PUBLISHED_KIND else ()
    named = [part for part in str(row["setting"] or "").split() if part.partition("=")[0] not in apart]
    return " → ".join(filter(None, (" ".join(named), row["chosen"])))


def _thesis_settings() -> pd.DataFrame:
    """What is known of the thesis' index under each model, in the columns of `settings_page`."""
    runtimes = published_table("runtimes").set_index("quantity")
    rows = []
    for model in MODELS:
        functions, last = THESIS_HASHES["small" if model.startswith("small") else "tiny"]
        rows.append({
            "backbone": f"thesis {model}", "engine": "falconn cross-polytope", "tables": 10, "bits": 20,
            "k": functions, "last dim": last, "probes": 20, "queries": AS_PUBLISHED, "mode": SINGLE, "threads": 1,
            "with loading s": runtimes.loc["build_lsh_index", model],
            "mean ms": runtimes.loc["query_lsh_index_k100", model],
        })  # fmt: skip
    return pd.DataFrame(rows)


def _with_spans(table: pd.DataFrame, name: str, ends: tuple[str, str]) -> list[str]:
    """The numbers of a column with their intervals: ``0.160 [0.158, 0.163]``; empty where missing."""
    rows = table[[name, *ends]].itertuples(index=False, name=None)
    return ["" if pd.isna(value) else f"{_short(value)}{_interval(low, high)}" for value, low, high in rows]


def _interval(low: float, high: float) -> str:
    return "" if pd.isna(low) else f" [{_short(low)}, {_short(high)}]"


def _short(value: float) -> str:
    """Three significant digits."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:#.3g}".rstrip(".")
