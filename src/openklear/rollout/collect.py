"""Sample, judge, reward: the part that training, validation and evaluation share.

A Sampler makes completions, the Judge judges them, and the reward is computed from the verdict in one place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from openklear import progress
from openklear.models.loading import LoadedModel
from openklear.recipe.reward import RewardScheme
from openklear.rewards import needs_every_test, reward_of
from openklear.rollout.ahead import TokensAhead
from openklear.rollout.carry import Begun, BegunGroup, Quotas, WholeGroups, all_of, joined, versions
from openklear.rollout.encoding import EncodedProblem
from openklear.rollout.graded import Graded, GradingWatch
from openklear.rollout.protocol import Progress, Sampler
from openklear.rollout.seeds import copies, rollout_key
from openklear.types import (
    Completion,
    Outcome,
    Problem,
    Reward,
    Rollout,
    RolloutGroup,
    SampleRequest,
    StopReason,
    Verdict,
)
from openklear.verifiers.judge import Judge
from openklear.verifiers.unscorable import UNSCORABLE_SHARE, refuse_unscorable


@dataclass(frozen=True, slots=True)
class Sampling:
    """How completions are drawn, and what one that was stopped by length counts as."""

    samples: int
    temperature: float
    top_p: float
    max_completion_tokens: int
    overlong: Literal["incorrect", "mask", "soft"] = "incorrect"
    top_k: int = 0
    min_p: float = 0.0


@dataclass(frozen=True, slots=True)
class Gathered:
    """What a collection has made."""

    groups: list[RolloutGroup]
    """Whole and judged, in the order in which they were begun."""
    carried: list[BegunGroup]
    """The others."""
    begun: list[BegunGroup]
    """All of them, as far as they are drawn."""
    tokens: int
    """Drawn in it."""


@dataclass(frozen=True, slots=True)
class Collector:
    """A sampler and a judge around one model."""

    loaded: LoadedModel
    sampler: Sampler
    judge: Judge
    seed: int
    unscorable_share: float = UNSCORABLE_SHARE
    """Largest share of a domain's verdicts in one collection that may be unscorable."""
    lengths: dict[str, float] = field(default_factory=dict)
    """Purpose -> tokens drawn per rollout that ended by itself, in its latest collection."""

    def collect(
        self,
        problems: Sequence[EncodedProblem],
        sampling: Sampling,
        scheme: RewardScheme,
        *,
        purpose: str,
        iteration: int = 0,
        label: str | None = None,
        copy_numbers: Sequence[int] | None = None,
    ) -> list[RolloutGroup]:
        """Sample `sampling.samples` completions of every problem, and judge each as soon as it has ended.

        `purpose` and `iteration` enter the seed of every draw (house rule 9), and so does the number of a problem among
        those with its prompt: `copy_numbers` where they are counted over more than these problems. With `label`,
        progress is shown. RunError where the unscorable prevail (house rule 5), as early as that is certain.
        """
        begun = self.begin(problems, sampling.samples, purpose=purpose, iteration=iteration, copy_numbers=copy_numbers)
        where = label or f"{purpose}, iteration {iteration}"
        return self.go_on(begun, sampling, scheme, purpose=purpose, where=where, shown=label is not None).groups

    def begin(
        self,
        problems: Sequence[EncodedProblem],
        samples: int,
        *,
        purpose: str,
        iteration: int = 0,
        copy_numbers: Sequence[int] | None = None,
    ) -> list[BegunGroup]:
        """Ask for completions of every problem; nothing is drawn yet. See `collect`."""
        if copy_numbers is None:
            copy_numbers = copies(encoded.problem.content_hash for encoded in problems)
        found = []
        for encoded, copy in zip(problems, copy_numbers, strict=True):
            name = encoded.problem.content_hash
            keys = [rollout_key(self.seed, purpose, iteration, name, sample, copy) for sample in range(samples)]
            found.append(BegunGroup(encoded, iteration, tuple(map(Begun, range(samples), keys))))
        return found

    def go_on(
        self,
        begun: Sequence[BegunGroup],
        sampling: Sampling,
        scheme: RewardScheme,
        *,
        purpose: str,
        where: str,
        shown: bool = True,
        quotas: Quotas | None = None,
        go: Callable[[], None] | None = None,
    ) -> Gathered:
        """Sample groups that were begun, the first ones first: all to their end, or until `quotas` are met.

        `where` names the collection in errors, and with `shown` its progress. What `go` raises, which is called now and
        then, ends it; the sampler must support `partial` for that to be at once.
        """
        self.judge.trial([group.owner.problem for group in begun])
        call = _Collection(begun, sampling.max_completion_tokens, quotas, self.sampler.version, go)
        with self.judge.begin(stop_early=not needs_every_test(scheme)) as batch:
            watch = GradingWatch(batch, len(call.flat), self.unscorable_share, where)
            graded = Graded(self.loaded, call.owners, watch, graded_when_cut=sampling.overlong == "soft")
            for index in call.ended:
                graded.add(index, call.flat[index].drawn)
            label = where if shown else None
            self._sample(call, sampling, graded, label, purpose)
            verdicts = graded.finish(label, go)
        groups, chosen = [], call.whole.chosen()
        for number in chosen:
            span = call.span(number)
            rollouts = [_rollout(call, index, graded.texts[index], verdicts[index], scheme) for index in span]
            groups.append(RolloutGroup(call.begun[number].owner.problem, tuple(rollouts)))
        refuse_unscorable(groups, self.unscorable_share, where)
        drawn = call.drawn()
        carried = [group for number, group in enumerate(drawn) if number not in chosen]
        return Gathered(groups, carried, drawn, call.tokens)

    def _sample(self, call: _Collection, sampling: Sampling, graded: Graded, label: str | None, purpose: str) -> None:
        """Draw what is left of the call's rollouts; each goes to the judge when it has ended.

        Sampling stops where grading has failed: at the next completion, or the next report of progress.
        """
        requests = [_request(call.owners[index], call.flat[index], sampling) for index in call.running]
        ahead = self._ahead(requests, purpose)

        def ended(place: int, completion: Completion) -> None:
            ahead.add(completion.stop_reason)
            index = call.running[place]
            call.take(index, completion)
            graded.add(index, call.flat[index].drawn)

        found: list[Completion] = []
        if not call.enough():  # where groups were carried over, as many as are wanted may be whole
            with self._report(graded.watch, ahead, len(requests), label) as report:
                found = self.sampler.sample(requests, report, ended, call.until)
        for index, completion in zip(call.running, found, strict=bool(found)):
            if completion.stop_reason is StopReason.PARTIAL:
                call.take(index, completion)
        call.tokens = sum(len(completion.token_ids) for completion in found)
        if ahead.ended:
            self.lengths[purpose] = call.tokens / max(1, ahead.stopped)

    @contextmanager
    def _report(self, watch: GradingWatch, ahead: TokensAhead, total: int, label: str | None) -> Iterator[Progress]:
        """The sampler's `on_progress`; with a label it is shown."""
        if label is None:
            yield lambda done, tokens: watch.check()
            return
        pace, drawn = progress.Stopwatch(), 0
        with progress.task(f"{label}: sampling", total, "rollouts", brief=True) as advance:

            def report(done: int, tokens: int) -> None:
                nonlocal drawn
                drawn += tokens
                watch.check()
                figures = {"tokens": f"{drawn:,}", "tokens/s": f"{pace.speed(drawn):,.0f}"}
                advance(done, pace.left(drawn, ahead.tokens(drawn)), **figures)

            yield report

    def _ahead(self, requests: Sequence[SampleRequest], purpose: str) -> TokensAhead:
        width = min(getattr(self.sampler, "slots", len(requests)), len(requests))
        longest = max((request.max_new_tokens for request in requests), default=0)
        return TokensAhead(len(requests), width, longest, self.lengths.get(purpose))


