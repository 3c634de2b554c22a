"""What it takes before an index answers: building it, and choosing by what parameters it is asked."""

import pandas as pd

_BUILD = ["build_s", "build_s_ci_low", "build_s_ci_high"]


def with_choosing(cells: pd.DataFrame) -> pd.DataFrame:
    """The rows with ``prepare_s`` added to their seconds of building and to the bounds of these.

    Args:
        cells: Rows of ``lsh_parameters`` or ``cheapest_settings``. What was not prepared took no time; what was not
            built has none.
    """
    chosen_s = cells["prepare_s"].fillna(0)
    return cells.assign(**{name: cells[name] + chosen_s for name in _BUILD})
