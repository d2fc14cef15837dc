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
from openklear.verifiers.domains import Domain, domain_under
from openklear.verifiers.limits import Limits

GRADER_VERSION = f"3, math-verify {metadata.version('math-verify')}"
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


def ask(problem: Problem, prompt_tail: str, limits: Limits, versions: Mapping[str, str], stop_early: bool) -> Question:
    """What attempts at a problem are asked; `versions` of the custom verifiers by domain."""
    domain = domain_under(limits, problem.domain)
    problem = domain.complete(problem)
    parts: tuple[object, ...] = (GRADER_VERSION, domain.name, domain.version)
    if domain.name in versions:
        plain = as_plain(problem, prompt_tail)
        parts += ("custom", versions[domain.name], _digest(plain))
        return Question(problem, domain, "", parts, plain)
    tests = _digest([[type(test).__name__, *astuple(test)] for test in problem.tests])
    parts += (problem.answer, tests, problem.checker, *domain.settings(limits, stop_early))
    refusal = "no reference" if domain.missing(problem) else domain.refuse(problem)
    return Question(problem, domain, refusal, parts)


def work_of(attempt: Attempt, question: Question) -> Work | Verdict:
    """The verdict where it needs no grader, else the work."""
    fault: FormatFault = FormatFault.NONE
    answer: str | None = attempt.text
    if not attempt.exact:
        fault, _, answer = split_thought(attempt.text, attempt.prompt_tail)
    refusal = "engine error" if attempt.stop_reason is StopReason.ERROR else question.refusal
    if refusal:
        return Verdict(Outcome.UNSCORABLE, refusal, total=question.total, format_fault=fault)
    graded = attempt.text
    if question.plain is None:
        found = answer = attempt.text if question.domain.whole else answer
        if answer is not None and not attempt.exact:
            found = question.domain.extract(answer, attempt.problem.answer)
        if not found:
            reason = "no answer after the reasoning" if answer is None else "no answer found"
            return Verdict(Outcome.INCORRECT, reason, total=question.total, format_fault=fault)
        graded = found
    return Work(question, graded, fault, _digest([*question.parts, graded]))


def _digest(value: object) -> str:
    return hashlib.blake2b(json.dumps(value).encode(), digest_size=16).hexdigest()
