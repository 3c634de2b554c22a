"""What shapes an index of the engine crosspolytope, what it can be asked with, and the bytes that it takes."""

import dataclasses
import os

import numpy as np
import psutil

from ris_core.engines.contract import range_faults
from ris_core.engines.principal_axes import SAMPLED_ROWS

FAMILIES = ("cross_polytope", "hyperplane")
DISTANCES = ("euclidean_squared", "cosine", "inner_product")

_MAX_BITS = 30
_MAX_TABLES = 2**16
_MAX_ROTATIONS = 2**10
_MAX_DIM = 2**16 - 1
_MAX_SEED = 2**64 - 1
_MAX_ROTATED = 2**28  # values of all rotations and of a query's rotated copies: 1 GiB
_MAX_NUMBER = 2**31 - 1
_COORDINATES_A_GROUP = 4  # one bit of sketch a dimension
_VECTORS_A_BUCKET = 64
_TRAINING_ROWS = 4096  # of the centroids


@dataclasses.dataclass(frozen=True)
class CrosspolytopeParams:
    """What shapes the index. The defaults serve 50,000 to a million vectors.

    Attributes:
        family: ``"cross_polytope"`` or ``"hyperplane"``.
        tables: Number of hash tables. One suffices where many of its buckets are probed; each costs memory anew.
        hash_bits: Bits of a table's hash: 2^bits buckets. 0 takes as many as make about 64 vectors a bucket; some dozen
            to some hundred are best.
        rotations: Pseudo-random rotations before each cross-polytope.
        hash_dimension: How many leading principal coordinates are hashed, all where there are fewer; 0 hashes the
            vectors as they come.
        sketch: Whether candidates can be filtered by sketches of about d bits.
        distance: What candidates are ranked by. ``"euclidean_squared"``; ``"cosine"``, which scales all vectors to
            length 1 on the way; or ``"inner_product"``, the largest first.
        seed: Of the rotations, 0 to 2^64 - 1.
    """

    family: str = "cross_polytope"
    tables: int = 1
    hash_bits: int = 0
    rotations: int = 1
    hash_dimension: int = 16
    sketch: bool = True
    distance: str = "euclidean_squared"
    seed: int = 1

    def faults(self, n: int, d: int) -> list[str]:
        """See `ris_core.engines.contract.Params`."""
        faults = [
            f"{key} = {value!r}; allowed: {', '.join(allowed)}."
            for key, value, allowed in (
                ("family", self.family, FAMILIES),
                ("distance", self.distance, DISTANCES),
            )
            if value not in allowed
        ]
        faults += range_faults(
            self,
            tables=(1, _MAX_TABLES),
            hash_bits=(0, _MAX_BITS),
            rotations=(1, _MAX_ROTATIONS),
            hash_dimension=(0, None),
            seed=(0, _MAX_SEED),
        )
        if d > _MAX_DIM:
            faults.append(f"vectors have {d} dimensions; allowed are up to {_MAX_DIM}. Project them first.")
        return faults or self._rotation_faults(n, d) or self.memory_faults(n, d)

    def bits(self, n: int) -> int:
        """Bits of a table's hash for n vectors."""
        return self.hash_bits or round(np.log2(max(n / _VECTORS_A_BUCKET, 2)))

    def rotated(self, n: int, d: int) -> tuple[int, int]:
        """How many rotated copies of a vector of d dimensions all tables read, and the size of each."""
        lifted, bits = lifted_dimension(d, self.distance), self.bits(n)
        size = max(16, 1 << (min(lifted, self.hash_dimension or lifted) - 1).bit_length())
        if self.family == "hyperplane":
            return -(-self.tables * bits // size), size
        return self.tables * -(-bits // size.bit_length()), size

    def _rotation_faults(self, n: int, d: int) -> list[str]:
        copies, size = self.rotated(n, d)
        values = copies * (self.rotations + 1) * size
        if values <= _MAX_ROTATED:
            return []
        return [
            f"tables = {self.tables} with rotations = {self.rotations} take {values} values of rotated copies and "
            f"signs; allowed are up to {_MAX_ROTATED}. Lower either, or hash_dimension."
        ]

    def memory_faults(self, n: int, d: int, beside: int = 0) -> list[str]:
        """That a build for n vectors, and so many bytes beside it, do not fit into memory; empty if they do."""
        need = theoretical_bytes(n, d, self) + building_bytes(n, d, self) + beside
        free = psutil.virtual_memory().available
        if need <= free:
            return []
        return [
            f"tables = {self.tables} with hash_bits = {self.bits(n)} need about {need / 2**30:.1f} GiB while they are "
            f"built for {n} vectors; {free / 2**30:.1f} GiB are free. Lower either."
        ]


@dataclasses.dataclass(frozen=True)
class CrosspolytopeQuery:
    """What one index can be asked with.

    Attributes:
        probes_per_table: Buckets looked into, on average over the tables: tables times this number are shared among
            them by how promising a bucket is.
        rerank: Candidates that sketches leave to exact scoring, at least k; 0 for all, without looking at sketches. An
            index without sketches scores all, whatever this says.
        recall: Share of the true neighbours that is wanted, 0 to 1: probes and re-ranked candidates are then chosen for
            it on rows of the base that are held out from their own answer. 0 takes the two numbers above.
    """

    probes_per_table: int = 100
    rerank: int = 300
    recall: float = 0.0

    def faults(self, n: int, d: int) -> list[str]:
        """See `ris_core.engines.contract.Params`."""
        return range_faults(self, probes_per_table=(1, _MAX_NUMBER), rerank=(0, _MAX_NUMBER), recall=(0, 1))


def lifted_dimension(d: int, distance: str) -> int:
    """Dimension of what is hashed and sketched: inner products append a coordinate."""
    return d + (distance == "inner_product")


def sketch_groups(dimension: int) -> int:
    """Groups of coordinates in a sketch of vectors of so many dimensions, each of four bits."""
    return -(-dimension // _COORDINATES_A_GROUP)


def theoretical_bytes(n: int, d: int, params: CrosspolytopeParams) -> int:
    """Bytes of the tables, and of the axes and centroids that they share, for n vectors of d dimensions.

    Each table holds 2^bits + 1 starts of buckets and n rows, of 4 bytes each, and with sketches, for points in blocks
    of 32, two factors of 4 bytes and half a byte for each of p / 4 groups, in fours. They share up to p axes of p
    float32, 4 x 16 float32 centroids and 4 numbers a group, and the signs of their rotations, 4 bytes each. p is d or,
    for inner products, d + 1.
    """
    p = lifted_dimension(d, params.distance)
    groups = -(-sketch_groups(p) // 4) * 4 if params.sketch else 0
    points = -(-n // 32) * 32 if params.sketch else 0
    table = 4 * (2 ** params.bits(n) + 1) + 4 * n + points * (8 + groups // 2)
    coordinates = p if params.sketch else min(p, params.hash_dimension)
    copies, size = params.rotated(n, d)
    signs = (1 + copies * params.rotations) * size
    return params.tables * table + 4 * coordinates * p + groups * 4 * (16 + 1) * 4 + 4 * signs


def building_bytes(n: int, d: int, params: CrosspolytopeParams) -> int:
    """Bytes, about, that a build takes beside the index: for the axes first, then for centroids, then for the points.

    The axes take a sample of the vectors twice and five matrices of p x p, in float64. Until the tables are laid out
    each point has a code a table and, with sketches, a byte a group and two factors; a table that is being laid out
    counts its buckets, as many tables at once as there are CPUs.
    """
    p = lifted_dimension(d, params.distance)
    axes = 16 * min(n, SAMPLED_ROWS) * p + 40 * p * p if params.sketch or params.hash_dimension > 0 else 0
    centroids = 4 * min(n, _TRAINING_ROWS) * (p + _COORDINATES_A_GROUP) if params.sketch else 0
    a_point = 4 * params.tables + (sketch_groups(p) + 8 if params.sketch else 0)
    counters = 4 * 2 ** params.bits(n) * min(params.tables, os.cpu_count() or 1)
    return max(axes, centroids, n * a_point + counters)
