import pytest

from openklear import progress


@pytest.fixture(autouse=True)
def by_itself(monkeypatch):
    """No proxy stands between the tests and their servers; no --json of another test keeps the screen silent."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    progress.quiet(False)
