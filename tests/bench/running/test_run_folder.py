"""Folders of runs that begin at once."""

import datetime
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.results import read_run
from bench.running.run_folder import new_run
from bench.suites.suite import Suite
from bench.suites.suite_file import read_suite
from ris_core.errors import SuiteError

SUITE = """
[suite]
title = "One engine"

[corpus]
source = "scene"
scene_px = 8192
tile_px = 128

[backbone.colour]
model = "colour"
preprocess = "native"

[engine.exact]
"""


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    path = tmp_path / "small.toml"
    path.write_text(SUITE, encoding="utf-8")
    return read_suite(path, ())


def test_of_runs_that_begin_at_once_under_one_name_one_is_made_and_the_others_are_refused(
    suite: Suite, tmp_path: Path
) -> None:
    def begin(_: int) -> Path | str:
        try:
            return new_run(suite, [], tmp_path / "reports", "r", {})
        except SuiteError as error:
            return str(error)

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(begin, range(8)))
    refused = [result for result in results if isinstance(result, str)]
    assert len(refused) == 7
    assert all("go on with --resume r" in reason for reason in refused)


def test_runs_that_begin_in_one_second_have_folders_of_their_own(
    suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
            return datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=tz)

    monkeypatch.setattr("bench.running.run_folder.datetime.datetime", Stopped)
    folders = [new_run(suite, [], tmp_path / "reports", None, {}) for _ in range(3)]
    names = ["20260102-030405", "20260102-030405-2", "20260102-030405-3"]
    assert [folder.name for folder in folders] == names
    assert [read_run(folder).run_id for folder in folders] == names
