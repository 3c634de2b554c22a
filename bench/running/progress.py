"""Lines for people: one a stage on stderr, one a cell on stdout."""

import sys
from pathlib import Path
from typing import TextIO

import numpy as np

from bench.measuring.other_load import is_noisy
from bench.results import OK, SKIPPED, BuildResult, PaceResult, RegionResult, RerankResult, Result, StageNote
from bench.scores.inference import median_time
from bench.suites.cells import Cell
from bench.suites.suite import LANDMARKS, SCENE, SINGLE, CorpusSpec, Suite
from bench.timed_worker import ERR

_UNITS = ((1e-6, 1e9, "ns"), (1e-3, 1e6, "us"), (1.0, 1e3, "ms"), (float("inf"), 1.0, "s"))


def seconds_words(seconds: float) -> str:
    """Three digits and a unit: ``0.31 ms`` becomes ``310 us``."""
    for limit, factor, unit in _UNITS:
        if seconds < limit:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds:.3g} s"


def stage_line(note: StageNote) -> str:
    """What a stage made, how much of it and how fast; or that it was there."""
    what = f"{note.stage} {note.backbone}".strip()
    facts = note.notes
    parts = []
    if "n" in facts:
        is_tiles = note.stage in ("tiles", "checkpoint") or "tiles_per_s" in facts
        parts.append(f"{facts['n']:,} {'tiles' if is_tiles else 'vectors'}")
    for key, text in (("size_px", "{} px"), ("d", "d = {}"), ("q", "{} queries"), ("epochs", "{} epochs")):
        if key in facts:
            parts.append(text.format(facts[key]))
    if facts.get("held_out"):
        parts.append(f"{facts['held_out']:,} held-out queries")
    if "file_recall" in facts:
        parts.append(f"the file's own {facts['file_k']} neighbours have recall {facts['file_recall']:.4f}")
    if facts.get("final_loss") is not None:
        parts.append(f"final loss {facts['final_loss']:.3f}")
    if note.reused:
        parts.append(f"reused {Path(note.folder).name}")
    else:
        rate = f" ({facts['tiles_per_s']:,.0f} tiles/s)" if facts.get("tiles_per_s") else ""
        shared = f" by {facts['workers']} worker(s)" if "workers" in facts else ""
        parts.append(f"made in {note.wall_s:.1f} s{shared}{rate}")
    return f"{what}: {', '.join(parts)}"


def result_words(result: Result) -> str:
    """The figures of one cell: median time and recall, or why there are none."""
    if result.status == SKIPPED:
        return f"skipped: {result.reason}"
    if result.status != OK:
        return f"FAILED: {result.reason}"
    if isinstance(result, PaceResult):
        words = f"{result.n / median_time(result.times_s):.3g} tiles/s"
    elif isinstance(result, BuildResult):
        words = f"{seconds_words(median_time(result.build_s))}, {(result.size_bytes or 0) / 2**20:.1f} MiB"
    elif isinstance(result, RegionResult):
        precision = np.concatenate([*result.precision.values()]).mean()
        words = f"{median_time(result.times_s) * 1e3:.3g} ms/query precision {precision:.3f}"
    elif isinstance(result, RerankResult):
        words = f"+{median_time(result.rerank_s) * 1e3:.3g} ms/query {_gain_words(result)}"
    else:
        each_s = median_time(result.times_s) / (1 if result.mode == SINGLE else result.q)
        words = f"{each_s * 1e3:.3g} ms/query recall {np.mean(result.recall_at_k):.3f}"
    if is_noisy(result.other_load_frac):
        words += f"  (noisy: other work took {result.other_load_frac:.0%} of the cores)"
    return words


def _gain_words(result: RerankResult) -> str:
    """Mean precision over all judged queries, before and after."""
    before, after = (np.concatenate([*p.values()]).mean() for p in (result.precision_before, result.precision))
    return f"precision {before:.3f} -> {after:.3f}"


class Progress:
    """Writes the lines of one run.

    Attributes:
        out: Where cell lines go; None for nowhere, under a pytest that shows its own.
    """

    def __init__(self, out: TextIO | None) -> None:
        self.out = out
        self._place = 0
        self._total = 0

    def expect(self, total: int) -> None:
        """Measurements that are left: a cell in each of its processes; those of slow indexes are fewer."""
        self._total = total

    def tell_stage(self, note: StageNote) -> None:
        """One line on stderr."""
        self.say(stage_line(note))

    def say(self, line: str) -> None:
        """One line on stderr."""
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()

    def relay(self, stream: str, line: str) -> None:
        """A line that another process of the run wrote on its own stderr or stdout."""
        if stream == ERR:
            self.say(line)
        elif self.out is not None:
            self.out.write(f"{line}\n")
            self.out.flush()

    def tell_cell(self, cell: Cell, result: Result) -> None:
        """One line on ``out``."""
        self._place += 1
        if self.out is None:
            return
        width = len(str(self._total))
        self.out.write(f"[{self._place:>{width}}/{self._total}] {cell.words()}  {result_words(result)}\n")
        self.out.flush()


def plan_lines(suite: Suite, cells: list[Cell], cache: Path, folder: Path) -> list[str]:
    """What is about to happen."""
    backbones = ", ".join(
        entry.name + (f" ({entry.method}, {entry.recipe.epochs} epochs)" if entry.recipe else "")
        for entry in suite.backbones
    )
    engines = ", ".join(f"{grid.name} ({len(grid.builds)} x {len(grid.queries)})" for grid in suite.engines)
    spec = suite.throughput
    measured = [f"  engines    {engines} (builds x query settings)"] if suite.engines else []
    reranks = ", ".join(f"{grid.name} ({len(grid.points)})" for grid in suite.reranks)
    measured += [f"  re-ranked  by {reranks}"] if reranks else []
    regions = ", ".join(f"{grid.name} ({len(grid.points)})" for grid in suite.regions)
    measured += [f"  regions    {regions}"] if regions else []
    measured += [f"  rates      {', '.join(spec.stages)} by {', '.join(spec.ways)}"] if spec else []
    lines = [
        f"{suite.name}: {suite.about.title}" if suite.about.title else suite.name,
        f"  corpus     {_corpus_words(suite.corpus)}",
        f"  backbones  {backbones}",
        *measured,
        f"  cells      {len(cells)}",
        f"  cache      {cache}",
        f"  run        {folder}",
    ]
    if suite.unused:
        lines.insert(2, f"  left out   {', '.join(suite.unused)}: of no use to this corpus")
    if suite.about.duration:
        lines.insert(1, f"  duration   {suite.about.duration}")
    return lines


def _corpus_words(corpus: CorpusSpec) -> str:
    if corpus.is_vectors:
        sizes = f", n = {', '.join(f'{size:,}' for size in corpus.sizes)}" if corpus.sizes else ""
        return f"{corpus.source} (vectors{sizes})"
    size = f"{corpus.scene_px} px, " if corpus.source in (SCENE, LANDMARKS) else ""
    stored = f" stored at {corpus.stored_px}" if corpus.stored_px else ""
    return f"{corpus.source} ({size}tiles of {corpus.tile_px} px{stored})"
