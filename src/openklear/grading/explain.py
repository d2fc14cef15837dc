"""Why an answer has its verdict: what was extracted, both sides in one spelling, and the rules that were asked."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

from openklear.think import split_thought
from openklear.types import Outcome, Verdict
from openklear.verifiers.answers import Extracted, find_answer
from openklear.verifiers.limits import Limits
from openklear.verifiers.mathematics.exact import Compared
from openklear.verifiers.mathematics.grader import MathGrader

_SHOWN = 40
"""Comparisons that are told to a person."""
_SAID = {True: "equal", False: "not equal", None: "cannot tell"}


@dataclass(frozen=True, slots=True)
class Explanation:
    """A verdict, and how it came about."""

    reference: str
    fault: str
    """What is wrong with the form of the completion; empty where nothing is."""
    extracted: Extracted | None
    """The answer and from where it was taken; None where none was found."""
    steps: tuple[Compared, ...]
    """What was compared, in order: two texts in one spelling, the rule that decided, and what it said. Steps of depth
    1 and more are part of the step before them; math-verify is asked last, where the others cannot tell."""
    verdict: Verdict

    def lines(self) -> list[str]:
        """For a person; of a long comparison the beginning and the end."""
        found = self.extracted
        lines = [f"reference  {self.reference}", f"extracted  {found.text if found else 'nothing'}"]
        if found:
            lines.append(f"           from {found.where}")
        if self.fault:
            lines.append(f"form       {self.fault} (no part of this verdict)")
        steps = self.steps
        if len(steps) > _SHOWN:
            left_out = Compared(1, "...", "...", f"{len(steps) - _SHOWN} more comparisons", None)
            steps = (*steps[: _SHOWN - 1], left_out, steps[-1])
        for step in steps:
            deep = "  " * step.depth
            lines.append(f"{'           ' if step.depth else 'compared   '}{deep}{step.left}  with  {step.right}")
            lines.append(f"           {deep}{step.rule}: {_SAID[step.said]}")
        outcome, reason = self.verdict.outcome.value, self.verdict.reason
        return [*lines, f"verdict    {outcome}{': ' * bool(reason)}{reason}"]

    def as_dict(self) -> dict[str, Any]:
        """For a program: the same as plain values."""
        found = self.extracted
        return {
            "reference": self.reference,
            "format_fault": self.fault,
            "extracted": found and found.text,
            "from": found and found.where,
            "steps": [asdict(step) for step in self.steps],
            "verdict": self.verdict.outcome.value,
            "reason": self.verdict.reason,
        }


def explain(reference: str, completion: str, *, prompt_tail: str = "", limits: Limits | None = None) -> Explanation:
    """How the answer of a completion is judged by our own grader of mathematics, and why.

    The verdict is that of `Grader.math`. A worker process starts where math-verify is asked, and ends again.
    """
    fault, _, answer = split_thought(completion, prompt_tail)
    found = None if answer is None else find_answer(answer, reference)
    if found is None or not found.text:
        reason = "no answer after the reasoning" if answer is None else "no answer found"
        return Explanation(reference, str(fault), None, (), Verdict(Outcome.INCORRECT, reason, total=1))
    steps: list[Compared] = []
    with closing(MathGrader(1, (limits or Limits()).math_seconds)) as grader:
        verdict = grader.grade(reference, found.text, steps)
    return Explanation(reference, str(fault), found, tuple(steps), verdict)
