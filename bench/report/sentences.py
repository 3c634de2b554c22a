"""What a run found, in sentences that its tables carry.

A difference is called only where the table ``differences`` calls it, by its adjusted p value; the sentence then cites
the number of queries, the interval and that p. Where no difference is shown, the sentence says so. A new kind of
sentence is one more generator of findings in `key_results`.
"""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from bench.figures.precision import BOUNDS, read_averages
from bench.figures.style import CEILING, CORRECTED, EXACT, RANDOM, count, milliseconds, read_cells, read_rows
from bench.judging.judgments import STRATA
from bench.report.comparison import could_show, evidence, largest_difference, tally
from bench.report.finding import Finding, percent, score_words
from bench.report.growth_sentences import growth_results
from bench.report.region_sentences import region_results
from bench.report.reranking_sentences import reranking_results
from bench.report.search_sentences import GOOD_RECALL, search_results
from bench.report.system_sentences import system_results
from bench.report.thesis_sentences import distance_results, published_results, slip_results
from bench.report.throughput_sentences import throughput_results
from bench.scores.inference import ALPHA
from bench.tables.difference_table import ALL, APPROXIMATION, BACKBONES, HIGHER, LOWER, NOT_SHOWN, SLIP

_GOOD = f"{GOOD_RECALL * 100:.0f} %"
_TURNED = {HIGHER: LOWER, LOWER: HIGHER, NOT_SHOWN: NOT_SHOWN}


def key_results(tables: Path) -> list[Finding]:
    """The results that a reader wants first, most important first; empty when the tables carry none."""
    cells, averages = read_cells(tables), read_averages(tables)
    differences = read_rows(tables, "differences")
    families = {
        family: differences[differences["family"] == family] if len(differences) else differences
        for family in (BACKBONES, APPROXIMATION, SLIP)
    }
    return [
        *system_results(tables),
        *_precision_sentences(averages, families[BACKBONES]),
        *_training_sentences(families[BACKBONES], read_rows(tables, "models")),
        *reranking_results(tables),
        *region_results(tables),
        *published_results(tables),
        *distance_results(tables, _reference(cells, averages)),
        *search_results(tables, _reference(cells, averages)),
        *growth_results(tables),
        *_ranking_sentences(read_rows(tables, "ranking")),
        *_approximation_sentences(cells, families[APPROXIMATION]),
        *slip_results(families[SLIP]),
        *_short_list_sentences(cells),
        *_own_tile_sentences(cells),
        *_overhead_sentences(cells),
        *throughput_results(tables),
    ]


def _falling(cells: pd.DataFrame, column: str) -> pd.DataFrame:
    return cells.sort_values(column, ascending=False, kind="stable")


def _reference(cells: pd.DataFrame, averages: pd.DataFrame) -> str:
    """The backbone whose exact neighbours are best over the strata; the first one where nothing was judged."""
    if len(averages):
        exact = averages[averages["variant"] == EXACT]
        if len(exact):
            return str(exact.groupby("backbone", sort=False)["precision"].mean().idxmax())
    return "" if cells.empty else str(cells["backbone"].iloc[0])


def _precision_sentences(averages: pd.DataFrame, comparisons: pd.DataFrame) -> Iterator[Finding]:
    """For each stratum: the backbone of highest mean, and whether it is told apart from the second."""
    if averages.empty:
        return
    for stratum in STRATA:
        here = averages[averages["stratum"] == stratum]
        ranked = here[here["variant"] == EXACT].sort_values("precision", ascending=False)
        if ranked.empty:
            continue
        best = ranked.iloc[0]
        text = f"The highest mean precision is that of {best['backbone']}, {score_words(best, 'precision')}"
        if len(ranked) > 1 and len(comparisons):
            second = ranked.iloc[1]
            pair = _between(comparisons, stratum, str(best["backbone"]), str(second["backbone"]))
            rival = f"{second['backbone']} ({second['precision']:.2f})"
            if pair["verdict"] == NOT_SHOWN:
                text += f"; no difference from {rival} is shown: {evidence(pair)}, and {could_show(pair)}"
            else:
                text += f"; it is {pair['verdict']} than that of {rival}: {evidence(pair)}"
        bounds = {b: here.loc[here["variant"] == b, "precision"] for b in BOUNDS}
        if len(bounds[RANDOM]):
            text += f". Random answers reach {bounds[RANDOM].iloc[0]:.2f}"
        if len(bounds[CEILING]) and bounds[CEILING].iloc[0] < 0.995:
            text += f"; more than {bounds[CEILING].iloc[0]:.2f} is not possible here"
        yield Finding(f"{stratum.capitalize()} queries ({count(best['queries'])}, depth {best['depth']})", f"{text}.")


def _between(comparisons: pd.DataFrame, stratum: str, first: str, second: str) -> pd.Series:
    """The comparison of two backbones on a stratum, turned so that ``first`` comes first."""
    here = comparisons[comparisons["stratum"] == stratum]
    row = here[here["first"].isin([first, second]) & here["second"].isin([first, second])].iloc[0]
    if row["first"] == first:
        return row
    turned = {"first": first, "second": second, "verdict": _TURNED[row["verdict"]], "difference": -row["difference"]}
    turned |= {"mean_first": row["mean_second"], "mean_second": row["mean_first"]}
    return pd.Series({**row, **turned, "ci_low": -row["ci_high"], "ci_high": -row["ci_low"]})


