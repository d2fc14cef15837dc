"""Sampling and judging together, with the real sampler and the real judge."""

import math

import pytest

from openklear.errors import RunError, VerifierError
from openklear.models.tiny import make_tiny
from openklear.recipe.reward import KlearReleased, ReportReward
from openklear.rollout.collect import Collector, Sampling
from openklear.rollout.encoding import encode_problems
from openklear.rollout.local import LocalSampler
from openklear.rollout.records import write_rollouts
from openklear.think import FormatFault, split_thought
from openklear.types import Outcome, Problem, StopReason, Verdict
from openklear.verifiers.judge import Judge, Limits


def problem(name, content):
    return Problem(name, ({"role": "user", "content": content},), "math", answer="3")


PROBLEMS = [problem("a", "1+2=?"), problem("b", "2+1=?")]
SAMPLING = Sampling(samples=3, temperature=1.0, top_p=1.0, max_completion_tokens=6)
SOFT = Sampling(samples=3, temperature=1.0, top_p=1.0, max_completion_tokens=6, overlong="soft")


@pytest.fixture(scope="module")
def loaded():
    return make_tiny(16, 1, 2, 64, seed=0)


class FakeJudge:
    """Records what it is asked; nothing is right, and `extracted` is the text itself."""

    def __init__(self, fails_after=10**9):
        self.asked, self.ended, self.early, self.fails_after = [], 0, None, fails_after
        self.unscorable = []

    def trial(self, problems):
        pass

    def begin(self, *, stop_early=False):
        self.early = stop_early
        return self

    def add(self, attempt):
        self.check()
        self.asked.append(attempt)

    def check(self):
        if len(self.asked) >= self.fails_after:
            raise VerifierError("no boxes here")

    def finish(self, on_progress=None):
        if on_progress is not None:
            on_progress(len(self.asked))
        return [Verdict(self.outcome(attempt), total=1, extracted=attempt.text) for attempt in self.asked]

    def outcome(self, attempt):
        return Outcome.INCORRECT

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.ended += 1


def collect(loaded, judge, sampling, problems=PROBLEMS, slots=4, scheme=ReportReward(), version=0, **keys):  # noqa: B008
    engine = LocalSampler(loaded.model, end_ids=loaded.end_ids, slots=slots)
    engine.publish(loaded.model, version)
    encoded, _ = encode_problems(loaded, problems, 32)
    return Collector(loaded, engine, judge, seed=0).collect(encoded, sampling, scheme, purpose="test", **keys)


def test_groups_keep_the_order_of_the_problems(loaded):
    groups = collect(loaded, FakeJudge(), SAMPLING, version=4)
    assert [g.problem.id for g in groups] == ["a", "b"]
    assert [[r.sample_index for r in g.rollouts] for g in groups] == [[0, 1, 2]] * 2
    assert {r.policy_version for g in groups for r in g.rollouts} == {4}


def test_problems_with_the_same_prompt_are_drawn_for_apart(loaded):
    """The first copy keeps the draws that the prompt has alone; `copy_numbers` counts over more than one call."""
    twice = [problem("a", "1+2=?"), problem("b", "2+1=?"), problem("c", "1+2=?")]

    def ids(groups):
        return [[r.completion.token_ids.tolist() for r in group.rollouts] for group in groups]

    alone = ids(collect(loaded, FakeJudge(), SAMPLING))
    first, other, second = ids(collect(loaded, FakeJudge(), SAMPLING, twice))
    assert [first, other] == alone
    assert second != first
    assert ids(collect(loaded, FakeJudge(), SAMPLING, twice[2:], copy_numbers=[1])) == [second]


def test_rollouts_stopped_by_length_are_wrong_without_being_graded(loaded):
    judge = FakeJudge()
    rollouts = [r for g in collect(loaded, judge, SAMPLING) for r in g.rollouts]
    cut = [r for r in rollouts if r.completion.stop_reason is StopReason.LENGTH]
    assert cut, "an untrained model runs into the limit"
    assert len(judge.asked) == len(rollouts) - len(cut)
    assert {(r.verdict.outcome, r.verdict.reason, r.reward.value) for r in cut} == {
        (Outcome.INCORRECT, "stopped by length", -0.5)
    }


def test_soft_overlong_grades_them_as_they_are(loaded):
    judge = FakeJudge()
    rollouts = [r for g in collect(loaded, judge, SOFT) for r in g.rollouts]
    assert len(judge.asked) == 6
    assert sorted(a.problem.id for a in judge.asked) == ["a"] * 3 + ["b"] * 3
    assert {r.completion.stop_reason for r in rollouts} >= {StopReason.LENGTH}


def test_verdicts_go_to_their_own_rollouts_whatever_ended_first(loaded):
    """Two slots and lengths of their own: completions end out of order, and each verdict names the text it is of."""
    judge = FakeJudge()
    many = [problem(str(n), f"{n}+{n}=?") for n in range(6)]
    short = Sampling(samples=3, temperature=5.0, top_p=1.0, max_completion_tokens=40, overlong="soft")
    rollouts = [r for g in collect(loaded, judge, short, problems=many, slots=5) for r in g.rollouts]
    assert [r.verdict.extracted for r in rollouts] == [r.text for r in rollouts]
    assert [a.text for a in judge.asked] != [r.text for r in rollouts], "the order of ending is another one"
    assert [r.problem.id for r in rollouts] == [str(n) for n in range(6) for _ in range(3)]


