"""Sample, judge, reward: the part that training, validation and evaluation share.

A Sampler makes completions, the Judge judges them, and the reward is computed from the verdict in one place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Literal

import numpy as np

from openklear import progress
from openklear.errors import RowRefused
from openklear.models.chat import decode_completion, encode_prompt, prompt_tail
from openklear.models.limits import OVER_POSITIONS
from openklear.models.loading import LoadedModel
from openklear.models.tokenizer import Speaker
from openklear.recipe.reward import RewardScheme
from openklear.rewards import needs_every_test, reward_of
from openklear.rollout.ahead import TokensAhead
from openklear.rollout.protocol import Sampler
from openklear.rollout.seeds import copies, rollout_key
from openklear.rollout.wording import PLAIN, Wording
from openklear.think import FormatFault, split_thought
from openklear.types import (
    Attempt,
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
from openklear.verifiers.domains import DOMAINS
from openklear.verifiers.judge import AttemptBatch, Judge
from openklear.verifiers.unscorable import UNSCORABLE_SHARE, refuse_unscorable, refuse_verdicts


@dataclass(frozen=True, slots=True)
class EncodedProblem:
    """A problem as the model sees it."""

    problem: Problem
    prompt_ids: tuple[int, ...]
    prompt_tail: str
    """Text after the user's turn; a template that opens `<think>` itself shows it here."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How completions are drawn, and what one that was stopped by length counts as."""

    samples: int
    temperature: float
    top_p: float
    max_completion_tokens: int
    overlong: Literal["incorrect", "mask", "soft"] = "incorrect"


def encode_problem(
    speaker: Speaker, problem: Problem, max_prompt_tokens: int, wording: Wording = PLAIN
) -> EncodedProblem:
    """The problem as the model sees it. RowRefused where the template does not take it or the prompt is too long."""
    prompt = wording.of(problem.prompt)
    ids = encode_prompt(speaker.tokenizer, prompt)
    if len(ids) > max_prompt_tokens:
        text = f"prompt of {len(ids)} tokens; max_prompt_tokens is {max_prompt_tokens}"
        raise RowRefused(text, f"prompt over max_prompt_tokens = {max_prompt_tokens}")
    if (fault := speaker.longest.prompt_fault(len(ids))) is not None:
        raise RowRefused(fault, OVER_POSITIONS)
    return EncodedProblem(problem, ids, prompt_tail(speaker.tokenizer, prompt))


def encode_problems(
    speaker: Speaker,
    problems: Sequence[Problem],
    max_prompt_tokens: int,
    wordings: Mapping[str, Wording] | None = None,
) -> tuple[list[EncodedProblem], list[tuple[Problem, str]]]:
    """Encode prompts; those that cannot be asked are returned apart with their reason, never cut."""
    kept: list[EncodedProblem] = []
    dropped: list[tuple[Problem, str]] = []
    for problem in problems:
        try:
            wording = (wordings or {}).get(problem.source, PLAIN)
            kept.append(encode_problem(speaker, problem, max_prompt_tokens, wording))
        except RowRefused as error:
            dropped.append((problem, str(error)))
    return kept, dropped


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
        self.judge.trial([encoded.problem for encoded in problems])
        drawn = list(
            product(problems, range(sampling.samples))
        )  # (problem, sample) of each rollout, problem by problem
        if copy_numbers is None:
            copy_numbers = copies(encoded.problem.content_hash for encoded in problems)
        requests = [
            self._request(encoded, sample, copy, sampling, purpose, iteration)
            for (encoded, copy), sample in product(zip(problems, copy_numbers, strict=True), range(sampling.samples))
        ]
        version = self.sampler.version
        with self.judge.begin(stop_early=not needs_every_test(scheme)) as batch:
            owners = [problem for problem, _ in drawn]
            where = label or f"{purpose}, iteration {iteration}"
            watch = _Watch(batch, len(drawn), self.unscorable_share, where)
            work = _Graded(self.loaded, owners, watch, graded_when_cut=sampling.overlong == "soft")
            completions = self._sample(requests, work, label, self._ahead(requests, purpose))
            verdicts = work.finish(label)
        rollouts = [
            Rollout(
                problem=owner.problem,
                sample_index=sample,
                prompt_ids=np.asarray(owner.prompt_ids, dtype=np.int32),
                completion=completion,
                text=text,
                verdict=verdict,
                reward=_reward(verdict, owner.problem, scheme, sample),
                policy_version=version,
            )
            for (owner, sample), completion, text, verdict in zip(drawn, completions, work.texts, verdicts, strict=True)
        ]
        size = sampling.samples
        groups = [
            RolloutGroup(encoded.problem, tuple(rollouts[i * size : (i + 1) * size]))
            for i, encoded in enumerate(problems)
        ]
        refuse_unscorable(groups, self.unscorable_share, where)
        stopped = sum(completion.stop_reason is not StopReason.LENGTH for completion in completions)
        self.lengths[purpose] = sum(len(one.token_ids) for one in completions) / max(1, stopped)
        return groups

    def _request(
        self, encoded: EncodedProblem, sample: int, copy: int, sampling: Sampling, purpose: str, iteration: int
    ) -> SampleRequest:
        return SampleRequest(
            prompt_ids=encoded.prompt_ids,
            key=rollout_key(self.seed, purpose, iteration, encoded.problem.content_hash, sample, copy),
            max_new_tokens=sampling.max_completion_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
        )

    def _ahead(self, requests: Sequence[SampleRequest], purpose: str) -> TokensAhead:
        width = min(getattr(self.sampler, "slots", len(requests)), len(requests))
        longest = max((request.max_new_tokens for request in requests), default=0)
        return TokensAhead(len(requests), width, longest, self.lengths.get(purpose))

    def _sample(
        self, requests: Sequence[SampleRequest], work: _Graded, label: str | None, ahead: TokensAhead
    ) -> list[Completion]:
        """Sampling stops where grading has failed: at the next completion, or the next report of progress."""
        if label is None:
            return self.sampler.sample(requests, lambda done, tokens: work.watch.check(), work.add)
        pace, drawn = progress.Stopwatch(), 0
        with progress.task(f"{label}: sampling", len(requests), "rollouts", brief=True) as advance:

            def report(done: int, tokens: int) -> None:
                nonlocal drawn
                drawn += tokens
                work.watch.check()
                figures = {"tokens": f"{drawn:,}", "tokens/s": f"{pace.speed(drawn):,.0f}"}
                advance(done, pace.left(drawn, ahead.tokens(drawn)), **figures)

            def ended(index: int, completion: Completion) -> None:
                ahead.add(completion)
                work.add(index, completion)

            return self.sampler.sample(requests, report, ended)


