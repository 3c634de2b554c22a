"""Readers under bad input, in a process of their own that is watched: what they raise, take, write and run.

A target is asked by a seed, so every failure can be had again: `python -m tests.reliability.fuzzing MODULE NAME SEED`.
The child holds a limit of memory and of time for each input; where it dies, the seed that it was working on is known.
What an input may do is return, or raise a `RisError` that names the file. Everything else is a failure.
"""

import atexit
import contextlib
import dataclasses
import functools
import importlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ris_core.errors import RisError
from tests.reliability.scenario import RECOVERED, REFUSED, Outcome, Scenario, expect

ACCEPTED, FAILED = "accepted", "failed"
ROOT = Path(__file__).parents[2]
_CPU_S, _WALL_S = 20, 240  # of one input; the machine may be busy
_MEMORY_BYTES = 2**31  # of addresses beside what the process has before
_CASE = Path("outer", "inner", "case")  # so deep that `../../x` is seen
_RUNS = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "subprocess.Popen",
    "pickle.find_class",
    "socket.connect",
)
_CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.truncate", "os.chmod")
_LONGEST_LINE = 300  # of what is told of a failure
_SEEDS = 2**53  # whole numbers that JSON keeps everywhere
_EXPECTED = "It is read, or refused by an error that names the file. No crash, hang, traceback, or file elsewhere."
_CACHES = ("MPLCONFIGDIR", "XDG_CACHE_HOME", "TMPDIR")  # what libraries write to, whatever they are given to read


