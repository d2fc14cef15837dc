"""Rollouts broken off and gone on with: the rule by hand, and draws, log-probabilities and versions as they were."""

import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from openklear.errors import DataError
from openklear.models.tiny import make_tiny
from openklear.recipe.reward import ReportReward
from openklear.rollout.carried import read_carried, write_carried
from openklear.rollout.carry import Begun, BegunGroup, Quotas, WholeGroups, all_of
from openklear.rollout.collect import Collector, Sampling
from openklear.rollout.encoding import EncodedProblem, encode_problems
from openklear.rollout.local import LocalSampler
from openklear.rollout.sampling import draw, next_token_probabilities
from openklear.rollout.seeds import uniforms
from openklear.training.step import PolicySequence, reference_logprobs
from openklear.types import Completion, Problem, StopReason
from openklear.verifiers.judge import Judge, Limits

SAMPLING = Sampling(samples=3, temperature=1.0, top_p=1.0, max_completion_tokens=24)
ENDS = frozenset(range(1, 22))
LIMITS = Limits(workers=1, minimum_isolation="rlimits")


def problem(number, domain="math"):
    return Problem(f"p{number}", ({"role": "user", "content": f"{number}+1=?"},), domain, answer="3")


# -- the rule


def group(number, since=1, domain="math", ended=0, size=2):
    done = Completion(np.zeros(1, np.int32), np.zeros(1, np.float32), StopReason.STOP, np.zeros(1, np.int32))
    rollouts = [Begun(n, n, done) if n < ended else Begun(n, n) for n in range(size)]
    return BegunGroup(EncodedProblem(problem(number, domain), (1,), ""), since, tuple(rollouts))


def tally(groups, quotas):
    return WholeGroups(groups, [sum(not r.ended for r in one.rollouts) for one in groups], quotas)


def test_an_iteration_ends_with_its_groups_and_takes_those_that_were_whole_first():
    found = tally([group(n) for n in range(4)], Quotas({"": 2}, overdue=0))
    for number in (3, 1, 0, 1):
        assert not found.enough()
        found.ended(number)
    found.ended(3)
    assert found.enough()
    assert found.chosen() == [1, 3]
    found.ended(0)  # at the same step: whole, but later, so it waits for the next iteration
    assert found.chosen() == [1, 3]


def test_whole_groups_that_were_carried_over_come_first():
    found = tally([group(0, ended=2), group(1), group(2, ended=2), group(3, ended=2)], Quotas({"": 2}, overdue=0))
    assert found.enough(), "nothing has to be sampled"
    assert found.chosen() == [0, 2]


def test_a_group_that_was_carried_over_long_enough_is_waited_for():
    found = tally([group(0, since=1), group(1, since=2, ended=2), group(2, since=3, ended=2)], Quotas({"": 2}, 1))
    found.ended(0)
    assert not found.enough(), "two are whole, but the overdue one is not"
    found.ended(0)
    assert found.enough()
    assert found.chosen() == [0, 1], "and it is trained on though it was whole last"


def test_with_a_mix_every_domain_has_its_own_number():
    found = tally([group(0), group(1), group(2, domain="code")], Quotas({"math": 1, "code": 1}, overdue=0))
    for number in (1, 1, 0, 0):
        found.ended(number)
    assert not found.enough()
    found.ended(2)
    found.ended(2)
    assert found.enough()
    assert found.chosen() == [1, 2]


@given(st.integers(1, 6), st.integers(0, 4), st.integers(1, 3), st.randoms())
def test_once_it_is_enough_as_many_groups_are_chosen_as_are_trained_on(trained, extra, size, random):
    groups = [group(n, size=size, since=random.randint(1, 3)) for n in range(trained + extra)]
    found = tally(groups, Quotas({"": trained}, overdue=random.randint(0, 1)))
    ends = [n for n in range(len(groups)) for _ in range(size)]
    random.shuffle(ends)
    for number in ends:
        if found.enough():
            break
        found.ended(number)
    chosen = found.chosen()
    assert len(chosen) == trained
    assert set(chosen) <= set(found.whole)
    assert chosen == sorted(chosen)


def test_without_quotas_everything_ends():
    groups = [group(n, domain=domain) for n, domain in enumerate(("math", "code"))]
    found = tally(groups, all_of(groups))
    for number in (0, 1, 1, 0):
        assert not found.enough()
        found.ended(number)
    assert found.enough()
    assert found.chosen() == [0, 1]


# -- what is drawn


