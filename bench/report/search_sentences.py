"""Which engine and setting to take for a recall: advice that the tables of the run carry.

A time is called shorter or longer only where the 95 % intervals of both, over processes and rounds, lie apart. Building
includes choosing. An index that is slow to build is built once, which gives no interval, and asked in that one process.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd

from bench.figures.style import count, milliseconds, read_cells, read_rows
from bench.report.finding import Finding, build_time, large_number, query_time, score_words
from bench.scores.growth import break_even_queries
from bench.tables.building import with_choosing
from bench.tables.cheapest_table import FASTER, NOT_SHOWN, SLOWER, floored, time_verdict
from bench.tables.names import EXACT, corpora, largest_sizes

GOOD_RECALL = 0.9  # what "fast enough and still right" means in the sentences
_GOOD = f"{GOOD_RECALL * 100:.0f} %"
_CORRECTED = "corrected"
_ONCE_APART = 1.5  # builds of which one was timed once are told apart by this factor


def search_results(tables: Path, backbone: str) -> Iterator[Finding]:
    """What to take on one backbone's features; of a corpus measured at several sizes, on the largest.

    Args:
        tables: Folder of the run's tables.
        backbone: Whose features the reader should look at.
    """
    cheapest = read_rows(tables, "cheapest_settings")
    if cheapest.empty:
        return
    corpus = corpora(cheapest)
    here = with_choosing(largest_sizes(cheapest[corpus.isin(corpus[cheapest["backbone"] == backbone])]))
    for _, way in here.groupby(["mode", "threads"], sort=False):
        if (way["variant"] != EXACT).any():
            yield _advice(way, read_cells(tables))
    fewest = here[here["threads"] == here["threads"].min()]
    yield from _other_recalls(fewest)
    yield from _slower_than_a_batch(fewest)


def times_words(exact: pd.Series, chosen: pd.Series) -> str:
    """Exact search's time beside another cell's; a difference is called where their 95 % intervals lie apart."""
    text = f"Exact search takes {query_time(exact)}"
    if pd.isna([exact["query_ms_ci_low"], chosen["query_ms_ci_low"]]).any():
        return f"{text}; without intervals no difference is called"
    ratio = exact["query_ms_median"] / chosen["query_ms_median"]
    words = {
        FASTER: f", {ratio:.1f} times as long",
        SLOWER: f", only {ratio:.2f} of that: exact search is faster here",
        NOT_SHOWN: "; the intervals overlap, no difference in time is shown",
    }
    return text + words[time_verdict(chosen, exact)]


def break_even_words(fast: pd.Series, cheap: pd.Series) -> str:
    """After how many queries the faster of two indexes has repaid its longer build: ``950 queries [930, 971]``.

    Args:
        fast: ``build_s``, choosing included, and ``query_ms_median`` with their intervals, which lie apart from those
            of the other.
        cheap: The same of the index that is built sooner.

    Returns:
        The number with bounds from the most and the least favourable ends of all four intervals; without bounds where
        an index was built once, and says so: ``950 queries (each built once)``.
    """
    once = [str(row["variant"]) for row in (fast, cheap) if pd.isna(row["build_s_ci_low"])]
    if once:
        number = large_number(break_even_queries(*_costs_s(fast, ""), *_costs_s(cheap, "")))
        return f"{number} queries ({'each' if len(once) == 2 else once[0]} built once)"
    found = []
    for own, other in (("", ""), ("_ci_low", "_ci_high"), ("_ci_high", "_ci_low")):
        queries = break_even_queries(*_costs_s(fast, own), *_costs_s(cheap, other))
        found.append(large_number(queries))
    return f"{found[0]} queries [{found[1]}, {found[2]}]"


def _costs_s(row: pd.Series, end: str) -> tuple[float, float]:
    """Seconds before the first query, and seconds a query; of both times one end."""
    return row[f"build_s{end}"], row[f"query_ms{end or '_median'}"] / 1000


def _built_sooner(first: pd.Series, second: pd.Series) -> bool:
    """Whether the first is shown to be built sooner: intervals apart, or far apart where one was built once."""
    if pd.isna([first["build_s_ci_low"], second["build_s_ci_low"]]).any():
        return bool(first["build_s"] * _ONCE_APART < second["build_s"])
    return bool(first["build_s_ci_high"] < second["build_s_ci_low"])


def _one_process(rows: Iterable[pd.Series]) -> list[str]:
    """Whose intervals lack what differs between processes."""
    names = list(dict.fromkeys(str(row["variant"]) for row in rows if row["processes"] == 1))
    if not names:
        return []
    each = " each" if len(names) > 1 else ""
    return [f"Measured in one process{each}, whose interval tells nothing of others: {', '.join(names)}"]


def _advice(way: pd.DataFrame, cells: pd.DataFrame) -> Finding:
    """One way of asking at `GOOD_RECALL`: the fastest engine, who is level with it, and what its build costs."""
    first = way.iloc[0]
    asked = "single queries" if first["mode"] == "single" else "one batch"
    where = f"Search: {asked}, {first['threads']} thread{'s' if first['threads'] > 1 else ''}"
    reached = way[(way["recall_target"] == GOOD_RECALL) & (way["cell"] != "")].sort_values(
        "query_ms_median", kind="stable"
    )
    exact, good = reached[reached["variant"] == EXACT], reached[reached["variant"] != EXACT]
    chosen = good.iloc[0] if len(good) else _nearest(way, cells)
    found = (
        f"{_setting(chosen)}: {query_time(chosen)} a query, recall {score_words(chosen, 'recall')}, n = "
        f"{count(chosen['q'])} queries"
    )
    if len(good):
        text = (
            f"among the settings that find {_GOOD} of the exact neighbours, the lowest median time is that of {found}"
        )
        text += f". {_index_words(chosen)}" if not pd.isna(chosen["build_s"]) else ""
    else:
        text = f"no setting finds {_GOOD} of the exact neighbours; nearest is {found}"
    sentences = [f"On {first['backbone']} features ({count(first['n'])} of {count(chosen['d'])} dimensions), {text}"]
    others = [row for _, row in good.iloc[1:].iterrows()]
    level = [row for row in others if time_verdict(chosen, row) == NOT_SHOWN]
    rival = _last_rival(chosen, others)
    sentences += _level_words(level) + _rival_words(chosen, rival, others)
    sentences += [_against_exact(exact.iloc[0], chosen)] if len(exact) else []
    sentences += _one_process([chosen, *level, *rival, *(row for _, row in exact.iterrows())])
    return Finding(where, ". ".join(sentences) + ".")


def _index_words(chosen: pd.Series) -> str:
    words = f"It is built in {build_time(chosen)}"
    if chosen["chosen"] and not pd.isna(chosen["prepare_s"]):
        words += f", {milliseconds(chosen['prepare_s'] * 1000)} of that for choosing,"
    return words + f" and needs {chosen['size_bytes'] / 2**20:.3g} MiB beside the vectors"


def _against_exact(exact: pd.Series, chosen: pd.Series) -> str:
    """Exact search asked in the same way, and when the index pays for its build."""
    words = times_words(exact, chosen)
    if time_verdict(chosen, exact) == FASTER and _built_sooner(exact, chosen):
        words += f": the index has paid for its build after {break_even_words(chosen, exact)}"
    return words


def _nearest(way: pd.DataFrame, cells: pd.DataFrame) -> pd.Series:
    """The cell of highest recall asked in the same way."""
    first = way.iloc[0]
    same = (cells[["backbone", "mode", "threads"]] == first[["backbone", "mode", "threads"]]).all(axis=1)
    asked = cells[same & (cells["space"] == _CORRECTED) & (cells["variant"] != EXACT)]
    return asked.sort_values("recall", ascending=False, kind="stable").iloc[0]


def _level_words(level: list[pd.Series]) -> list[str]:
    """Engines whose times are not told apart from the fastest."""
    if not level:
        return []
    named = _listed([f"{_setting(row)}, {query_time(row)}, built in {build_time(row)}" for row in level])
    return [f"No difference in time is shown from {named}"]


def _last_rival(chosen: pd.Series, others: list[pd.Series]) -> list[pd.Series]:
    """Of the slower engines that are built sooner, the one that the chosen one catches up with last; or none."""
    sooner = [row for row in others if time_verdict(chosen, row) == FASTER and _built_sooner(row, chosen)]
    return sorted(sooner, key=lambda row: break_even_queries(*_costs_s(chosen, ""), *_costs_s(row, "")))[-1:]


def _rival_words(chosen: pd.Series, rival: list[pd.Series], others: list[pd.Series]) -> list[str]:
    """When the chosen engine has paid for its build: caught up with all that are built sooner."""
    if not rival:
        later = [_built_sooner(chosen, row) for row in others]
        return ["No other engine that finds them is built sooner"] if later and all(later) else []
    last = rival[0]
    faster = last["query_ms_median"] / chosen["query_ms_median"]
    longer = chosen["build_s"] / last["build_s"]
    return [
        f"{_setting(last)} takes {query_time(last)} and is built in {build_time(last)}: {chosen['variant']} is "
        f"{faster:.1f} times as fast a query, takes {longer:.1f} times as long to build, and pays after "
        f"{break_even_words(chosen, last)}"
    ]


def _other_recalls(cheapest: pd.DataFrame) -> Iterator[Finding]:
    """The fastest engine at each other recall, in each way of asking."""
    for mode, way in cheapest[cheapest["variant"] != EXACT].groupby("mode", sort=False):
        if way["variant"].nunique() < 2:
            continue
        parts = [_fastest_words(part) for target, part in way.groupby("recall_target")
                 if target != GOOD_RECALL]  # fmt: skip
        asked = "single queries" if mode == "single" else "one batch"
        told = way[(way["cell"] != "") & (way["recall_target"] != GOOD_RECALL)]
        notes = _one_process(row for _, row in told.iterrows())
        text = ". ".join(["Lowest median time of a query", "; ".join(parts), *notes])
        yield Finding(f"Other recalls: {asked}", f"{text}.")


def _fastest_words(part: pd.DataFrame) -> str:
    recall = f"Recall {part['recall_target'].iloc[0]:g}"
    reached = part[part["cell"] != ""].sort_values("query_ms_median", kind="stable")
    if reached.empty:
        return f"{recall}: no engine reaches it"
    best = reached.iloc[0]
    level = [str(row["variant"]) for _, row in reached.iloc[1:].iterrows() if time_verdict(best, row) == NOT_SHOWN]
    beside = f" (no difference shown from {_listed(level)})" if level else ""
    return f"{recall}: {_setting(best)}, {query_time(best)}{beside}"


def _slower_than_a_batch(cheapest: pd.DataFrame) -> Iterator[Finding]:
    """Engines that lose against exact search in batches at `GOOD_RECALL`, and those that do not reach it."""
    at = cheapest[(cheapest["recall_target"] == GOOD_RECALL) & (cheapest["variant"] != EXACT)]
    own = at[at["mode"] == ("batch" if (at["mode"] == "batch").any() else "single")]
    slower = own[own["against_exact_batch"] == SLOWER]
    exact = cheapest[(cheapest["variant"] == EXACT) & (cheapest["mode"] == "batch")]
    asked = "though asked in batches too" if (own["mode"] == "batch").all() else "asked one query at a time"
    if len(slower):
        named = _listed([f"{row['variant']} ({query_time(row)})" for _, row in slower.iterrows()])
        text = (
            f"At a recall of {GOOD_RECALL:g}, {named} {'is' if len(slower) == 1 else 'are'} slower than exact search "
            f"in batches ({query_time(exact.iloc[0])} a query), {asked}"
        )
        notes = _one_process([*(row for _, row in slower.iterrows()), exact.iloc[0]])
        yield Finding("Slower than exact search", ". ".join([text, *notes]) + ".")
    missed = own[own["cell"] == ""]
    if len(missed) and len(missed) < len(own):
        named = _listed([f"{row['variant']} (best {floored(row['best_recall'])})" for _, row in missed.iterrows()])
        yield Finding("Recall not reached", f"No measured setting reaches a recall of {GOOD_RECALL:g}: {named}.")


def _setting(cell: pd.Series) -> str:
    words = cell["setting"] + (f", which chose {cell['chosen']}" if cell["chosen"] else "")
    return f"{cell['variant']} ({words})" if words else str(cell["variant"])


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{'; '.join(words[:-1])} and {words[-1]}"
