"""Which stages a study makes, and how often: counted by hand."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.ablation import desk

from openklear.ablation.definition import load_study
from openklear.ablation.design import Design, design
from openklear.errors import RecipeError
from openklear.run.plan import stages


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    desk.lay(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def planned(place: Path, **changes: Any) -> Design:
    path = desk.write_study(place, **changes)
    return design(load_study(path), path)


def made(plan: Design) -> dict[str, int]:
    return dict(Counter(work.stage.name for work in plan.works.values()))


ALONE = {"prepare": 1, "base": 1, "sft": 1}
SEEDS = [0, 1, 2]


@pytest.mark.parametrize(
    ("vary", "counts"),
    [
        (["rl"], {**ALONE, "rl-math": 6, "evaluate-rl-math": 6}),
        (["evaluation"], {**ALONE, "rl-math": 2, "evaluate-rl-math": 6}),
        # a random model's weights are drawn by the seed of SFT
        (["sft"], {"prepare": 1, "base": 3, "sft": 3, "rl-math": 6, "evaluate-rl-math": 6}),
        (["sft", "rl", "evaluation"], {"prepare": 1, "base": 3, "sft": 3, "rl-math": 6, "evaluate-rl-math": 6}),
        (["rl", "evaluation"], {**ALONE, "rl-math": 6, "evaluate-rl-math": 6}),
    ],
)
def test_what_a_seed_reaches_is_made_with_each(vary: list[str], counts: dict[str, int], place: Path) -> None:
    plan = planned(place, seeds={"values": SEEDS, "vary": vary})
    assert len(plan.runs) == 6
    assert made(plan) == counts


def test_a_seed_of_the_data_counts_where_rows_are_drawn(place: Path) -> None:
    seeds = {"values": SEEDS, "vary": ["data", "rl"]}
    assert made(planned(place, seeds=seeds)) == {**ALONE, "rl-math": 6, "evaluate-rl-math": 6}
    drawn = planned(place, seeds=seeds, set={"data.source.taught.limit": 20, "data.source.taught.limit_by": "seed"})
    assert made(drawn) == {"prepare": 3, "base": 1, "sft": 3, "rl-math": 6, "evaluate-rl-math": 6}


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        ({"rl.learning_rate": 0.02}, {**ALONE, "rl-math": 4, "evaluate-rl-math": 4}),
        ({"sft.epochs": 3}, {"prepare": 1, "base": 1, "sft": 2, "rl-math": 4, "evaluate-rl-math": 4}),
        ({"model.hidden_size": 32}, {"prepare": 1, "base": 2, "sft": 2, "rl-math": 4, "evaluate-rl-math": 4}),
        ({"data.correct_only": ["1"]}, {"prepare": 2, "base": 1, "sft": 2, "rl-math": 4, "evaluate-rl-math": 4}),
        ({"evaluation.samples": 2}, {**ALONE, "rl-math": 2, "evaluate-rl-math": 4}),
    ],
)
def test_an_arm_makes_again_only_what_reads_its_key(
    change: dict[str, Any], counts: dict[str, int], place: Path
) -> None:
    assert made(planned(place, arm=[{"name": "a"}, {"name": "b", "set": change}])) == counts


def test_runs_of_one_arm_and_seed_share_what_they_share(place: Path) -> None:
    plan = planned(place)
    works = {(run.arm, run.seed): run.works for run in plan.runs}
    assert list(works) == [("gppo", 0), ("reinforce", 0), ("gppo", 1), ("reinforce", 1)], "a first look comes early"
    assert {one["sft"] for one in works.values()} == {works["gppo", 0]["sft"]}
    assert len({one["rl-math"] for one in works.values()}) == 4
    for run in plan.runs:
        assert run.recipe.seed_of("rl") == run.seed
        assert run.recipe.seed_of("sft") == 0
        assert list(run.works) == ["prepare", "base", "sft", "rl-math", "evaluate-rl-math"]


def test_inputs_stand_before_what_needs_them_and_are_those_of_the_run(place: Path) -> None:
    two = [{"name": "math", "model": "rl-math", "domain": "math"}, {"name": "start", "model": "sft", "domain": "math"}]
    plan = planned(place, measure=two, seeds={"values": SEEDS, "vary": ["sft", "rl"]})
    seen: set[str] = set()
    for key, work in plan.works.items():
        assert key == work.key
        assert seen.issuperset(work.inputs.values())
        seen.add(key)
    for run in plan.runs:
        for name, key in run.works.items():
            wanted = {role: run.works[other] for role, other in plan.works[key].stage.inputs.items()}
            assert plan.works[key].inputs == wanted, name


def test_only_what_the_measures_need_is_run(place: Path) -> None:
    every = {stage.name for stage in stages(planned(place).runs[0].recipe)}
    assert {"report", "card", "encode", "evaluate-base", "evaluate-sft"} <= every, "the recipe would make them"
    assert set(made(planned(place))) == {"prepare", "base", "sft", "rl-math", "evaluate-rl-math"}
    both = planned(place, comparison=[{"before": "gppo:base", "after": "gppo"}])
    assert made(both) == {**ALONE, "evaluate-base": 1, "rl-math": 4, "evaluate-rl-math": 4}


def test_a_file_that_changed_makes_other_stages(place: Path) -> None:
    before = planned(place)
    with open(place / "math.jsonl", "a", encoding="utf-8") as file:
        file.write('{"prompt": "m99", "answer": "1", "domain": "math", "level": "1"}\n')
    after = planned(place)
    assert made(after) == made(before)
    assert {name for name in before.works if name.startswith("base")} == before.works.keys() & after.works.keys()


def test_a_score_of_what_no_run_is_asked_is_refused_before_anything_runs(place):
    measure = [{**desk.STUDY["measure"][0], "benchmark": "aime24"}]
    with pytest.raises(RecipeError, match="no held-out source has the benchmark aime24; there are heldout"):
        planned(place, measure=measure)
    with pytest.raises(RecipeError, match="no held-out source has the domain code; there are heldout"):
        planned(
            place, set={"data.source.heldout.domain": "math"}, measure=[{**desk.STUDY["measure"][0], "domain": "code"}]
        )
