"""The workers by a clock of our own: when requests are sent, and when failures count."""

import asyncio
import heapq
import itertools

import pytest

from openklear.distill.ledger import Ledger, Wanted
from openklear.distill.remote import Crew
from openklear.distill.settings import Settings
from openklear.errors import EngineError
from openklear.rollout.answers import Answer
from openklear.rollout.refusals import AskAgain, PromptRefused
from openklear.types import Problem

ANSWER = Answer("5", None, "stop", "m", 10, 20)  # 30 tokens


class Clock:
    """Time passes only where everybody sleeps."""

    def __init__(self):
        self.now, self.sleepers = 0.0, []

    def __call__(self):
        return self.now

    async def sleep(self, seconds):
        until = self.now + seconds
        heapq.heappush(self.sleepers, until)
        for _ in range(20):  # the others may have something to do before
            await asyncio.sleep(0)
        while self.sleepers[0] < until:
            await asyncio.sleep(0)
        heapq.heappop(self.sleepers)
        self.now = max(self.now, until)


class Teacher:
    """Answers by a list of what comes of each request in turn; after it, always with an answer."""

    def __init__(self, clock, said=(), seconds=0.0):
        self.clock, self.said, self.seconds, self.asked = clock, list(said), seconds, []

    async def ask(self, messages, seed):
        self.asked.append((messages[0]["content"], self.clock.now))
        said = self.said.pop(0) if self.said else ANSWER
        await self.clock.sleep(self.seconds)
        if isinstance(said, Exception):
            raise said
        return said, seed


def work(tmp_path, said=(), problems=4, workers=1, seconds=0.0, **changes):
    """Sample with that teacher; (requests as (prompt, time), rows that were kept in order)."""
    base = {"endpoint": "http://x/v1", "model": "m", "samples": 1, "max_tokens": 90, "first_wait": 1e-9}
    settings = Settings("", tmp_path, **base | changes)
    clock, kept = Clock(), []
    ledger = Ledger(tmp_path / "responses.jsonl", settings.budget_tokens)

    def keep(task, row):
        ledger.add(row)
        kept.append((row["id"], row["error"]))

    async def main():
        teacher = Teacher(clock, said, seconds)
        crew = Crew(teacher, settings, ledger, keep, clock=clock, sleep=clock.sleep)
        tasks = [Wanted(Problem(str(n), ({"role": "user", "content": str(n)},), "math"), 0) for n in range(problems)]
        queue = iter(tasks)
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(crew.work(queue))
        crew.end()
        return teacher.asked

    try:
        return [(prompt, round(time, 3)) for prompt, time in asyncio.run(main())], kept
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
    finally:
        ledger.close()


def test_requests_a_minute(tmp_path):
    asked, _ = work(tmp_path, requests_per_minute=30)
    assert asked == [("0", 0.0), ("1", 2.0), ("2", 4.0), ("3", 6.0)]


def test_requests_a_minute_hold_for_all_workers_and_for_retries(tmp_path):
    asked, _ = work(tmp_path, [AskAgain("busy")], workers=3, requests_per_minute=30)
    assert sorted(time for _, time in asked) == [0.0, 2.0, 4.0, 6.0, 8.0]


def test_tokens_a_minute_are_those_that_were_used(tmp_path):
    """10 tokens a second, 30 a response: the first is expected to take 90, and settled when it took 30."""
    asked, _ = work(tmp_path, tokens_per_minute=600)
    assert asked == [("0", 0.0), ("1", 3.0), ("2", 6.0), ("3", 9.0)]


def test_a_budget_is_spent_to_within_one_response(tmp_path):
    """Three of 30 tokens fit beside each other; the fourth, which overruns, waits until it is alone."""
    asked, kept = work(tmp_path, workers=4, problems=9, seconds=1.0, max_tokens=30, budget_tokens=100)
    assert asked == [("0", 0.0), ("1", 0.0), ("2", 0.0), ("3", 1.0)]
    assert len(kept) == 4
    assert work(tmp_path, workers=3, budget_tokens=100) == ([], [])  # earlier runs count


def test_without_a_budget_nothing_waits(tmp_path):
    asked, _ = work(tmp_path, workers=4, seconds=1.0)
    assert {time for _, time in asked} == {0.0}


def test_a_failed_request_uses_no_tokens(tmp_path):
    asked, _ = work(tmp_path, [AskAgain("busy"), ANSWER, PromptRefused("long")], tokens_per_minute=600)
    assert asked == [("0", 0.0), ("0", 0.0), ("1", 3.0), ("2", 3.0), ("3", 6.0)]


def test_a_wait_that_the_server_asks_for_holds_for_all(tmp_path):
    asked, _ = work(tmp_path, [AskAgain("busy", 100.0)], workers=2)
    assert asked[0] == ("0", 0.0)
    assert {time for _, time in asked[2:]} == {100.0}  # the second was under way already
    assert len(asked) == 5


def test_an_answer_ends_the_row_of_failures(tmp_path):
    busy = [AskAgain("busy")] * 15
    _, kept = work(tmp_path, [*busy, ANSWER, *busy], problems=31, tries=1)
    assert kept == [(str(n), None if n == 15 else "busy") for n in range(31)]


def test_a_row_of_failures_that_is_too_long_is_not_kept(tmp_path):
    with pytest.raises(EngineError, match="20 responses in a row failed, the last one \\(20, sample 0\\)"):
        work(tmp_path, [ANSWER, *[AskAgain("busy")] * 20], problems=40, tries=1)
    assert (tmp_path / "responses.jsonl").read_text().count("\n") == 1


def test_two_problems_may_fail_with_all_their_samples(tmp_path):
    _, kept = work(tmp_path, [ANSWER, *[AskAgain("busy")] * 31], problems=33, tries=1, samples=16)
    assert [error for _, error in kept] == [None, *["busy"] * 31, None]


def test_refused_prompts_are_no_row_of_failures_once_there_was_an_answer(tmp_path):
    _, kept = work(tmp_path, [ANSWER, *[PromptRefused("long")] * 50], problems=52)
    assert [error for _, error in kept] == [None, *["long"] * 50, None]


def test_waits_between_tries_grow(tmp_path):
    asked, _ = work(tmp_path, [AskAgain("busy")] * 7, problems=1, first_wait=1.0)
    waits = [after - before for (_, before), (_, after) in itertools.pairwise(asked)]
    assert len(waits) == 7
    assert all(wait <= 2.0**n for n, wait in enumerate(waits))
    assert sum(waits) > 10.0
