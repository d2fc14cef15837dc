"""Speeds of an iteration, beside the gauge's own figures, and the line at a stage's end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from openklear.models.tiny import make_tiny
from openklear.planner.auto import Sizes
from openklear.planner.gauge import Gauge
from openklear.planner.machines import this_cpu
from openklear.recipe.load import load_recipe
from openklear.training.pace import gauge_of, say_pace, supervised_throughput, throughput
from openklear.training.sizes import here
from openklear.training.step import PolicySequence
from openklear.types import Completion, Outcome, Problem, Reward, Rollout, RolloutGroup, StopReason, Verdict

PROBLEM = Problem("p", ({"role": "user", "content": "1+1"},), "math", answer="2")


def rollout(prompt: int, length: int) -> Rollout:
    completion = Completion(np.zeros(length, np.int32), np.zeros(length, np.float32), StopReason.STOP)
    return Rollout(PROBLEM, 0, np.zeros(prompt, np.int32), completion, "", Verdict(Outcome.CORRECT), Reward(1.0), 0)


def sequence(prompt: int, length: int) -> PolicySequence:
    ids = np.zeros(prompt + length, np.int32)
    return PolicySequence(ids, np.arange(len(ids)) >= prompt, None, 1.0, True, 0)


@pytest.fixture(scope="module")
def gauge() -> Gauge:
    recipe = load_recipe(Path(__file__).parents[2] / "recipes" / "quickstart.toml", ["threads=2"])
    return gauge_of(recipe, make_tiny(16, 2, 2, 64, 0), Sizes(100, False, 8, 100, "float32"), here())


def test_the_gauge_has_the_models_own_sizes(gauge: Gauge) -> None:
    model = make_tiny(16, 2, 2, 64, 0).model
    assert gauge.shape.parameters == sum(p.numel() for p in model.parameters())
    assert (gauge.shape.layers, gauge.shape.query, gauge.shape.key, gauge.shape.inner) == (2, 16, 8, 48)
    assert (gauge.machine, gauge.threads, gauge.slots, gauge.adapters) == (this_cpu(), 2, 8, None)


def test_an_iteration(gauge: Gauge) -> None:
    groups = [RolloutGroup(PROBLEM, (rollout(3, 4), rollout(3, 6))), RolloutGroup(PROBLEM, (rollout(5, 10),))]
    updates = [[sequence(3, 4), sequence(3, 6)], [sequence(5, 10)]]
    found = throughput(gauge, groups, updates, {"sampling": 2.0, "training": 4.0, "validation": 9.0})
    assert found == {
        "sampled_tokens_per_second": 10.0,
        **gauge.sampled([(3, [4, 6]), (5, [10])], 2.0),
        "trained_tokens_per_second": 31 / 4,
        **gauge.trained([(7, 4), (9, 6), (15, 10)], 2, 4.0),
    }
    assert {"sampling_mfu", "sampling_floor_share", "training_mfu", "training_floor_share"} <= set(found)
    replayed = throughput(gauge, groups, updates, {"replaying": 2.0, "training": 4.0})
    assert not [key for key in replayed if key.startswith("sampl")]
    assert throughput(gauge, groups, [], {"sampling": 2.0, "training": 0.0}).keys() == {
        "sampled_tokens_per_second", "sampling_mfu", "sampling_floor_share",
    }  # fmt: skip


def test_a_step_of_sft(gauge: Gauge) -> None:
    found = supervised_throughput(gauge, [sequence(3, 4), sequence(3, 6)], 2.0)
    assert found == {"tokens_per_second": 8.0, **gauge.trained([(7, 4), (9, 6)], 1, 2.0)}


def test_medians_are_said_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"training_mfu": 0.25, "training_floor_share": 0.5}
    say_pace("sft", [{**row, "tokens_per_second": speed} for speed in (100.0, 9000.0, 200.0)] + [{"validation": 1.0}])
    assert "sft: training 200 tokens/s, MFU 25 %, 50 % of the floor's speed (medians)" in capsys.readouterr().err
    say_pace("sft", [])
    assert capsys.readouterr().err == ""
