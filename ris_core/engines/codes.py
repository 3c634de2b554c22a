"""Discrete codes, which some engines demand: every value of a vector is 0 or 1, a unit that is active or not."""

import numpy as np

from ris_core.errors import SearchError


def check_codes(place: str, vectors: np.ndarray) -> None:
    """Refuse vectors that hold anything but 0 and 1.

    Args:
        place: Name of the engine.
        vectors: (n, d) float32.

    Raises:
        SearchError: With the number of values that are neither, the first of them, and the remedy.
    """
    foreign = (vectors != 0) & (vectors != 1)
    if not foreign.any():
        return
    row, unit = np.argwhere(foreign)[0]
    raise SearchError(
        f"{place}: {np.count_nonzero(foreign):,} of {vectors.size:,} values are neither 0 nor 1, first "
        f"{vectors[row, unit]:g} in row {row}; this engine compares discrete codes alone. Take a backbone with "
        'bottleneck = { kind = "binary" } or "categorical", whose space = { center = false, normalize = false } '
        f'leaves its codes as they are, and name it: [engine.{place}] backbones = ["..."].'
    )