def test_unscorable_has_no_reward(loaded):
    judge = FakeJudge()
    judge.outcome = lambda attempt: Outcome.UNSCORABLE if attempt.problem.id == "b" else Outcome.CORRECT
    first, second = collect(loaded, judge, SOFT)
    assert all(math.isnan(r.reward.value) and not r.reward.parts for r in second.rollouts)
    assert all(r.reward.value == 1.0 for r in first.rollouts)


@pytest.mark.parametrize("label", [None, "shown"])
def test_where_grading_fails_sampling_stops(loaded, label):
    """At the next completion, not after the last one; and the batch is given up."""
    judge = FakeJudge(fails_after=2)
    with pytest.raises(VerifierError, match="no boxes here"):
        collect(loaded, judge, Sampling(8, 1.0, 1.0, 6, "soft"), label=label)
    assert len(judge.asked) == 2
    assert judge.ended == 1


def test_a_collection_stops_once_too_many_are_unscorable(loaded):
    """Not after the last completion: more than half of the sixteen can no longer be avoided at the ninth."""

    class Away(FakeJudge):
        def add(self, attempt):
            super().add(attempt)
            self.unscorable.append(Verdict(Outcome.UNSCORABLE, "nobody is there"))

    judge = Away()
    with pytest.raises(RunError, match=r"9 of 16 verdicts are unscorable.*The first reason: nobody is there"):
        collect(loaded, judge, Sampling(8, 1.0, 1.0, 40, "soft"), slots=1)
    assert len(judge.asked) == 9
    assert judge.ended == 1


def test_only_a_hard_reward_lets_the_judge_stop_early(loaded):
    for scheme, early in ((ReportReward(code="hard"), True), (ReportReward(), False), (KlearReleased(), False)):
        judge = FakeJudge()
        collect(loaded, judge, SAMPLING, scheme=scheme)
        assert judge.early is early


def test_a_cut_completion_tells_the_fault_of_its_form(loaded):
    """So that the released numbers tell one that was cut in its thought from one that never thought."""
    rollouts = [r for g in collect(loaded, FakeJudge(), SAMPLING, scheme=KlearReleased()) for r in g.rollouts]
    cut = [r for r in rollouts if r.completion.stop_reason is StopReason.LENGTH]
    for r in cut:
        fault = split_thought(r.text).fault
        assert r.verdict.format_fault is (fault or FormatFault.NO_ANSWER)
    assert {r.reward.value for r in cut if "<think>" not in r.text} == {-2.0}


def test_graded_while_sampled_or_after_the_records_are_the_same(loaded, tmp_path):
    """With the real judge: overlapped, and with every completion held back until all are sampled."""

    class Late:
        """A sampler that reports its completions at the very end, in another order."""

        version = 0

        def __init__(self, engine):
            self.engine = engine

        def sample(self, requests, on_progress=None, on_completion=None, until=None):
            made = self.engine.sample(requests, on_progress)
            for index in reversed(range(len(made))):
                on_completion(index, made[index])
            return made

    engine = LocalSampler(loaded.model, end_ids=loaded.end_ids, slots=4)
    encoded, _ = encode_problems(loaded, PROBLEMS, 32)
    for name, sampler in (("overlapped", engine), ("late", Late(engine))):
        with Judge(Limits(workers=2), journal=tmp_path / f"{name}.jsonl") as judge:
            groups = Collector(loaded, sampler, judge, seed=0).collect(encoded, SOFT, ReportReward(), purpose="test")
        write_rollouts(tmp_path / f"{name}.parquet", groups)
    for kind in ("parquet", "jsonl"):
        files = [tmp_path / f"{name}.{kind}" for name in ("overlapped", "late")]
        assert [f.exists() for f in files] == [True, True] or kind == "jsonl"
        assert len({f.read_bytes() if f.exists() else b"" for f in files}) == 1


def test_draws_depend_on_problem_and_purpose_not_on_company(loaded):
    together = collect(loaded, FakeJudge(), SAMPLING)
    alone = collect(loaded, FakeJudge(), SAMPLING, problems=PROBLEMS[1:], slots=2)
    other = collect(loaded, FakeJudge(), SAMPLING, iteration=1)

    def ids(group):
        return [r.completion.token_ids.tolist() for r in group.rollouts]

    assert ids(together[1]) == ids(alone[0])
    assert ids(together[0]) != ids(other[0])


def test_long_prompts_are_dropped_with_their_reason_and_never_cut(loaded):
    kept, dropped = encode_problems(loaded, [*PROBLEMS, problem("long", "1" * 40)], 32)
    assert [e.problem.id for e in kept] == ["a", "b"]
    assert [(p.id, why) for p, why in dropped] == [("long", "prompt of 42 tokens; max_prompt_tokens is 32")]
    assert all(e.prompt_tail == "<|assistant|>" for e in kept)
