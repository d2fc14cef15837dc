"""One distillation, from a file of problems to graded responses; the same call goes on where a killed one was."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from openklear import __version__, progress
from openklear.distill.grade import Graders
from openklear.distill.ledger import Ledger, Task
from openklear.distill.local import sample_locally, weights_of
from openklear.distill.output import Tally, write
from openklear.distill.problems import read_problems
from openklear.distill.remote import sample_remotely
from openklear.distill.settings import Settings, require_same
from openklear.durable.files import disk_errors, lock, remove, write_json
from openklear.types import Problem

SETTINGS, RESPONSES, VERDICTS = "distill.json", "responses.jsonl", "verdicts.jsonl"
PARQUET, SUMMARY = "responses.parquet", "summary.json"


def distill(settings: Settings) -> dict[str, Any]:
    """Sample and grade what is not there yet, write responses.parquet and summary.json, and return the summary.

    Raises DataError for the problems' file, StageChanged where the output holds responses of other settings,
    UsageError and EngineError where the server refuses or fails, RunLocked where another process works there.
    """
    output, started = settings.output, time.monotonic()
    problems = read_problems(settings.problems, settings.domain, settings.limit)
    weights = None if settings.local is None else weights_of(settings.local)
    with lock(output), disk_errors(output):
        if settings.restart:
            for name in (SETTINGS, RESPONSES, VERDICTS, PARQUET, SUMMARY):
                remove(output / name)
        require_same(output / SETTINGS, settings.decides(weights))
        with closing(Ledger(output / RESPONSES)) as ledger, _graders(settings, problems) as graders:
            tasks = ledger.open_tasks(problems, settings.samples, retry_failed=settings.retry_failed)
            _say_what_is_there(ledger, problems, tasks, settings)
            complete = _sample(tasks, settings, ledger, graders)
            ledger.lines.sync()
            if graders is not None:
                graders.finish(problems, ledger)
            tally = write(output / PARQUET, problems, ledger, graders, settings)
            summary = _summary(settings, problems, ledger, tally, complete=complete)
            summary["seconds"] = round(time.monotonic() - started, 3)
            write_json(output / SUMMARY, summary)
    return summary


@contextmanager
def _graders(settings: Settings, problems: list[Problem]) -> Iterator[Graders | None]:
    if settings.grading is None:
        yield None
        return
    with Graders(settings.output / VERDICTS, settings.grading, problems) as graders:
        yield graders


def _sample(tasks: Sequence[Task], settings: Settings, ledger: Ledger, graders: Graders | None) -> bool:
    """Whether all tasks were sampled; False where the budget ended before."""
    if not tasks:
        return True
    with progress.task("distilling", len(tasks), "responses") as advance:

        def keep(task: Task, row: dict[str, Any]) -> None:
            ledger.add(row)
            if graders is not None and row["error"] is None:
                graders.add(task, row)
            advance(1, **_figures(settings, ledger, graders))

        sample = sample_remotely if settings.endpoint is not None else sample_locally
        sample(tasks, settings, ledger, keep)
    return ledger.sampled_now + ledger.failed_now == len(tasks)


def _figures(settings: Settings, ledger: Ledger, graders: Graders | None) -> dict[str, float | str]:
    """What stands beside the bar, which shows the time left itself."""
    figures: dict[str, float | str] = {} if graders is None else graders.figures()
    figures["tokens"] = f"{ledger.tokens:,}"
    if settings.price_in or settings.price_out:
        figures["cost"] = f"{settings.cost(ledger.prompt_tokens, ledger.completion_tokens):,.2f}"
    if ledger.failed:
        figures["failed"] = f"{len(ledger.failed):,}"
    return figures


def _say_what_is_there(ledger: Ledger, problems: list[Problem], tasks: Sequence[Task], settings: Settings) -> None:
    if not len(ledger.lines):
        return
    names = {(problem.id, problem.content_hash) for problem in problems}
    others = sum((key.id, key.content_hash) not in names for key in ledger.lines)
    progress.say(f"{ledger.sampled:,} responses are there already, {len(tasks):,} are left to sample")
    if ledger.failed and not settings.retry_failed:
        progress.say(f"{len(ledger.failed):,} responses are recorded as failed; --retry-failed asks for them again")
    if others:
        progress.say(f"{others:,} responses are of problems that are not asked now; they stay in {RESPONSES} only")


def _summary(
    settings: Settings, problems: list[Problem], ledger: Ledger, tally: Tally, *, complete: bool
) -> dict[str, Any]:
    """summary.json: figures of all that responses.parquet holds, and what this run added."""
    domains = tally.domains()
    total = {name: sum(one[name] for one in domains.values()) for name in ("responses", "failed", "cost")}
    tokens = {name: sum(one[name] for one in domains.values()) for name in ("prompt_tokens", "completion_tokens")}
    return {
        "problems": len(problems),
        "samples": settings.samples,
        "teacher": settings.teacher,
        **total,
        **tokens,
        "complete": complete,
        "stopped": None if complete else f"the budget of {settings.budget_tokens} tokens is spent",
        "domains": domains,
        "failures": tally.failures(),
        "sampled_now": ledger.sampled_now,
        "failed_now": ledger.failed_now,
        "output": str(Path(settings.output)),
        "version": __version__,
    }
