"""A corpus that is a file of vectors: its table in place of tiles, its features as they stand in the file."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.scores.answers import check_answers
from bench.scores.score import recall_at_k
from bench.suites.suite import CorpusSpec
from ris_core.artifacts import new_matrix
from ris_core.errors import CorpusError
from ris_core.records import PADDING_ID, Features, Hits
from ris_core.space import Space
from ris_core.tiles import corpus_fingerprint
from ris_core.tiling.labels import read_vector_labels
from ris_core.vector_files import ANGULAR, EUCLIDEAN, Vectors


def vector_table(vectors: Vectors, corpus: CorpusSpec) -> pd.DataFrame:
    """The table of `ris_core.records.Tiles` for the vectors that are taken: all, or a sample drawn by seed.

    ``row`` is a vector's row in the file; places in a raster are 0, for it has none.

    Raises:
        CorpusError: If there are fewer vectors than the sample, or the labels do not fit them.
    """
    rows = np.arange(vectors.n)
    if corpus.sample is not None:
        if corpus.sample > vectors.n:
            raise CorpusError(f"{vectors.path}: sample = {corpus.sample}, but it holds {vectors.n} vectors. Lower it.")
        rows = np.sort(np.random.default_rng(corpus.seed).permutation(vectors.n)[: corpus.sample])
    nowhere = dict.fromkeys(("col", "row_px", "col_px"), 0)
    table = pd.DataFrame({"id": vectors.ids[rows], "raster": vectors.path.name, "row": rows})
    table = table.assign(**nowhere, coverage_frac=1.0)
    labels = vectors.labels if corpus.labels is None else read_vector_labels(corpus.labels, vectors.n)
    return table if labels is None else table.assign(label=labels[rows])


def vector_key(vectors: Vectors, table: pd.DataFrame) -> str:
    """Key of what is taken of a file: its content, the rows with their ids and labels, and the held-out queries."""
    labels = "\n".join(table["label"]) if "label" in table else None
    queries = b"" if vectors.queries is None else vectors.queries.tobytes()
    digest = hashlib.sha256(f"{corpus_fingerprint(vectors.path)} {labels!r}".encode())
    for part in (table["row"].to_numpy(np.int64).tobytes(), table["id"].to_numpy(np.int64).tobytes(), queries):
        digest.update(part)
    return digest.hexdigest()[:16]


def copy_vectors(vectors: Vectors, table: pd.DataFrame, folder: Path) -> Mapping[str, Any]:
    """Write the vectors of a table's rows as a features artifact, block by block, and say what they are.

    Raises:
        CorpusError: If the file is damaged, or holds NaN.
        ArtifactError: If the disk cannot take them.
    """
    values = new_matrix(folder / "features.npy", len(table), vectors.d)
    norms = np.empty(len(table))
    start = 0
    for block in vectors.blocks(table["row"].to_numpy(np.int64)):
        part = slice(start, start + len(block))
        values[part] = block
        norms[part] = np.linalg.norm(block.astype(np.float64), axis=1)
        start += len(block)
    values.flush()
    Features(values, table["id"].to_numpy(np.int64)).save(folder)
    return {
        "file": vectors.path.name,
        "n": len(table),
        "d": vectors.d,
        "held_out": 0 if vectors.queries is None else len(vectors.queries),
        "norm_mean": float(norms.mean()),
        "norm_std": float(norms.std()),
        "zero_vectors": int((norms == 0).sum()),
    }


def refuse_zeros(vectors: Vectors, zero_vectors: int) -> None:
    """Refuse vectors without a direction, where a space normalises them as they are.

    Args:
        vectors: The file, with its held-out queries.
        zero_vectors: How many vectors of the base are zero.

    Raises:
        CorpusError: If there are some, in the base or among the queries.
    """
    queries = 0 if vectors.queries is None else int((~vectors.queries.any(axis=1)).sum())
    if zero_vectors or queries:
        raise CorpusError(
            f"{vectors.path}: {zero_vectors} of its vectors and {queries} of its queries are zero, so that they have "
            "no direction and cannot be normalised. Remove them, or set space.normalize = false."
        )


def comparable_neighbours(vectors: Vectors, space: Space, n: int, chosen: np.ndarray) -> np.ndarray | None:
    """The neighbours that the file names for some of its queries, where they mean the same in the run's space.

    Args:
        vectors: The file.
        space: The space of the run.
        n: Vectors that are indexed.
        chosen: (q,) which of the held-out queries.

    Returns:
        (q, any) rows of the base. None where the file names none, a sample is indexed, or the space compares by
        another metric: centring moves no Euclidean distance but changes angles, whitening changes both.
    """
    is_same = {
        EUCLIDEAN: not space.normalize,
        ANGULAR: space.normalize and space.mean is None,
    }.get(vectors.metric, False)
    if vectors.neighbours is None or not is_same or space.projection is not None or n < vectors.n:
        return None
    return vectors.neighbours[chosen]


def recall_of_file(neighbours: np.ndarray, base: Features, queries: np.ndarray, truth: Hits, k: int) -> np.ndarray:
    """(q,) recall at k of the neighbours that a file names; 1 where they are the exact ones that were found here.

    Args:
        neighbours: (q, at least k) rows of the base, as the file names them.
        base: The indexed features.
        queries: (q, d) float32 in their space.
        truth: (q, at least k) exact neighbours found here.
        k: Neighbours that are compared.
    """
    nobody = np.full(len(neighbours), PADDING_ID)
    return recall_at_k(check_answers(neighbours, base, queries, nobody, k).hits, truth, k)
