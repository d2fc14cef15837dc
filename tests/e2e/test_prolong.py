"""A phase whose iterations are raised goes on, and ends with the bits of one that was as long from the start."""

import hashlib
from pathlib import Path

import pytest
from tests.e2e.conftest import MINI

from openklear.durable.files import read_jsonl
from openklear.models.numerics import set_up
from openklear.recipe.load import load_recipe
from openklear.run.context import StageContext
from openklear.stages import rl

pytestmark = [pytest.mark.slow, pytest.mark.long]
CLOCKS = {"timings.jsonl", "verdicts.jsonl", "stage.json"}
QUICK = ("rl.group_size=2", "rl.problems_per_iteration=2", "rl.max_completion_tokens=12", "engine.slots=8")


@pytest.fixture(scope="module")
def train(finished):
    """Runs rl-math over the finished run's data and model in a directory, as the pipeline would."""
    set_up(1)

    def run(directory: Path, *overrides: str) -> dict[str, str]:
        recipe = load_recipe(MINI, (*QUICK, *overrides))
        directory.mkdir(exist_ok=True)
        inputs = {"prepare": finished / "prepare", "model": finished / "sft"}
        rl.run(StageContext(recipe, directory.parent, "rl-math", directory, inputs))
        return digest(directory)

    return run


def digest(directory: Path) -> dict[str, str]:
    paths = sorted(p for p in directory.rglob("*") if p.is_file() and p.name not in CLOCKS)
    return {str(p.relative_to(directory)): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}


CASES = {
    "off schedule": (),  # validated and saved every second iteration: the third is both only as the last
    "all kept": ("checkpoints.keep_last=9", "rl.save_every=1"),
    "best": ("checkpoints.keep_best=true", "checkpoints.keep_last=1", "rl.learning_rate=0.01"),
    "patience": ("checkpoints.keep_best=true", "checkpoints.patience=2", "rl.validate_every=1"),
    "rollouts gone": ("checkpoints.keep_rollouts=1",),
}


@pytest.mark.parametrize("overrides", CASES.values(), ids=CASES)
def test_three_and_then_five_iterations_are_five(overrides, train, tmp_path):
    whole = train(tmp_path / "whole", "rl.iterations=5", *overrides)
    train(tmp_path / "parts", "rl.iterations=3", *overrides)
    assert train(tmp_path / "parts", "rl.iterations=5", *overrides) == whole


def test_what_only_the_end_caused_is_taken_back(train, tmp_path):
    train(tmp_path / "rl", "rl.iterations=3")
    assert ["validation_score" in row for row in read_jsonl(tmp_path / "rl" / "metrics.jsonl")] == [False, True, True]
    train(tmp_path / "rl", "rl.iterations=5")
    rows = read_jsonl(tmp_path / "rl" / "metrics.jsonl")
    assert ["validation_score" in row for row in rows] == [False, True, False, True, True]


def test_a_prolonged_phase_is_prolonged_again(train, tmp_path):
    for count in (1, 3, 4, 5):
        last = train(tmp_path / "rl", f"rl.iterations={count}", "checkpoints.keep_best=true")
    assert last == train(tmp_path / "whole", "rl.iterations=5", "checkpoints.keep_best=true")


def test_without_a_sound_checkpoint_the_iterations_are_replayed(train, tmp_path, capsys):
    whole = train(tmp_path / "whole", "rl.iterations=5")
    train(tmp_path / "rl", "rl.iterations=3", "checkpoints.keep_last=1")
    (checkpoint,) = (tmp_path / "rl" / "checkpoints").iterdir()
    (checkpoint / "optimizer.pt").unlink()
    found = train(tmp_path / "rl", "rl.iterations=5")
    assert "optimizer.pt is missing; this checkpoint is kept as damaged-000003" in capsys.readouterr().err
    assert {k: v for k, v in found.items() if "damaged" not in k} == whole
