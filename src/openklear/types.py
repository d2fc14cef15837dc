"""The nouns of the project: small frozen values that every room may hold.

Shapes stand beside fields: P prompt tokens, T completion tokens.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from openklear.think import FormatFault


class Message(TypedDict):
    """One turn of a conversation, as chat templates take it."""

    role: str
    content: str


def content_hash(messages: Sequence[Message]) -> str:
    """Stable hash of a prompt's messages: what a rollout's seed depends on (house rule 9)."""
    text = json.dumps([[m["role"], m["content"]] for m in messages], ensure_ascii=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class Test:
    """One stdin/stdout test of a program."""

    stdin: str
    stdout: str


@dataclass(frozen=True, slots=True)
class CallTest:
    """One call of a function of the program: LeetCode and LiveCodeBench style."""

    call: str
    """A function, or a method of `Solution` (with or without the class before it)."""
    args: str
    """JSON: an array of positional arguments, or an object of named ones."""
    expected: str
    """JSON: the value it must return."""


@dataclass(frozen=True, slots=True)
class AssertTest:
    """Code that calls the program and asserts: MBPP and HumanEval style. It never runs in the program's box."""

    code: str


AnyTest = Test | CallTest | AssertTest


@dataclass(frozen=True, slots=True)
class Problem:
    """A prompt with what its attempts are held against: a reference answer, or tests."""

    id: str
    prompt: tuple[Message, ...]
    domain: str
    """Its name in verifiers.domains."""
    answer: str | None = None
    tests: tuple[AnyTest, ...] = ()
    checker: str | None = None
    """How outputs are compared where equality is not it (verifiers.checkers); None: equality."""
    level: str | None = None
    source: str = ""

    @property
    def content_hash(self) -> str:
        """Of its prompt."""
        return content_hash(self.prompt)


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A problem with a teacher's reasoning."""

    problem: Problem
    response: str
    where: str = ""
    """file:line the row came from."""
    teacher: str | None = None
    """Who wrote the response, where the source says so."""
    claimed: bool | None = None
    """What the source says of its correctness."""


class StopReason(StrEnum):
    """Why a completion ended."""

    STOP = "stop"
    LENGTH = "length"
    ERROR = "error"
    PARTIAL = "partial"
    """Broken off by the caller's `until`, to be gone on with."""


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """What the sampler is asked for. `key` (64 bits) and the position decide every draw (house rule 9).

    Temperature 0 is greedy decoding: always the likeliest token, of equals the smallest id; the key and what cuts the
    distribution (top_p, top_k, min_p) are unused.
    """

    prompt_ids: tuple[int, ...]
    key: int
    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    """The likeliest tokens are kept until their share of what top_k and min_p leave reaches this; 1: all."""
    top_k: int = 0
    """So many of the likeliest tokens are kept; 0: all."""
    min_p: float = 0.0
    """Tokens of less than this share of the likeliest one's probability are dropped; 0: none."""
    sampled: int = 0
    """So many of the last prompt_ids were sampled for this request before: draws go on at that position."""


@dataclass(frozen=True, slots=True, eq=False)
class Completion:
    """Sampled tokens, the end-of-sequence token included where one was sampled."""

    token_ids: NDArray[np.int32]  # (T,)
    logprobs: NDArray[np.float32]
    """(T,) of each token under the distribution it was sampled from; of greedy ones under the model's own, that is at
    temperature 1 and whole."""
    stop_reason: StopReason
    versions: NDArray[np.int32] | None = None
    """(T,) version of the policy that each token was drawn from; None where the sampler does not say."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a judge is given: a completion's text, and the end of the prompt, which may already open `<think>`."""

    problem: Problem
    text: str
    prompt_tail: str = ""
    stop_reason: StopReason = StopReason.STOP
    exact: bool = False
    """The text is the answer or the program itself: nothing is extracted from it."""


class Outcome(StrEnum):
    """House rule 5: errors are never answers, and never a way out."""

    CORRECT = "correct"
    INCORRECT = "incorrect"
    UNSCORABLE = "unscorable"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verifier says of one completion."""

    outcome: Outcome
    reason: str = ""
    extracted: str | None = None
    """The answer or the program that was graded."""
    passed: int = 0
    total: int = 0
    format_fault: FormatFault = FormatFault.NONE
    seconds: float = 0.0

    @property
    def well_formed(self) -> bool:
        """Reasoning inside one <think>...</think> and an answer after it."""
        return self.format_fault is FormatFault.NONE

    @property
    def correct(self) -> bool:
        """True only for a correct verdict."""
        return self.outcome is Outcome.CORRECT


@dataclass(frozen=True, slots=True)
class Reward:
    """A number and the parts it was made of."""

    value: float
    parts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Rollout:
    """One sampled and judged completion of a problem."""

    problem: Problem
    sample_index: int
    prompt_ids: NDArray[np.int32]  # (P,)
    completion: Completion
    text: str
    verdict: Verdict
    reward: Reward
    policy_version: int
    """Of the weights that its last token was drawn from."""

    @property
    def token_versions(self) -> NDArray[np.int32]:
        """(T,) of each token: `policy_version`, unless the rollout was carried over from an earlier iteration."""
        versions, tokens = self.completion.versions, len(self.completion.token_ids)
        return np.full(tokens, self.policy_version, np.int32) if versions is None else versions


@dataclass(frozen=True, slots=True, eq=False)
class RolloutGroup:
    """All rollouts of one problem in one iteration."""

    problem: Problem
    rollouts: tuple[Rollout, ...]
