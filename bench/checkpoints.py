"""Backbones of a suite, trained into the cache before a run, by one process or by as many as ``torchrun`` starts."""

import dataclasses
import sys
from pathlib import Path

from bench.results import StageNote
from bench.running.progress import Progress
from bench.stages.flow import Cache, prepare_checkpoint, prepare_tiles
from bench.stages.training import refuse_backbone
from bench.suites.suite import BackboneEntry, Suite
from bench.suites.suite_file import find_suite, read_suite
from ris_core.cluster import open_cluster
from ris_core.errors import SuiteError
from ris_core.training.distributed import connected, find_ranks
from ris_core.training.options import TrainOptions


@dataclasses.dataclass(frozen=True)
class CheckpointOrder:
    """The arguments of ``python -m bench train``.

    Attributes:
        suite: Path or name of the suite.
        backbones: Names of those to train, as ``list`` prints them; none: all that have a recipe.
        overrides: ``--set`` arguments.
        cache: Folder of the artifacts.
        device: See `TrainOptions`.
        cluster: Address of the cluster that cuts the tiles, see `ris_core.cluster.open_cluster`; None: no cluster.
    """

    suite: str
    backbones: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    cache: Path = Path(".ris_cache")
    device: str = "auto"
    cluster: str | None = None


def make_checkpoints(order: CheckpointOrder) -> list[Path]:
    """Weights of the trained backbones, which ``bench run`` with the same suite, overrides and cache then reuses.

    Every process of ``torchrun`` calls this: the first one to come cuts the tiles, for which the others wait, and only
    the one of rank 0 tells what was made.

    Raises:
        RisError: If the suite, the corpus, the disk or the machine forbid it.
    """
    suite = read_suite(find_suite(order.suite), order.overrides)
    entries = _chosen(suite, order.backbones)
    ranks = find_ranks()
    options = TrainOptions(device=order.device, ranks=ranks)
    faults = options.faults()
    if order.cluster is not None and ranks.size > 1:
        faults.append("--cluster is for one process: cut the tiles by `bench run` with -k first, or leave it out.")
    if faults:
        raise SuiteError("training: " + " ".join(faults))

    progress = Progress(sys.stdout)

    def tell(note: StageNote) -> None:
        if ranks.is_first:
            progress.tell_stage(note)

    cache = Cache(order.cache, tell, progress=ranks.is_first)
    with open_cluster(order.cluster) as cluster:
        cut = prepare_tiles(dataclasses.replace(cache, cluster=cluster), suite.corpus)
    for entry in entries:
        refuse_backbone(entry, cut, options)
    with connected(ranks):
        made = [prepare_checkpoint(cache, entry, cut, suite.judge.knn_every, options)[0] for entry in entries]
    return [Path(spec.weights) for spec in made] if ranks.is_first else []


def _chosen(suite: Suite, names: tuple[str, ...]) -> list[BackboneEntry]:
    """The backbones of those names, each of which has a recipe; without names all that have one."""
    trained = [entry for entry in suite.backbones if entry.recipe is not None]
    known = [entry.name for entry in trained]
    if unknown := [name for name in names if name not in known]:
        raise SuiteError(
            f"{suite.path}: {', '.join(unknown)}: no backbone that trains; known: {', '.join(known) or 'none'}. "
            "Correct the name, or give it a table train."
        )
    if not trained:
        raise SuiteError(f"{suite.path}: none of its backbones trains. Give one a table [backbone.NAME.train].")
    return [entry for entry in trained if entry.name in names or not names]
