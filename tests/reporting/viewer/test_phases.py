"""A phase of RL as the page is told it, from files alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from openklear.data.store import prepared, write_problems
from openklear.durable.files import append_jsonl
from openklear.errors import DataError
from openklear.models.tiny import make_tokenizer
from openklear.reporting.texts import visible
from openklear.reporting.viewer.answers import Answers
from openklear.reporting.viewer.phases import PhaseView, spelled
from openklear.rollout.records import Trained, write_rollouts
from openklear.types import (
    Completion,
    Message,
    Outcome,
    Problem,
    Reward,
    Rollout,
    RolloutGroup,
    StopReason,
    Verdict,
)

RECIPE = """seed = 0
[model]
type = "tiny"
[[data.source]]
name = "p"
path = "p.jsonl"
role = "problems"
[[data.source]]
name = "h"
path = "h.jsonl"
role = "heldout"
[rl]
[[rl.phase]]
name = "math"
domains = ["math"]
"""


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    """Iteration 7 with two groups of three rollouts, the second of them in an update."""
    tokenizer = make_tokenizer()
    place = tmp_path / "run" / "rl-math"
    record = place / "iterations" / "000007" / "rollouts.parquet"
    record.parent.mkdir(parents=True)
    problems = [Problem(f"p{n}", (Message(role="user", content=f"{n}?"),), "math", str(n)) for n in range(2)]
    groups = [
        RolloutGroup(one, tuple(rollout(tokenizer, one, sample, group) for sample in range(3)))
        for group, one in enumerate(problems)
    ]
    moved = np.log(np.array([1.0, 2.0, 0.5, 1.0], np.float32))
    trained = {
        (1, sample): Trained(groups[1].rollouts[sample].completion.logprobs + moved, advantage)
        for sample, advantage in enumerate((0.5, -0.5, 0.0))
    }
    write_rollouts(record, groups, trained)
    tokenizer.save_pretrained(place / "model")
    append_jsonl(place / "metrics.jsonl", {"iteration": 7, "reward": 0.5, "length_mean": 4.0, "ratio_histogram": [1]})
    data = prepared(tmp_path / "run" / "prepare").problems
    data.parent.mkdir(parents=True)
    write_problems(data, problems)
    (tmp_path / "run" / "recipe.toml").write_text(RECIPE)
    return place


def rollout(tokenizer: object, problem: Problem, sample: int, group: int) -> Rollout:
    ids = np.array(tokenizer.encode("7+1\u202e")[:4], np.int32)  # type: ignore[attr-defined]
    return Rollout(
        problem,
        sample,
        np.array([1, 2], np.int32),
        Completion(ids, np.full(4, -1.0, np.float32), StopReason.STOP if sample else StopReason.LENGTH),
        "<think>7+1</think>\u202e",
        Verdict(Outcome.CORRECT if group else Outcome.INCORRECT, "" if group else "wrong answer", "8", group, 1),
        Reward(float(group), {"task": float(group)}),
        3,
    )


def test_an_iteration_by_group_with_reward_and_advantage(stage: Path) -> None:
    view = PhaseView(stage)
    found = view.overview()
    assert (found["iterations"], found["kept"], found["weights"]) == ([7], [7], [])
    assert (found["curves"]["reward"], found["curves"]["entropy"]) == ([0.5], [None])
    assert found["objective"] == "gppo"
    assert found["band"] == pytest.approx((0.8, 1.28))
    groups = view.iteration(7)["groups"]
    assert [(one["group"], one["problem"], one["title"]) for one in groups] == [(0, "p0", "0?"), (1, "p1", "1?")]
    assert [one["advantage"] for group in groups for one in group["rollouts"]] == [None, None, None, 0.5, -0.5, 0.0]
    assert [one["truncated"] for one in groups[0]["rollouts"]] == [True, False, False]
    assert {one["length"] for group in groups for one in group["rollouts"]} == {4}


def test_a_rollout_token_by_token(stage: Path) -> None:
    view = PhaseView(stage)
    raised, lowered, level = (view.rollout(7, 1, sample) for sample in range(3))
    assert raised["before"] == {"kinds": ".hn.", "ratios": pytest.approx([1, 2, 0.5, 1], abs=1e-3)}
    assert lowered["before"]["kinds"] == ".nl."
    assert level["before"]["kinds"] == ".nn."
    assert view.rollout(7, 0, 0)["before"] is None, "it was in no update"
    assert len(raised["tokens"]) == len(raised["logprobs"]) == 4
    assert raised["tokens"] == ["7", "+", "1", "\ufffd"], "the last one is a third of a character"
    assert raised["parts"] == [("thought", "<think>7+1</think>"), ("text", "⟨U+202E⟩")]
    assert (raised["prompt"], raised["reference"]) == ([("user", "1?")], "1")


def test_a_character_of_several_tokens_stands_at_its_last() -> None:
    tokenizer = make_tokenizer()
    for text in ("7+é=日本 \U0001f469\u200d\U0001f469!", "plain", "", "\u202e"):
        ids = tokenizer.encode(text)
        found = spelled(ids, tokenizer.decode)
        assert len(found) == len(ids)
        assert "".join(found) == visible(text)
        assert not any("\ufffd" in one for one in found)
    cut = tokenizer.encode("日")[:2]
    assert spelled([*cut, *tokenizer.encode("ab")], tokenizer.decode)[-1] == "b"


def test_what_is_not_there_is_said(stage: Path) -> None:
    view = PhaseView(stage)
    with pytest.raises(DataError, match="not on disk"):
        view.iteration(8)
    with pytest.raises(DataError, match="no rollout 9 in group 1"):
        view.rollout(7, 1, 9)
    with pytest.raises(DataError, match="weights after iteration 7 are not"):
        view.clip(7, 1, 0)
    with pytest.raises(DataError, match="in no update"):
        view.clip(7, 0, 0)
    (stage / "iterations" / "000007" / "rollouts.parquet").write_bytes(b"PAR1 damaged")
    with pytest.raises(DataError, match="cannot be read"):
        view.iteration(7)


def test_without_recipe_problems_or_tokenizer_the_rest_is_shown(stage: Path) -> None:
    for path in (stage.parent / "recipe.toml", stage / "model" / "tokenizer.json"):
        path.unlink()
    prepared(stage.parent / "prepare").problems.write_bytes(b"damaged")
    view = PhaseView(stage)
    assert view.overview()["band"] is None
    found = view.rollout(7, 1, 0)
    assert (found["tokens"], found["before"], found["prompt"]) == (None, None, [])
    assert found["parts"]
    (item,) = Answers([stage.parent]).listed()["items"]
    assert (item["kind"], item["iterations"], item["kept"], item["last"]["reward"]) == ("phase", 1, 1, 0.5)
