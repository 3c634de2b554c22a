"""Re-rankers: what puts the first answers of an index into a better order."""

from ris_core.rerank.ames import AMES
from ris_core.rerank.contract import RerankKind
from ris_core.rerank.diffusion import DIFFUSION
from ris_core.rerank.geometric import GEOMETRIC
from ris_core.rerank.k_reciprocal import K_RECIPROCAL
from ris_core.rerank.local_descriptors import LOCAL_DESCRIPTORS
from ris_core.rerank.query_expansion import QUERY_EXPANSION
from ris_core.rerank.superglobal import SUPERGLOBAL

# To add a re-ranker: one file beside this one, and one line here.
RERANKERS: dict[str, RerankKind] = {
    "ames": AMES,
    "diffusion": DIFFUSION,
    "geometric": GEOMETRIC,
    "k_reciprocal": K_RECIPROCAL,
    "local_descriptors": LOCAL_DESCRIPTORS,
    "query_expansion": QUERY_EXPANSION,
    "superglobal": SUPERGLOBAL,
}
