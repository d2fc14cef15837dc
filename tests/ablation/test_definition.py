"""A study's file: every fault in one line, with the key as it was written, and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.ablation import desk

from openklear.ablation.definition import Study, load_study
from openklear.ablation.design import design
from openklear.errors import RecipeError
from openklear.recipe.keys import toml_value


def said(path: Path) -> str:
    """What is wrong with a study, without the name of its file."""
    with pytest.raises(RecipeError) as caught:
        design(load_study(path), path)
    message = str(caught.value)
    assert message.startswith(f"{path}:")
    assert "Traceback" not in message
    return message.removeprefix(f"{path}:").lstrip()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    desk.lay(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


GPPO, OTHER = desk.STUDY["arm"]
MATH = desk.STUDY["measure"][0]


def arms(*some: dict[str, Any]) -> dict[str, Any]:
    return {"arm": list(some)}


def named(name: Any) -> dict[str, Any]:
    return arms(GPPO, {**OTHER, "name": name})


def setting(**changes: Any) -> dict[str, Any]:
    return arms(GPPO, {**OTHER, **changes})


def seeds(**changes: Any) -> dict[str, Any]:
    return {"seeds": {**desk.STUDY["seeds"], **changes}}


def measuring(**changes: Any) -> dict[str, Any]:
    return {"measure": [{**MATH, **changes}]}


def comparing(before: str, after: str, **more: Any) -> dict[str, Any]:
    return {"comparison": [{"before": before, "after": after, **more}]}


def quoting(*rows: list[Any]) -> dict[str, Any]:
    return {"quoted": {"where": "Table 1", "claim": "It helps.", "columns": ["a", "b"], "rows": list(rows)}}


NO_DIRECTORY = "cannot name a directory; use up to 64 lower-case letters, digits, - and ., a letter or digit first"
FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key": ({"titel": "x"}, "titel: unknown key; did you mean title? its keys are name, title,"),
    "unknown key of an arm": (setting(lable="x"), "arm.reinforce.lable: unknown key; did you mean label?"),
    "wrong type": ({"title": 3}, 'title: must be text, not 3; write it in quotes, "3"'),
    "a text for a list": ({"differs": "x"}, 'differs: must be a list of text, not the text "x"; write ["x"]'),
    "size": ({"size": "medium"}, 'size: must be "small" or "full", not the text "medium"'),
    "duplicate arm": (named("gppo"), 'arm.gppo.name: a second arm is named "gppo"; give each its own name'),
    "duplicate measure": (
        {"measure": [MATH, {**MATH, "model": "sft"}]},
        'measure.math.name: a second measure is named "math"; give each its own name',
    ),
    "duplicate seed": (seeds(values=[0, 1, 0]), "seeds.values: 0 is there twice (place 3); a seed counts once"),
    "no seed": (seeds(values=[]), "seeds.values: is empty; write at least one (the seeds; 2 or more say something)"),
    "a seed that is none": (seeds(values=[0, 1.5]), "seeds.values[1]: must be a whole number >= 0, not 1.5; write"),
    "a seed below zero": (seeds(values=[-1]), "seeds.values[0]: must be a whole number >= 0, not -1; write"),
    "a number of seeds": (seeds(values=8), "seeds.values: must be a list of whole number >= 0, not 8; write [8]"),
    "an unknown part": (seeds(vary=["rll"]), 'seeds.vary[0]: must be "data", "sft", "rl" or "evaluation", not'),
    "no part": (seeds(vary=[]), "seeds.vary: is empty; write at least one (parts of the run"),
    "baseline": ({"baseline": "ppo"}, 'baseline: there is no arm "ppo"; there are gppo, reinforce'),
    "baseline beside comparisons": (
        {"baseline": "gppo", "comparison": [{"before": "gppo", "after": "reinforce"}]},
        "baseline: has no part where [[comparison]] says what is compared; leave one out",
    ),
    "comparison of no arm": (comparing("a", "gppo"), 'comparison[0].before: there is no arm "a"; there are gppo, rein'),
    "comparison in no measure": (
        comparing("gppo", "reinforce", measure="x"),
        'comparison[0].measure: there is no measure "x"; there are math',
    ),
    "comparison with itself": (comparing("gppo", "gppo"), "comparison[0].after: is the same as before; name two"),
    "with itself by another name": (comparing("gppo", "gppo:rl-math"), "comparison[0].after: is the same as before"),
    "comparison of no model": (comparing("gppo:", "reinforce"), "comparison[0].before: names no model after the colon"),
    "one arm": (arms(GPPO), "arm: one arm has nothing to be compared with; add one, or a [[comparison]] of models"),
    "no arm": (arms(), "arm: is empty; write at least one (the arms, in the order of the tables)"),
    "an arm that is no table": ({"arm": "gppo"}, "arm: must be a list of tables, not the text"),
    "one table of arms": ({"arm": GPPO}, "arm: must be a list of tables; write [[arm]] with double brackets"),
    "parent directory": (named(".."), f'arm[1].name: the text ".." {NO_DIRECTORY}'),
    "two directories": (named("a/b"), f'arm[1].name: the text "a/b" {NO_DIRECTORY}'),
    "hidden": (named(".a"), f'arm[1].name: the text ".a" {NO_DIRECTORY}'),
    "like an option": (named("-a"), f'arm[1].name: the text "-a" {NO_DIRECTORY}'),
    "capitals": (named("GPPO"), f'arm[1].name: the text "GPPO" {NO_DIRECTORY}'),
    "empty name": (named(""), f"arm[1].name: an empty text {NO_DIRECTORY}"),
    "a name too long for a file": (named("x" * 300), "arm[1].name: the text"),
    "a number for a name": (named(3), 'arm[1].name: must be text, not 3; write it in quotes, "3"'),
    "name of the study": ({"name": "a/b"}, f'name: the text "a/b" {NO_DIRECTORY}'),
    "name of a measure": (measuring(name="a b"), f'measure[0].name: the text "a b" {NO_DIRECTORY}'),
    "domain": (measuring(domain="maths"), 'measure.math.domain: must be "math" or "code", not the text "maths"; did'),
    "model": (
        measuring(model="rl-maths"),
        "arm gppo: its recipe makes no model rl-maths; measure one of base, sft, rl",
    ),
    "model of a comparison": (
        comparing("gppo:x", "gppo"),
        "arm gppo: its recipe makes no model x; measure one of base",
    ),
    "set is a text": (setting(set="x"), 'arm.reinforce.set: must be a table of values, not the text "x"'),
    "the study's set is a text": ({"set": "x"}, 'set: must be a table of values, not the text "x"'),
    "key that is none": (
        setting(set={"rl.objektive.type": "cispo"}),
        'arm reinforce: RECIPE: rl.objektive (arm.reinforce.set "rl.objektive.type" = "cispo"): unknown key; did you',
    ),
    "key of no phase": (
        {"set": {"rl.phase.maths.iterations": 2}},
        'arm gppo: RECIPE: set "rl.phase.maths.iterations" = 2: no phase is named "maths"; did you mean "math"?',
    ),
    "value that is none": (
        setting(set={"rl.learning_rate": "fast"}),
        'arm reinforce: RECIPE: rl.learning_rate (arm.reinforce.set "rl.learning_rate" = "fast"): must be a number',
    ),
    "keys without quotes": (
        {"set": {"sft": {"epochs": 2}}},
        'set: sft is a whole table; write the keys that change, with dots and in quotes: "sft.epochs" = 2',
    ),
    "keys without quotes in an arm": (
        setting(set={"rl": {"objective": {"type": "cispo"}}}),
        "arm.reinforce.set: rl is a whole table; write the keys that change, with dots and in quotes: "
        '"rl.objective.type" = "cispo"',
    ),
    "an empty key": (setting(set={"": 1}), 'arm.reinforce.set: "" is no key of a recipe; write it with dots and in'),
    "an empty part of a key": (setting(set={"rl..x": 1}), 'arm.reinforce.set: "rl..x" is no key of a recipe'),
    "two keys in one": (setting(set={"seed=1": 1}), 'arm.reinforce.set: "seed=1" is no key of a recipe'),
    "a seed that is varied": (setting(set={"seeds.rl": 5}), "arm.reinforce.set: seeds.rl is in seeds.vary, so every"),
    "an arm that changes nothing": (setting(set={}), "arm.reinforce.set: makes the same runs as arm gppo: no stage"),
    "an arm that only changes the pace": (setting(set={"threads": 2}), "arm.reinforce.set: makes the same runs as"),
    "an arm that changes what nothing reads": (
        measuring(model="sft"),
        "arm.reinforce.set: makes the same runs as arm gppo: no stage that is measured reads what tells them apart",
    ),
    "seeds that change nothing": (
        {**measuring(model="sft"), **setting(set={"sft.epochs": 3})},
        "seeds.vary: arm gppo is the same run with seeds 0 and 1: nothing that is measured depends on the seed of rl",
    ),
    "a quoted number": (
        quoting(["x", 81.3]),
        "quoted.rows[0][1]: must be a list of text, not 81.3; write it in quotes",
    ),
    "a ragged row": (quoting(["x", "1"], ["y"]), "quoted.rows[1]: has 1 cell, and columns 2; give each column one"),
    "no such recipe": ({"recipe": "no.toml"}, "recipe: there is no file BASE/no.toml; write its path, relative to"),
    "a directory for a recipe": ({"recipe": "."}, "recipe: there is no file BASE; write its path, relative to the"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_one_line_with_the_key_and_the_remedy(name: str, place: Path) -> None:
    changes, words = FAULTS[name]
    found = said(desk.write_study(place, **changes))
    assert found.startswith(words.replace("RECIPE", str(place / "recipe.toml")).replace("BASE", str(place)))
    assert "\n" not in found
    assert "--set" not in found, "nobody gave that option"


def test_all_faults_are_told_together(place: Path) -> None:
    path = desk.write_study(place, title=3, baseline="ppo", seeds={"values": [0]})
    lines = said(path).split("\n")
    assert lines[0] == "2 faults"
    assert [line.split(":")[0] for line in lines[1:]] == ["  title", "  seeds.vary"], "rules come once types are right"
    path = desk.write_study(place, baseline="ppo", arm=[GPPO, {"name": "."}, {"name": ".."}])
    assert [line.split(":")[0] for line in said(path).split("\n")] == [
        *("3 faults", "  arm[1].name", "  arm[2].name", "  baseline")
    ]


@pytest.mark.parametrize("key", ["name", "title", "question", "recipe", "seeds", "arm", "measure"])
def test_what_must_be_there_is_named(key: str, place: Path) -> None:
    path = place / "study.toml"
    told = {name: value for name, value in desk.STUDY.items() if name != key}
    path.write_text("".join(f"{name} = {toml_value(value)}\n" for name, value in told.items()))
    assert said(path).startswith(f"{key}: missing; add it (")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name = = 1", "1: malformed TOML: Invalid value; fix that line"),
        ('name = "x"\n[[arm\n', "2: malformed TOML:"),
        ("\ufeff", "7 faults\n  name: missing"),
        (b"\xff\xfe", "not UTF-8 text (byte 0); save it as UTF-8"),
        (None, "cannot be read (no such file or directory); give the path of a study file"),
    ],
)
def test_what_is_no_study(text: str | bytes | None, words: str, tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert said(path).startswith(words)


def test_a_directory_is_no_study(tmp_path: Path) -> None:
    assert said(tmp_path) == "cannot be read (is a directory); give the path of a study file"


def test_a_faulty_recipe_is_named_with_its_faults(place: Path) -> None:
    text = (place / "recipe.toml").read_text()
    (place / "recipe.toml").write_text(text.replace("epochs =", "epoch =").replace("iterations = 2", "iterations = 0"))
    first, *others = said(place / "study.toml").split("\n")
    assert first == f"arm gppo: {place / 'recipe.toml'}: 2 faults"
    assert [line.split(":")[0].strip() for line in others] == ["rl.iterations", "sft.epoch"]


def test_the_recipe_is_found_from_the_studys_file(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    studies = place / "studies" / "small"
    studies.mkdir(parents=True)
    path = desk.write_study(studies, recipe="../../recipe.toml")
    monkeypatch.chdir(studies)
    every = [design(load_study(some), some) for some in (path, Path("study.toml"), place / "study.toml")]
    assert every[0].works.keys() == every[1].works.keys() == every[2].works.keys()


def test_an_arm_has_the_last_word_over_the_study(place: Path) -> None:
    path = desk.write_study(place, set={"rl.group_size": 8, "sft.epochs": 5}, **setting(set={"rl.group_size": 2}))
    recipes = {run.arm: run.recipe for run in design(load_study(path), path).runs}
    assert [recipes[arm].rl.phase[0].group_size for arm in ("gppo", "reinforce")] == [8, 2]
    assert [recipes[arm].sft.epochs for arm in ("gppo", "reinforce")] == [5, 5]


def test_what_is_compared_when_nothing_is_said() -> None:
    some = [{"name": name, "set": {"seed": place}} for place, name in enumerate("abc")]
    two = [MATH, {**MATH, "name": "code", "domain": "code"}]
    study = Study.model_validate(as_tuples({**desk.STUDY, "arm": some, "measure": two, "baseline": "b"}))
    pairs = [(one.before, one.after, one.measure) for one in study.comparisons]
    assert pairs == [("b", "a", "math"), ("b", "c", "math"), ("b", "a", "code"), ("b", "c", "code")]


def as_tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: as_tuples(item) for name, item in value.items()}
    return tuple(map(as_tuples, value)) if isinstance(value, list) else value
