"""What a study will take: every study of the house, sharing and sums by hand, and what is said of what is not here."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from openklear.ablation.budget import StudyBudget, budget
from openklear.ablation.definition import load_study
from openklear.errors import RecipeError, UsageError
from openklear.recipe.load import load_recipe
from openklear.recipe.schema import Recipe
from openklear.run.unseen import expected_amounts

ROOT = Path(__file__).parents[2]
STUDIES = sorted([*(ROOT / "studies" / "full").glob("*.toml"), *(ROOT / "studies" / "small").glob("*.toml")])
BASES = ROOT / "studies" / "bases"
ARMS = """
name = "alpha"
title = "t"
question = "q"
recipe = "RECIPE"
[seeds]
values = [0, 1, 2]
vary = ["rl"]
[[measure]]
name = "math"
model = "rl-math"
domain = "math"
[[arm]]
name = "a"
[[arm]]
name = "b"
set = { "rl.sft_loss_weight" = 0.0 }
"""


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What studies of real traces name: no such directory, and a model that is planned without being fetched."""
    monkeypatch.setenv("OPENKLEAR_TRACES", str(tmp_path / "nowhere"))
    monkeypatch.setenv("OPENKLEAR_MODEL", "HuggingFaceTB/SmolLM2-135M-Instruct")


def made(tmp_path: Path, text: str = ARMS, machine: str = "h100") -> StudyBudget:
    path = tmp_path / "study.toml"
    path.write_text(text.replace("RECIPE", str(ROOT / "recipes" / "quickstart.toml")))
    return budget(load_study(path), path, machine)


@pytest.mark.parametrize("path", STUDIES, ids=[f"{path.parent.name}-{path.stem}" for path in STUDIES])
def test_every_study_has_a_budget(path: Path) -> None:
    """Every key of every arm resolves, every measured model is one of the recipe, and every number is one."""
    found = budget(load_study(path), path, "h100")
    assert found.size == path.parent.name
    for one in found.arms:
        assert one.seconds > 0
        assert math.isfinite(one.seconds)
        assert one.peak > 0
        assert one.machines == 1 or not one.fits
    assert 0 < found.seconds <= found.apart * (1 + 1e-9) < math.inf
    assert not found.largest.amounts.unknown
    told = json.dumps(found.document(2.5))
    assert json.loads(told)["cost"] == pytest.approx(2.5 * found.seconds / 3600)
    assert f" = {found.runs} run" in found.lines()[0]
    if found.size == "full":
        assert found.seeds >= 3
        assert "8,190.7 million parameters" in found.model


def test_what_runs_share_is_made_once(tmp_path: Path) -> None:
    """Two arms of RL with three seeds: one SFT, six phases; nothing of what is not measured."""
    found = made(tmp_path)
    assert [(one.name, one.made, one.runs) for one in found.stages] == [
        ("sft", 1, 6),
        ("rl-math", 6, 6),
        ("evaluate-rl-math", 6, 6),
    ]
    sft, rl, evaluation = (one.seconds / one.made for one in found.stages)
    assert found.arms[0].seconds == pytest.approx(sft + rl + evaluation)
    assert found.seconds == pytest.approx(sft + 6 * (rl + evaluation))
    assert found.apart == pytest.approx(6 * (sft + rl + evaluation))
    plan = found.largest
    assert sft == pytest.approx(sum(one.seconds for one in plan.times if one.part.stage == "sft"))
    assert (found.runs, found.fits, {one.machines for one in found.arms}) == (6, True, {1})


def test_equal_arms_share_all_and_seeds_of_sft_share_nothing(tmp_path: Path) -> None:
    equal = made(tmp_path, ARMS.replace('rl.sft_loss_weight" = 0.0', 'rl.sft_loss_weight" = 0.1'))
    assert [one.made for one in equal.stages] == [1, 3, 3]
    apart = made(tmp_path, ARMS.replace('vary = ["rl"]', 'vary = ["sft"]'))
    assert [one.made for one in apart.stages] == [3, 6, 6]
    data = made(tmp_path, ARMS.replace('"rl.sft_loss_weight" = 0.0', '"data.top_sources" = 1'))
    assert [one.made for one in data.stages] == [2, 6, 6]


def test_settings_of_pace_are_shared(tmp_path: Path) -> None:
    found = made(tmp_path, ARMS.replace('"rl.sft_loss_weight" = 0.0', '"engine.slots" = 7'))
    assert [one.made for one in found.stages] == [1, 3, 3]


def test_faults_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="makes no model rl-maths; measure one of base, sft, rl-math, rl-code"):
        made(tmp_path, ARMS.replace('model = "rl-math"', 'model = "rl-maths"'))
    with pytest.raises(RecipeError, match="sft_los_weight"):
        made(tmp_path, ARMS.replace("rl.sft_loss_weight", "rl.sft_los_weight"))
    with pytest.raises(UsageError, match="no such machine"):
        made(tmp_path, machine="h1000")


def base(name: str, *changes: str) -> Recipe:
    return load_recipe(BASES / f"{name}.toml", changes)


def test_amounts_of_what_is_not_here_follow_from_limits_and_selections() -> None:
    found = expected_amounts(base("klear-8b-sft"))
    assert (found.demonstrations.number, found.demonstrations.response, found.length) == (31_600, 16_384, 16_384)
    assert (found.heldout.number, found.completions, found.code) == (60, 960, 0)
    assert found.unknown == ()
    ranked = ("data.selection.budget=100000", "data.top_sources=2")
    assert expected_amounts(base("klear-8b-sources-math", *ranked)).demonstrations.number == 2 * 31_600
    assert expected_amounts(base("klear-8b-rl")).completions == 2 * 30 * 32 + 167 * 4
    open_end = base("klear-8b-sources-math", "data.source.rank-03.path=elsewhere")
    assert expected_amounts(open_end, 5000).demonstrations.response == 5000


def test_a_source_whose_rows_nothing_tells_is_named(tmp_path: Path) -> None:
    text = (BASES / "klear-8b-rl.toml").read_text().replace("limit = 167\n", "")
    (tmp_path / "recipe.toml").write_text(text)
    assert expected_amounts(load_recipe(tmp_path / "recipe.toml")).unknown == ("lcb-v5",)


def test_hours_of_sft_by_hand() -> None:
    """31,600 rows x 4 epochs of 16,384 and 300 tokens and a template's 20; on three H100 or two H200, never one."""
    path = ROOT / "studies" / "full" / "correctness-difficulty.toml"
    found = budget(load_study(path), path, "h100")
    trained = next(one for one in found.largest.times if one.part.name == "training")
    assert trained.part.load.tokens == 31_600 * 4 * (16_384 + 300 + 20)
    # weights and gradients in bf16, masters and moments in fp32, and fp32 gradients while the weights move
    assert found.largest.peak == pytest.approx(20 * 8_190_735_360, rel=0.01)
    assert {one.machines for one in found.arms} == {3}
    assert {one.machines for one in budget(load_study(path), path, "h200").arms} == {2}
    assert [(one.name, one.made, one.runs) for one in found.stages] == [("sft", 18, 18), ("evaluate-sft", 18, 18)]
    assert any("50% of the longest" in line for line in found.lines())


def test_longer_completions_take_longer_and_are_told() -> None:
    path = ROOT / "studies" / "full" / "code-reward.toml"
    short, long = (budget(load_study(path), path, "h200", completion_tokens=length) for length in (2000, 12_000))
    assert long.seconds > 5 * short.seconds
    assert any("12,000 tokens on average, as told" in line for line in long.lines())
