"""Judged samples of an evaluation, made by hand."""

from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace

from openklear.durable.files import write_json
from openklear.durable.journal import Journal
from openklear.evaluation.outcome import leave
from openklear.evaluation.stored import COMPLETIONS, SAMPLES, SETTINGS, Sample, write_samples
from openklear.types import Outcome, StopReason

RIGHT, WRONG, LOST = Outcome.CORRECT, Outcome.INCORRECT, Outcome.UNSCORABLE


def asked(benchmark, number, outcomes, *, domain="math", level=None, tokens=1, stop=StopReason.STOP, fault="", **more):
    """The samples of one problem; those that are wrong have an answer."""
    name = f"{benchmark}/{number}"
    facts = {"level": level, "tokens": tokens, "stop_reason": stop, "format_fault": fault, "extracted": "0", **more}
    return [Sample(benchmark, name, domain, place, outcome, **facts) for place, outcome in enumerate(outcomes)]


def together(problems: Iterable[list[Sample]]) -> list[Sample]:
    """The samples of several problems."""
    return [sample for samples in problems for sample in samples]


def refused(benchmark, number, samples, reason, level=None):
    """A problem that could not be asked."""
    facts = {"stop": StopReason.ERROR, "reason": f"not asked: {reason}", "extracted": None, "tokens": 0}
    return asked(benchmark, number, [WRONG] * samples, level=level, **facts)


def leave_evaluation(directory, stage, samples, text=lambda sample: "", settings=None):
    """The files of an evaluation, its completions' texts made by `text`; returns its scores."""
    directory.mkdir(parents=True, exist_ok=True)
    found = []
    with closing(Journal(directory / COMPLETIONS)) as journal:
        for one in samples:
            kept = {"key": f"{one.benchmark} {one.problem} {one.sample}", "stop_reason": str(one.stop_reason)}
            (span,) = journal.add([kept | {"tokens": one.tokens, "ids": None, "text": text(one)}], sync=False)
            found.append(replace(one, start=span.start, length=span.length))
    write_samples(directory / SAMPLES, found)
    write_json(directory / SETTINGS, {"format": 1, "model": {"name": stage}, "benchmarks": []})
    return leave(directory, stage, found, settings or {one.benchmark: {} for one in samples})
