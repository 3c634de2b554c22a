"""What a run found, in sentences that its tables carry: every number with its interval, no claim without one."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from bench.figures.precision import BOUNDS, read_averages, with_variants
from bench.figures.recall import slip_pairs
from bench.figures.style import CEILING, CORRECTED, EXACT, RANDOM, count, milliseconds, read_cells, read_rows
from bench.judgments import STRATA
from bench.score import bootstrap_interval

GOOD_RECALL = 0.9  # what "fast enough and still right" means in the sentences
_GOOD = f"{GOOD_RECALL * 100:.0f} %"
_ROUNDING = 1e-9  # means of equal shares differ in their last bits
_MINUS = "\N{MINUS SIGN}"


@dataclasses.dataclass(frozen=True)
class Finding:
    """One result: what it is about, in a word or three, and the sentence."""

    about: str
    text: str


def key_results(tables: Path) -> list[Finding]:
    """The results that a reader wants first, most important first; empty when the tables carry none."""
    cells, averages = read_cells(tables), read_averages(tables)
    precision = read_rows(tables, "nn_precision")
    precision = with_variants(precision, tables) if len(precision) else precision
    models = read_rows(tables, "models")
    return [
        *_precision_sentences(precision, averages),
        *_training_sentences(precision, models),
        *_search_sentences(cells, _reference(cells, averages)),
        *_index_loss_sentences(cells, precision),
        *_slip_sentences(cells),
        *_short_list_sentences(cells),
    ]


def difference_words(differences: np.ndarray) -> tuple[str, bool]:
    """Mean of paired differences with its 95 % bootstrap interval, and whether the interval leaves out zero."""
    low, high = bootstrap_interval(differences)
    mean = float(np.mean(differences))
    if np.isnan(low):
        return _signed(mean), False
    differs = low > _ROUNDING or high < -_ROUNDING
    nearest = min(abs(low), abs(high))
    # An interval that leaves out zero must not read as if it touched it.
    digits = next((d for d in (2, 3) if round(nearest, d) > 0), 4) if differs else 2
    mean_words, low_words, high_words = (_signed(value, digits) for value in (mean, low, high))
    return f"{mean_words} [{low_words}, {high_words}]", differs


def _signed(value: float, digits: int = 2) -> str:
    text = f"{abs(value):.{digits}f}"
    return text if float(text) == 0 else f"{'+' if value > 0 else _MINUS}{text}"


def _interval(row: pd.Series, name: str) -> str:
    low, high = f"{name}_ci_low", f"{name}_ci_high"
    low, high = (low, high) if low in row else ("ci_low", "ci_high")
    return f"{row[name]:.2f}" if pd.isna(row[low]) else f"{row[name]:.2f} [{row[low]:.2f}, {row[high]:.2f}]"


def _falling(cells: pd.DataFrame, column: str) -> pd.DataFrame:
    return cells.sort_values(column, ascending=False, kind="stable")


def _reference(cells: pd.DataFrame, averages: pd.DataFrame) -> str:
    """The backbone whose exact neighbours are best over the strata; the first one where nothing was judged."""
    if len(averages):
        exact = averages[averages["variant"] == EXACT]
        if len(exact):
            return str(exact.groupby("backbone", sort=False)["precision"].mean().idxmax())
    return "" if cells.empty else str(cells["backbone"].iloc[0])


def _precision_sentences(precision: pd.DataFrame, averages: pd.DataFrame) -> Iterator[Finding]:
    """For each stratum: the best backbone, and whether it differs from the second best on the same queries."""
    if averages.empty:
        return
    for stratum in STRATA:
        here = averages[averages["stratum"] == stratum]
        ranked = here[here["variant"] == EXACT].sort_values("precision", ascending=False)
        if ranked.empty:
            continue
        best = ranked.iloc[0]
        text = f"Best is {best['backbone']}, precision {_interval(best, 'precision')}"
        if len(ranked) > 1:
            second = ranked.iloc[1]
            pair = _paired(precision, stratum, (best["backbone"], second["backbone"]))
            words, differs = difference_words(pair)
            verdict = "" if differs else ", which is no significant difference"
            text += f"; {second['backbone']} reaches {second['precision']:.2f}, paired difference {words}{verdict}"
        bounds = {b: here.loc[here["variant"] == b, "precision"] for b in BOUNDS}
        if len(bounds[RANDOM]):
            text += f". Random answers reach {bounds[RANDOM].iloc[0]:.2f}"
        if len(bounds[CEILING]) and bounds[CEILING].iloc[0] < 0.995:
            text += f"; more than {bounds[CEILING].iloc[0]:.2f} is not possible here"
        yield Finding(f"{stratum.capitalize()} queries ({count(best['queries'])}, depth {best['depth']})", f"{text}.")


def _paired(precision: pd.DataFrame, stratum: str, backbones: tuple[str, str]) -> np.ndarray:
    """Differences in precision of two backbones, exact search, on the same queries of a stratum."""
    exact = precision[(precision["stratum"] == stratum) & (precision["variant"] == EXACT)]
    exact = exact[exact["space"] == CORRECTED].drop_duplicates(["query_id", "backbone"])
    table = exact.pivot(index="query_id", columns="backbone", values="precision").dropna()
    return np.asarray(table[backbones[0]] - table[backbones[1]], dtype=float)


def _training_sentences(precision: pd.DataFrame, models: pd.DataFrame) -> Iterator[Finding]:
    """Whether what was trained here beats what was not, on the same queries of all strata."""
    if models.empty or precision.empty:
        return
    trained = set(models.loc[models["train_epochs"].notna(), "backbone"])
    exact = precision[(precision["variant"] == EXACT) & (precision["space"] == CORRECTED)]
    exact = exact.drop_duplicates(["stratum", "query_id", "backbone"])
    table = exact.pivot_table(index=["stratum", "query_id"], columns="backbone", values="precision").dropna()
    ours, others = [b for b in map(str, table) if b in trained], [b for b in map(str, table) if b not in trained]
    if not ours or not others:
        return
    best, rival = (max(group, key=table.mean().to_dict().__getitem__) for group in (ours, others))
    words, differs = difference_words((table[best] - table[rival]).to_numpy(float))
    means = table[best].mean(), table[rival].mean()
    verb = ("beats" if means[0] > means[1] else "falls short of") if differs else "does not differ significantly from"
    yield Finding(
        "Trained or not",
        f"Over all {count(len(table))} judged queries, {best}, the best backbone trained in this run, {verb} {rival}, "
        f"the best that was not: precision {means[0]:.2f} against {means[1]:.2f}, paired difference {words}.",
    )


def _search_sentences(cells: pd.DataFrame, backbone: str) -> Iterator[Finding]:
    """For each way of asking: the fastest approximate setting that is good enough, against exact search."""
    if cells.empty:
        return
    cells = cells[(cells["backbone"] == backbone) & (cells["space"] == CORRECTED)]
    for _, way in cells.groupby(["mode", "threads"], sort=False):
        mode, threads = str(way["mode"].iloc[0]), int(way["threads"].iloc[0])
        approximate, exact = way[way["variant"] != EXACT], way[way["variant"] == EXACT]
        if approximate.empty:
            continue
        asked = "single queries" if mode == "single" else "one batch"
        where = f"Search: {asked}, {threads} thread{'s' if threads > 1 else ''}"
        good = approximate[approximate["recall"] >= GOOD_RECALL]
        ranked = good.sort_values("query_ms_median") if len(good) else _falling(approximate, "recall")
        chosen = ranked.iloc[0]
        time, recall = milliseconds(chosen["query_ms_median"]), _interval(chosen, "recall")
        found = f"{_setting(chosen)} at {time} a query, recall {recall}"
        text = (
            f"the fastest setting that finds {_GOOD} of the exact neighbours is {found}"
            if len(good)
            else f"no setting finds {_GOOD} of the exact neighbours; nearest is {found}"
        )
        if len(exact):
            ratio = exact["query_ms_median"].iloc[0] / chosen["query_ms_median"]
            factor = (
                f"{ratio:.1f} times as long" if ratio >= 1 else f"only {ratio:.2f} of that: exact search is faster here"
            )
            text += f". Exact search takes {milliseconds(exact['query_ms_median'].iloc[0])}, {factor}"
        yield Finding(where, f"On {backbone} features, {text}.")


def _setting(cell: pd.Series) -> str:
    named = {"tables": "table{}", "hash_bits": "bit{}", "probes_per_table": "probe{} per table"}
    known = {name: words for name, words in named.items() if not pd.isna(cell[name])}
    parts = [f"{cell[name]:g} {words.format('s' if cell[name] != 1 else '')}" for name, words in known.items()]
    parts += [cell["other_params"]] if cell["other_params"] else []
    return f"{cell['variant']} ({', '.join(parts)})" if parts else str(cell["variant"])


def _index_loss_sentences(cells: pd.DataFrame, precision: pd.DataFrame) -> Iterator[Finding]:
    """What approximate search costs in precision, on the same queries, where recall is good enough."""
    if cells.empty or precision.empty:
        return
    good = cells[(cells["variant"] != EXACT) & (cells["recall"] >= GOOD_RECALL) & (cells["space"] == CORRECTED)]
    judged = precision[precision["cell"].isin(good["cell"])]
    keys = ["stratum", "query_id", "backbone"]
    exact = precision[(precision["variant"] == EXACT) & (precision["space"] == CORRECTED)].drop_duplicates(keys)
    both = judged.merge(exact[[*keys, "precision"]], on=keys, suffixes=("", "_exact"))
    if both.empty:
        return
    # A query counts once, however many settings answered it: they share its fate.
    change = (both["precision"] - both["precision_exact"]).groupby([both["stratum"], both["query_id"]]).mean()
    words, differs = difference_words(change.to_numpy(float))
    verdict = "" if differs else ", no significant change"
    yield Finding(
        "Precision lost by approximation",
        f"Settings with a recall of {_GOOD} or more change precision by {words} against exact search, over "
        f"{count(len(change))} judged queries{verdict}.",
    )


def _slip_sentences(cells: pd.DataFrame) -> Iterator[Finding]:
    """What the published query slip costs, over the settings that were asked in both ways."""
    pairs = slip_pairs(cells) if len(cells) else cells
    pairs = pairs[pairs["variant"] != EXACT] if len(pairs) else pairs
    if len(pairs):
        loss = pairs["recall"] - pairs["recall_raw"]
        yield Finding(
            "The published query slip",
            f"Raw queries, as published, reach a recall of {pairs['recall_raw'].mean():.2f} on average over "
            f"{len(pairs)} settings, corrected ones {pairs['recall'].mean():.2f}. The loss of a setting lies between "
            f"{_signed(float(loss.min())).lstrip('+')} and {_signed(float(loss.max())).lstrip('+')}.",
        )


def _short_list_sentences(cells: pd.DataFrame) -> Iterator[Finding]:
    """Settings that often answer with fewer than k tiles."""
    if cells.empty:
        return
    short = cells[cells["shorter_than_k_frac"] > 0]
    if len(short):
        worst = _falling(short, "shorter_than_k_frac").iloc[0]
        yield Finding(
            "Short answers",
            f"{len(short)} of {len(cells)} query cells gave some query fewer than k tiles; at worst "
            f"{worst['shorter_than_k_frac'] * 100:.0f} % of the queries ({worst['cell']}). What is missing counts as "
            "wrong.",
        )
