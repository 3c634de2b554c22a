"""``[system.NAME]``: the parts of a suite that together are one way to search."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class SystemSpec:
    """One row of the table ``systems``; what is not named is not done. Each part must have one setting alone.

    Attributes:
        backbone: Name of a backbone; where lists make several of one table, of one of these variants.
        engine: Name of an engine.
        name: Unique in its suite; the table's heading gives it.
        title: The name for people; by default the name.
        rerank: Name of a re-ranker; empty: the index' answers are the system's.
        regions: Name of regions by which queries are asked; empty: whole pictures ask. Not beside ``rerank``.
    """

    backbone: str
    engine: str
    name: str = ""
    title: str = ""
    rerank: str = ""
    regions: str = ""
