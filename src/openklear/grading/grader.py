"""Grading from Python: single answers and programs, and streams of rows in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

from openklear.errors import DataError
from openklear.grading.rows import graded, malformed, to_attempt, verdict_fields
from openklear.types import Attempt, Verdict
from openklear.verifiers.custom import function
from openklear.verifiers.domains import DOMAINS
from openklear.verifiers.judge import Judge
from openklear.verifiers.limits import Limits
from openklear.verifiers.stream import judged
from openklear.verifiers.walls import Isolation

Row = Mapping[str, Any]


class Grader:
    """Grades single answers and programs; any thread may call. Use it in a `with`, or `close` it.

    Workers start with the first question. VerifierError where programs are asked for and the isolation that the
    limits demand is not available here.
    """

    def __init__(self, limits: Limits | None = None, *, checkers: Sequence[str] = ()):
        """`checkers` of the user's own (`module:function`) that rows may name; they run in this process.

        UsageError where a checker, or a verifier that the limits name, cannot be loaded.
        """
        self.limits = limits or Limits()
        self.checkers = tuple(checkers)
        for name in self.checkers:
            function(name)
        self.judge = Judge(self.limits)

    def math(self, reference: str, completion: str, *, prompt_tail: str = "") -> Verdict:
        """Judge the answer that a completion ends with. `prompt_tail`: a prompt's end, which may open `<think>`."""
        row = {"reference": reference, "completion": completion, "prompt_tail": prompt_tail}
        return self.judge.judge([to_attempt(row, "math")])[0]

    def code(self, program: str, tests: Sequence[Any], *, checker: str | None = None) -> Verdict:
        """Judge a program, as it stands, by tests as in rows. DataError where the tests or the checker are unusable."""
        row = {"program": program, "tests": list(tests), "checker": checker}
        own = () if checker is None else (checker,)
        return self.judge.judge([to_attempt(row, "code", own)])[0]

    def isolation(self) -> Isolation | None:
        """What programs are kept from on this host, found by starting a worker; None where others judge programs."""
        return self.judge.isolation()

    def asked(self, row: Row, kind: str) -> tuple[Row, Attempt | Verdict]:
        """A row on its way to the judge; a malformed one has its verdict already."""
        try:
            return row, to_attempt(row, kind, self.checkers)
        except DataError as error:
            return row, malformed(error)

    def close(self) -> None:
        """Ends all workers; again is harmless."""
        self.judge.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def grade_rows(
    rows: Iterable[Row], kind: str, limits: Limits | None = None, *, checkers: Sequence[str] = ()
) -> Iterator[dict[str, Any]]:
    """Yield the rows with their verdicts, in their order, while later ones are being graded.

    A row that asks nothing that could be judged comes back unscorable, its reason beginning with "malformed row".
    """
    with Grader(limits, checkers=checkers) as grader:
        for batch in judged(grader.judge, (grader.asked(row, kind) for row in rows), DOMAINS[kind].batch):
            for row, verdict in batch:
                yield graded(row, verdict_fields(verdict))
