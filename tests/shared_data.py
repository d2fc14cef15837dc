"""Where the real material for tests lies; tests that need it skip, saying so, where it is absent."""

import os
from pathlib import Path

import pytest

ROOT = Path(os.environ.get("OPENKLEAR_DATA", Path(__file__).parents[2] / "shared" / "data"))


def shared(name: str) -> Path:
    path = ROOT / name
    if not path.exists():
        pytest.skip(f"{name} is not in OPENKLEAR_DATA ({ROOT})")
    return path
