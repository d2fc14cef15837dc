"""A row as it is read from a file, before it becomes a demonstration or a problem, and how its prompt is compared."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from openklear.errors import DataError
from openklear.types import Demonstration, Problem


class RowFault(DataError):
    """A row that is understood and still cannot be used. It goes with `reason`, whatever the file's other rows hold."""

    def __init__(self, message: str, reason: str):
        super().__init__(message)
        self.reason = reason
        """Counted in the funnel: one of few."""


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
    """A row that goes: `reason` is counted, `detail` explains this row's case."""

    row: Row
    reason: str
    detail: str = ""


def prompt_text(problem: Problem) -> str:
    """What the problem asks: its turns without the system prompt, which many unrelated rows share."""
    turns = [m["content"] for m in problem.prompt if m["role"] != "system"] or [m["content"] for m in problem.prompt]
    return "\n".join(turns)


def normalise(text: str) -> str:
    """Text whose copies count as the same: composed Unicode (NFC), lower case, single spaces.

    Not NFKC, which would make 'x²' and 'x2' one problem.
    """
    return " ".join(unicodedata.normalize("NFC", text).lower().split())


def prompt_key(problem: Problem) -> str:
    """The normalised prompt: problems with the same one ask the same."""
    return normalise(prompt_text(problem))
