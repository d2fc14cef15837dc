"""The recipes that come with the house are whole, and hold nothing of the machine that they were written on."""

import re
from pathlib import Path

import pytest

from openklear.recipe.load import load_recipe
from openklear.run.plan import stages

ROOT = Path(__file__).parents[2]
RECIPES = [*sorted((ROOT / "recipes").rglob("*.toml")), *sorted((ROOT / "studies" / "bases").glob("*.toml"))]


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    for name in ("OPENKLEAR_DATA", "OPENKLEAR_TRACES", "OPENKLEAR_MODEL", "SMOL", "GSM8K"):
        monkeypatch.setenv(name, str(tmp_path))


@pytest.mark.parametrize("path", RECIPES, ids=[str(path.relative_to(ROOT)) for path in RECIPES])
def test_it_loads_and_its_paths_are_anyones(path):
    recipe = load_recipe(path)
    assert stages(recipe)
    assert not re.search(r'["\s]/\w+/', path.read_text())


def test_each_command_of_the_first_model_loads():
    """The page's --set lines fit its recipe: those of files on disk, of a longer run, and of one GPU."""
    page = (ROOT / "docs" / "first-model.md").read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    found = [
        re.findall(r'--set (?:"([^"]+)"|([^\s"]+(?:"[^"]*")?\S*))', block.replace("\\\n", " ")) for block in blocks
    ]
    settings = [[one or other for one, other in some] for some in found if some]
    assert len(settings) >= 3
    for some in settings:
        load_recipe(ROOT / "recipes" / "gsm8k-smollm2.toml", [one.replace('"', "").rstrip(")") for one in some])


def test_the_quickstart_forgets_no_mathematics():
    """Its last phase is on programs, and mathematics has a share of every iteration."""
    last = load_recipe(ROOT / "recipes" / "quickstart.toml").rl.phase[-1]
    assert last.domains[0] == "code"
    assert last.counts["code"] >= last.counts["math"] > 0
