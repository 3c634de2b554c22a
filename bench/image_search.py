"""Search by one import: an index of a finished run, asked by the number of an image, and how good and fast it is.

    from bench.image_search import ImageSearch

    search = ImageSearch("reports/discrete_codes/20261122-003000", engine="kdtree")
    matches = search.query(image_idx=5, k=10, plot="matches.png")
    class_accuracy, accuracy, query_ms = search.performance(k=10)

`ImageSearch.of_suite` measures the suite first.
"""

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from bench.figures.neighbours import draw_neighbours
from bench.figures.style import ENDINGS, save_figure
from bench.finished.finished_run import FinishedRun, Setting
from bench.finished.run_answers import Answers, find_answers, find_judged_answers
from bench.machine import fingerprint
from bench.results import OK, QueryResult, read_results
from bench.running.run_folder import find_run
from bench.running.run_suite import RunOptions, run_suite
from bench.scores.inference import median_time
from bench.suites.suite import CORRECTED, SINGLE
from bench.suites.suite_file import find_suite, read_suite
from bench.tables.names import EXACT
from ris_core.artifacts import disk_error
from ris_core.errors import ArtifactError, SuiteError
from ris_core.records import PADDING_ID


@dataclasses.dataclass(frozen=True, eq=False)
class Matches:
    """The nearest images of one, nearest first; fewer than k where the index found fewer.

    Attributes:
        images: (m,) int64 their numbers, as `ImageSearch.query` counts.
        names: Their files, relative to the corpus.
        labels: Their classes; empty where the corpus has none.
        distances: (m,) float32 squared Euclidean distances; of codes the number of units that differ.
    """

    images: np.ndarray
    names: tuple[str, ...]
    labels: tuple[str, ...]
    distances: np.ndarray


class Performance(NamedTuple):
    """How good and how fast a search is.

    Attributes:
        class_accuracy: For each class the share of the neighbours that bear the query's label, over its queries.
        accuracy: The same over all queries.
        query_ms: Median time of a single query by one thread, as the run measured it; NaN where it did not.
    """

    class_accuracy: dict[str, float]
    accuracy: float
    query_ms: float