@dataclass(frozen=True, slots=True)
class _Watch:
    """Ends a collection that cannot end well: nobody samples on for verdicts that will not come."""

    batch: AttemptBatch
    total: int
    share: float
    where: str

    def check(self) -> None:
        """Raises what judging raised; RunError once more is unscorable than may be, whatever the rest comes to."""
        self.batch.check()
        refuse_verdicts(self.batch.unscorable, self.total, self.share, self.where)


class _Graded:
    """Completions on their way to verdicts: each goes to the judge as soon as it has ended."""

    def __init__(
        self, loaded: LoadedModel, owners: Sequence[EncodedProblem], watch: _Watch, *, graded_when_cut: bool
    ) -> None:
        self.watch, self._batch = watch, watch.batch
        self.texts = [""] * len(owners)
        self._loaded, self._owners, self._graded_when_cut = loaded, owners, graded_when_cut
        self._cut: dict[int, Verdict] = {}
        self._added: list[int] = []

    def add(self, index: int, completion: Completion) -> None:
        """The sampler's `on_completion`."""
        owner = self._owners[index]
        text = decode_completion(self._loaded.tokenizer, completion.token_ids, self._loaded.end_ids)
        self.texts[index] = text
        if completion.stop_reason is StopReason.LENGTH and not self._graded_when_cut:
            self._cut[index] = _stopped_by_length(owner, text)
            return
        self._added.append(index)
        self._batch.add(Attempt(owner.problem, text, owner.prompt_tail, completion.stop_reason))

    def finish(self, label: str | None) -> list[Verdict]:
        """The verdicts in the order of the requests."""
        if label is None:
            found = self._batch.finish(lambda judged: self.watch.check())
        else:
            with progress.task(f"{label}: grading", len(self._added), "rollouts", brief=True) as advance:

                def report(judged: int) -> None:
                    self.watch.check()
                    advance(judged)

                found = self._batch.finish(report)
        verdicts = self._cut | dict(zip(self._added, found, strict=True))
        return [verdicts[index] for index in range(len(self._owners))]


def _stopped_by_length(owner: EncodedProblem, text: str) -> Verdict:
    """A cut answer is wrong and badly formed: our rewards must not punish it less than a wrong one."""
    fault = split_thought(text, owner.prompt_tail).fault
    total = DOMAINS[owner.problem.domain].total(owner.problem)
    return Verdict(Outcome.INCORRECT, "stopped by length", total=total, format_fault=fault or FormatFault.NO_ANSWER)


def _reward(verdict: Verdict, problem: Problem, scheme: RewardScheme, sample: int) -> Reward:
    """Unscorable rollouts have no reward; nan keeps anyone from averaging over them unnoticed."""
    if verdict.outcome is Outcome.UNSCORABLE:
        return Reward(float("nan"), {})
    return reward_of(verdict, problem.domain, scheme, f"problem {problem.id}, sample {sample}")
