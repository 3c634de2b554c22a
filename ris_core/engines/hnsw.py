"""What the three HNSW libraries share: the method's parameters and the expected size of its graph.

Source: Malkov, Yashunin 2016, Efficient and robust approximate nearest neighbor search using Hierarchical Navigable
Small World graphs, arXiv:1603.09320.
"""

import dataclasses

from ris_core.engines.contract import range_faults

_MAX_LINKS = 1024


@dataclasses.dataclass(frozen=True)
class HnswParams:
    """What shapes the graph.

    Attributes:
        links: Most neighbours of a vector in each upper layer, half of those in the lowest; the paper's M.
        ef_construction: Candidates kept while a vector's neighbours are sought.
    """

    links: int = 16
    ef_construction: int = 200

    def faults(self, n: int, d: int) -> list[str]:
        """See `ris_core.engines.contract.Params`."""
        return range_faults(self, links=(2, _MAX_LINKS), ef_construction=(1, None))


@dataclasses.dataclass(frozen=True)
class HnswQuery:
    """How one index is asked.

    Attributes:
        ef: Candidates kept while a query descends; k where that is more.
    """

    ef: int = 100

    def faults(self, n: int, d: int) -> list[str]:
        """See `ris_core.engines.contract.Params`."""
        return range_faults(self, ef=(1, None))


def expected_graph_bytes(n: int, links: int, *, list_bytes: int, vector_bytes: int) -> int:
    """Expected bytes of a graph over n vectors, M being its links.

    Each vector has room for 2M neighbours of 4 bytes in the lowest layer and for M in each layer above; it reaches l
    layers above with probability M^-l, which sums to 1 / (M - 1).

    Args:
        n: Number of vectors.
        links: M, 2 or more.
        list_bytes: What a library stores beside each list of neighbours, such as their number.
        vector_bytes: What it stores beside each vector, such as its label.
    """
    lowest, upper = 2 * links * 4 + list_bytes, links * 4 + list_bytes
    return round(n * (lowest + upper / (links - 1) + vector_bytes))
