"""Questions in, judged samples out: what every evaluation does, in a run's stages and by the command alike.

Completions are kept as they end, and verdicts as they come, so that a kill costs nothing that was there. What is asked
for in vain (its prompt does not fit) counts as wrong: no score is over fewer problems than the benchmark has.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from openklear import progress
from openklear.durable.journal import Journal, Span
from openklear.evaluation.completions import Completions, Drawing, Drawn, key_of
from openklear.evaluation.questions import Question
from openklear.evaluation.sources import Due, Source
from openklear.evaluation.standing import stands
from openklear.evaluation.stored import (
    EXTRACTED_SHOWN,
    PROMPTS,
    SAMPLES,
    Asked,
    Sample,
    row_of,
    write_asked,
    write_samples,
)
from openklear.rollout.ahead import TokensAhead
from openklear.rollout.graded import stopped_by_length
from openklear.types import Attempt, Outcome, StopReason, Verdict
from openklear.verifiers.judge import AttemptBatch, Judge
from openklear.verifiers.unscorable import UNSCORABLE_SHARE, refuse_verdicts

LOOK_SECONDS = 0.5
"""Between two looks at what has been judged."""


@dataclass(slots=True)
class Evaluation:
    """One model and everything it is asked. `run` it."""

    directory: Path
    questions: Sequence[Question]
    drawing: Drawing
    identity: str
    """What names the model: completions of another one are not taken for its own."""
    judge: Judge
    label: str = "evaluate"
    share: float = UNSCORABLE_SHARE
    """Largest share of verdicts that may be unscorable."""
    kept: Sequence[Sample] = ()
    """Samples that the directory holds of benchmarks which are not asked now; and `known`, their problems."""
    known: Sequence[Asked] = ()
    seconds: float = 0.0
    """That sampling took, with what grading took beyond it."""
    sampled: int = 0
    """Completions that were sampled, and not found."""
    _wanted: list[Due] = field(default_factory=list)
    _keys: dict[tuple[str, str, int], str] = field(default_factory=dict)

    def run(self, source: Source) -> list[Sample]:
        """Ask, judge, keep; samples.jsonl is whole when this returns its rows, by benchmark, problem and sample.

        Raises what the source or the judge raise; the same call goes on.
        """
        write_asked(self.directory / PROMPTS, [*self.known, *(question.asked() for question in self.questions)])
        self._wanted = [Due(q, sample) for q in self.questions if not q.refused for sample in range(q.samples)]
        self._keys = {_name(one): key_of(self.identity, self.drawing, *one) for one in self._wanted}
        began = time.perf_counter()
        with Completions(self.directory) as book, self.judge.begin() as batch, self._live() as live:
            pending = _Pending(book, batch, live, self)
            missing = pending.take_known(self._wanted)
            self.sampled = len(missing)
            if missing:
                self._sample(source, missing, pending)
            pending.finish()
            moved = book.settle([self.key(one) for one in self._wanted])
        self.seconds = time.perf_counter() - began
        rows = [*pending.samples, *_refusals(self.questions)]
        places = {(q.benchmark, q.problem.id): number for number, q in enumerate(self.questions)}
        rows.sort(key=lambda one: (places[one.place], one.sample))
        rows = [_placed(one, moved) for one in (*self.kept, *rows)]
        write_samples(self.directory / SAMPLES, rows)
        return rows

    def key(self, wanted: Due) -> str:
        """Under which a completion is kept."""
        return self._keys[_name(wanted)]

    @contextmanager
    def _live(self) -> Iterator[Journal]:
        """samples.jsonl as it grows; what an earlier attempt held is judged again at once, from the judge's journal."""
        write_samples(self.directory / SAMPLES, self.kept)
        with closing(Journal(self.directory / SAMPLES)) as live:
            yield live

    def _sample(self, source: Source, missing: Sequence[Due], pending: _Pending) -> None:
        longest = max(one.question.limit for one in missing)
        ahead = TokensAhead(len(missing), min(source.slots, len(missing)), longest)
        done = len(self._wanted) - len(missing)
        pace, drawn = progress.Stopwatch(), 0
        with progress.task(f"{self.label}: sampling", len(self._wanted), "completions", done=done) as advance:

            def ended(wanted: Due, made: Drawn) -> None:
                ahead.add(made.stop_reason)
                pending.add(wanted, made)
                figures: dict[str, Any] = {"tokens": f"{drawn:,}", "tokens/s": f"{pace.speed(drawn):,.0f}"}
                advance(1, pace.left(drawn, ahead.tokens(drawn)), **figures, **pending.figures())

            def told(tokens: int) -> None:
                nonlocal drawn
                drawn += tokens
                pending.look()

            source.complete(missing, self.drawing, ended, told)