class _Collection:
    """One call of `go_on`: its rollouts by index, group by group, as they grow."""

    def __init__(
        self,
        begun: Sequence[BegunGroup],
        limit: int,
        quotas: Quotas | None,
        version: int,
        go: Callable[[], None] | None,
    ) -> None:
        self.begun, self.version = begun, version
        self.flat: list[Begun] = []
        self.owners: list[EncodedProblem] = []
        self._group: list[int] = []
        self._starts: list[int] = []
        for number, group in enumerate(begun):
            self._starts.append(len(self.flat))
            self.flat += [rollout.cut(limit) for rollout in group.rollouts]
            self.owners += [group.owner] * len(group.rollouts)
            self._group += [number] * len(group.rollouts)
        self.ended = [index for index, rollout in enumerate(self.flat) if rollout.ended]
        self.running = [index for index, rollout in enumerate(self.flat) if not rollout.ended]
        left = Counter(map(self._group.__getitem__, self.running))
        self.whole = WholeGroups(begun, [left[number] for number in range(len(begun))], quotas or all_of(begun))
        self._go = go
        self.until = self._until if quotas is not None or go is not None else None
        self.tokens = 0
        """Drawn in this call."""

    def enough(self) -> bool:
        """Whether as many groups are whole as are wanted."""
        return self.whole.enough()

    def _until(self) -> bool:
        if self._go is not None:
            self._go()
        return self.enough()

    def drawn(self) -> list[BegunGroup]:
        """The groups as they are now."""
        spans = map(self.span, range(len(self.begun)))
        return [
            replace(group, rollouts=tuple(self.flat[span.start : span.stop]))
            for group, span in zip(self.begun, spans, strict=True)
        ]

    def take(self, index: int, completion: Completion) -> None:
        """What the sampler has drawn of a running rollout."""
        before = self.flat[index]
        self.flat[index] = replace(before, drawn=joined(before.drawn, completion, self.version))
        if self.flat[index].ended:
            self.whole.ended(self._group[index])

    def span(self, group: int) -> range:
        """The indices of a group's rollouts."""
        return range(self._starts[group], self._starts[group] + len(self.begun[group].rollouts))


