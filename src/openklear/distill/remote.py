"""Responses from a server: many requests at once, retried, paced, within a budget."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from typing import Any

from openklear import progress
from openklear.distill.ledger import Keep, Ledger, Wanted, failed_row, row_of
from openklear.distill.pace import Pace, backoff
from openklear.distill.settings import Settings
from openklear.errors import EngineError, OpenKlearError
from openklear.rollout.chat_server import Endpoint
from openklear.rollout.refusals import AskAgain, PromptRefused

FEWEST_FAILURES = 20
"""Responses that failed in a row, at least, before the server, and not the prompts, counts as the one at fault."""
TRIES_TO_REACH = 3
"""Connections that are tried before a server that never answered counts as absent."""
TOLD_WAIT = 30.0
"""A server that asks for a longer wait than this is quoted on screen."""


def sample_remotely(tasks: Sequence[Wanted], settings: Settings, ledger: Ledger, keep: Keep) -> None:
    """Sample tasks until all are through or the budget is spent; each goes to `keep` as it ends.

    Raises UsageError where the server refuses every request, EngineError where it cannot be reached or too many
    responses failed in a row; failures of such a row are not kept, so that the next run asks again.
    """
    try:
        asyncio.run(_sample(tasks, settings, ledger, keep))
    except BaseExceptionGroup as group:
        # One error out of many: one that is meant for the user, where there is one.
        meant = (error for error in group.exceptions if isinstance(error, OpenKlearError))
        raise next(meant, group.exceptions[0]) from None


async def _sample(tasks: Sequence[Wanted], settings: Settings, ledger: Ledger, keep: Keep) -> None:
    async with aclosing(Endpoint(settings.server)) as endpoint:
        crew = Crew(endpoint, settings, ledger, keep)
        queue = iter(tasks)
        async with asyncio.TaskGroup() as group:
            for _ in range(min(settings.concurrency, len(tasks))):
                group.create_task(crew.work(queue))
        crew.end()


class Crew:
    """The workers of one run, and what they share: pace, budget, and how the last requests went."""

    def __init__(
        self,
        endpoint: Endpoint,
        settings: Settings,
        ledger: Ledger,
        keep: Keep,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ):
        self._endpoint, self._settings, self._ledger, self._keep = endpoint, settings, ledger, keep
        self._clock, self._sleep = clock, sleep
        self._requests, self._tokens = Pace(settings.requests_per_minute), Pace(settings.tokens_per_minute)
        self._ended = asyncio.Condition()
        self._expected = 0  # tokens that what is under way will probably use
        self._not_before = 0.0
        self._reached = False
        self._in_a_row: list[tuple[Wanted, dict[str, Any]]] = []
        self._exhausted_in_a_row = 0

    async def work(self, queue: Iterator[Wanted]) -> None:
        """Take tasks until there is none, or the budget is spent."""
        while True:
            estimate = self._ledger.mean_tokens(self._settings.max_tokens)
            async with self._ended:
                while not self._ledger.has_room(self._expected, estimate):
                    await self._ended.wait()
                task = None if self._ledger.spent else next(queue, None)
                if task is None:
                    return
                self._expected += estimate
            row, exhausted = await self._one(task, estimate)
            async with self._ended:
                self._took(task, row, exhausted)
                self._expected -= estimate
                self._ended.notify_all()

    def end(self) -> None:
        """All tasks have been taken. EngineError where not one response came; else the last failures are kept."""
        if self._in_a_row and not self._ledger.sampled:
            raise self._stopped()
        self._keep_failures()

    async def _one(self, task: Wanted, estimate: int) -> tuple[dict[str, Any], bool]:
        """The row of a response or of its failure, and whether that was after too many tries."""
        settings, started, reason = self._settings, self._clock(), ""
        drawn = task.random_key(settings.seed) >> 33  # every server takes 31 bits
        for tries in range(1, settings.tries + 1):
            await self._turn(estimate)
            asked = self._clock()
            try:
                answer, seed = await self._endpoint.ask(task.problem.prompt, drawn)
            except PromptRefused as error:
                self._tokens.settle(-estimate)
                return failed_row(task, str(error), tries=tries, seconds=self._clock() - started), False
            except AskAgain as error:
                self._tokens.settle(-estimate)
                reason = str(error)
                self._require_reachable(error, tries)
                if tries < settings.tries:
                    await self._wait(task, tries, error.wait)
                continue
            self._reached = True
            took = self._clock() - asked
            row = row_of(task, answer, seed=seed, tries=tries, seconds=took)
            self._tokens.settle(row["prompt_tokens"] + row["completion_tokens"] - estimate)
            return row, False
        return failed_row(task, reason, tries=settings.tries, seconds=self._clock() - started), True

    async def _turn(self, estimate: int) -> None:
        """Wait for this request's place in both rates, and out of the time that the server asked for."""
        while (now := self._clock()) < self._not_before:
            await self._sleep(self._not_before - now)
        start = max(self._requests.reserve(1, now), self._tokens.reserve(estimate, now))
        if start > now:
            await self._sleep(start - now)

    async def _wait(self, task: Wanted, tries: int, asked: float | None) -> None:
        """Back off. What the server asked for holds for all requests that are not sent yet."""
        settings = self._settings
        if asked is not None:
            if asked > TOLD_WAIT:
                progress.say(f"the server asks to wait {progress.duration(asked)}")
            self._not_before = max(self._not_before, self._clock() + asked)
        problem = task.problem
        await self._sleep(backoff(settings.first_wait, tries, asked, settings.seed, problem.content_hash, task.sample))

    def _require_reachable(self, error: AskAgain, tries: int) -> None:
        """A wrong address should not be tried for minutes."""
        if not error.unreachable:
            self._reached = True
        elif not self._reached and tries >= TRIES_TO_REACH:
            raise EngineError(
                f"{self._settings.endpoint} cannot be reached: {error}. Start the server or correct --endpoint"
            ) from error

    def _took(self, task: Wanted, row: dict[str, Any], exhausted: bool) -> None:
        if row["error"] is None:
            self._keep_failures()
            self._keep(task, row)
            return
        if not exhausted and self._ledger.sampled:
            self._keep(task, row)  # this prompt alone is refused; others were answered
            return
        self._in_a_row.append((task, row))
        self._exhausted_in_a_row += exhausted
        problems = {one.problem.id for one, _ in self._in_a_row}
        # All samples of one problem may fail for its own sake; so may a few problems.
        too_many = max(FEWEST_FAILURES, 2 * self._settings.samples)
        if self._exhausted_in_a_row >= too_many or (not self._ledger.sampled and len(problems) >= FEWEST_FAILURES):
            raise self._stopped()

    def _keep_failures(self) -> None:
        for task, row in self._in_a_row:
            self._keep(task, row)
        self._in_a_row, self._exhausted_in_a_row = [], 0

    def _stopped(self) -> EngineError:
        task, row = self._in_a_row[-1]
        return EngineError(
            f"{len(self._in_a_row)} responses in a row failed, the last one ({task.problem.id}, sample {task.sample}) "
            f"after {row['tries']} tries: {row['error']}. What was sampled is kept, and the same command asks for the "
            "others again; see to the server, or change the settings it complains of"
        )
