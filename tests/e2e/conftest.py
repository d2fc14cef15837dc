"""One finished run of the mini recipe, shared by the tests that only look."""

from pathlib import Path

import pytest

from openklear.recipe.load import load_recipe
from openklear.run.pipeline import run_pipeline

MINI = Path(__file__).parent / "mini.toml"


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    root = tmp_path_factory.mktemp("finished") / "run"
    run_pipeline(load_recipe(MINI), root)
    return root
