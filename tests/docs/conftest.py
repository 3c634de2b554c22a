"""Pages that are programs: their blocks of Python are run in order, and what they print is held against the page.

`python -m pytest tests/docs --redraw` runs them in `docs` itself, so that the pictures they draw are replaced.
"""

import contextlib
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[2] / "docs"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

RunPage = Callable[[Path], dict[str, Any]]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--redraw", action="store_true", help="replace the pictures below docs/images")


@pytest.fixture(scope="session")
def drawing_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures go, below ``images``: a temporary folder, or ``docs`` with --redraw."""
    if request.config.getoption("--redraw", default=False):
        return DOCS
    return tmp_path_factory.mktemp("docs")


@pytest.fixture(scope="session")
def run_page(drawing_folder: Path) -> RunPage:
    """Runs the page at a path, in the folder that its pictures go to, and returns its namespace."""

    def run(path: Path) -> dict[str, Any]:
        with contextlib.chdir(drawing_folder):  # and no longer: other files' tests follow in this process
            return run_blocks(path.read_text(encoding="utf-8"), path.name)

    return run


def run_blocks(text: str, name: str) -> dict[str, Any]:
    """Run the ``python`` blocks of a page in one namespace.

    The ``text`` block that follows one is what it must print; without such a block it must print nothing. Blocks
    in other languages are left alone.

    Raises:
        AssertionError: Naming page and line, if a block prints otherwise than the page says.
    """
    namespace: dict[str, Any] = {"__name__": name}
    blocks = list(_BLOCK.finditer(text))
    for block, following in zip(blocks, [*blocks[1:], None], strict=True):
        if block[1] != "python":
            continue
        line = text.count("\n", 0, block.start(2))
        code = compile("\n" * line + block[2], name, "exec")  # so that a traceback names the page's own lines
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, namespace)  # noqa: S102  # the page is ours, and running it is what it is for
        expected = following[2] if following and following[1] == "text" else ""
        assert printed.getvalue() == expected, f"{name}, line {line}: the block prints otherwise than the page says"
    return namespace
