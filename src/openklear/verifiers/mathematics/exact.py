r"""What can be said of two answers exactly and at once, in microseconds and without math-verify.

Numbers are compared as fractions, expressions by their values (which can only tell them apart, unless both are
exact), tuples, intervals, sets, matrices and bare lists by their members. `decide` says True or False where it is sure.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from openklear.verifiers.mathematics.expressions import same_value, value_of
from openklear.verifiers.mathematics.inequalities import same_chains
from openklear.verifiers.mathematics.lists import MATRIX, Listed, listed, same_lists, same_matrix
from openklear.verifiers.mathematics.numbers import is_percent_of, number, same_number
from openklear.verifiers.mathematics.quantities import signs_differ
from openklear.verifiers.mathematics.relations import RELATION, same_equation, unnamed
from openklear.verifiers.mathematics.respelling import prepared
from openklear.verifiers.mathematics.rules import RULES
from openklear.verifiers.mathematics.text import squeeze
from openklear.verifiers.mathematics.values import TooLarge, Unknown

Rule = Callable[[str, str], bool | None]
Ruled = tuple[str | Rule, bool | None]
"""A rule, and what it says."""


@dataclass(frozen=True, slots=True)
class Compared:
    """Two texts that were compared, and what the rule that decided said of them (None: nothing)."""

    depth: int
    """Within how many other comparisons."""
    left: str
    right: str
    rule: str
    """In words."""
    said: bool | None


@dataclass(slots=True)
class Budget:
    """Characters that one comparison may still look at: every member of a set is compared with every other."""

    left: int = 200_000
    steps: list[Compared] | None = None
    """What was compared, in order, where anybody wants to know."""
    depth: int = 0

    def spend(self, characters: int) -> None:
        """Unknown where none are left."""
        self.left -= characters + 20
        if self.left < 0:
            raise Unknown("too much to compare")


_DEGREES = re.compile(r"\\circ|\\degree|°")


def decide(reference: str, answer: str, steps: list[Compared] | None = None) -> bool | None:
    """What can be said exactly and at once; None where it takes math-verify. `steps` gets what was compared.

    TooLarge where a value of the reference is beyond the limits, unless the answer is spelt the same.
    """
    left, right = prepared(reference, answer)
    rule, said = _as_written(reference, answer, left, right)
    if rule:
        if steps is not None:
            steps.append(Compared(0, left, right, rule, said))
        return said
    try:
        return _decide(left, right, Budget(steps=steps))
    except (Unknown, RecursionError):
        return None


def _as_written(reference: str, answer: str, left: str, right: str) -> tuple[str, bool]:
    """What depends on marks that no normalised text has; the rule is "" where nothing does."""
    if not left or not right:
        return "nothing is left once both are in one spelling", False
    if is_percent_of(left, right) and not _DEGREES.search(reference):
        return "a percentage, where the reference is its number", True
    if "boxed" in left or "boxed" in right:  # what is no box to us would be one to math-verify
        return "a box in a box, which is only compared as a text", squeeze(left) == squeeze(right)
    if signs_differ(reference, answer, left, right):
        return "degrees or money beside another unit", False
    return "", False


def _decide(left: str, right: str, budget: Budget) -> bool | None:
    """decide() of normalised texts."""
    budget.spend(len(left) + len(right))
    if budget.steps is None:
        return _ruled(left, right, budget)[1]
    place = len(budget.steps)
    budget.steps.append(Compared(budget.depth, left, right, "", None))
    budget.depth += 1
    rule, said = _ruled(left, right, budget)
    budget.depth -= 1
    budget.steps[place] = Compared(budget.depth, left, right, rule if isinstance(rule, str) else _in_words(rule), said)
    return said


def _in_words(rule: Rule) -> str:
    """A rule of `rules`, as its description says it."""
    return (rule.__doc__ or rule.__name__).partition("\n")[0].rstrip(".:")


def _ruled(left: str, right: str, budget: Budget) -> Ruled:
    """The rule that decides about two normalised texts, and what it says; None where it leaves that to math-verify."""
    values = number(left), number(right)
    if values[0] and values[1]:
        return "two numbers, as exact fractions", same_number(values[0], values[1])
    if left == right or squeeze(left) == squeeze(right):
        return "equal spelling", True
    for rule in RULES:
        answer = rule(left, right)
        if answer is not None:
            return rule, answer
    stripped = unnamed(left, right)
    if stripped != (left, right):
        return "without what only names the value, and without units", _decide(*stripped, budget)
    lists = listed(left), listed(right)
    if lists[0] or lists[1]:
        return _with_lists(left, right, lists, budget)
    if "\\mathbb" in left or "\\mathbb" in right:
        return "sets of numbers are left to math-verify", None
    if RELATION.search(left) or RELATION.search(right):
        equal = same_chains(left, right, partial(_decide, budget=budget))
        return (
            ("inequalities, part by part", equal)
            if equal is not None
            else ("equations, by their last sides", same_equation(left, right))
        )
    if MATRIX.match(left) or MATRIX.match(right):
        return "matrices, entry by entry", same_matrix(left, right, partial(_decide, budget=budget))
    return "values, which only tell apart what is not a number", same_value(left, right)


def _with_lists(left: str, right: str, lists: tuple[Listed | None, Listed | None], budget: Budget) -> Ruled:
    """Two texts of which one at least is a list, tuple, interval, set or union."""
    if lists[0] and lists[1]:
        return "lists, member by member", same_lists(lists[0], lists[1], partial(_decide, budget=budget))
    if "\\mathbb" in left or "\\mathbb" in right:
        return "sets of numbers are left to math-verify", None
    found, other = (lists[0], right) if lists[0] else (lists[1], left)
    assert found is not None
    if len(found.parts) > 1:
        return "several members beside one", _offers_more(found, other)
    alone = (found.parts[0], right) if lists[0] else (left, found.parts[0])
    return "the one member of a list", _decide(*alone, budget)


def _offers_more(found: Listed, other: str) -> bool | None:
    """Several members beside what is no list: alternatives are not a single answer."""
    if RELATION.search(other) or "\\begin" in other or "\\pm" in other or "\\mp" in other:
        return None
    if found.kind in ("", "{}"):
        return False
    try:
        return False if value_of(other) is not None else None
    except TooLarge:
        return None
