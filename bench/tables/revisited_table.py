"""The scores of the revisited Oxford and Paris benchmarks: one row for each set-up and searcher."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bench.judging.judgments import Judgments
from bench.results import OK, QueryResult, RerankResult
from bench.scores.revisited import DEPTHS, SETUPS
from bench.scores.score import bootstrap_interval
from bench.tables.precision_table import first_of_searchers, setting_of
from bench.tables.table_schemas import SCHEMAS

MEASURES = {  # column of the table: score of each query
    "map": "average_precision",
    **{f"published_mp_at_{k}": f"revisited_precision_at_{k}" for k in DEPTHS},
    **{f"mp_at_{k}": f"precision_at_{k}" for k in DEPTHS},
}


def revisited_table(
    results: Sequence[QueryResult], reranked: Sequence[RerankResult], judgments: Judgments | None, distractors: int = 0
) -> pd.DataFrame:
    """``revisited``: means over the queries of a set-up with 95 % bootstrap intervals; empty without pair labels.

    Args:
        results: Query cells, in the suite's order.
        reranked: Re-ranking cells.
        judgments: What they were judged by.
        distractors: How many of the searched tiles were put in to distract.
    """
    columns = list(SCHEMAS["revisited"])
    searched = [r for r in results if r.status == OK and r.revisited]
    scored: list[QueryResult | RerankResult] = list(first_of_searchers(searched))
    scored += [r for r in reranked if r.status == OK and r.revisited]
    if judgments is None or not scored:
        return pd.DataFrame(columns=columns)
    setups = judgments.queries["stratum"].to_numpy(str)
    rows = []
    for setup in (name for name in SETUPS if name in setups):
        for result in scored:
            own = result.rerank if isinstance(result, RerankResult) else ""
            row = {name: getattr(result, name) for name in ("backbone", "engine", "cell", "n")}
            row |= {"setup": setup, "rerank": own, "space": getattr(result, "space", "corrected")}
            row |= {"setting": setting_of(result.cell, result.backbone, result.engine), "distractors": distractors}
            row["queries"] = int((setups == setup).sum())
            for column, name in MEASURES.items():
                values = np.array(result.revisited[name], np.float64)[setups == setup]
                row[column] = values.mean()
                row[f"{column}_ci_low"], row[f"{column}_ci_high"] = bootstrap_interval(values)
            rows.append(row)
    return pd.DataFrame(rows)[columns]


def revisited_page(table: pd.DataFrame) -> pd.DataFrame:
    """A row a searcher; for each set-up mAP with its interval, and mP@10 as published, in percent as in papers."""
    if table.empty:
        return pd.DataFrame()
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    for row in table.to_dict("records"):
        key = (row["backbone"], row["setting"], row["rerank"], row["space"])
        shown = rows.setdefault(key, dict(zip(("backbone", "search", "re-ranked by", "queries"), key, strict=True)))
        shown["n"] = f"{row['n']:,}" + (f", {row['distractors']:,} of them distractors" if row["distractors"] else "")
        name = f"{row['setup']}, n = {row['queries']}"
        low, high = (100 * row[f"map_ci_{side}"] for side in ("low", "high"))
        interval = f" [{low:.1f}, {high:.1f}]" if low < high else ""
        shown[f"mAP {name}"] = f"{100 * row['map']:.1f}{interval}"
        shown[f"mP@10 {row['setup']}"] = f"{100 * row['published_mp_at_10']:.1f}"
    page = pd.DataFrame(rows.values())
    return page.drop(columns=[c for c in ("re-ranked by",) if not page[c].any()])
