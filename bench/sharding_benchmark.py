"""One index and several over parts of the same vectors: processor time of building and asking, candidates, recall.

    python -m bench.sharding_benchmark --out reports/reference/sharded_index

Synthetic vectors of `fixtures.vectors`, all shards in one process with one thread: what several machines would share
among them is the whole of these times. Processor time is told, so that other programs matter little.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from bench.machine import describe, fingerprint
from bench.scores.score import recall_at_k
from fixtures.vectors import BASE_FILE, QUERY_FILE, SyntheticVectors, make_vectors
from ris_core.exact_shards import nearest_rows
from ris_core.records import Features, Hits
from ris_core.sharded_index import build_sharded_index
from ris_core.space import fit_space

Result = TypeVar("Result")

SHARDS = (1, 2, 4, 8)
K = 50
_QUERIES = 200
# What is compared: a name, the engine, its build parameters, what it is asked with.
WAYS: tuple[tuple[str, str, dict[str, Any], dict[str, Any]], ...] = (
    ("exact", "exact", {}, {}),
    ("falconn, 5 tables of 18 bits, 20 probes", "falconn", {"tables": 5, "hash_bits": 18}, {"probes_per_table": 20}),
    ("crosspolytope, 200 probes", "crosspolytope", {}, {"probes_per_table": 200}),
    ("crosspolytope, recall 0.95 wanted", "crosspolytope", {}, {"recall": 0.95}),
)


def measure_shards(law: SyntheticVectors, folder: Path) -> pd.DataFrame:
    """One row a way and number of shards.

    Args:
        law: The vectors.
        folder: An empty one, for them.

    Raises:
        SearchError: If an engine cannot run here.
    """
    make_vectors(folder, law)
    raw = Features(np.load(folder / BASE_FILE, mmap_mode="r"), np.arange(law.n))
    space = fit_space(raw, center=True, normalize=True)
    base = space.apply(raw)
    base.save(folder)
    queries = space.apply(Features(np.load(folder / QUERY_FILE), np.arange(law.queries)))
    found = nearest_rows(base.values, queries.values, K)
    truth = Hits(found["row"].astype(np.int64), found["distance"].astype(np.float32))
    rows = []
    for name, kind, build, query in WAYS:
        for shards in SHARDS:
            measured = _measure(folder, kind, shards, (build, query), queries, truth)
            rows.append({"way": name, "shards": shards, **measured})
    return pd.DataFrame(rows)


def _measure(
    folder: Path,
    kind: str,
    shards: int,
    params: tuple[dict[str, Any], dict[str, Any]],
    queries: Features,
    truth: Hits,
) -> dict[str, Any]:
    build, query = params
    index, build_s = _timed(lambda: build_sharded_index(kind, folder, shards, **build))
    with index:
        _, first_s = _timed(lambda: index.search(queries[:1], K, **query))  # chooses probes for a wanted recall
        index.search(queries, K, **query)  # untimed: pages of the base are mapped at first sight
        hits, seconds = _timed(lambda: index.search(queries, K, **query))
        counts = index.candidates(queries, K, **query)
        return {
            "build_cpu_s": build_s,
            "prepare_cpu_s": first_s,
            "query_cpu_ms": 1000 * seconds / len(queries),
            "index_bytes": index.size_bytes,
            "candidates": np.nan if counts is None else float(counts.mean()),
            "recall": float(recall_at_k(_measured_again(hits, queries, folder), truth, K).mean()),
        }


def _measured_again(hits: Hits, queries: Features, folder: Path) -> Hits:
    """The same answers with distances summed in float64, as those of the truth are."""
    base = np.load(folder / "features.npy", mmap_mode="r")
    differences = base[hits.ids] - queries.values[:, None].astype(np.float64)
    distances = np.where(hits.ids >= 0, np.square(differences).sum(axis=2), np.inf)
    return Hits(hits.ids, distances.astype(np.float32))


def _timed(work: Callable[[], Result]) -> tuple[Result, float]:
    start = time.process_time()
    result = work()
    return result, time.process_time() - start


def write_report(out: Path, law: SyntheticVectors, table: pd.DataFrame, command: str) -> None:
    """Write ``shards.csv``, and ``README.md`` with the same for people."""
    out.mkdir(parents=True, exist_ok=True)
    table.to_csv(out / "shards.csv", index=False, float_format="%.6g")
    page = pd.DataFrame(
        {
            "way": table.way,
            "shards": table.shards,
            "build, s": table.build_cpu_s.map("{:.3g}".format),
            "choose probes, s": table.prepare_cpu_s.where(table.way.str.contains("wanted")).map("{:.3g}".format),
            "a query, ms": table.query_cpu_ms.map("{:.3g}".format),
            "index, MB": (table.index_bytes / 1e6).map("{:.0f}".format),
            "candidates": table.candidates.map("{:,.0f}".format),
            f"recall@{K}": table.recall.map("{:.4f}".format),
        }
    ).replace("nan", "")
    text = _PAGE.format(
        n=law.n,
        d=law.d,
        m=law.intrinsic_dim,
        q=law.queries,
        table=page.to_markdown(index=False, disable_numparse=True),
        machine=describe(fingerprint()),
        command=command,
    )
    (out / "README.md").write_text(text, encoding="utf-8")


_PAGE = """# One index, and several over parts of the same vectors

{n:,} synthetic vectors of {d} dimensions ({m} intrinsic), centred and of length 1; {q:,} queries of the same law that
are not among them. All shards lie in one process with one thread. Times are processor time, of all shards together; *a
query*: all queries in one call, divided; *candidates*: different vectors that a query is compared with, in all shards.

{table}

Machine: {machine}.

    {command}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: ``python -m bench.sharding_benchmark --out DIR``."""
    parser = argparse.ArgumentParser("python -m bench.sharding_benchmark", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for shards.csv and README.md")
    parser.add_argument("--n", type=int, default=400_000, metavar="N", help="vectors (default: %(default)s)")
    parser.add_argument("--d", type=int, default=192, metavar="D", help="their dimensions (default: %(default)s)")
    options = parser.parse_args(arguments)
    law = SyntheticVectors(n=options.n, d=options.d, queries=_QUERIES)
    with tempfile.TemporaryDirectory() as folder:
        table = measure_shards(law, Path(folder))
    write_report(
        options.out, law, table, f"python -m bench.sharding_benchmark --out {options.out.name} --n {law.n} --d {law.d}"
    )
    sys.stdout.write(f"{options.out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
