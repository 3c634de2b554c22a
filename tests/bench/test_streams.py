import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench import __main__ as command
from bench.__main__ import main
from bench.streams import Lasting, lasting_streams

ROOT = Path(__file__).parents[2]


class Broken(io.StringIO):
    """A stream of which nobody reads any more."""

    def write(self, text: str) -> int:
        raise BrokenPipeError

    def flush(self) -> None:
        raise OSError(5, "Input/output error")


def test_stream_writes_what_can_be_written_and_passes_the_rest_on() -> None:
    inner = io.StringIO()
    stream = Lasting(inner)
    assert stream.write("abc") == 3
    assert inner.getvalue() == "abc"
    assert stream.isatty() is False
    inner.close()
    assert stream.write("more") == 4  # closed


def test_within_them_printing_never_fails_and_outside_the_streams_are_as_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ascii_only = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", ascii_only)
    monkeypatch.setattr(sys, "stderr", broken := Broken())
    with lasting_streams():
        sys.stdout.write("grün\n")
        sys.stderr.write("lost")
        sys.stderr.flush()
    assert sys.stdout is ascii_only
    assert sys.stderr is broken
    assert ascii_only.buffer.getvalue() == b"gr\\xfcn\n"  # type: ignore[attr-defined]


def test_streams_that_were_closed_before_the_start_are_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with lasting_streams():
        sys.stdout.write("to nobody")
        assert sys.stdout.isatty() is False
    assert sys.stdout is None


def test_no_file_gets_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    """What a library complains of on descriptor 2 must not end up in an artifact."""
    script = (
        "import os, pathlib\nfrom bench.streams import lasting_streams\n"
        "for n in range(3): os.close(n)\n"
        "with lasting_streams():\n"
        "    with pathlib.Path('data').open('wb') as file:\n"
        "        os.write(2, b'a complaint'); file.write(b'data')\n"
    )
    subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True
    )
    assert (tmp_path / "data").read_bytes() == b"data"


def test_closed_terminal_is_an_interruption_unless_it_is_to_be_outlived(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGHUP), signal.getsignal(signal.SIGTERM)

    def hang_up(options: object) -> int:
        os.kill(os.getpid(), signal.SIGHUP)
        return 0

    monkeypatch.setattr(command, "_doctor", hang_up)
    try:
        assert main(["doctor"]) == 130
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as `nohup` does
        assert main(["doctor"]) == 0
    finally:
        for number, handler in zip((signal.SIGHUP, signal.SIGTERM), before, strict=True):
            signal.signal(number, handler)
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError("Unable to allocate 2 GiB"), "memory is too small (Unable to allocate 2 GiB)"),
        (OSError(28, "No space left on device", "a.png"), "a.png: cannot be written (No space left on device)"),
        (OSError(24, "Too many open files"), "Allow more open files"),
    ],
)
def test_what_the_machine_lacks_is_a_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, said: str
) -> None:
    def fail(options: object) -> int:
        raise error

    monkeypatch.setattr(command, "_doctor", fail)
    assert main(["doctor"]) == 2
    assert said in capsys.readouterr().err


def test_other_errors_of_the_system_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(options: object) -> int:
        raise FileNotFoundError(2, "No such file or directory", "a")

    monkeypatch.setattr(command, "_doctor", fail)
    with pytest.raises(FileNotFoundError):
        main(["doctor"])
