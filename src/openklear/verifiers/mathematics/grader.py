r"""Is an answer equal to the reference? An exact path decides most pairs in microseconds; math-verify decides the rest.

Before anything is parsed static limits turn monsters away (`limits`); exact comparison needs no other process
(`exact`); what it leaves open goes to a worker process that the kernel kills after `seconds` of CPU time (6 times as
many of the clock). Nothing is ever evaluated as a program.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from openklear.types import Outcome, Verdict
from openklear.verifiers.answers import join_boxes
from openklear.verifiers.mathematics.clocks import time_of_day
from openklear.verifiers.mathematics.exact import Compared, decide
from openklear.verifiers.mathematics.limits import MAX_CHARACTERS, over_limit
from openklear.verifiers.mathematics.numbers import number
from openklear.verifiers.mathematics.respelling import prepared
from openklear.verifiers.mathematics.text import normalise, squeeze
from openklear.verifiers.mathematics.values import TooLarge
from openklear.verifiers.mathematics.words import without_words
from openklear.verifiers.pool import Pool, Worker, WorkerLost, worker_command
from openklear.verifiers.workers.equivalence import WALL_FACTOR

_HARMLESS = "17"
"""An answer that costs nothing. A reference that cannot be compared with it and with itself is at fault, not the
answer that failed (itself alone is not enough: math-verify sees at once that the two are one)."""


_COMPARED = 4 * MAX_CHARACTERS
"""Characters up to which a text over the limits is still compared with another one, as a text."""


class MathGrader:
    """Grades answers over `workers` processes, `seconds` of CPU time a question.

    Any thread may call, and any fork; `close` it.
    """

    def __init__(self, workers: int, seconds: float):
        self._workers, self._seconds = workers, seconds
        self._pools: dict[int, Pool] = {}

    @property
    def pool(self) -> Pool:
        """This process's pool: a fork of ours must not read from the workers that its parent asks."""
        pool = self._pools.get(os.getpid())
        return pool or self._pools.setdefault(os.getpid(), Pool(self._start, self._workers))

    def _start(self) -> Worker:
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path if path),
            "PYTHONHASHSEED": "0",
            "OMP_NUM_THREADS": "1",
        }
        return Worker(worker_command("equivalence", repr(self._seconds)), environment, "/")

    def grade(self, reference: str, answer: str, steps: list[Compared] | None = None) -> Verdict:
        """Compares an extracted answer with the reference, which may hold boxes (several are a set) or none.

        `steps` gets what was compared, by which rule, and what it said.
        """
        reference = join_boxes(reference)
        if broken := over_limit(answer):
            otherwise = _verdict(Outcome.INCORRECT, f"the answer is {broken}")
        elif broken := over_limit(reference):
            otherwise = _verdict(Outcome.UNSCORABLE, f"the reference is {broken}")
        else:
            return self._compared(reference, answer, steps)
        _note(steps, reference, answer, f"a static limit, beyond which texts are only compared as such: {broken}", None)
        return _verdict(Outcome.CORRECT) if _spelt_the_same(reference, answer) else otherwise

    def undecidable(self, reference: str) -> tuple[str, str] | None:
        """Why right answers cannot be told from wrong ones by this reference, and what shows it; None where they can.

        It must be comparable with itself and with something else: where only the first holds, right answers would
        count and wrong ones would not.
        """
        reference = join_boxes(reference)
        if not normalise(reference):
            return "an empty reference", ""
        if broken := over_limit(reference):
            return "a reference beyond the limits", broken
        try:
            decide(reference, _HARMLESS)
        except TooLarge as error:
            return "a reference beyond the limits", str(error)
        left, right = map(without_words, prepared(reference, _HARMLESS))
        known = number(left) or time_of_day(left)
        said = [] if known else [self._request(left, other) for other in (left, right)]
        failed = next((one["error"] for one in said if "error" in one), "")
        return ("a reference that cannot be compared", f"{reference}: {failed}") if failed else None

    def _compared(self, reference: str, answer: str, steps: list[Compared] | None) -> Verdict:
        try:
            equal = decide(reference, answer, steps)
        except TooLarge as error:
            return _verdict(Outcome.UNSCORABLE, f"the reference is {error}")
        if equal is None:
            reference, answer = map(without_words, prepared(reference, answer))
            said = self._request(reference, answer)
            _note(steps, reference, answer, said.get("rule", "math-verify"), said.get("equal"))
            if "equal" not in said:
                sound = all("equal" in self._request(reference, other) for other in (reference, _HARMLESS))
                outcome, whose = (Outcome.INCORRECT, "answer") if sound else (Outcome.UNSCORABLE, "reference")
                return _verdict(outcome, f"the {whose} cannot be graded: {said['error']}")
            equal = bool(said["equal"])
        return _verdict(Outcome.CORRECT) if equal else _verdict(Outcome.INCORRECT, "wrong answer")

    def _request(self, reference: str, answer: str) -> dict[str, Any]:
        """The worker's answer; a lost worker is replaced and asked once more."""
        for _ in range(2):
            try:
                return self.pool.call({"reference": reference, "answer": answer}, WALL_FACTOR * self._seconds + 10.0)
            except WorkerLost:
                continue
        return {"error": "lost its worker twice"}

    def close(self) -> None:
        """Ends all workers."""
        self.pool.close()


def _note(steps: list[Compared] | None, left: str, right: str, rule: str, said: bool | None) -> None:
    if steps is not None:
        steps.append(Compared(0, left, right, rule, said))


def _spelt_the_same(reference: str, answer: str) -> bool:
    """Whether two texts that may not be parsed are one, as they stand or, where neither is huge, normalised."""
    if reference.strip() == answer.strip():
        return True
    short = max(len(answer), len(reference)) <= _COMPARED
    return short and squeeze(normalise(answer)) == squeeze(normalise(reference))


def _verdict(outcome: Outcome, reason: str = "") -> Verdict:
    return Verdict(outcome, reason, passed=int(outcome is Outcome.CORRECT), total=1)
