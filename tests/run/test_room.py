"""A run that cannot fit is refused before anything is made, with a change that makes it fit."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from openklear.cli import main
from openklear.errors import UsageError
from openklear.planner import machines
from openklear.recipe.load import load_recipe
from openklear.run import room

QUICKSTART = Path(__file__).parents[2] / "recipes" / "quickstart.toml"
WIDE = ["model.hidden_size=2048", "model.layers=8", "model.heads=16"]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 6 GB, on which the fp32 moments of 470 M parameters have no room."""
    machine = replace(machines.this_cpu(), memory_bytes=6 * 10**9)
    monkeypatch.setattr(room, "machine_named", lambda *_: machine)


@pytest.mark.usefixtures("small")
def test_nothing_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes = [word for key in WIDE for word in ("--set", key)]
    assert main.main(["run", str(QUICKSTART), "-o", str(tmp_path / "run"), *changes]) == 2
    said = capsys.readouterr().err
    assert "does NOT fit" in said
    assert "--anyway runs it all the same" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("small")
def test_the_change_that_is_said_makes_it_fit() -> None:
    changes = [*WIDE, "sft.optimizer={ type = 'adamw' }"]
    with pytest.raises(UsageError, match="nearest change that fits") as refused:
        room.require_room(load_recipe(QUICKSTART, changes))
    keys = re.findall(r"--set (\S+)", str(refused.value))
    assert keys
    room.require_room(load_recipe(QUICKSTART, [*changes, *keys]))


@pytest.mark.usefixtures("small")
def test_what_fits_is_let_through_and_anyway_is_let_through(capsys: pytest.CaptureFixture[str]) -> None:
    room.require_room(load_recipe(QUICKSTART))
    room.require_room(load_recipe(QUICKSTART, WIDE), anyway=True)
    assert "does NOT fit" in capsys.readouterr().err


@pytest.mark.usefixtures("small")
def test_what_is_wrong_with_a_model_or_its_data_is_left_to_the_run(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(QUICKSTART.read_text())
    room.require_room(load_recipe(tmp_path / "recipe.toml", ["model={type = 'pretrained', path = 'nowhere'}"]))
