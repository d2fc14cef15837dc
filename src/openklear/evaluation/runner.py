"""Queries in, judged samples out: what every evaluation does, in a run's stages and by the command alike.

Completions are kept as they end, and verdicts as they come, so that a kill costs nothing that was there. What is asked
for in vain (its prompt does not fit) counts as wrong: no score is over fewer problems than the benchmark has.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

from openklear import progress
from openklear.durable.files import remove
from openklear.durable.journal import Journal, Span
from openklear.evaluation.completions import Completions, Drawing, Drawn, key_of
from openklear.evaluation.outcome import SCORES
from openklear.evaluation.pending import Pending
from openklear.evaluation.queries import Query
from openklear.evaluation.results import RESULTS
from openklear.evaluation.sources import Completer, Due
from openklear.evaluation.stored import PROMPTS, SAMPLES, Asked, Sample, write_asked, write_samples
from openklear.rollout.ahead import TokensAhead
from openklear.types import Outcome, StopReason
from openklear.verifiers.judge import Judge
from openklear.verifiers.unscorable import UNSCORABLE_SHARE


@dataclass(slots=True)
class Interview:
    """One model and everything it is asked. `run` it."""

    directory: Path
    queries: Sequence[Query]
    drawing: Drawing
    identity: str
    """What names the model: completions of another one are not taken for its own."""
    judge: Judge
    label: str = "evaluate"
    share: float = UNSCORABLE_SHARE
    """Largest share of a domain's verdicts that may be unscorable."""
    kept: Sequence[Sample] = ()
    """Samples that the directory holds of benchmarks which are not asked now; and `known`, their problems."""
    known: Sequence[Asked] = ()
    seconds: float = 0.0
    """That sampling took, with what grading took beyond it."""
    sampled: set[str] = field(default_factory=set)
    """Keys of the completions that were sampled, and not found."""

    def run(self, source: Completer) -> list[Sample]:
        """Ask, judge, keep; samples.jsonl is whole when this returns its rows, by benchmark, problem and sample.

        Raises what the source or the judge raise; the same call goes on.
        """
        for name in (RESULTS, SCORES):  # of an earlier end: they would be taken for this one's
            remove(self.directory / name)
        write_asked(self.directory / PROMPTS, [*self.known, *(query.asked() for query in self.queries)])
        self.judge.trial([query.problem for query in self.queries])
        dues = self._dues()
        began = time.perf_counter()
        with Completions(self.directory) as book, self.judge.begin() as batch, self._live() as live:
            pending = Pending(dues, book, batch, live, self.label, self.share)
            missing = pending.take_known()
            self.sampled = set(missing)
            if missing:
                self._sample(source, {key: dues[key][0] for key in missing}, pending)
            pending.finish()
            book.settle(list(dues))
            rows = self._ordered(pending.samples, book.spans)
        self.seconds = time.perf_counter() - began
        write_samples(self.directory / SAMPLES, rows)
        return rows

    def _dues(self) -> dict[str, list[Due]]:
        """Key of each completion -> what it answers: benchmarks that share a problem share its completions."""
        found: dict[str, list[Due]] = {}
        for due in chain.from_iterable(map(_dues_of, self.queries)):
            found.setdefault(key_of(self.identity, self.drawing, *due), []).append(due)
        return found

    def _ordered(self, samples: Sequence[Sample], spans: Mapping[str, Span]) -> list[Sample]:
        """All rows, with the places of their texts, which move when the file is put in order."""
        places = {(query.benchmark, query.problem.id): number for number, query in enumerate(self.queries)}
        mine = [*samples, *chain.from_iterable(map(_refused, self.queries))]
        mine.sort(key=lambda one: (places[one.place], one.sample))
        return [_placed(one, spans) for one in (*self.kept, *mine)]

    @contextmanager
    def _live(self) -> Iterator[Journal]:
        """samples.jsonl as it grows; what an earlier attempt held is judged again at once, from the judge's journal."""
        write_samples(self.directory / SAMPLES, self.kept)
        with closing(Journal(self.directory / SAMPLES)) as live:
            yield live

    def _sample(self, source: Completer, missing: Mapping[str, Due], pending: Pending) -> None:
        keys = {due: key for key, due in zip(missing, map(_name, missing.values()), strict=True)}
        longest = max(due.query.limit for due in missing.values())
        ahead = TokensAhead(len(missing), min(source.slots, len(missing)), longest)
        total = pending.total
        pace, drawn, whole = progress.Stopwatch(), 0, 0
        with progress.task(f"{self.label}: sampling", total, "completions", done=total - len(missing)) as advance:

            def ended(due: Due, made: Drawn) -> None:
                nonlocal whole
                whole += made.tokens or 0
                ahead.add(made.stop_reason)
                pending.add(keys[_name(due)], made)
                tokens = max(drawn, whole)  # a sampler tells of tokens now and then
                figures = {"tokens": f"{tokens:,}", "tokens/s": f"{pace.speed(tokens):,.0f}", **pending.figures()}
                advance(1, pace.left(tokens, ahead.tokens(tokens)), **figures)

            def told(tokens: int) -> None:
                nonlocal drawn
                drawn += tokens
                pending.look()

            source.complete(list(missing.values()), self.drawing, ended, told)


def _placed(sample: Sample, spans: Mapping[str, Span]) -> Sample:
    span = spans.get(sample.key)
    return sample if span is None else replace(sample, start=span.start, length=span.length)


def _dues_of(query: Query) -> list[Due]:
    """The completions of a query; none where it cannot be asked."""
    return [Due(query, sample) for sample in range(0 if query.refused else query.samples)]


def _refused(query: Query) -> list[Sample]:
    """The samples of a query that cannot be asked: wrong, and said to be."""
    problem = query.problem
    facts = {"level": problem.level, "reason": f"not asked: {query.refused}", "stop_reason": StopReason.ERROR}
    name = query.benchmark, problem.id, problem.domain
    count = query.samples if query.refused else 0
    return [Sample(*name, sample, Outcome.INCORRECT, **facts) for sample in range(count)]  # type: ignore[arg-type]


def _name(due: Due) -> tuple[str, str, int]:
    return due.query.benchmark, due.query.problem.id, due.sample