def _request(owner: EncodedProblem, rollout: Begun, sampling: Sampling) -> SampleRequest:
    """What is left to be drawn of a rollout."""
    drawn = tuple(rollout.drawn.token_ids.tolist())
    return SampleRequest(
        prompt_ids=(*owner.prompt_ids, *drawn),
        key=rollout.key,
        max_new_tokens=sampling.max_completion_tokens - len(drawn),
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        min_p=sampling.min_p,
        sampled=len(drawn),
    )


def _rollout(call: _Collection, index: int, text: str, verdict: Verdict, scheme: RewardScheme) -> Rollout:
    begun, owner = call.flat[index], call.owners[index]
    drawn_from = versions(begun.drawn, call.version)
    return Rollout(
        problem=owner.problem,
        sample_index=begun.sample,
        prompt_ids=np.asarray(owner.prompt_ids, dtype=np.int32),
        completion=begun.drawn,
        text=text,
        verdict=verdict,
        reward=_reward(verdict, owner.problem, scheme, begun.sample),
        policy_version=int(drawn_from[-1]) if len(drawn_from) else call.version,
    )


def _reward(verdict: Verdict, problem: Problem, scheme: RewardScheme, sample: int) -> Reward:
    """Unscorable rollouts have no reward; nan keeps anyone from averaging over them unnoticed."""
    if verdict.outcome is Outcome.UNSCORABLE:
        return Reward(float("nan"), {})
    return reward_of(verdict, problem.domain, scheme, f"problem {problem.id}, sample {sample}")
