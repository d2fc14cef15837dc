"""What grading an attempt depends on, and the key under which its verdict is kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from importlib import metadata
from typing import Any

from openklear.think import FormatFault, split_thought
from openklear.types import Attempt, Outcome, Problem, StopReason, Verdict
from openklear.verifiers.custom import as_plain
from openklear.verifiers.domains import Domain, domain_named
from openklear.verifiers.limits import Limits

GRADER_VERSION = f"2, math-verify {metadata.version('math-verify')}"
"""Part of every key: raise it when a grader's answers change, so that old journals are not believed."""


@dataclass(frozen=True, slots=True)
class Question:
    """A problem, and what is the same for all attempts at it."""

    problem: Problem
    domain: Domain
    refusal: str
    """Why no attempt at it can be graded; empty where one can."""
    parts: tuple[object, ...]
    """What its verdicts depend on besides the attempt."""
    plain: Mapping[str, Any] | None = None
    """What a custom verifier gets, if one grades."""

    @property
    def total(self) -> int:
        """Tests, or 1 for an answer."""
        return self.domain.total(self.problem)


@dataclass(frozen=True, slots=True)
class Work:
    """An attempt after the format check: what is left to grade, and under which key its verdict is kept."""

    question: Question
    graded: str
    """The answer or the program; for a custom verifier the whole completion."""
    fault: FormatFault
    key: str

    @property
    def extracted(self) -> str | None:
        """What the attempt answered, if we know it."""
        return self.graded if self.question.plain is None else None


class Questions:
    """The questions of a batch of attempts, each made once. Not for two threads at once."""

    def __init__(self, limits: Limits, versions: Mapping[str, str], *, stop_early: bool):
        """`versions` of the custom verifiers by domain."""
        self._limits, self._versions, self._stop_early = limits, versions, stop_early
        self._known: dict[tuple[int, str], Question] = {}

    def work(self, attempt: Attempt) -> Work | Verdict:
        """The verdict where it needs no grader, else the work."""
        question = self._question(attempt)
        fault, answer = _form(attempt)
        refusal = "engine error" if attempt.stop_reason is StopReason.ERROR else question.refusal
        if refusal:
            return Verdict(Outcome.UNSCORABLE, refusal, total=question.total, format_fault=fault)
        if question.plain is not None:
            return Work(question, attempt.text, fault, _key(question, attempt.text))
        extracted = answer
        if answer is not None and not attempt.exact:
            extracted = question.domain.extract(answer, attempt.problem.answer)
        if not extracted:
            reason = "no answer after the reasoning" if answer is None else "no answer found"
            return Verdict(Outcome.INCORRECT, reason, total=question.total, format_fault=fault)
        return Work(question, extracted, fault, _key(question, extracted))

    def _question(self, attempt: Attempt) -> Question:
        # A problem is recognised by its id(), which no other object can have while the question holds it.
        name = id(attempt.problem), attempt.prompt_tail
        if name not in self._known:
            self._known[name] = self._asked(attempt.problem, attempt.prompt_tail)
        return self._known[name]

    def _asked(self, problem: Problem, prompt_tail: str) -> Question:
        domain = domain_named(problem.domain)
        parts: tuple[object, ...] = (GRADER_VERSION, domain.name, domain.version)
        if domain.name in self._limits.custom:
            plain = as_plain(problem, prompt_tail)
            parts += ("custom", self._versions[domain.name], _digest(plain))
            return Question(problem, domain, "", parts, plain)
        tests = _digest([[type(test).__name__, *astuple(test)] for test in problem.tests])
        parts += (problem.answer, tests, problem.checker, *domain.settings(self._limits, self._stop_early))
        refusal = "no reference" if domain.missing(problem) else domain.refuse(problem)
        return Question(problem, domain, refusal, parts)


def _form(attempt: Attempt) -> tuple[FormatFault, str | None]:
    """What is wrong with the form, and the part of the text that answers."""
    if attempt.exact:
        return FormatFault.NONE, attempt.text
    fault, _, answer = split_thought(attempt.text, attempt.prompt_tail)
    return fault, answer


def _key(question: Question, graded: str) -> str:
    """Hash of all that the verdict depends on."""
    return _digest([*question.parts, graded])


def _digest(value: object) -> str:
    return hashlib.blake2b(json.dumps(value).encode(), digest_size=16).hexdigest()
