"""Sample, judge, reward: the part that training, validation and evaluation share.

Three protocols meet here, so that the same loop runs in one process or on many machines: a Sampler makes
completions, a Judge grades them, and the reward is computed from the verdict in one place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from openklear import progress
from openklear.models.chat import decode_completion, encode_prompt, prompt_tail
from openklear.models.loading import LoadedModel
from openklear.recipe.schema import RewardScheme
from openklear.rewards import reward_of
from openklear.rollout.engine import Sampler
from openklear.rollout.seeds import rollout_key
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


class Judge(Protocol):
    """Grades completions; the verdicts stand in the order of the attempts."""

    def judge(self, attempts: Sequence[Attempt], on_progress: Callable[[int], None] | None = None) -> list[Verdict]:
        """One verdict an attempt; `on_progress` gets how many more are judged."""
        ...


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


def encode_problems(
    loaded: LoadedModel, problems: Sequence[Problem], max_prompt_tokens: int
) -> tuple[list[EncodedProblem], list[tuple[Problem, str]]]:
    """Encode prompts; those over the limit are returned apart with their reason, never cut."""
    kept: list[EncodedProblem] = []
    dropped: list[tuple[Problem, str]] = []
    for problem in problems:
        ids = encode_prompt(loaded.tokenizer, problem.prompt)
        if len(ids) > max_prompt_tokens:
            dropped.append((problem, f"prompt of {len(ids)} tokens; max_prompt_tokens is {max_prompt_tokens}"))
        else:
            kept.append(EncodedProblem(problem, ids, prompt_tail(loaded.tokenizer, problem.prompt)))
    return kept, dropped


@dataclass(frozen=True, slots=True)
class Collector:
    """A sampler and a judge around one model."""

    loaded: LoadedModel
    sampler: Sampler
    judge: Judge
    seed: int

    def collect(
        self,
        problems: Sequence[EncodedProblem],
        sampling: Sampling,
        scheme: RewardScheme,
        *,
        purpose: str,
        iteration: int = 0,
        policy_version: int = 0,
        label: str | None = None,
    ) -> list[RolloutGroup]:
        """Sample `sampling.samples` completions of every problem and judge them.

        `purpose` and `iteration` enter the seed of every draw (house rule 9). With `label`, progress is shown.
        """
        completions = self._sample(problems, sampling, purpose, iteration, label)
        owners = [problem for problem in problems for _ in range(sampling.samples)]
        texts = [decode_completion(self.loaded.tokenizer, c.token_ids, self.loaded.end_ids) for c in completions]
        verdicts = self._judge(owners, completions, texts, sampling.overlong, label)
        rollouts = [
            Rollout(
                problem=owner.problem,
                sample_index=index % sampling.samples,
                prompt_ids=np.asarray(owner.prompt_ids, dtype=np.int32),
                completion=completion,
                text=text,
                verdict=verdict,
                reward=_reward(verdict, owner.problem, scheme),
                policy_version=policy_version,
            )
            for index, (owner, completion, text, verdict) in enumerate(
                zip(owners, completions, texts, verdicts, strict=True)
            )
        ]
        size = sampling.samples
        return [
            RolloutGroup(encoded.problem, tuple(rollouts[i * size : (i + 1) * size]))
            for i, encoded in enumerate(problems)
        ]

    def _sample(
        self,
        problems: Sequence[EncodedProblem],
        sampling: Sampling,
        purpose: str,
        iteration: int,
        label: str | None,
    ) -> list[Completion]:
        requests = [
            SampleRequest(
                prompt_ids=encoded.prompt_ids,
                key=rollout_key(self.seed, purpose, iteration, encoded.problem.content_hash, sample),
                max_new_tokens=sampling.max_completion_tokens,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
            )
            for encoded in problems
            for sample in range(sampling.samples)
        ]
        if label is None:
            return self.sampler.sample(requests)
        with progress.task(f"{label}: sampling", len(requests), "rollouts") as advance:
            return self.sampler.sample(requests, lambda done, tokens: advance(done))

    def _judge(
        self,
        owners: Sequence[EncodedProblem],
        completions: Sequence[Completion],
        texts: Sequence[str],
        overlong: str,
        label: str | None,
    ) -> list[Verdict]:
        graded = [i for i, c in enumerate(completions) if overlong == "soft" or c.stop_reason is not StopReason.LENGTH]
        attempts = [
            Attempt(owners[i].problem, texts[i], owners[i].prompt_tail, completions[i].stop_reason) for i in graded
        ]
        if label is None:
            found = self.judge.judge(attempts)
        else:
            with progress.task(f"{label}: grading", len(attempts), "rollouts") as advance:
                found = self.judge.judge(attempts, advance)
        verdicts = dict(zip(graded, found, strict=True))
        return [verdicts.get(i) or _stopped_by_length(owners[i].problem) for i in range(len(completions))]


def _stopped_by_length(problem: Problem) -> Verdict:
    """A cut answer is wrong and badly formed: it must not be punished less than a wrong one (paper.md, departure 5)."""
    return Verdict(Outcome.INCORRECT, "stopped by length", total=len(problem.tests), well_formed=False)


def _reward(verdict: Verdict, problem: Problem, scheme: RewardScheme) -> Reward:
    """Unscorable rollouts have no reward; nan keeps anyone from averaging over them unawares."""
    if verdict.outcome is Outcome.UNSCORABLE:
        return Reward(float("nan"), {})
    return reward_of(verdict, problem.domain, code=scheme.code, format_penalty=scheme.format_penalty)