class ImageSearch:
    """One index of a finished run.

    Attributes:
        run: The run.
        setting: Backbone, engine and parameters that are asked.
    """

    def __init__(
        self, run: str | Path, engine: str = EXACT, backbone: str | None = None, cache: Path | None = None
    ) -> None:
        """Open a run.

        Args:
            run: Its folder.
            engine: Name of an engine of the suite, or of one of its settings as the cells' ids have it.
            backbone: None: of those that this engine searched, the one whose neighbours are most precise.
            cache: Where the run's artifacts lie now; None: where they were made.

        Raises:
            ArtifactError: If the folder is none of a run.
            SuiteError: If the run has no such backbone or engine.
        """
        self.run = FinishedRun.open(Path(run), cache)
        wanted = engine.strip("/").replace(" ", "/")
        known = [s for s in self.run.settings if wanted in (s.name, s.engine) and backbone in (None, s.backbone)]
        self.setting: Setting = (
            max(known, key=lambda s: (s.precision or 0.0, s.recall or 0.0))
            if known
            else self.run.setting(backbone, engine)
        )

    @classmethod
    def of_suite(
        cls,
        suite: str,
        engine: str = EXACT,
        overrides: Sequence[str] = (),
        *,
        cache: Path = Path(".ris_cache"),
        reports: Path = Path("reports"),
    ) -> Self:
        """Measure a suite, which trains its networks unless the cache has them, and open that run.

        Args:
            suite: Path or name of the suite, such as ``discrete_codes``.
            engine: As for the class.
            overrides: Keys of the suite with their values, such as ``corpus.source=cifar10.zip``.
            cache: Folder of the artifacts.
            reports: Folder of the runs.

        Raises:
            RisError: If the suite, the corpus or the disk forbids the run, or it ended before this engine was measured.
        """
        run_suite(RunOptions(suite, tuple(overrides), cache=cache, reports=reports))
        folder = find_run(read_suite(find_suite(suite), tuple(overrides)), reports, None, fingerprint())
        if folder is None:
            raise ArtifactError(f"{reports}: the run of {suite} left no folder there. Run it again.")
        return cls(folder, engine, cache=cache)

    def query(self, image_idx: int, k: int = 10, plot: str | Path | None = None) -> Matches:
        """The k nearest of the searched images to one of the run's images, itself left out.

        Args:
            image_idx: Its number, counted from 0 in the order of all names; it may be held out.
            k: Images to find.
            plot: File to draw them to, such as ``matches.png``; None: they are not drawn.

        Raises:
            SuiteError: If there is no image of that number, or the file's ending names no format.
            SearchError: If there are not k other images.
            ArtifactError: If the run's tiles or features are gone, or the file cannot be written.
        """
        tiles = self.run.tiles
        if not 0 <= image_idx < len(tiles):
            raise SuiteError(f"image {image_idx} is none of the run's; its {len(tiles):,} are 0 to {len(tiles) - 1}.")
        answers = self._labelled(find_answers(self.run, self.setting, [int(tiles.ids[image_idx])], k))
        if plot is not None:
            self._draw(answers, Path(plot))
        found = answers.ids[0] != PADDING_ID
        places = self.run.places(answers.ids[0][found].tolist())
        labels = () if tiles.labels is None else tuple(tiles.labels[places].tolist())
        names = tuple(tiles.table["raster"].iloc[places])
        return Matches(places, names, labels, answers.distances[0][found])

    def performance(self, k: int = 10) -> Performance:
        """Accuracy of the k nearest images of the queries that the run judged, and the time that it measured.

        Raises:
            ArtifactError: If the run judged no query, its images have no labels, or its artifacts are gone.
            SearchError: If there are not k other images.
        """
        judgments = self.run.judgments
        if judgments is None or not len(judgments) or self._labels is None:
            raise ArtifactError(
                f"{self.run.folder}: accuracy by class needs judged queries and images with labels. "
                'Set [judge] source = "labels" in the suite, and take a corpus with one folder a class.'
            )
        answers = self._labelled(find_judged_answers(self.run, self.setting, range(len(judgments)), k))
        right = answers.relevant.mean(axis=1)
        classes = {str(name): float(right[answers.concepts == name].mean()) for name in np.unique(answers.concepts)}
        return Performance(classes, float(right.mean()), self._query_ms)

    @cached_property
    def _labels(self) -> dict[int, str] | None:
        """The label of each tile, by its id."""
        tiles = self.run.tiles
        return None if tiles.labels is None else dict(zip(tiles.ids.tolist(), tiles.labels.tolist(), strict=True))

    def _labelled(self, answers: Answers) -> Answers:
        """The answers, right where they bear the query's label: of images in class folders that is always known."""
        labels = self._labels
        if labels is None:
            return answers
        own = np.array([labels[tile] for tile in answers.query_ids.tolist()])
        found = np.array([[labels.get(tile, "") for tile in row] for row in answers.ids.tolist()])
        known = np.ones(len(answers), bool)
        return dataclasses.replace(answers, concepts=own, relevant=found == own[:, None], is_judged=known)

    def _draw(self, answers: Answers, path: Path) -> None:
        ending = path.suffix.removeprefix(".")
        if ending not in ENDINGS:
            raise SuiteError(f"{path}: its ending names the format; allowed: {', '.join(f'.{e}' for e in ENDINGS)}.")
        try:
            save_figure(draw_neighbours(self.run.tiles, answers), path.with_suffix(""), (ending,))
        except OSError as error:
            raise disk_error(path, error) from error

    @property
    def _query_ms(self) -> float:
        asked, wanted = self.setting, (self.setting.backbone, self.setting.kind)
        for result in read_results(self.run.folder):
            if not isinstance(result, QueryResult) or (result.backbone, result.kind) != wanted or result.status != OK:
                continue
            is_alike = (result.params, result.query_params) == (asked.params, asked.query_params)
            if is_alike and (result.mode, result.space, result.threads) == (SINGLE, CORRECTED, 1):
                return 1000 * median_time(result.times_s)
        return float("nan")
