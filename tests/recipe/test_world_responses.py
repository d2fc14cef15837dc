"""`world:responses` in [data]: refused where the demo world does not write it, and counted by the world it is of."""

from pathlib import Path

import pytest

from openklear.errors import RecipeError
from openklear.recipe.load import load_recipe
from openklear.run.plan import stages

MINI = Path(__file__).parents[1] / "e2e" / "mini.toml"
NAMED = "data.correct_only=[]"
"""mini.toml's levels are none that [data.difficulty] gives."""
KEYS = ("difficulty.responses", "vetting.responses", "vetting.policy_responses")


def prepare(changes):
    every = stages(load_recipe(MINI, ("world.responses=2", NAMED, *changes)))
    return next(stage for stage in every if stage.name == "prepare")


@pytest.mark.parametrize("key", KEYS)
def test_it_is_named_by_the_recipe_and_no_file_from_outside(key, tmp_path):
    plain, named, outside = map(prepare, ((), (f"data.{key}=world:responses",), (f"data.{key}={tmp_path}",)))
    assert named.files == plain.files
    assert set(outside.files) - set(plain.files) == {key.replace(".", " ")}
    table, name = key.split(".")
    assert named.settings["data"][table][name] == "world:responses"
    assert name not in outside.settings["data"][table]
    assert named.inputs == {"world": "world"}


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    ("changes", "path", "said"),
    [
        ((), "world:responses", "only where asked to; set world.responses = 4, or name"),
        (("world.responses=2",), "world:answers", "graded responses are world:responses, not world:answers; write"),
    ],
)
def test_what_the_world_does_not_write_is_refused(key, changes, path, said):
    with pytest.raises(RecipeError, match=f"data.{key}.*{said}"):
        load_recipe(MINI, (NAMED, *changes, f"data.{key}={path}"))


def test_without_a_world_there_are_none(tmp_path):
    recipe = tmp_path / "recipe.toml"
    source = '[[data.source]]\nname = "a"\npath = "a.jsonl"\nrole = "problems"\n'
    recipe.write_text(f'{source}[data.vetting]\nresponses = "world:responses"\n')
    with pytest.raises(RecipeError, match=r"world:responses is of the demo world, but there is no \[world\]; add"):
        load_recipe(recipe)