@pytest.fixture(scope="module")
def models():
    """The same tokenizer, weights that differ; one token of thirteen ends a rollout, so that lengths are ragged."""
    torch.set_num_threads(1)
    return [replace(make_tiny(16, 1, 2, 128, seed=seed), end_ids=ENDS) for seed in (0, 1)]


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    with Judge(LIMITS, journal=tmp_path_factory.mktemp("verdicts") / "v.jsonl") as one:
        yield one


def collector(loaded, judge, slots):
    made = replace(
        make_tiny(16, 1, 2, 128, seed=9), end_ids=ENDS
    )  # a model of its own, so that weights are published to it
    return Collector(made, LocalSampler(made.model, end_ids=loaded.end_ids, slots=slots), judge, seed=0)


def iterations(models, judge, slots, weights, count=6, trained=2):
    """Iterations that train on `trained` of the problems; `weights` of each, by number. Yields what each collected."""
    one = collector(models[0], judge, slots)
    encoded, _ = encode_problems(models[0], [problem(n) for n in range(count)], 64)
    under_way = one.begin(encoded, 3, purpose="rl", iteration=1)
    for number, which in enumerate(weights, start=1):
        one.sampler.publish(models[which].model, number - 1)
        quotas = Quotas({"": min(trained, len(under_way))}, overdue=number - 9)
        found = one.go_on(under_way, SAMPLING, ReportReward(), purpose="rl", where="here", shown=False, quotas=quotas)
        under_way = found.carried
        yield found


def by_rollout(groups):
    return {(r.problem.id, r.sample_index): r for r in itertools.chain.from_iterable(g.rollouts for g in groups)}


@pytest.mark.parametrize("slots", [2, 5, 64])
def test_with_the_same_weights_a_rollout_is_what_it_would_have_been_in_one_piece(models, judge, slots):
    one = collector(models[0], judge, slots)
    one.sampler.publish(models[0].model, 0)
    encoded, _ = encode_problems(models[0], [problem(n) for n in range(6)], 64)
    whole = by_rollout(one.collect(encoded, SAMPLING, ReportReward(), purpose="rl", iteration=1))
    pieces = {}
    for found in iterations(models, judge, slots, [0, 0, 0]):
        assert len(found.groups) == 2
        pieces |= by_rollout(found.groups)
    assert found.carried == []
    assert pieces.keys() == whole.keys()
    broken = 0
    for name, rollout in pieces.items():
        assert rollout.completion.token_ids.tolist() == whole[name].completion.token_ids.tolist()
        assert rollout.completion.stop_reason is whole[name].completion.stop_reason
        assert (rollout.verdict, rollout.reward) == (replace_seconds(whole[name].verdict, rollout), whole[name].reward)
        np.testing.assert_allclose(rollout.completion.logprobs, whole[name].completion.logprobs, atol=1e-5)
        assert rollout.prompt_ids.tolist() == whole[name].prompt_ids.tolist()
        broken += len(set(rollout.token_versions.tolist())) > 1
    assert broken or slots == 2, "with more slots than are needed at once some rollout is broken off"


def replace_seconds(verdict, rollout):
    return replace(verdict, seconds=rollout.verdict.seconds)


def test_every_token_has_the_version_and_the_probability_of_the_weights_that_drew_it(models, judge):
    """The oracle knows only versions and weights: one uncached forward of each model over the whole sequence."""
    mixed, which = 0, [0, 1, 0]
    for number, found in enumerate(iterations(models, judge, 64, which), start=1):
        for rollout in by_rollout(found.groups).values():
            versions = rollout.token_versions
            assert (np.diff(versions) >= 0).all()
            assert versions[-1] == rollout.policy_version <= number - 1
            mixed += versions[0] != versions[-1]
            expected = [teacher_forced(model, rollout) for model in models]
            for place, version in enumerate(versions):
                assert rollout.completion.logprobs[place] == pytest.approx(expected[which[version]][place], abs=2e-5)
    assert mixed


def teacher_forced(loaded, rollout):
    ids = np.concatenate([rollout.prompt_ids, rollout.completion.token_ids]).astype(np.int32)
    mask = np.arange(len(ids)) >= len(rollout.prompt_ids)
    sequence = PolicySequence(ids, mask, np.zeros(len(ids), np.float32), 0.0, False, 0)
    (found,), _ = reference_logprobs(loaded.model, [sequence], [[0]], 1.0)
    return found[mask]


