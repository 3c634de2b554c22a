"""What of a suite's stages is in the cache: the stages themselves are asked, by a cache that makes nothing."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.results import StageNote
from bench.stages.base import Cut
from bench.stages.flow import VERSIONS, Cache, prepare_base, prepare_tiles
from bench.suites.suite import Suite
from ris_core.artifacts import artifact_key, damage, read_manifest


class NotMadeError(Exception):
    """A stage needs an artifact that is not there; nothing behind it can be."""


@dataclasses.dataclass(frozen=True)
class Lookup(Cache):
    """A cache in which is only what is there.

    Attributes:
        unfinished: Names of the artifacts that an earlier run began.
    """

    unfinished: set[str] = dataclasses.field(default_factory=set)

    def make(
        self,
        stage: str,
        backbone: str,
        parameters: Mapping[str, Any],
        parents: Sequence[str],
        make: Callable[[Path], Mapping[str, Any]],
    ) -> StageNote:
        """Note of an artifact that is there, undamaged.

        Raises:
            NotMadeError: If it is not.
        """
        key = artifact_key(stage, {**parameters, "version": VERSIONS[stage]}, parents)
        folder = self.root / f"{stage}-{key}"
        if not folder.is_dir() or damage(folder) is not None:
            if (self.root / f".{folder.name}.partial").is_dir():
                self.unfinished.add(f"{stage} {backbone}".strip())
            raise NotMadeError(folder.name)
        manifest = read_manifest(folder)
        note = StageNote(stage, backbone, str(folder), key, True, manifest["wall_s"], dict(manifest.get("notes", {})))
        self.tell(note)
        return note


@dataclasses.dataclass(frozen=True)
class Found:
    """What is there already.

    Attributes:
        notes: By stage and backbone.
        cut: The tiles, where they are.
        unfinished: Stages that an earlier run began and this one goes on with.
    """

    notes: dict[tuple[str, str], StageNote]
    cut: Cut | None
    unfinished: frozenset[str]


def find_artifacts(suite: Suite, root: Path) -> Found:
    """What of a suite is in the cache.

    Raises:
        RisError: If the corpus cannot be read.
    """
    notes: dict[tuple[str, str], StageNote] = {}

    def tell(note: StageNote) -> None:
        notes[note.stage, note.backbone] = note

    lookup, cut = Lookup(root, tell), None
    with _as_far_as_made():
        cut = prepare_tiles(lookup, suite.corpus)
    for entry in suite.backbones if cut is not None and suite.engines else ():
        with _as_far_as_made():
            prepare_base(lookup, entry, cut.of_size(entry.size), suite.queries, suite.judge.knn_every)
    return Found(notes, cut, frozenset(lookup.unfinished))


@contextlib.contextmanager
def _as_far_as_made() -> Iterator[None]:
    with contextlib.suppress(NotMadeError):
        yield
