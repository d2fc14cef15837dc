"""Completions that are there, judged again: what a changed verifier, or another harness, makes of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from openklear import progress
from openklear.durable.files import lock, write_json
from openklear.errors import DataError
from openklear.evaluation.harnesses import why
from openklear.evaluation.outcome import leave
from openklear.evaluation.references import references
from openklear.evaluation.results import RESULTS
from openklear.evaluation.standing import stands
from openklear.evaluation.stored import (
    EXTRACTED_SHOWN,
    SAMPLES,
    SETTINGS,
    Place,
    Sample,
    Stored,
    open_stored,
    write_samples,
)
from openklear.rollout.graded import stopped_by_length
from openklear.think import split_thought
from openklear.types import Attempt, Problem, StopReason, Verdict
from openklear.verifiers.blocks import extract_program
from openklear.verifiers.judge import open_judge
from openklear.verifiers.limits import Limits
from openklear.verifiers.tasks import GRADER_VERSION

VERDICTS = "verdicts.jsonl"


@dataclass(frozen=True, slots=True)
class Rejudged:
    """A sample whose verdict is another."""

    benchmark: str
    problem: str
    sample: int
    before: str
    after: str
    reason_before: str
    reason_after: str
    extracted_before: str | None
    extracted_after: str | None
    why: str = ""
    """Where the two harnesses differ: what in the program makes them."""


@dataclass(frozen=True, slots=True)
class Rescored:
    """An evaluation before and after."""

    stored: Stored
    samples: list[Sample]
    """In the order of `stored.samples`; those without a text are as they were."""
    moved: list[Rejudged]
    limits: Limits
    """By which it was judged again."""

    def counts(self) -> list[dict[str, Any]]:
        """By benchmark: samples, correct before and after, and how many went each way."""
        found: dict[str, Counter[str]] = {}
        for before, after in zip(self.stored.samples, self.samples, strict=True):
            row = found.setdefault(before.benchmark, Counter())
            row.update(samples=1, before=before.correct, after=after.correct)
            if before.outcome is not after.outcome:
                row[f"{before.outcome.value} to {after.outcome.value}"] += 1
        return [{"benchmark": name, **row} for name, row in found.items()]


def limits_there(directory: Path) -> dict[str, Any]:
    """The verifiers' limits that an evaluation was made with, as far as it says them."""
    return dict(open_stored(directory).settings.get("verifiers", {}))


def rescore(directory: Path, limits: Limits) -> Rescored:
    """Judge an evaluation's completions again; nothing is sampled, and nothing of it is changed.

    Problems come from where the evaluation says that its data is; answers alone also from its own prompts.jsonl.
    DataError where a benchmark's tests cannot be found, or a text is gone.
    """
    stored = open_stored(directory)
    if not (directory / RESULTS).is_file():
        raise DataError(f"{directory}: is not finished (there is no {RESULTS}); give its own command again first")
    kept = [one for one in stored.samples if one.start is not None]
    if not kept:
        raise DataError(f"{directory}: holds no completions; only an evaluation that kept them can be judged again")
    problems = references(stored, {one.place for one in kept})
    domains = {problem.domain for problem in problems.values()}
    opened = open_judge(limits, domains, progress.say_once, journal=directory / VERDICTS)
    with opened as judge, judge.begin() as batch:
        for one in kept:
            batch.add(_attempt(one, stored, problems[one.place], limits))
        with progress.task("judging again", len(kept), "completions") as advance:
            verdicts = batch.finish(lambda judged: advance(judged))
    judged = dict(zip(map(_key, kept), verdicts, strict=True))
    samples = [_with(one, judged.get(_key(one)), stored, problems.get(one.place)) for one in stored.samples]
    pairs = zip(stored.samples, samples, strict=True)
    moved = [_moved(before, after) for before, after in pairs if before.outcome is not after.outcome]
    if limits.harness == "official":
        by_key = {_key(one): one for one in kept}
        moved = [
            _explained(one, by_key[one.benchmark, one.problem, one.sample], stored, problems, judged) for one in moved
        ]
    return Rescored(stored, samples, moved, limits)


def write(found: Rescored) -> dict[str, Any]:
    """Put the new verdicts, and what they depend on, in place of the old in all files; the scores.

    RunLocked where another process works there.
    """
    directory, settings = found.stored.directory, found.stored.settings
    limits = {
        name: getattr(found.limits, name) for name in settings.get("verifiers", {}) if hasattr(found.limits, name)
    }
    verifiers = {**settings.get("verifiers", {}), **limits, "harness": found.limits.harness}
    asked = {row["name"]: row for row in settings["benchmarks"]}
    with lock(directory):
        write_json(directory / SETTINGS, {**settings, "verifiers": verifiers, "grader": GRADER_VERSION})
        write_samples(directory / SAMPLES, found.samples)
        return leave(directory, str(settings.get("model", {}).get("name", directory.name)), found.samples, asked)


def _key(sample: Sample) -> tuple[str, str, int]:
    return sample.benchmark, sample.problem, sample.sample


def _attempt(sample: Sample, stored: Stored, problem: Problem, limits: Limits) -> Attempt | Verdict:
    """As the evaluation itself handed it to the judge; LiveCodeBench's harness reads a text that was cut, too."""
    text, asked = stored.text(sample), stored.asked[sample.place]
    if sample.stop_reason is StopReason.ERROR:
        return Verdict(sample.outcome, sample.reason)
    if sample.stop_reason is StopReason.LENGTH and limits.harness != "official":
        return stopped_by_length(problem, text, asked.prompt_tail)
    return Attempt(problem, text, asked.prompt_tail)


def _with(sample: Sample, verdict: Verdict | None, stored: Stored, problem: Problem | None) -> Sample:
    if verdict is None:
        return sample
    extracted, reference = verdict.extracted, problem.answer if problem else None
    return replace(
        sample,
        outcome=verdict.outcome,
        reason=verdict.reason,
        extracted=None if extracted is None else extracted[:EXTRACTED_SHOWN],
        passed=verdict.passed,
        total=verdict.total,
        format_fault=str(verdict.format_fault),
        stands=not verdict.correct and reference is not None and stands(stored.text(sample), reference),
    )


def _moved(before: Sample, after: Sample) -> Rejudged:
    outcomes = before.outcome.value, after.outcome.value
    return Rejudged(*_key(before), *outcomes, before.reason, after.reason, before.extracted, after.extracted)


def _explained(
    moved: Rejudged,
    sample: Sample,
    stored: Stored,
    problems: Mapping[Place, Problem],
    judged: Mapping[tuple[str, str, int], Verdict],
) -> Rejudged:
    """With what makes LiveCodeBench's harness say otherwise, from the whole texts."""
    text, tail = stored.text(sample), stored.asked[sample.place].prompt_tail
    program = extract_program(split_thought(text, tail).answer or "")
    ours = Verdict(sample.outcome, sample.reason, program)
    return replace(moved, why=why(Attempt(problems[sample.place], text, tail), ours, judged[_key(sample)]))


def rows(found: Rescored) -> dict[str, Any]:
    """For a program: counts by benchmark and every sample that moved."""
    return {"benchmarks": found.counts(), "moved": [asdict(one) for one in found.moved]}