def test_a_draw_depends_on_key_position_and_the_weights_of_then_alone(models, judge):
    """Every token again: inversion of the uniform of its key and position, over a forward of the weights that drew it."""
    which = [0, 1, 0]
    one = collector(models[0], judge, 3)
    for found in iterations(models, judge, 64, which):
        for owner in found.groups:
            (begun,) = one.begin([EncodedProblem(owner.problem, (1,), "")], 3, purpose="rl", iteration=1)
            for rollout, asked in zip(owner.rollouts, begun.rollouts, strict=True):
                ids = torch.from_numpy(np.concatenate([rollout.prompt_ids, rollout.completion.token_ids]).astype(int))
                at = torch.arange(len(rollout.prompt_ids) - 1, len(ids) - 1)
                with torch.no_grad():
                    logits = [model.model(input_ids=ids[None]).logits[0, at] for model in models]
                for place, version in enumerate(rollout.token_versions):
                    row = logits[which[version]][place : place + 1, : len(models[0].tokenizer)]
                    uniform = uniforms(np.array([asked.key], np.uint64), np.array([place]))
                    drawn = draw(next_token_probabilities(row, None), torch.from_numpy(uniform))
                    assert int(drawn) == rollout.completion.token_ids[place]


def test_the_first_groups_are_sampled_first(models, judge):
    """With as many slots as one group has rollouts, the oldest group is the first to be whole."""
    order = [g.problem.id for found in iterations(models, judge, 3, [0] * 6, trained=1) for g in found.groups]
    assert order[0] in ("p0", "p1")
    assert Counter(order) == Counter(f"p{n}" for n in range(6))


def test_a_lower_limit_ends_what_is_longer_already(models, judge):
    one = collector(models[0], judge, 64)
    one.sampler.publish(models[0].model, 0)
    encoded, _ = encode_problems(models[0], [problem(0)], 64)
    (begun,) = one.begin(encoded, 2, purpose="rl", iteration=1)
    long = Completion(
        np.arange(9, dtype=np.int32) + 5, np.full(9, -1, np.float32), StopReason.PARTIAL, np.zeros(9, np.int32)
    )
    short = Completion(long.token_ids[:2], long.logprobs[:2], StopReason.STOP, np.zeros(2, np.int32))
    rollouts = tuple(replace(r, drawn=d) for r, d in zip(begun.rollouts, (long, short), strict=True))
    limit = replace(SAMPLING, max_completion_tokens=4)
    found = one.go_on(
        [replace(begun, rollouts=rollouts)], limit, ReportReward(), purpose="rl", where="here", shown=False
    )
    (cut, kept) = found.groups[0].rollouts
    assert (cut.completion.token_ids.tolist(), cut.completion.stop_reason) == ([5, 6, 7, 8], StopReason.LENGTH)
    assert (kept.completion.token_ids.tolist(), kept.completion.stop_reason) == ([5, 6], StopReason.STOP)
    assert found.tokens == 0


# -- on disk


def test_what_is_carried_over_is_read_back_and_goes_on_with_the_same_bits(models, judge, tmp_path):
    encoded, _ = encode_problems(models[0], [problem(n) for n in range(6)], 64)
    problems = {one.problem.id: one for one in encoded}
    one = collector(models[0], judge, 64)
    one.sampler.publish(models[0].model, 0)
    quotas = Quotas({"": 2}, overdue=-1)
    more = {"purpose": "rl", "where": "here", "shown": False}
    begun = one.begin(encoded, 3, purpose="rl", iteration=1)
    carried = one.go_on(begun, SAMPLING, ReportReward(), quotas=quotas, **more).carried
    write_carried(tmp_path / "a.parquet", carried, 0)
    again = read_carried(tmp_path / "a.parquet", problems)
    write_carried(tmp_path / "b.parquet", again, 0)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert {r.drawn.stop_reason for g in carried for r in g.rollouts} >= {StopReason.PARTIAL}  # fmt: skip
    one.sampler.publish(models[1].model, 1)
    first, second = (
        by_rollout(one.go_on(groups, SAMPLING, ReportReward(), **more).groups) for groups in (carried, again)
    )
    assert first.keys() == second.keys()
    for name, rollout in first.items():
        other = second[name]
        for field in ("token_ids", "logprobs", "versions"):
            np.testing.assert_array_equal(getattr(rollout.completion, field), getattr(other.completion, field))


def test_nothing_carried_over_is_an_empty_file_and_other_data_is_refused(models, tmp_path):
    write_carried(tmp_path / "none.parquet", [], 0)
    assert read_carried(tmp_path / "none.parquet", {}) == []
    write_carried(tmp_path / "one.parquet", [group(0)], 0)
    with pytest.raises(DataError, match="problem p0 is not among"):
        read_carried(tmp_path / "one.parquet", {})
    (tmp_path / "one.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"one\.parquet: not a readable"):
        read_carried(tmp_path / "one.parquet", {})
