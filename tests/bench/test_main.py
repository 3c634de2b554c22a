from collections.abc import Callable
from pathlib import Path

import pytest

from bench import __main__ as command
from bench.__main__ import main
from ris_core.errors import CorpusError

SUITE = """
[corpus]
scene_px = 1024
tile_px = 128
[backbone.colour]
model = "colour"
[engine.exact]
[queries]
count = 20
k = 10
"""


@pytest.fixture
def suite(tmp_path: Path) -> str:
    path = tmp_path / "small.toml"
    path.write_text(SUITE, encoding="utf-8")
    return str(path)


def test_list_prints_the_ids(suite: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", suite, "--set", "measure.modes=['batch']"]) == 0
    assert capsys.readouterr().out.splitlines() == ["colour/exact/build-1t", "colour/exact/corrected/batch-1t"]


def test_list_knows_the_shipped_suites_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "demo"]) == 0
    ids = capsys.readouterr().out.splitlines()
    assert {cell.partition("/")[0] for cell in ids} == {"tiny", "small", "random", "colour"}
    settings = {cell.partition("probes_per_table")[0] for cell in ids if "/falconn/" in cell and "probes" in cell}
    assert len(settings) >= 2


def test_faults_go_to_stderr_with_status_2(suite: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", suite, "--set", "queries.k=64", "--set", "queries.x=1"]) == 2
    seen = capsys.readouterr()
    assert seen.out == ""
    assert "2 faults" in seen.err
    assert "Traceback" not in seen.err


@pytest.mark.parametrize("arguments", [["report", "nowhere"], ["inspect", "nowhere.tif"], ["list", "nowhere"]])
def test_missing_input_is_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "nowhere" in capsys.readouterr().err


@pytest.mark.parametrize(("error", "status"), [(CorpusError("no tiles"), 2), (KeyboardInterrupt(), 130)])
def test_every_end_has_its_status(
    error: BaseException, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(options: object) -> int:
        raise error

    monkeypatch.setattr(command, "_doctor", fail)
    assert main(["doctor"]) == status
    assert (str(error) or "interrupted") in capsys.readouterr().err


def test_other_errors_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(options: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(command, "_doctor", fail)
    with pytest.raises(ZeroDivisionError):
        main(["doctor"])


def test_termination_is_an_interruption(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], terminated: Callable[[object], int]
) -> None:
    monkeypatch.setattr(command, "_doctor", terminated)
    assert main(["doctor"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.fixture
def terminated() -> Callable[[object], int]:
    """A command during which the process is asked to end."""
    import os
    import signal

    before = signal.getsignal(signal.SIGTERM)

    def command(options: object) -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        return 0

    yield command
    signal.signal(signal.SIGTERM, before)


def test_doctor_names_each_engine_and_device(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--cache", str(tmp_path / "not" / "there")]) == 0
    out = capsys.readouterr().out
    for part in ("engine exact", "engine falconn", "device cuda", "GiB free"):
        assert part in out


def test_usage_error_is_argparses(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["fly"])
    assert "invalid choice" in capsys.readouterr().err
