"""The cheapest setting of each engine that reaches a recall: neither time nor recall says much without the other."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from bench.scores.growth import ROUNDING
from bench.tables.building import with_choosing
from bench.tables.names import EXACT, variant_of
from bench.tables.table_schemas import SCHEMAS

RECALL_TARGETS = (0.5, 0.8, 0.9, 0.95, 0.99)
FASTER, SLOWER, NOT_SHOWN = "faster", "slower", "no difference shown"
_SINGLE, _BATCH = "single", "batch"
_GROUP = ["backbone", "mode", "threads", "engine", "n", "k", "variant"]
_WAY = ["backbone", "threads", "n", "k"]
_TIME = ["query_ms_median", "query_ms_ci_low", "query_ms_ci_high"]
_KEPT = [
    "cell", "recall", "recall_ci_low", "recall_ci_high", *_TIME, "queries_per_s", "build_s", "size_bytes", "setting",
    "chosen", "d", "q", "build_s_ci_low", "build_s_ci_high", "prepare_s", "processes",
]  # fmt: skip


def cheapest_table(settings: pd.DataFrame) -> pd.DataFrame:
    """``cheapest_settings``: for each engine and way of asking, the fastest setting of at least each recall.

    Args:
        settings: The table ``lsh_parameters``; corrected queries count.

    Returns:
        One row a target, without cell where no measured setting reaches it. ``settings`` says among how many was
        chosen: the fastest of many noisy times is a little too fast. ``against_exact_batch`` calls a time faster or
        slower than exact search in batches where the 95 % intervals of both lie apart.
    """
    measured = settings[(settings["status"] == "ok") & (settings["space"] == "corrected")]
    names = zip(measured["engine"], measured["kind"], measured["family"].fillna(""), strict=True)
    measured = measured.assign(variant=[variant_of(*name) for name in names])
    exact = measured[(measured["variant"] == EXACT) & (measured["mode"] == _BATCH)]
    batches = {way: part.sort_values(_TIME[0]).iloc[0] for way, part in exact.groupby(_WAY)}
    rows = []
    for group, part in measured.groupby(_GROUP, sort=False):
        names_of = dict(zip(_GROUP, group, strict=True))
        batch = batches.get(tuple(names_of[name] for name in _WAY))
        known = {**names_of, "settings": len(part), "best_recall": part["recall"].max()}
        for target in RECALL_TARGETS:
            good = part[part["recall"] >= target - ROUNDING].sort_values(_TIME[0], kind="stable")
            best: dict[Any, Any] = good.iloc[0][_KEPT].to_dict() if len(good) else {}
            beside = _against(best, batch) if best and batch is not None else {}
            rows.append({**known, "recall_target": target, **best, **beside})
    return pd.DataFrame(rows, columns=list(SCHEMAS["cheapest_settings"]))


def time_verdict(time: Mapping[Any, Any] | pd.Series, other: Mapping[Any, Any] | pd.Series) -> str:
    """`FASTER` or `SLOWER` where the 95 % intervals of two median query times lie apart, else `NOT_SHOWN`.

    Args:
        time: ``query_ms_median`` with its interval ``query_ms_ci_low``, ``query_ms_ci_high``, missing for one time.
        other: The same of what it is compared with.
    """
    if time["query_ms_ci_high"] < other["query_ms_ci_low"]:
        return FASTER
    return SLOWER if time["query_ms_ci_low"] > other["query_ms_ci_high"] else NOT_SHOWN


def cheapest_page(cheapest: pd.DataFrame) -> pd.DataFrame:
    """The table as people read it: a row a recall and engine, fastest first, both ways of asking side by side.

    Seconds of building include choosing.
    """
    groups = with_choosing(cheapest).groupby([*_WAY, "recall_target", "variant"], sort=False)
    rows = [_page_row({row["mode"]: row for _, row in part.iterrows()}) for _, part in groups]
    page = pd.DataFrame(rows)
    page["place"] = page["backbone"].map(list(dict.fromkeys(page["backbone"])).index)
    page = page.sort_values(["place", "threads", "recall", "order"], kind="stable").drop(columns=["place", "order"])
    page["recall"] = page["recall"].map("{:g}".format)
    silent = [name for name in page if page[name].isna().all() or (page[name] == "").all()]
    constant = [name for name in ("backbone", "threads") if page[name].nunique() == 1]
    return page.drop(columns=[*silent, *constant]).reset_index(drop=True)


def _page_row(asked: dict[str, pd.Series]) -> dict[str, Any]:
    """One engine at one recall; build and memory are those of its setting for single queries, if it was asked so."""
    first = asked.get(_SINGLE, next(iter(asked.values())))
    row = {name: first[name] for name in ("backbone", "threads")}
    row |= {"recall": first["recall_target"], "engine": first["variant"]}
    for mode, word in ((_SINGLE, "alone"), (_BATCH, "in a batch")):
        cell = asked.get(mode)
        row[f"{word}, ms"] = np.nan if cell is None else _reached(cell)
        row[f"setting {word}"] = "" if cell is None else " → ".join(filter(None, (cell["setting"], cell["chosen"])))
    size_mib = np.nan if pd.isna(first["size_bytes"]) else first["size_bytes"] / 2**20
    against = _against_words(asked.get(_BATCH, first))
    return row | {
        "build s": first["build_s"], "index MiB": size_mib, "against exact in batches": against,
        "processes": first["processes"], "order": first["query_ms_median"],
    }  # fmt: skip


def _reached(cell: pd.Series) -> float | str:
    return cell["query_ms_median"] if cell["cell"] else f"not reached (best {floored(cell['best_recall'])})"


def floored(recall: float) -> str:
    """A recall in three digits that, below a target, never reads as if it reached it: ``0.899``."""
    return f"{np.floor(recall * 1000) / 1000:.3f}"


def _against(best: Mapping[Any, Any], batch: pd.Series) -> dict[str, Any]:
    known = {"exact_batch_ms": batch[_TIME[0]], "times_as_fast": batch[_TIME[0]] / best[_TIME[0]]}
    return known if best["cell"] == batch["cell"] else known | {"against_exact_batch": time_verdict(best, batch)}


def _against_words(cell: pd.Series) -> str:
    times = cell["times_as_fast"]
    words = {FASTER: f"{times:#.3g} times as fast", SLOWER: f"slower: takes {1 / times:#.3g} times as long"}
    return words.get(cell["against_exact_batch"], cell["against_exact_batch"])
