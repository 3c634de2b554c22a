"""The ways by name, what each of them can do, and how it is loaded: none of them before it is measured."""

import dataclasses
import importlib.util
from collections.abc import Callable, Mapping

from bench.pace.work import EXTRACT, LIGHTLY, OURS, PUBLISHED, TILES, TRAIN, Work


@dataclasses.dataclass(frozen=True)
class Way:
    """One way.

    Attributes:
        stages: What it can do.
        load: Imports it and returns its work for each of those stages.
        package: What has to be installed for it besides; empty: nothing.
    """

    stages: tuple[str, ...]
    load: Callable[[], Mapping[str, type[Work]]]
    package: str = ""

    def unavailable(self) -> str | None:
        """Why it cannot be measured here, or None."""
        if not self.package or importlib.util.find_spec(self.package) is not None:
            return None
        return f"the package {self.package} is not installed: pip install 'ris-bench[rivals]'"


def _ours() -> Mapping[str, type[Work]]:
    from bench.pace.ours import WORKS

    return WORKS


def _published() -> Mapping[str, type[Work]]:
    from bench.pace.published_way import WORKS

    return WORKS


def _lightly() -> Mapping[str, type[Work]]:
    from bench.pace.lightly_way import WORKS

    return WORKS


STAGES = (TILES, TRAIN, EXTRACT)
WAYS = {
    OURS: Way(STAGES, _ours),
    PUBLISHED: Way(STAGES, _published),
    LIGHTLY: Way((TRAIN,), _lightly, "lightly"),
}
