"""A phase of RL as its files have it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from openklear.data.store import prepared, write_problems
from openklear.durable.files import append_jsonl
from openklear.models.tiny import make_tokenizer
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
