"""Every number of the recipe has finite bounds: an odd value is told where it is written, not hours later."""

import math
from itertools import chain
from pathlib import Path

import pytest

from openklear.errors import RecipeError
from openklear.recipe.keys import bounds, in_words, is_list, tables
from openklear.recipe.load import load_recipe
from openklear.recipe.schema import Recipe

MINI = Path(__file__).parents[1] / "e2e" / "mini.toml"


def leaves(table, prefix="", seen=()):
    """(path, field) of every leaf of a table, all members of every union."""
    for name, field in table.model_fields.items():
        below = tables(field.annotation)
        if below:
            step = f"{prefix}{name}.NAME." if is_list(field.annotation) else f"{prefix}{name}."
            for one in below:
                yield from leaves(one, step)
        else:
            yield f"{prefix}{name}", field


def is_number(field):
    return "number" in in_words(field.annotation)


NUMBERS = {path: field for path, field in leaves(Recipe) if is_number(field)}


def test_there_are_numbers_of_all_parts():
    """The walk is not empty where it matters."""
    assert len(NUMBERS) > 80
    assert {"seed", "threads", "sft.learning_rate", "rl.phase.NAME.objective.clip_high"} <= set(NUMBERS)
    assert "data.source.NAME.weight" in NUMBERS


@pytest.mark.parametrize("path", NUMBERS)
def test_every_number_has_finite_bounds(path):
    field = NUMBERS[path]
    found = bounds(field.annotation, field.metadata)
    low, high = found.get("ge", found.get("gt")), found.get("le", found.get("lt"))
    assert low is not None, "no lower bound"
    assert high is not None, "no upper bound"
    assert math.isfinite(low)
    assert math.isfinite(high)
    assert low < high
    assert isinstance(high, float) or high < 2**63, "TOML knows no larger whole number"


ODD = {
    "seed": ("1e26", "-1", "100000000000000000000000000", str(2**63)),
    "threads": ("100000", "0", str(10**400)),
    "microbatch_tokens": ("1000000000000", "0", "-5", "1.5", "true", "large", "'8192'"),
    "activation_checkpointing": ("1", "yes", "'true'"),
    "device": ("gpu", "cuda:", "cuda:1000", "cpu:0", "5", "''"),
    "sft.learning_rate": ("1e300", "nan", "inf", "-inf", "1e-400"),
    "sft.max_tokens": ("1000000000000",),
    "sft.epochs": ("1000000000",),
    "rl.temperature": ("1e9", "nan"),
    "rl.group_size": ("1000000000",),
    "rl.iterations": ("10000000",),
    "rl.objective.clip_high": ("1e308",),
    "model.layers": ("1000000",),
    "data.source.careful.weight": ("1e308", "0", "-1"),
    "verifiers.code_seconds": ("1e12", "inf"),
    "engine.slots": ("1000000000", "0", "many"),
    "engine.cache_tokens": ("10000000000", "0", "1.5", "all"),
    "evaluation.top_k": ("10000000000", "-1"),
    "evaluation.min_p": ("1.5", "-0.1", "nan"),
    "rl.objective": ("{type='custom', function='math:fsum', arguments={cap=inf}}",),
    "evaluation.samples": ("9223372036854775808",),
}


@pytest.mark.parametrize(("key", "value"), list(chain.from_iterable([(k, v) for v in vs] for k, vs in ODD.items())))
def test_an_odd_value_is_refused_by_name(key, value):
    with pytest.raises(RecipeError) as caught:
        load_recipe(MINI, [f"{key}={value}"])
    assert key.rpartition(".")[2] in str(caught.value)
    assert "must be" in str(caught.value)


def test_a_key_of_several_kinds_is_said_once():
    for key, value, said in (
        ("microbatch_tokens", "0", 'must be "auto" or whole number > 0, not 0; write, for example, "auto"'),
        ("microbatch_tokens", "'8192'", "write it as TOML does, without quotes"),
        ("microbatch_tokens", "2000000000", "at most 1_000_000_000, not 2000000000"),
        ("activation_checkpointing", "'true'", 'must be "auto" or true or false, not the text "true"; write true'),
        ("activation_checkpointing", "autp", 'did you mean "auto"?'),
    ):
        with pytest.raises(RecipeError) as caught:
            load_recipe(MINI, [f"{key}={value}"])
        assert said in str(caught.value)
        assert "\n" not in str(caught.value), "one fault, not one for each kind"


def test_what_auto_finds_may_not_change_a_result():
    changed = ["rl.aggregation=klear_released", "microbatch_tokens=auto"]
    with pytest.raises(RecipeError, match=r"klear_released.*write a number"):
        load_recipe(MINI, changed)
    load_recipe(MINI, changed[:1])


def test_the_broken_bound_is_named_and_others_are_not():
    with pytest.raises(RecipeError, match=r"threads.*must be a whole number > 0, at most 1_024, not 100000; write"):
        load_recipe(MINI, ["threads=100000"])
    with pytest.raises(RecipeError, match=r"threads.*must be a whole number > 0, not 0; write"):
        load_recipe(MINI, ["threads=0"])
