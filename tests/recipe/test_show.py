"""What is shown can be loaded again, and the arithmetic is arithmetic."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from openklear.recipe.curation import Data, Source
from openklear.recipe.keys import in_words, keys, toml_value
from openklear.recipe.load import load_recipe
from openklear.recipe.objectives import Cispo, CustomObjective, Gppo, Reinforce
from openklear.recipe.optimizers import AdamW, AdamW8bit, Lora, Muon
from openklear.recipe.reward import CustomReward
from openklear.recipe.schema import (
    Checkpoints,
    Phase,
    PretrainedModel,
    Recipe,
    Rl,
    Sft,
    TinyModel,
    Verifiers,
    World,
)
from openklear.recipe.seeds import Seeds
from openklear.recipe.show import arithmetic, key_lines, resolved_toml


def recipe(**changed) -> Recipe:
    sources = (
        Source(name="careful", path="/rows/careful.jsonl", role="demonstrations"),
        Source(name="easy", path="/rows/easy.jsonl", role="problems", domain="math"),
        Source(name="check", path="/rows/check.jsonl", role="validation"),
        Source(name="heldout", path="/rows/heldout.jsonl", role="heldout"),
    )
    settings = {
        "microbatch_tokens": 65536,
        "world": World(),
        "model": TinyModel(),
        "data": Data(source=sources),
        "sft": Sft(epochs=1, max_tokens=512, batch_tokens=1024),
        "rl": Rl(
            phase=(
                Phase(name="math", domains=("math",), iterations=40, problems_per_iteration=32, problems_per_update=16),
                Phase(name="odd", domains=("math",), iterations=1, problems_per_iteration=33, problems_per_update=16, group_size=2),
            )
        ),
    }  # fmt: skip
    return Recipe(**{**settings, **changed})


def reload(shown: str, folder: Path) -> Recipe:
    (folder / "recipe.toml").write_text(shown, encoding="utf-8")
    return load_recipe(folder / "recipe.toml")


OWN = CustomObjective(function="openklear.objectives.policy:gppo", arguments={"clip_low": 0.5, "dual_clip": 3.0})
VARIANTS = {
    "plain": {},
    "no sft, no world": {"sft": None, "world": None},
    "no rl": {"rl": None},
    "pretrained": {"model": PretrainedModel(path="/models/m", chat_template="/t.jinja", dtype="bfloat16")},
    "best": {"checkpoints": Checkpoints(keep_best=True, patience=3, keep_rollouts=2), "seed": 2**63 - 1},
    "own": {
        "verifiers": Verifiers(graders={"math": "json:loads", "code": "http://host:1"}),
        "rl": Rl(
            phase=(Phase(name="a", domains=("math",), reward=CustomReward(function="json:dumps"), objective=OWN),)
        ),
    },
    "lora": {
        "lora": Lora(rank=4, alpha=0.5, targets=("q_proj", "v_proj")),
        "sft": Sft(optimizer=AdamW8bit(), max_tokens=64),
    },
    "unions": {
        "sft": Sft(optimizer=Muon(momentum=0.5), max_tokens=64),
        "rl": Rl(
            phase=(
                Phase(name="a", domains=("math",), objective=Reinforce(), optimizer=Muon(adam_ratio=1e-20)),
                Phase(name="b", domains=("math",), objective=Cispo(clip_low=0.0, clip_high=1e22)),
                Phase(name="c", domains=("math",), objective=Gppo(), optimizer=AdamW(weight_decay=0.0)),
            )
        ),
    },
}


@pytest.mark.parametrize("changed", VARIANTS.values(), ids=VARIANTS)
def test_round_trip(tmp_path, changed):
    original = recipe(**changed)
    assert reload(resolved_toml(original), tmp_path) == original


@settings(max_examples=60, deadline=None)
@given(
    name=st.text(min_size=1, max_size=30), levels=st.lists(st.text(max_size=5), max_size=3), number=st.floats(0, 1e9)
)
def test_any_value_survives(tmp_path_factory, name, levels, number):
    levels = tuple(level for level in levels if level != "*")
    model = PretrainedModel(path="/models/m", gguf_file=name)
    data = recipe().data.model_copy(update={"correct_only": levels})
    rewards = recipe().rl.phase[0].model_copy(update={"sft_loss_weight": number})
    original = recipe(model=model, data=data, rl=Rl(phase=(rewards,)))
    assert reload(resolved_toml(original), tmp_path_factory.mktemp("r")) == original


@pytest.mark.parametrize(
    "value",
    [
        '"\\\n\t\r\b\f\x00\x1f\x7f',
        "é \U0001f600",
        "",
        1e-300,
        8e-05,
        1e22,
        3,
        -0.0,
        True,
        ("a", "b"),
        (),
        {"a": "x"},
        {},
    ],
)
def test_toml_value(value):
    again = tomllib.loads(f"x = {toml_value(value)}")["x"]
    assert (tuple(again) if isinstance(again, list) else again) == value
    assert isinstance(again, list) or type(again) is type(value)


TABLES = ["sft", "rl", "lora", "world", "cluster", "near_duplicates", "lengths", "difficulty", "vetting", "selection"]
"""Those that a recipe may leave out."""


def written_keys(model: BaseModel) -> int:
    """Leaves of an instance, by a walk of its own."""
    values = [getattr(model, name) for name in type(model).model_fields]
    tables = [
        one
        for value in values
        for one in (value if isinstance(value, tuple) else (value,))
        if isinstance(one, BaseModel)
    ]
    lists = [value for value in values if isinstance(value, tuple) and value and isinstance(value[0], BaseModel)]
    left_out = [name for name, value in zip(type(model).model_fields, values, strict=True) if value is None]
    absent = 0 if isinstance(model, Seeds) else len(set(left_out) & set(TABLES))  # its keys are named like tables
    direct = [value for value in values if not isinstance(value, BaseModel)]
    return len(direct) - len(lists) - absent + sum(map(written_keys, tables))


@pytest.mark.parametrize("changed", VARIANTS.values(), ids=VARIANTS)
def test_every_key_is_shown_with_its_help(changed):
    original = recipe(**changed)
    lines = [line for line in resolved_toml(original).splitlines() if line and not line.lstrip("# ").startswith("[")]
    assert len(lines) == written_keys(original)
    assert all(line.rpartition("  # ")[2] for line in lines)


def test_keys_by_hand():
    paths = [(key.path, key.only) for key in keys(Recipe)]
    assert len(paths) == len(set(paths))
    for path in (
        ("seed", ""),
        ("model.type", ""),
        ("model.hidden_size", "tiny"),
        ("model.path", "pretrained"),
        ("data.source.NAME.role", ""),
        ("sft.optimizer.type", ""),
        ("sft.optimizer.beta1", "adamw"),
        ("rl.phase.NAME.objective.type", ""),
        ("rl.phase.NAME.objective.clip_low", "gppo"),
        ("rl.phase.NAME.objective.clip_low", "cispo"),
        ("rl.phase.NAME.reward.code", "report"),
    ):
        assert path in paths
    assert ("model.type", "tiny") not in paths


def test_few_keys():
    """A reader can hold the recipe in the head."""
    everything = list(keys(Recipe))
    held = {"", "tiny", "ngrams", "gppo", "grpo", "none", "adamw", "report", "local"}
    simple = [key for key in everything if key.only in held]
    training = [
        [key for key in some if not key.path.startswith(("data.", "cluster."))] for some in (simple, everything)
    ]
    assert len(training[0]) <= 105
    assert len(training[1]) <= 177
    assert len(everything) - len(training[1]) <= 50  # curation and the cluster: every table may be left out
    assert len(simple) < len(everything)


def test_keys_say_everything():
    for key in keys(Recipe):
        assert key.help, key
        assert key.type, key
        assert key.default, key
    by_path = {(key.path, key.only): key for key in keys(Recipe)}
    assert by_path["rl.phase.NAME.group_size", ""].type == "whole number >= 2"
    assert by_path["sft.overlong", ""].type == '"drop" or "cut"'
    assert by_path["data.top_sources", ""].default == "not set"
    assert by_path["data.source.NAME.path", ""].default == "required"
    assert by_path["rl.phase.NAME.objective.type", ""].default == '"gppo"'
    assert len(key_lines()) >= len({key.path for key in keys(Recipe)})


def test_types_in_words():
    assert in_words(tuple[str, ...]) == "list of text"
    assert in_words(int | None) == "whole number"
    assert in_words(dict[str, str]) == "table of text"


def test_arithmetic():
    lines = arithmetic(recipe())
    assert lines == [
        "sft: 1 epoch of demonstrations of up to 512 tokens (longer ones dropped); an update holds up to 1,024 tokens; learning rate 8e-05 -> 4e-05",
        "rl-math: 32 problems x 8 rollouts = 256 rollouts per iteration; up to 2 updates of 16 problems (128 rollouts); x 40 iterations = 10,240 rollouts, at most 80 updates",
        "rl-odd: 33 problems x 2 rollouts = 66 rollouts per iteration; up to 3 updates of 16 problems (32 rollouts); x 1 iteration = 66 rollouts, at most 3 updates",
        "evaluate: 8 completions of up to 32,768 tokens for each held-out problem",
    ]
    sources = (
        Source(name="aime", path="/rows/aime.jsonl", role="heldout", samples=64),
        Source(name="math", path="/rows/math.jsonl", role="heldout", samples=2, limit=50, limit_by="seed"),
        Source(name="hmmt", path="/rows/hmmt.jsonl", role="heldout"),
        Source(name="few", path="/rows/few.jsonl", role="problems", limit=5),  # is cut when read, and asked nowhere
        *recipe().data.source,
    )
    assert arithmetic(recipe(data=Data(source=sources)))[-1] == (
        "evaluate: 8 completions of up to 32,768 tokens for each held-out problem; aime: 64 completions; "
        "math: 2 completions, 50 problems drawn by the seed"
    )
    assert not any(line.startswith("sft") for line in arithmetic(recipe(sft=None)))
    assert not any(line.startswith("rl") for line in arithmetic(recipe(rl=None)))
