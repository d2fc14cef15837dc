"""One distillation, from a file of problems to graded responses; the same call goes on where a killed one was."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, closing
from typing import Any

from openklear import __version__, progress
from openklear.distill.ahead import Ahead, attempt_of
from openklear.distill.ledger import Ledger, Wanted
from openklear.distill.local import sample_locally
from openklear.distill.output import Tally, write
from openklear.distill.problems import read_problems
from openklear.distill.remote import sample_remotely
from openklear.distill.settings import Settings, require_same
from openklear.durable.files import disk_errors, lock, remove, write_json
from openklear.types import Problem
from openklear.verifiers.judge import open_judge

SETTINGS, RESPONSES, VERDICTS = "distill.json", "responses.jsonl", "verdicts.jsonl"
PARQUET, SUMMARY = "responses.parquet", "summary.json"
SUMMED = ("responses", "failed", "cost", "prompt_tokens", "completion_tokens")
"""Figures of a domain that the summary has for all of them together too."""


def distill(settings: Settings) -> dict[str, Any]:
    """Sample and grade what is not there yet, write responses.parquet and summary.json, and return the summary.

    Raises DataError for the problems' file, StageChanged where the output holds responses of other settings,
    UsageError and EngineError where the server refuses or fails, RunLocked where another process works there.
    """
    output, started = settings.output, time.monotonic()
    problems = read_problems(settings.problems, settings.domain, settings.limit)
    weights = None
    if settings.local is not None:
        from openklear.models.loading import weights_hash

        weights = weights_hash(settings.local)
    with lock(output), disk_errors(output):
        if settings.restart:
            for name in (SETTINGS, RESPONSES, VERDICTS, PARQUET, SUMMARY):
                remove(output / name)
        require_same(output / SETTINGS, settings.decides(weights))
        with ExitStack() as stack:
            ledger = stack.enter_context(closing(Ledger(output / RESPONSES, settings.budget_tokens)))
            judge = None
            if settings.judging is not None:
                domains, journal = {problem.domain for problem in problems}, output / VERDICTS
                judge = stack.enter_context(open_judge(settings.judging, domains, progress.say, journal=journal))
                judge.trial(problems)  # before a teacher is paid
            tasks = ledger.open_tasks(problems, settings.samples, retry_failed=settings.retry_failed)
            _say_what_is_there(ledger, problems, tasks, settings)
            complete = _sample(tasks, settings, ledger, None if judge is None else Ahead(judge))
            tally = write(output / PARQUET, problems, ledger, judge, settings)
            summary = _summary(settings, problems, ledger, tally, complete)
            summary["seconds"] = round(time.monotonic() - started, 3)
            write_json(output / SUMMARY, summary)
    return summary


def _sample(tasks: Sequence[Wanted], settings: Settings, ledger: Ledger, ahead: Ahead | None) -> bool:
    """Whether all tasks were sampled; False where the budget ended before."""
    if not tasks:
        return True
    with progress.task("distilling", len(tasks), "responses") as advance:

        def keep(task: Wanted, row: dict[str, Any]) -> None:
            ledger.add(row)
            if ahead is not None and row["error"] is None:
                ahead.add(attempt_of(task.problem, row))
            advance(1, **_figures(settings, ledger, ahead))

        sample = sample_remotely if settings.endpoint is not None else sample_locally
        sample(tasks, settings, ledger, keep)
    if ahead is not None:
        ahead.collect()
    return ledger.sampled_now + ledger.failed_now == len(tasks)


def _figures(settings: Settings, ledger: Ledger, ahead: Ahead | None) -> dict[str, float | str]:
    """What stands beside the bar, which shows the time left itself."""
    figures: dict[str, float | str] = {} if ahead is None else ahead.figures()
    figures["tokens"] = f"{ledger.tokens:,}"
    if settings.price_in or settings.price_out:
        figures["cost"] = f"{settings.cost(ledger.prompt_tokens, ledger.completion_tokens):,.2f}"
    if ledger.failed:
        figures["failed"] = f"{len(ledger.failed):,}"
    return figures


def _say_what_is_there(ledger: Ledger, problems: list[Problem], tasks: Sequence[Wanted], settings: Settings) -> None:
    if not len(ledger.lines):
        return
    others = len(ledger.lines) - sum(len(keys) for _, keys in ledger.of(problems))
    progress.say(f"{ledger.sampled:,} responses are there already, {len(tasks):,} are left to sample")
    if ledger.failed and not settings.retry_failed:
        progress.say(f"{len(ledger.failed):,} responses are recorded as failed; --retry-failed asks for them again")
    if others:
        progress.say(f"{others:,} responses are of problems that are not asked now; they stay in {RESPONSES} only")


def _summary(
    settings: Settings, problems: list[Problem], ledger: Ledger, tally: Tally, complete: bool
) -> dict[str, Any]:
    """summary.json: figures of all that responses.parquet holds, and what this run added."""
    domains = tally.domains()
    total = Counter[str]()
    for figures in domains.values():
        total.update({name: figures[name] for name in SUMMED})
    return {
        "problems": len(problems),
        "samples": settings.samples,
        "teacher": settings.teacher,
        **{name: total[name] for name in SUMMED},
        "complete": complete,
        "stopped": None if complete else f"the budget of {settings.budget_tokens} tokens is spent",
        "domains": domains,
        "failures": tally.failures(),
        "sampled_now": ledger.sampled_now,
        "failed_now": ledger.failed_now,
        "output": str(settings.output),
        "version": __version__,
    }