class _Pending:
    """Completions on their way through the judge."""

    def __init__(self, book: Completions, batch: AttemptBatch, live: Journal, owner: Evaluation):
        self._book, self._batch, self._live, self._owner = book, batch, live, owner
        self._asked: list[tuple[Due, Drawn]] = []
        self._looked = 0.0
        self.samples: list[Sample] = []

    def take_known(self, wanted: Sequence[Due]) -> list[Due]:
        """Those that must be sampled; what is there already goes to the judge."""
        missing = []
        for one in wanted:
            key = self._owner.key(one)
            drawn = self._book.read(key) if key in self._book.spans else None
            if drawn is None or drawn.stop_reason is StopReason.ERROR:
                missing.append(one)
            else:
                self._judge(one, drawn)
        if missing and len(missing) < len(wanted):
            there = len(wanted) - len(missing)
            progress.say(f"{self._owner.label}: {there:,} completions are there already, {len(missing):,} are sampled")
        return missing

    def add(self, wanted: Due, drawn: Drawn) -> None:
        """One that has just ended."""
        self._book.add(self._owner.key(wanted), wanted.question, wanted.sample, drawn)
        self._judge(wanted, drawn)
        self.look()

    def _judge(self, wanted: Due, drawn: Drawn) -> None:
        problem, tail = wanted.question.problem, wanted.question.prompt_tail
        self._asked.append((wanted, Drawn("", drawn.stop_reason, drawn.tokens)))  # the text stays on the disk
        if drawn.stop_reason is StopReason.ERROR:
            self._batch.add(Verdict(Outcome.INCORRECT, f"not asked: {drawn.text}"))
        elif drawn.stop_reason is StopReason.LENGTH:
            self._batch.add(stopped_by_length(problem, drawn.text, tail))
        else:
            self._batch.add(Attempt(problem, drawn.text, tail))

    def look(self) -> None:
        """Takes up what has been judged, now and then; raises what judging raised."""
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        self._take()

    def _take(self) -> None:
        owner = self._owner
        refuse_verdicts(self._batch.unscorable, len(owner.questions), owner.share, owner.label)
        new = [self._sample(place, verdict) for place, verdict in self._batch.ready()]
        self.samples += new
        self._live.add([row_of(one) for one in new], sync=False)

    def _sample(self, place: int, verdict: Verdict) -> Sample:
        wanted, drawn = self._asked[place]
        key, reference = self._owner.key(wanted), wanted.question.problem.answer
        looked_for = not verdict.correct and reference is not None
        stands_in = looked_for and stands(self._book.read(key).text, reference)
        return _sample_of(wanted, drawn, verdict, stands_in, self._book.spans[key])

    def finish(self) -> None:
        """Waits for the judge."""
        left = len(self._asked) - len(self.samples)
        with progress.task(f"{self._owner.label}: grading", left, "completions", brief=True) as advance:
            self._take()
            while not self._batch.done:
                self._batch.wait(LOOK_SECONDS)
                before = len(self.samples)
                self._take()
                advance(len(self.samples) - before)
            self._take()

    def figures(self) -> dict[str, str]:
        """What stands beside the bar."""
        right = sum(one.correct for one in self.samples[-1000:])
        return {"correct": f"{right / min(1000, len(self.samples)):.0%}"} if self.samples else {}


def _sample_of(wanted: Due, drawn: Drawn, verdict: Verdict, stands_in: bool, span: Any) -> Sample:
    question, extracted = wanted.question, verdict.extracted
    return Sample(
        benchmark=question.benchmark,
        problem=question.problem.id,
        domain=question.problem.domain,
        sample=wanted.sample,
        outcome=verdict.outcome,
        level=question.problem.level,
        reason=verdict.reason,
        extracted=None if extracted is None else extracted[:EXTRACTED_SHOWN],
        passed=verdict.passed,
        total=verdict.total,
        format_fault=str(verdict.format_fault),
        stop_reason=drawn.stop_reason,
        tokens=drawn.tokens,
        stands=stands_in,
        start=span.start,
        length=span.length,
    )


def _placed(sample: Sample, moved: Mapping[int, Span]) -> Sample:
    """With the place of its text, which has moved where the file was put in order."""
    span = None if sample.start is None else moved.get(sample.start)
    return sample if span is None else replace(sample, start=span.start, length=span.length)


def _refusals(questions: Sequence[Question]) -> Iterator[Sample]:
    """Samples of what could not be asked: wrong, and said to be."""
    for question in questions:
        problem = question.problem
        for sample in range(question.samples if question.refused else 0):
            yield Sample(
                benchmark=question.benchmark,
                problem=problem.id,
                domain=problem.domain,
                sample=sample,
                outcome=Outcome.INCORRECT,
                level=problem.level,
                reason=f"not asked: {question.refused}",
                stop_reason=StopReason.ERROR,
                tokens=0,
            )


def _name(wanted: Due) -> tuple[str, str, int]:
    return wanted.question.benchmark, wanted.question.problem.id, wanted.sample