def _training_sentences(comparisons: pd.DataFrame, models: pd.DataFrame) -> Iterator[Finding]:
    """Whether what was trained here beats what was not, on the same queries of all strata."""
    if models.empty or comparisons.empty:
        return
    stratum = ALL if (comparisons["stratum"] == ALL).any() else str(comparisons["stratum"].iloc[0])
    here = comparisons[comparisons["stratum"] == stratum]
    means = dict(zip(here["first"], here["mean_first"], strict=True))
    means |= dict(zip(here["second"], here["mean_second"], strict=True))
    trained = set(models.loc[models["train_epochs"].notna(), "backbone"])
    ours, others = [b for b in means if b in trained], [b for b in means if b not in trained]
    if not ours or not others:
        return
    best, rival = (max(group, key=means.__getitem__) for group in (ours, others))
    pair = _between(comparisons, stratum, best, rival)
    verb = {HIGHER: "beats", LOWER: "falls short of", NOT_SHOWN: "is not shown to differ from"}[str(pair["verdict"])]
    yield Finding(
        "Trained or not",
        f"Over all {count(pair['n'])} judged queries, {best}, highest of the backbones trained in this run, {verb} "
        f"{rival}, highest of those that were not: precision {pair['mean_first']:.2f} against "
        f"{pair['mean_second']:.2f}, difference {evidence(pair)}.",
    )


def _ranking_sentences(ranking: pd.DataFrame) -> Iterator[Finding]:
    """Average ranks of the engines over data sets, and who can be told apart."""
    if ranking.empty or ranking["data_sets"].iloc[0] < 2:
        return
    engines = ranking.drop_duplicates("engine")
    first = engines.iloc[0]
    ranks = ", ".join(
        f"{engine} {rank:.2f}" for engine, rank in zip(engines["engine"], engines["average_rank"], strict=True)
    )
    text = (
        f"Average ranks in the time of a single query, each engine in its fastest setting of recall "
        f"{first['recall_target']:g} or more, n = {count(first['data_sets'])} data sets: {ranks}. "
    )
    if first["smallest_p"] >= ALPHA:
        text += f"So few data sets tell no two engines apart: no adjusted p can be below {first['smallest_p']:.3g}."
    elif len(set("".join(engines["groups"]))) == 1:
        text += "No two engines can be told apart."
    else:
        groups = [
            engines.loc[engines["groups"].str.contains(letter), "engine"].tolist()
            for letter in sorted(set("".join(engines["groups"])))
        ]
        joined = [" and ".join(group) for group in groups if len(group) > 1]
        alike = f" except {'; '.join(joined)}" if joined else ""
        text += f"All can be told apart{alike} (Wilcoxon, Holm-adjusted p < {ALPHA:g})."
    yield Finding("Engines over data sets", text)


def _approximation_sentences(cells: pd.DataFrame, comparisons: pd.DataFrame) -> Iterator[Finding]:
    """What approximate search costs in precision where recall is good enough."""
    if cells.empty or comparisons.empty:
        return
    good = comparisons[comparisons["cell"].isin(cells.loc[cells["recall"] >= GOOD_RECALL, "cell"])]
    if len(good):
        yield Finding(
            "Precision lost by approximation",
            f"Against exact search, precision is {tally(good)} settings with a recall of {_GOOD} or more. The largest "
            f"difference is {largest_difference(good)}.",
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


def _overhead_sentences(cells: pd.DataFrame) -> Iterator[Finding]:
    """What the harness adds to each time, beside the shortest one measured."""
    if cells.empty or cells["overhead_ms"].isna().all():
        return
    measured = cells.dropna(subset=["overhead_ms"])
    parts = [
        f"{mode}: {milliseconds(part['overhead_ms'].median())} of a query, at most "
        f"{percent((part['overhead_ms'] / part['query_ms_median']).max())} of a measured time"
        for mode, part in measured.groupby("mode", sort=False)
    ]
    yield Finding("The harness itself", f"An engine that does nothing takes, {'; '.join(parts)}.")


def _own_tile_sentences(cells: pd.DataFrame) -> Iterator[Finding]:
    """Exact search that misses the query's own tile, and answers that change from process to process."""
    if cells.empty:
        return
    corrected = cells[cells["space"] == CORRECTED]
    missed = corrected[(corrected["variant"] == EXACT) & (corrected["self_missed_frac"] > 0)]
    if len(missed):
        worst = _falling(missed, "self_missed_frac").iloc[0]
        yield Finding(
            "Own tiles missed",
            f"Exact search did not find the own tile of {percent(worst['self_missed_frac'])} of the queries "
            f"({worst['cell']}): more than k duplicates stand before it, or queries and index went through different "
            "preprocessing.",
        )
    unstable = cells[cells["unstable_frac"] > 0]
    if len(unstable):
        worst = _falling(unstable, "unstable_frac").iloc[0]
        yield Finding(
            "Unstable answers",
            f"{len(unstable)} of {len(cells)} query cells answered some queries differently in another process, at "
            f"worst {percent(worst['unstable_frac'])} of them ({worst['cell']}). Recall is that of the first.",
        )
