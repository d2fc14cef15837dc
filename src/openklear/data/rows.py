"""A row on its way through curation, and what a step makes of rows.

A step is a pure function of a sequence of rows. It answers with a `Sifted`: the rows that stay, in their order, and
the rows that go, each with its reason. Nothing is ever lost between the two (house rule 6).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from openklear.types import Demonstration, Problem


@dataclass(frozen=True, slots=True)
class Row:
    """A problem, or with a response a demonstration."""

    problem: Problem
    where: str
    """source path:line."""
    response: str | None = None
    solution: str | None = None
    """The source's own reference: a program that passes the tests, or a worked solution."""
    teacher: str | None = None
    """Who wrote the response, where the source says so."""
    claimed: bool | None = None
    """What the source says of the response's correctness; the verifiers decide."""

    def demonstration(self) -> Demonstration:
        """The row as a demonstration; it has a response."""
        assert self.response is not None, f"{self.where}: a problem is no demonstration"
        return Demonstration(self.problem, self.response, self.where, self.teacher, self.claimed)


@dataclass(frozen=True, slots=True)
class Dropped:
    """A row that goes: `reason` is counted, `detail` tells this row's own story."""

    row: Row
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Sifted:
    """What a step leaves and what it takes out, both in the order of the rows it was given."""

    kept: tuple[Row, ...]
    dropped: tuple[Dropped, ...]


Rule = Callable[[Row], "tuple[str, str] | None"]
"""A row's (reason, detail) for being dropped, or None."""


def sift(rows: Sequence[Row], rule: Rule) -> Sifted:
    """Ask `rule` about every row, in order."""
    kept: list[Row] = []
    dropped: list[Dropped] = []
    for row in rows:
        verdict = rule(row)
        if verdict is None:
            kept.append(row)
        else:
            dropped.append(Dropped(row, *verdict))
    return Sifted(tuple(kept), tuple(dropped))


def prompt_text(problem: Problem) -> str:
    """What the problem asks: its turns without the system prompt, which many unrelated rows share."""
    turns = [m["content"] for m in problem.prompt if m["role"] != "system"] or [m["content"] for m in problem.prompt]
    return "\n".join(turns)


def normalise(text: str) -> str:
    """Text whose copies count as the same: composed Unicode (NFC), lower case, single spaces.

    Not NFKC, which would make 'x²' and 'x2' one problem.
    """
    return " ".join(unicodedata.normalize("NFC", text).lower().split())


def prompt_key(row: Row) -> str:
    """The normalised prompt: rows with the same one ask the same."""
    return normalise(prompt_text(row.problem))
