"""Lengths, references, format and the correctness policy."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from openklear.curation.rules import Reason
from openklear.data.rows import Dropped, Row, prompt_text
from openklear.think import CLOSE, OPEN, FormatFault, split_thought
from openklear.types import Attempt, Outcome, Verdict
from openklear.verifiers.domains import DOMAINS

Judge = Callable[[Sequence[Attempt]], Sequence[Verdict]]
"""Attempts -> verdicts, in their order."""

EVERY_LEVEL = "*"


def correct_only(rows: Sequence[Row], levels: Sequence[str], judge: Judge) -> list[Row | Dropped]:
    """Drop demonstrations of `levels` that the judge does not find correct: the correctness policy (Table 2).

    No level is the policy "all responses", ["*"] is "correct ones only", and some levels are the report's policy by
    difficulty: the easy ones only where they are right, the hard ones all.

    Rows of other levels are not graded. One that cannot be graded is dropped with a reason of its own: on these levels
    the policy asks for a verdict, and there is none.
    """
    asked = [EVERY_LEVEL in levels or row.problem.level in levels for row in rows]
    missing = [no_reference(row) if ask else None for row, ask in zip(rows, asked, strict=True)]
    gradable = [ask and reason is None for ask, reason in zip(asked, missing, strict=True)]
    attempts = [Attempt(row.problem, row.response or "") for row, grade in zip(rows, gradable, strict=True) if grade]
    verdicts = iter(judge(attempts) if attempts else ())
    found: list[Row | Dropped] = []
    for row, reason, grade in zip(rows, missing, gradable, strict=True):
        why = _by_verdict(next(verdicts)) if grade else reason
        found.append(row if why is None else Dropped(row, *why))
    return found


def bad_length(row: Row, min_prompt: int | None, max_prompt: int | None, max_response: int | None) -> Reason:
    """The first limit that the row breaks, in characters (code points); None is no limit.

    The system prompt does not count. A row without a response passes the limit of responses.
    """
    asked, said = len(prompt_text(row.problem)), len(row.response or "")
    if min_prompt is not None and asked < min_prompt:
        return "prompt too short", f"{asked:,} characters; at least {min_prompt:,}"
    if max_prompt is not None and asked > max_prompt:
        return "prompt too long", f"{asked:,} characters; at most {max_prompt:,}"
    if max_response is not None and said > max_response:
        return "response too long", f"{said:,} characters; at most {max_response:,}"
    return None


def no_reference(row: Row) -> Reason:
    """A problem that nothing can grade: one without the answer, tests or checker it needs.

    A row may say that its recorded outputs are the only ones after all: `checker = "lines"`, which is equality.
    """
    domain = DOMAINS[row.problem.domain]
    reason = domain.missing(row.problem) or domain.refuse(row.problem)
    return (reason, "") if reason else None


def too_few_tests(row: Row, minimum: int) -> Reason:
    """Code problems with fewer tests than the minimum; a wrong program must have a chance to be found out."""
    if not DOMAINS[row.problem.domain].tested or len(row.problem.tests) >= minimum:
        return None
    return "too few tests", f"{len(row.problem.tests)}; at least {minimum}"


def bad_format(row: Row) -> Reason:
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


def _by_verdict(verdict: Verdict) -> Reason:
    if verdict.outcome is Outcome.CORRECT:
        return None
    return ("wrong" if verdict.outcome is Outcome.INCORRECT else "unscorable"), verdict.reason
