"""What grading an attempt depends on, and the key under which its verdict is kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from typing import Any

from openklear.types import Attempt, Domain, FormatFault, Outcome, Problem, StopReason, Verdict
from openklear.verifiers.answers import extract_answer
from openklear.verifiers.checkers import needs_checker
from openklear.verifiers.custom import as_plain
from openklear.verifiers.format import extract_program, split_reasoning

GRADER_VERSION = 2
"""Part of every key: raise it when a grader's answers change, so that old journals are not believed."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What grading may use, and who grades (the recipe's [verifiers])."""

    workers: int = 2
    math_seconds: float = 5.0
    code_seconds: float = 2.0
    code_memory_mb: int = 256
    minimum_isolation: str = "bubblewrap"
    sandbox_url: str | None = None
    """A SandboxFusion server that runs the programs instead of boxes on this machine."""
    custom: Mapping[Domain, str] = field(default_factory=dict)
    """Verifiers of the user's own in the place of ours (verifiers.custom), by domain."""


@dataclass(frozen=True, slots=True)
class Question:
    """A problem, and what is the same for all attempts at it."""

    problem: Problem
    refusal: str
    """Why no attempt at it can be graded; empty where one can."""
    parts: tuple[object, ...]
    """What its verdicts depend on besides the attempt."""
    plain: Mapping[str, Any] | None = None
    """What a custom verifier is told."""

    @property
    def total(self) -> int:
        """Tests, or 1 for an answer."""
        return len(self.problem.tests) if self.problem.domain == "code" else 1


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
        """What the attempt answered, where we know it."""
        return self.graded if self.question.plain is None else None


class Questions:
    """The questions of a batch of attempts, each made once. Not for two threads at once."""

    def __init__(self, limits: Limits, versions: Mapping[Domain, str], *, stop_early: bool):
        """`versions` of the custom verifiers by domain."""
        self._limits, self._versions, self._stop_early = limits, versions, stop_early
        self._known: dict[tuple[int, str], Question] = {}

    def work(self, attempt: Attempt) -> Work | Verdict:
        """The verdict where it needs no grader, else the work."""
        question = self._question(attempt)
        fault, answer = (
            (FormatFault.NONE, attempt.text) if attempt.exact else split_reasoning(attempt.text, attempt.prompt_tail)
        )
        refusal = "engine error" if attempt.stop_reason is StopReason.ERROR else question.refusal
        if refusal:
            return Verdict(Outcome.UNSCORABLE, refusal, total=question.total, format_fault=fault)
        if question.plain is not None:
            return Work(question, attempt.text, fault, _key(question, attempt.text))
        if attempt.exact or answer is None:
            extracted = answer
        elif attempt.problem.domain == "math":
            extracted = extract_answer(answer, attempt.problem.answer)
        else:
            extracted = extract_program(answer)
        if not extracted:
            reason = "no answer after the reasoning" if answer is None else "no answer found"
            return Verdict(Outcome.INCORRECT, reason, total=question.total, format_fault=fault)
        return Work(question, extracted, fault, _key(question, extracted))

    def _question(self, attempt: Attempt) -> Question:
        # A problem is known again by its id(), which stays its own while the question holds it.
        name = id(attempt.problem), attempt.prompt_tail
        if name not in self._known:
            self._known[name] = self._asked(attempt.problem, attempt.prompt_tail)
        return self._known[name]

    def _asked(self, problem: Problem, prompt_tail: str) -> Question:
        limits, domain = self._limits, problem.domain
        parts: tuple[object, ...] = (GRADER_VERSION, domain)
        if domain in limits.custom:
            plain = as_plain(problem, prompt_tail)
            return Question(problem, "", (*parts, "custom", self._versions[domain], _digest(plain)), plain)
        if domain == "math":
            refusal = "" if problem.answer is not None else "no reference"
            return Question(problem, refusal, (*parts, problem.answer, limits.math_seconds))
        tests = _digest([[type(test).__name__, *astuple(test)] for test in problem.tests])
        where = "boxes" if limits.sandbox_url is None else "server"
        parts += (tests, problem.checker, limits.code_seconds, limits.code_memory_mb, where, self._stop_early)
        return Question(problem, _refusal(problem), parts)


def _refusal(problem: Problem) -> str:
    if not problem.tests:
        return "no reference"
    statement = "\n".join(message["content"] for message in problem.prompt)
    if problem.checker is None and needs_checker(statement):
        return "many valid answers and no checker"
    return ""


def _key(question: Question, graded: str) -> str:
    """Hash of all that the verdict depends on."""
    return _digest([*question.parts, graded])


def _digest(value: object) -> str:
    return hashlib.blake2b(json.dumps(value).encode(), digest_size=16).hexdigest()
