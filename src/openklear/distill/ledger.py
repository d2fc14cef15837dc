"""What was sampled and what it cost: every response on disk as it arrives, the counts beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from openklear.distill.answers import Answer
from openklear.distill.pace import estimated_tokens
from openklear.distill.problems import ResponseKey, key_of
from openklear.durable.journal import KeyedJournal
from openklear.rollout.seeds import rollout_key
from openklear.types import Problem

PURPOSE = "distill"


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """One response that is wanted."""

    problem: Problem
    sample: int

    @property
    def key(self) -> ResponseKey:
        """Under which it is kept."""
        return key_of(self.problem, self.sample)

    @property
    def characters(self) -> int:
        """Length of the prompt."""
        return sum(len(message["content"]) for message in self.problem.prompt)

    def random_key(self, seed: int) -> int:
        """64 bits that depend on the run's seed, the problem's text and the sample alone (house rule 9)."""
        return rollout_key(seed, PURPOSE, 0, self.problem.content_hash, self.sample)

    def request_seed(self, seed: int) -> int:
        """31 bits of the same, which every server takes."""
        return self.random_key(seed) >> 33


def row_of(
    task: Wanted, answer: Answer, *, seed: int | None, tries: int, seconds: float, response: str
) -> dict[str, Any]:
    """A response as responses.jsonl holds it. Tokens that the server did not count are estimated, and said to be."""
    counted = answer.prompt_tokens is not None and answer.completion_tokens is not None
    written = len(answer.content) + len(answer.reasoning or "")
    return {
        **_named(task),
        "response": response,
        "reasoning": answer.reasoning,
        "content": answer.content,
        "finish_reason": answer.finish_reason,
        "model": answer.model,
        "seed": seed,
        "prompt_tokens": answer.prompt_tokens if counted else estimated_tokens(task.characters),
        "completion_tokens": answer.completion_tokens if counted else estimated_tokens(written),
        "tokens_counted": counted,
        "tries": tries,
        "seconds": round(seconds, 3),
        "error": None,
    }


def failed_row(task: Wanted, reason: str, *, tries: int, seconds: float) -> dict[str, Any]:
    """A response that there will not be, with the reason."""
    texts = dict.fromkeys(("response", "reasoning", "content", "finish_reason", "model", "seed"))
    counts = {"prompt_tokens": 0, "completion_tokens": 0, "tokens_counted": True}
    return {**_named(task), **texts, **counts, "tries": tries, "seconds": round(seconds, 3), "error": reason}


def _named(task: Wanted) -> dict[str, Any]:
    return {"id": task.problem.id, "content_hash": task.problem.content_hash, "sample": task.sample}


class Ledger:
    """responses.jsonl and its totals. One thread adds; any may read."""

    def __init__(self, path: Path):
        """Reads what earlier runs left."""
        self.prompt_tokens = self.completion_tokens = 0
        self.failed: set[ResponseKey] = set()
        self.sampled_now = self.failed_now = 0
        self._sampled = 0
        self.lines: KeyedJournal[ResponseKey] = KeyedJournal(path, _key, self._count)

    def add(self, row: dict[str, Any]) -> None:
        """Keep a response, or a failure."""
        self.lines.add([row])
        self._count(_key(row), row)
        if row["error"] is None:
            self.sampled_now += 1
        else:
            self.failed_now += 1

    def open_tasks(self, problems: Sequence[Problem], samples: int, *, retry_failed: bool) -> list[Wanted]:
        """What is not there yet, problem by problem."""
        wanted = []
        for problem, sample in product(problems, range(samples)):
            task = Wanted(problem, sample)
            if task.key not in self.lines or (retry_failed and task.key in self.failed):
                wanted.append(task)
        return wanted

    @property
    def sampled(self) -> int:
        """Responses that are there."""
        return self._sampled

    @property
    def tokens(self) -> int:
        """Tokens used by all responses."""
        return self.prompt_tokens + self.completion_tokens

    def mean_tokens(self, default: int) -> int:
        """Tokens of the mean response so far, its prompt included."""
        return max(1, round(self.tokens / self._sampled)) if self._sampled else default

    def _count(self, key: ResponseKey, row: dict[str, Any]) -> None:
        if row["error"] is None:
            self.failed.discard(key)
            self._sampled += 1
            self.prompt_tokens += row["prompt_tokens"]
            self.completion_tokens += row["completion_tokens"]
        else:
            self.failed.add(key)

    def close(self) -> None:
        """Closes the file; again is harmless."""
        self.lines.close()


def _key(row: dict[str, Any]) -> ResponseKey:
    return ResponseKey(str(row["id"]), str(row["content_hash"]), int(row["sample"]))
