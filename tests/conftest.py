"""What every test needs."""

import pytest


@pytest.fixture(autouse=True)
def _runs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests run side by side; the runs that they start do not, and pytest-benchmark would refuse to time them."""
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
