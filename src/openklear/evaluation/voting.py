"""maj@k by mathematical equality: which answers of a problem are one answer, however they are written.

1/2, 0.5 and \\frac{1}{2} vote together. What the judge called correct is one class, for all of it equals the reference;
other answers are compared with each other by the rules that compare answers with references. Programs have no answers
to compare, so maj@k is not defined for them.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from openklear.evaluation.statistics import majority_share
from openklear.evaluation.stored import Sample
from openklear.types import Outcome
from openklear.verifiers.domains import DOMAINS
from openklear.verifiers.mathematics.exact import decide
from openklear.verifiers.mathematics.grader import MathGrader
from openklear.verifiers.mathematics.limits import over_limit
from openklear.verifiers.mathematics.text import normalise, squeeze
from openklear.verifiers.mathematics.values import TooLarge

CORRECT = 0
"""The class of correct answers."""
MOST_ASKED = 100
"""Questions that one problem may put to math-verify; pairs beyond that count as different."""
PATIENCE = 60.0
"""Seconds of the clock after which it is asked no more, as a last resort."""


def majority_shares(
    samples: Sequence[Sample], ks: Sequence[int], grader: MathGrader | None = None
) -> dict[int, float] | None:
    """maj@k (`statistics.majority_share`, which states the tie rule) of one problem's samples for each k.

    Unscorable samples are left out, and so is a k of more samples than are left. None for programs.
    """
    scorable = [one for one in samples if one.outcome is not Outcome.UNSCORABLE]
    if any(map(_is_program, scorable)):
        return None
    found = classes(scorable, grader)
    return {k: majority_share(found, CORRECT, k) for k in ks if k <= len(found)}


def classes(samples: Sequence[Sample], grader: MathGrader | None = None) -> list[int | None]:
    """The class of each sample's answer, equal answers being one class; all samples are of one problem.

    0 are the correct ones; others count from 1, the commonest text first. None is no answer, or no verdict
    (unscorable). Wrong answers are equal where the exact rules of our judge say so; `grader` is asked where these
    cannot tell, and without one such answers are different. Each is held against one representative of every class,
    in an order that the samples' order does not change. A wrong answer is never in the class of the correct ones. In
    domains other than math equal texts alone are equal. Raises ValueError for programs.
    """
    if any(map(_is_program, samples)):
        raise ValueError("programs have no classes of equal answers: maj@k is not defined for them")
    wrong = list(map(_wrong_answer, samples))
    counts = Counter(text for text in wrong if text is not None)
    ordered = sorted(counts, key=lambda text: (-counts[text], text))
    if all(one.domain == "math" for one in samples):
        known = _Classes(grader).of(ordered)
    else:
        known = {text: i for i, text in enumerate(ordered)}
    found: list[int | None] = []
    for one, text in zip(samples, wrong, strict=True):
        other = None if text is None else known[text] + 1
        found.append(CORRECT if one.correct else other)
    return found


def _is_program(sample: Sample) -> bool:
    domain = DOMAINS.get(sample.domain)  # an evaluation of another tool may have domains of its own
    return domain is not None and domain.reference == "tests"


def _wrong_answer(sample: Sample) -> str | None:
    return (sample.extracted or "").strip() or None if sample.outcome is Outcome.INCORRECT else None


class _Classes:
    """Distinct texts of wrong answers to one problem -> classes, within what it may ask of math-verify."""

    def __init__(self, grader: MathGrader | None):
        self._grader = grader
        self._asked = 0
        self._until = time.monotonic() + PATIENCE
        self._beyond: set[str] = set()
        """Texts that math-verify could not read: they are not put to it again."""

    def of(self, texts: Sequence[str]) -> dict[str, int]:
        """Each text's class, from 0 on, the first of each being its representative."""
        found: dict[str, int] = {}
        representatives: list[str] = []
        for text in texts:
            alike = next((i for i, other in enumerate(representatives) if self._equal(other, text)), None)
            if alike is None:
                alike = len(representatives)
                representatives.append(text)
            found[text] = alike
        return found

    def _equal(self, one: str, other: str) -> bool:
        if over_limit(one) or over_limit(other):  # as the judge does, which parses no such text
            return squeeze(normalise(one)) == squeeze(normalise(other))
        try:
            equal = decide(one, other)
        except TooLarge:
            return False
        return self._ask(one, other) if equal is None else equal

    def _ask(self, one: str, other: str) -> bool:
        """What math-verify says of a pair that the exact rules leave open."""
        if self._grader is None or self._asked >= MOST_ASKED or time.monotonic() > self._until:
            return False
        if self._beyond & {one, other}:
            return False
        self._asked += 1
        verdict = self._grader.grade(one, other)
        if "cannot be graded" in verdict.reason:
            self._beyond.add(one if verdict.outcome is Outcome.UNSCORABLE else other)
        return verdict.correct
