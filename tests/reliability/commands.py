"""Other commands that write files, killed at a random moment and given again."""

import dataclasses
import functools
import re
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.reliability.kills import strike_at
from tests.reliability.launcher import launch
from tests.reliability.scenario import RECOVERED, Outcome, Scenario, expect
from tests.reliability.strike import GROUP, Strike
from tests.reliability.tiny import CACHE, lay_out, read_journal, reference, run_folder

_TIMED = re.compile(r"(log\.txt|manifest\.json|\.lock)$")  # what holds seconds, and locks, which hold nothing
_REFUSED = 2


@dataclasses.dataclass(frozen=True)
class Command:
    """A command that makes a folder.

    Attributes:
        name: Of its scenario.
        arguments: Of the command line.
        prepare: Lays out what it needs, in an empty folder.
        made: Folder that it makes.
        pattern: Paths of the operations at which it is killed; empty for all.
    """

    name: str
    arguments: tuple[str, ...]
    prepare: Callable[[Path], None]
    made: str
    pattern: str = ""


def killed(folder: Path, rng: np.random.Generator, command: Command) -> Outcome:
    """The command killed, and given again: what it makes is what it makes undisturbed."""
    undisturbed = _undisturbed(command)
    command.prepare(folder)
    strike = strike_at(read_journal(undisturbed), command.pattern, rng)
    doomed = launch(list(command.arguments), folder, dataclasses.replace(strike, signal=signal.SIGKILL, target=GROUP))
    doomed.wait()
    doomed.wait_until_nobody_is_left()
    again = launch(list(command.arguments), folder)
    status = again.wait()
    is_done = status == _REFUSED and "exists already" in again.said()  # it was whole when the signal came
    expect(status == 0 or is_done, f"given again it ends with status {status}: {again.said()[-500:]}")
    again.wait_until_nobody_is_left()
    expected, found = (_contents(each / command.made) for each in (undisturbed, folder))
    different = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    expect(not different, f"other files than undisturbed: {', '.join(different)}")
    return Outcome(RECOVERED)


@functools.cache
def _undisturbed(command: Command) -> Path:
    """Folder in which the command was given and nothing disturbed it; it goes with the process."""
    folder = Path(_kept(command).name)
    command.prepare(folder)
    run = launch(list(command.arguments), folder, Strike(journal=str(folder / "journal")))
    expect(run.wait() == 0, f"{command.name} fails undisturbed: {run.said()[-1000:]}")
    return folder


@functools.cache
def _kept(command: Command) -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix=f"ris-{command.name}-")


def _contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and not _TIMED.search(path.name))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def _lay_out_scene(folder: Path) -> None:
    lay_out(folder)
    suite = folder / "tiny.toml"
    text = suite.read_text(encoding="utf-8").replace('source = "ortho.tif"', 'source = "scene"\nscene_px = 1024')
    suite.write_text(text.replace('classes = "classes.tif"\n', "").replace("tile_px = 16", "tile_px = 64"), "utf-8")


def _lay_out_run(folder: Path) -> None:
    run = run_folder(folder)
    shutil.copytree(run_folder(reference().folder), run)
    shutil.copytree(reference().folder / CACHE, folder / CACHE)


def _lay_out_judged(folder: Path) -> None:
    """A run whose pool somebody has begun to judge."""
    _lay_out_run(folder)
    first = launch(["pool", "reports/tiny/r", "--out", "judged"], folder)
    expect(first.wait() == 0, f"no pool: {first.said()[-500:]}")
    path = folder / "judged" / "judge.csv"
    head, *rows = path.read_text(encoding="utf-8").splitlines()
    judged = [row.rstrip(",") + f",{number % 2}" for number, row in enumerate(rows[:5])]
    path.write_text("\n".join([head, *judged, *rows[5:]]) + "\n", encoding="utf-8")


_COMMANDS = (
    (
        Command("train_killed", ("train", "tiny.toml"), lay_out, CACHE, r"\.checkpoint-"),
        "SIGKILL to `train` while it trains; the command again.",
        "It goes on where it was; the weights are those of an undisturbed training, to the bit.",
    ),
    (
        Command("scene_killed", ("train", "tiny.toml"), _lay_out_scene, CACHE, r"\.scene-"),
        "SIGKILL while several processes paint the embedded scene; the command again.",
        "The scene is painted anew, the same bytes; its painters end with the run.",
    ),
    (
        Command("publish_killed", ("publish", "reports/tiny/r", "published"), _lay_out_run, "published"),
        "SIGKILL to `publish`; the command again.",
        "The published folder appears whole or not at all.",
    ),
    (
        Command("pool_killed", ("pool", "reports/tiny/r", "--out", "judged"), _lay_out_judged, "judged"),
        "SIGKILL to `pool` over judgments that somebody has begun; the command again.",
        "No judgment is lost or counted twice; files are those of an undisturbed command.",
    ),
)
SCENARIOS = tuple(
    Scenario(
        command.name, "kills", fault, expected, functools.partial(killed, command=command), tries=15, tries_in_tests=0
    )
    for command, fault, expected in _COMMANDS
)
