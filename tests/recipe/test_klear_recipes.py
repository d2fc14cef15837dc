"""The recipes of the report's path: their pages show what the plan says, and the words on them fit the recipes."""

import re
from pathlib import Path

import pytest

from openklear.cli import main
from openklear.recipe.load import load_recipe

RECIPES = Path(__file__).parents[2] / "recipes"
PLANS = {"klear-8b": "8,64,256", "klear-1.7b": "8"}


def page(name: str) -> str:
    return (RECIPES / name / "README.md").read_text()


@pytest.mark.parametrize("name", PLANS)
def test_the_page_shows_what_the_plan_says(name, capsys):
    words = ["plan", str(RECIPES / name / "recipe.toml"), "--gpus", PLANS[name], "--price", "3"]
    assert f"openklear {words[0]} recipes/{name}/recipe.toml {' '.join(words[2:])}" in page(name)
    assert main.main(words) == 0
    shown = re.search(r"<!-- plan -->\n```\n(.*?)```", page(name), re.DOTALL)
    assert shown is not None
    assert shown[1] == capsys.readouterr().out


def test_the_released_launch_can_be_chosen():
    rows = [line for line in page("klear-8b").splitlines() if "`--set " in line]
    assert len(rows) == 4
    for row in rows:
        words = re.findall(r"--set (?:'([^']+)'|([^\s`]+))", row)
        load_recipe(RECIPES / "klear-8b" / "recipe.toml", [quoted or plain for quoted, plain in words])


def test_every_setting_of_the_report_has_its_source():
    """Each key of training and evaluation says where it is from: a section, a figure, the script, or that it is ours."""
    text = (RECIPES / "klear-8b" / "recipe.toml").read_text()
    for line in re.sub(r'"[^"\n]*"', '""', text[text.index("[sft]") : text.index("[cluster]")]).splitlines():
        if "=" in line and not re.match(r"(name|type|domains|problems_per_iteration) = ", line):
            assert re.search(r"# .*(section|Figure|Eq\.|script|ours|not disclosed|to this|32K)", line), line


def test_disclosed_settings_are_the_reports():
    recipe = load_recipe(RECIPES / "klear-8b" / "recipe.toml")
    assert recipe.sft is not None
    assert (recipe.sft.learning_rate, recipe.sft.min_learning_rate, recipe.sft.epochs) == (8e-5, 4e-5, 4)
    assert recipe.rl is not None
    math, code = recipe.rl.phase
    for phase in (math, code):
        assert (phase.group_size, phase.problems_per_iteration, phase.sft_loss_weight) == (8, 128, 0.1)
        assert (phase.objective.type, phase.aggregation, phase.filter_zero_advantage) == ("gppo", "token_mean", True)
    assert (math.problems_per_update, math.learning_rate) == (16, 1e-6)
    assert (code.problems_per_update, code.learning_rate) == (32, 5e-7)
    assert sum(source.limit or 0 for source in recipe.data.source if source.role == "demonstrations") == 1_500_000
