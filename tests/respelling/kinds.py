"""What a kind of respelling or mutation is: a function with a name in one of two tables.

A kind takes a reference answer and a source of chance, and gives what somebody answers: the text of an answer, which
is then put into a box; a `Whole` text, which is taken as it stands; a `Made` pair, where real references of this kind
are rare; or None where the kind does not apply to the reference. To add a kind, write such a function in the module
of its topic, with @respelling("...") or @mutation("...") above it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Whole:
    """A whole completion, and not what goes into a box."""

    text: str


@dataclass(frozen=True)
class Made:
    """A reference of this kind, made from a plain one, and what goes into the box."""

    reference: str
    answer: str


Function = Callable[[str, random.Random], str | Whole | Made | None]


@dataclass(frozen=True)
class Pair:
    """What is graded."""

    reference: str
    completion: str


@dataclass(frozen=True)
class Kind:
    """A way to write an answer differently (harmless), or to get it wrong (harmful)."""

    name: str
    function: Function

    def pair(self, reference: str, chance: random.Random) -> Pair | None:
        """The reference and the completion to grade; None where the kind does not apply."""
        written = self.function(reference, chance)
        if written is None or written == reference:
            return None
        if isinstance(written, Whole):
            return Pair(reference, written.text)
        if isinstance(written, Made):
            return Pair(written.reference, boxed(written.answer))
        return Pair(reference, boxed(written))

    def pairs(self, references: list[str], most: int) -> list[Pair]:
        """The first `most` different pairs that the kind makes of these references, the same in every run."""
        found: dict[Pair, None] = {}
        for reference in references:
            if pair := self.pair(reference, random.Random(f"{self.name}: {reference}")):
                found[pair] = None
            if len(found) == most:
                break
        return list(found)


def boxed(answer: str) -> str:
    """The usual end of a solution."""
    return rf"So the answer is $\boxed{{{answer}}}$."


RESPELLINGS: list[Kind] = []
MUTATIONS: list[Kind] = []


def respelling(name: str) -> Callable[[Function], Function]:
    """A kind of answer that is right."""
    return _added(RESPELLINGS, name)


def mutation(name: str) -> Callable[[Function], Function]:
    """A kind of answer that is wrong."""
    return _added(MUTATIONS, name)


def _added(table: list[Kind], name: str) -> Callable[[Function], Function]:
    def add(function: Function) -> Function:
        table.append(Kind(name, function))
        return function

    return add
