"""Completions of an evaluation on their way through the judge."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from openklear import progress
from openklear.durable.journal import Journal, Span
from openklear.errors import EngineError
from openklear.evaluation.completions import Completions, Drawn
from openklear.evaluation.sources import Due
from openklear.evaluation.standing import stands
from openklear.evaluation.stored import EXTRACTED_SHOWN, Place, Sample, row_of
from openklear.rollout.graded import stopped_by_length
from openklear.types import Attempt, Outcome, StopReason, Verdict
from openklear.verifiers.judge import AttemptBatch
from openklear.verifiers.unscorable import refuse_verdicts

LOOK_SECONDS = 0.5
"""Between two looks at what has been judged."""
REFUSED_IN_A_ROW = 5
"""Problems that a server refuses, if it has answered none, before its limits count as the fault and not the prompts."""


class Pending:
    """Takes completions by their keys; `samples` are those that have been judged."""

    def __init__(
        self,
        dues: Mapping[str, Sequence[Due]],
        book: Completions,
        batch: AttemptBatch,
        live: Journal,
        label: str,
        share: float,
    ):
        """`dues`: what each completion answers. `live` gets the samples as they come."""
        self._dues, self._book, self._batch, self._live = dues, book, batch, live
        self._label, self._share = label, share
        self._asked: list[tuple[str, Due, Drawn]] = []
        self._answered = False
        self._refused: set[Place] = set()
        self._problems = len({_place(some[0]) for some in dues.values()})
        self._looked = 0.0
        self.total = len(dues)
        self.samples: list[Sample] = []

    def take_known(self) -> list[str]:
        """The keys of those that must be sampled; what is there already goes to the judge."""
        missing = []
        for key in self._dues:
            drawn = self._book.read(key) if key in self._book.spans else None
            if drawn is None or drawn.stop_reason is StopReason.ERROR:
                missing.append(key)
            else:
                self._answered = True
                self._judge(key, drawn)
        if missing and len(missing) < self.total:
            there = self.total - len(missing)
            progress.say(f"{self._label}: {there:,} completions are there already, {len(missing):,} are sampled")
        return missing

    def add(self, key: str, drawn: Drawn) -> None:
        """One that has just ended. EngineError where the server refuses every problem that it is asked."""
        query, sample = self._dues[key][0]
        if drawn.stop_reason is StopReason.ERROR:
            self._refused.add(_place(self._dues[key][0]))
            self._require_an_answer(drawn.text)
        else:
            self._answered = True
        self._book.add(key, query, sample, drawn)
        self._judge(key, drawn)
        self.look()

    def _require_an_answer(self, words: str) -> None:
        if not self._answered and len(self._refused) >= min(REFUSED_IN_A_ROW, self._problems):
            raise EngineError(
                f"{self._label}: all of the first {len(self._refused)} problems were refused: {words}. Where the "
                "server wants prompt and completion to fit together, lower --max-completion-tokens"
            )

    def _judge(self, key: str, drawn: Drawn) -> None:
        for due in self._dues[key]:
            problem, tail = due.query.problem, due.query.prompt_tail
            self._asked.append((key, due, Drawn("", drawn.stop_reason, drawn.tokens)))  # the text stays on the disk
            if drawn.stop_reason is StopReason.ERROR:
                self._batch.add(Verdict(Outcome.INCORRECT, f"not asked: {drawn.text}"))
            elif drawn.stop_reason is StopReason.LENGTH:
                self._batch.add(stopped_by_length(problem, drawn.text, tail))
            else:
                self._batch.add(Attempt(problem, drawn.text, tail))

    def look(self) -> None:
        """Takes up what has been judged, now and then; raises what judging raised."""
        now = time.monotonic()
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            self._take()

    def _take(self) -> int:
        """How many were judged since the last time."""
        refuse_verdicts(self._batch.unscorable, self.total, self._share, self._label)
        new = [self._sample(place, verdict) for place, verdict in self._batch.ready()]
        self.samples += new
        self._live.add([row_of(one) for one in new], sync=False)
        return len(new)

    def _sample(self, place: int, verdict: Verdict) -> Sample:
        key, due, drawn = self._asked[place]
        reference = due.query.problem.answer
        looked_for = not verdict.correct and reference is not None
        stands_in = looked_for and stands(self._book.read(key).text, reference)
        return sample_of(key, due, drawn, verdict, stands_in, self._book.spans[key])

    def finish(self) -> None:
        """Waits for the judge. RunError where too many of a domain's verdicts are unscorable."""
        left = len(self._asked) - len(self.samples)
        with progress.task(f"{self._label}: grading", left, "completions", brief=True) as advance:
            while len(self.samples) < len(self._asked):
                advance(self._take() or self._batch.wait(LOOK_SECONDS))
        for domain in dict.fromkeys(one.domain for one in self.samples):
            mine = [one for one in self.samples if one.domain == domain]
            verdicts = [Verdict(one.outcome, one.reason) for one in mine]
            if len({one.problem for one in mine}) > 1:
                refuse_verdicts(verdicts, len(verdicts), self._share, f"{self._label}, {domain}")

    def figures(self) -> dict[str, str]:
        """What stands beside the bar."""
        latest = self.samples[-1000:]
        return {"correct": f"{sum(one.correct for one in latest) / len(latest):.0%}"} if latest else {}


def _place(due: Due) -> Place:
    return due.query.benchmark, due.query.problem.id


def sample_of(key: str, due: Due, drawn: Drawn, verdict: Verdict, stands_in: bool, span: Span) -> Sample:
    """The row of a judged completion."""
    query, extracted = due.query, verdict.extracted
    asked = drawn.stop_reason is not StopReason.ERROR
    return Sample(
        benchmark=query.benchmark,
        problem=query.problem.id,
        domain=query.problem.domain,
        sample=due.sample,
        outcome=verdict.outcome,
        level=query.problem.level,
        reason=verdict.reason,
        extracted=None if extracted is None else extracted[:EXTRACTED_SHOWN],
        passed=verdict.passed,
        total=verdict.total,
        format_fault=str(verdict.format_fault),
        stop_reason=drawn.stop_reason,
        tokens=drawn.tokens if asked else None,
        stands=stands_in,
        start=span.start,
        length=span.length,
        key=key,
    )