@dataclasses.dataclass(frozen=True)
class Target:
    """Something that reads files of strangers.

    Attributes:
        name: Words joined by underscores; unique.
        fault: What is damaged, in one sentence.
        prepare: What damaged inputs are made of, given an empty folder; called once a process.
        attempt: Makes one damaged input in the empty folder that it is given, where the process stands, and reads it.
        tries: How many inputs the command tries unless told otherwise.
        tries_in_tests: How many the tests try.
        options: Of the command line, which a message may name in place of a file.
    """

    name: str
    fault: str
    prepare: Callable[[Path], Any]
    attempt: Callable[[Any, Path, np.random.Generator], None]
    tries: int = 2000
    tries_in_tests: int = 12
    options: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What one input did: `ACCEPTED`, `REFUSED` or `FAILED`, and why."""

    how: str
    why: str = ""


class Watch:
    """Everything that this process does to files, or runs, outside of one folder; told by Python's audit events."""

    def __init__(self, allowed: tuple[Path, ...]) -> None:
        self._allowed = tuple(str(path) for path in allowed)
        self._seen: list[str] | None = None
        sys.addaudithook(self._hear)

    @contextlib.contextmanager
    def watching(self) -> Iterator[list[str]]:
        """Yield the list to which is added what happens meanwhile."""
        self._seen = seen = []
        try:
            yield seen
        finally:
            self._seen = None

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._seen is None:
            return
        if event in _RUNS:
            self._seen.append(f"{event} {arguments!r}"[:300])
        elif event == "open" and (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            self._judge(event, arguments[0])
        elif event in _CHANGES:
            for path in arguments[: 2 if event in ("os.rename", "os.link", "os.symlink") else 1]:
                self._judge(event, path)

    def _judge(self, event: str, path: Any) -> None:
        if isinstance(path, int) or path is None:
            return
        where = os.path.realpath(os.fsdecode(path))
        if not where.startswith((*self._allowed, "/dev/", "/proc/")) and "__pycache__" not in where:
            assert self._seen is not None
            self._seen.append(f"{event} {where}")


class _Child:
    """The watched process, seen from within."""

    def __init__(self, sandbox: Path) -> None:
        self._sandbox = sandbox.resolve()
        self._materials: dict[str, tuple[Target, Any]] = {}
        self._watch = Watch((self._sandbox / _CASE, *(Path(os.environ[name]).resolve() for name in _CACHES)))

    def judge(self, module: str, name: str, seed: int) -> Verdict:
        """What one input did."""
        try:
            target, material = self._material(module, name)
        except Exception:  # noqa: BLE001 - told as what it is: a fault of the target itself
            return Verdict(FAILED, traceback.format_exc())
        case = self._sandbox / _CASE
        shutil.rmtree(self._sandbox / _CASE.parts[0], ignore_errors=True)
        case.mkdir(parents=True)
        os.chdir(case)
        before = self._listing()
        with warnings.catch_warnings(), _limited(), self._watch.watching() as seen:
            warnings.simplefilter("ignore")  # they are told to the user and harm nothing
            verdict = _attempted(target, material, case, seed)
        os.chdir(self._sandbox)
        if seen:
            return Verdict(FAILED, f"it did {'; '.join(dict.fromkeys(seen))}")
        if changed := self._listing() ^ before:
            return Verdict(FAILED, f"it made, changed or removed {sorted(changed)}")
        return verdict

    def _listing(self) -> set[tuple[str, int, int]]:
        """Every file of the sandbox outside of the input's folder."""
        case = self._sandbox / _CASE
        found = [path for path in self._sandbox.rglob("*") if path.is_file() and not path.is_relative_to(case)]
        return {(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in found}

    def _material(self, module: str, name: str) -> tuple[Target, Any]:
        key = f"{module}:{name}"
        if key not in self._materials:
            target = next(t for t in importlib.import_module(module).TARGETS if t.name == name)
            folder = self._sandbox / "materials" / key.replace(":", "-")
            folder.mkdir(parents=True)
            self._materials[key] = target, target.prepare(folder)
        return self._materials[key]


def _attempted(target: Target, material: Any, case: Path, seed: int) -> Verdict:
    try:
        target.attempt(material, case, np.random.default_rng(seed))
    except RisError as error:
        names = {path.name for path in case.rglob("*")} | {case.name, *target.options}
        if not any(name and name in str(error) for name in names):
            return Verdict(FAILED, f"the message names no file and no option: {error}")
        return Verdict(REFUSED, str(error))
    except BaseException:  # noqa: BLE001 - whatever else leaves a reader would be a traceback for its user
        told = [line[:_LONGEST_LINE] for line in traceback.format_exc(limit=-12).splitlines()]
        return Verdict(FAILED, "\n".join(told))
    return Verdict(ACCEPTED)


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    """Memory and time are bounded meanwhile; the default action of both signals ends the process, in whatever code."""
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (taken + _MEMORY_BYTES, hard))
    signal.setitimer(signal.ITIMER_PROF, _CPU_S)
    signal.alarm(_WALL_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


class Fuzzer:
    """A watched process, started when it is first asked, and again where it died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._sandbox: Path | None = None
        atexit.register(self.close)

    def judge(self, module: str, name: str, seed: int) -> Verdict:
        """What the input of this seed did to a target."""
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps([module, name, seed]) + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        if answer:
            return Verdict(*json.loads(answer))
        ended = process.wait()
        self.close()
        how = signal.Signals(-ended).name if ended < 0 else f"status {ended}"
        is_late = ended in (-signal.SIGPROF, -signal.SIGALRM)
        return Verdict(FAILED, f"the process {'hung' if is_late else 'died'} ({how})")

    def _running(self) -> "subprocess.Popen[str]":
        if self._process is None:
            self._sandbox = Path(tempfile.mkdtemp(prefix="fuzz-"))
            for name in ("caches", "watched"):
                (self._sandbox / name).mkdir()
            caches = {name: str(self._sandbox / "caches") for name in _CACHES}
            plain = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2", "MPLBACKEND": "agg"}
            command = [sys.executable, "-m", "tests.reliability.fuzzing", str(self._sandbox / "watched")]
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
                env={**os.environ, **plain, **caches},
            )  # fmt: skip
        return self._process

    def close(self) -> None:
        """End the process and remove what it worked on."""
        if self._process is not None:
            for pipe in (self._process.stdin, self._process.stdout):
                with contextlib.suppress(BrokenPipeError):
                    pipe and pipe.close()
            self._process.wait()
        if self._sandbox is not None:
            shutil.rmtree(self._sandbox, ignore_errors=True)
        self._process = self._sandbox = None


@functools.cache
def fuzzer() -> Fuzzer:
    """The one of this process."""
    return Fuzzer()


def as_scenarios(module: str, targets: Sequence[Target]) -> tuple[Scenario, ...]:
    """One scenario a target; a try of it is one input."""
    return tuple(
        Scenario(
            t.name, "input", t.fault, _EXPECTED, functools.partial(_once, module, t.name), t.tries, t.tries_in_tests
        )
        for t in targets
    )


def _once(module: str, name: str, _: Path, rng: np.random.Generator) -> Outcome:
    seed = int(rng.integers(_SEEDS))
    verdict = fuzzer().judge(module, name, seed)
    expect(verdict.how != FAILED, f"python -m tests.reliability.fuzzing {module} {name} {seed}: {verdict.why}")
    return Outcome(REFUSED if verdict.how == REFUSED else RECOVERED)


def _serve(sandbox: Path) -> None:
    """Answer seeds with verdicts until the input ends; what libraries print goes nowhere."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    child = _Child(sandbox)
    for line in sys.stdin:
        answers.write(json.dumps(dataclasses.astuple(child.judge(*json.loads(line)))) + "\n")
        answers.flush()


def main(arguments: list[str]) -> None:
    """Serve, or show what the inputs of some seeds of a target did: ``MODULE NAME FIRST [COUNT]``."""
    if len(arguments) == 1:
        _serve(Path(arguments[0]))
        return
    module, name, first, count = *arguments[:3], arguments[3] if len(arguments) > 3 else "1"
    tally: dict[str, int] = {}
    for seed in range(int(first), int(first) + int(count)):
        verdict = fuzzer().judge(module, name, seed)
        tally[verdict.how] = tally.get(verdict.how, 0) + 1
        if verdict.how == FAILED or count == "1":
            sys.stdout.write(f"--- {name} {seed}: {verdict.how}\n{verdict.why}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{name}: {tally}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
