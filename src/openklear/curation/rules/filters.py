"""Steps that look at one row at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from openklear.data.rows import Row, Sifted, prompt_text, sift
from openklear.think import CLOSE, OPEN, FormatFault, split_thought
from openklear.types import Attempt, Outcome, Verdict
from openklear.verifiers.domains import DOMAINS

Judge = Callable[[Sequence[Attempt]], Sequence[Verdict]]
"""Attempts -> verdicts, in their order."""

EVERY_LEVEL = "*"


def correct_only(rows: Sequence[Row], levels: Sequence[str], judge: Judge) -> Sifted:
    """Drop demonstrations of `levels` that the judge does not find correct: the correctness policy (Table 2).

    No level is the policy "all responses", ["*"] is "correct ones only", and some levels are the report's policy by
    difficulty: the easy ones only where they are right, the hard ones all.

    Rows of other levels are not graded. One that cannot be graded is dropped with a reason of its own: on these levels
    the policy asks for a verdict, and there is none.
    """
    asked = [row for row in rows if EVERY_LEVEL in levels or row.problem.level in levels]
    gradable = [row for row in asked if no_reference(row) is None]
    verdicts = judge([Attempt(row.problem, row.response or "") for row in gradable]) if gradable else ()
    reasons: dict[int, tuple[str, str] | None] = {id(row): no_reference(row) for row in asked}
    for row, verdict in zip(gradable, verdicts, strict=True):
        reasons[id(row)] = _by_verdict(verdict)
    return sift(rows, lambda row: reasons.get(id(row)))


@dataclass(frozen=True, slots=True)
class LengthRule:
    """Limits of the prompt (its turns without the system prompt) and the response; one that is None does not hold.

    Characters are code points; words stand between white space. A row without a response passes its limits.
    """

    min_prompt: int | None = None
    max_prompt: int | None = None
    min_response: int | None = None
    max_response: int | None = None
    min_response_words: int | None = None
    max_response_words: int | None = None

    def __call__(self, row: Row) -> tuple[str, str] | None:
        """The first limit that the row breaks."""
        found = _outside("prompt", len(prompt_text(row.problem)), self.min_prompt, self.max_prompt, "characters")
        if found is not None or row.response is None:
            return found
        found = _outside("response", len(row.response), self.min_response, self.max_response, "characters")
        if found is not None or (self.min_response_words is None and self.max_response_words is None):
            return found
        words = len(row.response.split())
        return _outside("response", words, self.min_response_words, self.max_response_words, "words")


length_rule = LengthRule


def _outside(what: str, size: int, low: int | None, high: int | None, unit: str) -> tuple[str, str] | None:
    if low is not None and size < low:
        return f"{what} too short", f"{size:,} {unit}; at least {low:,}"
    if high is not None and size > high:
        return f"{what} too long", f"{size:,} {unit}; at most {high:,}"
    return None


def no_reference(row: Row) -> tuple[str, str] | None:
    """A problem that nothing can grade: one without the answer, tests or checker it needs.

    A row may say that its recorded outputs are the only ones after all: `checker = "lines"`, which is equality.
    """
    domain = DOMAINS[row.problem.domain]
    reason = domain.missing(row.problem) or domain.refuse(row.problem)
    return (reason, "") if reason else None


def _by_verdict(verdict: Verdict) -> tuple[str, str] | None:
    if verdict.outcome is Outcome.CORRECT:
        return None
    return ("wrong" if verdict.outcome is Outcome.INCORRECT else "unscorable"), verdict.reason


def bad_format(row: Row) -> tuple[str, str] | None:
    """A response that is not one <think>...</think> with an answer after it."""
    text = row.response or ""
    fault, _, answer = split_thought(text)
    if fault is FormatFault.NONE:
        return None
    opened, closed = text.count(OPEN), text.count(CLOSE)
    detail = f"{opened} {OPEN}, {closed} {CLOSE}"
    if not opened or not closed:
        return ("no reasoning" if not opened and not closed else "reasoning not closed or not opened"), detail
    if opened > 1 or closed > 1:
        return "more than one reasoning", detail
    return ("no answer after the reasoning" if answer is None else "text before the reasoning"), detail
