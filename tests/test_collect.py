"""Sampling and judging together, with the real sampler and the real judge."""

import math

import pytest

from openklear.collect import Collector, Sampling, encode_problems
from openklear.models.tiny import make_tiny
from openklear.recipe.schema import RewardScheme
from openklear.rollout.local import LocalEngine
from openklear.types import Outcome, Problem, StopReason, Verdict


def problem(name, content):
    return Problem(name, ({"role": "user", "content": content},), "math", answer="3")


PROBLEMS = [problem("a", "1+2=?"), problem("b", "2+1=?")]
SAMPLING = Sampling(samples=3, temperature=1.0, top_p=1.0, max_completion_tokens=6)


@pytest.fixture(scope="module")
def loaded():
    return make_tiny(16, 1, 2, 64, seed=0)


class Judge:
    """Records what it is asked; right for the first attempt, unscorable for the second, wrong for the rest."""

    def __init__(self):
        self.asked = []

    def judge(self, attempts, on_progress=None):
        self.asked = list(attempts)
        outcomes = [Outcome.CORRECT, Outcome.UNSCORABLE] + [Outcome.INCORRECT] * len(attempts)
        return [Verdict(outcome, total=1) for outcome in outcomes[: len(attempts)]]


def collect(loaded, judge, sampling, problems=PROBLEMS, slots=4, **keys):
    engine = LocalEngine(loaded.model, end_ids=loaded.end_ids, slots=slots)
    encoded, _ = encode_problems(loaded, problems, 32)
    return Collector(loaded, engine, judge, seed=0).collect(encoded, sampling, RewardScheme(), purpose="test", **keys)


def test_groups_keep_the_order_of_the_problems(loaded):
    groups = collect(loaded, Judge(), SAMPLING, policy_version=4)
    assert [g.problem.id for g in groups] == ["a", "b"]
    assert [[r.sample_index for r in g.rollouts] for g in groups] == [[0, 1, 2]] * 2
    assert {r.policy_version for g in groups for r in g.rollouts} == {4}


def test_rollouts_stopped_by_length_are_wrong_without_being_graded(loaded):
    judge = Judge()
    rollouts = [r for g in collect(loaded, judge, SAMPLING) for r in g.rollouts]
    cut = [r for r in rollouts if r.completion.stop_reason is StopReason.LENGTH]
    assert cut, "an untrained model runs into the limit"
    assert len(judge.asked) == len(rollouts) - len(cut)
    assert {(r.verdict.outcome, r.verdict.reason, r.reward.value) for r in cut} == {
        (Outcome.INCORRECT, "stopped by length", -0.5)
    }


def test_soft_overlong_grades_them_as_they_are(loaded):
    judge = Judge()
    soft = Sampling(samples=3, temperature=1.0, top_p=1.0, max_completion_tokens=6, overlong="soft")
    (first, second, third), _ = (g.rollouts for g in collect(loaded, judge, soft))
    assert len(judge.asked) == 6
    assert [a.problem.id for a in judge.asked] == ["a"] * 3 + ["b"] * 3
    assert first.reward.value == 1.0
    assert math.isnan(second.reward.value), "unscorable has no reward"
    assert third.reward.value == 0.0


def test_draws_depend_on_problem_and_purpose_not_on_company(loaded):
    together = collect(loaded, Judge(), SAMPLING)
    alone = collect(loaded, Judge(), SAMPLING, problems=PROBLEMS[1:], slots=2)
    other = collect(loaded, Judge(), SAMPLING, iteration=1)

    def ids(group):
        return [r.completion.token_ids.tolist() for r in group.rollouts]

    assert ids(together[1]) == ids(alone[0])
    assert ids(together[0]) != ids(other[0])


def test_long_prompts_are_dropped_with_their_reason_and_never_cut(loaded):
    kept, dropped = encode_problems(loaded, [*PROBLEMS, problem("long", "1" * 40)], 32)
    assert [e.problem.id for e in kept] == ["a", "b"]
    assert [(p.id, why) for p, why in dropped] == [("long", "prompt of 42 tokens; max_prompt_tokens is 32")]
    assert all(e.prompt_tail == "<|assistant|>" for e in kept)
