"""What was sampled and what it cost: every response on disk as it arrives, the counts beside it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from openklear.distill.pace import estimated_tokens
from openklear.durable.journal import KeyedJournal
from openklear.rollout.answers import Answer
from openklear.rollout.seeds import copies, rollout_key
from openklear.types import Problem


class ResponseKey(NamedTuple):
    """Names a response: a problem whose id or text changed is another problem."""

    id: str
    content_hash: str
    sample: int


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """One response that is wanted."""

    problem: Problem
    sample: int
    copy: int = 0
    """Number of the problem among those asked that have its prompt."""

    @property
    def key(self) -> ResponseKey:
        """Under which it is kept."""
        return ResponseKey(self.problem.id, self.problem.content_hash, self.sample)

    def random_key(self, seed: int) -> int:
        """64 bits that depend on the run's seed, the problem's text, its copy and the sample alone (house rule 9)."""
        return rollout_key(seed, "distill", 0, self.problem.content_hash, self.sample, self.copy)


Keep = Callable[[Wanted, dict[str, Any]], None]
"""What is done with a response, or a failure, as it ends."""


def row_of(task: Wanted, answer: Answer, *, seed: int | None, tries: int, seconds: float) -> dict[str, Any]:
    """A response as responses.jsonl holds it. Tokens that the server did not count are estimated, and said to be."""
    counted = answer.prompt_tokens is not None and answer.completion_tokens is not None
    asked = sum(len(message["content"]) for message in task.problem.prompt)
    written = len(answer.content) + len(answer.reasoning or "")
    return {
        **task.key._asdict(),
        "response": answer.response,
        "reasoning": answer.reasoning,
        "content": answer.content,
        "finish_reason": answer.finish_reason,
        "model": answer.model,
        "seed": seed,
        "prompt_tokens": answer.prompt_tokens if counted else estimated_tokens(asked),
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
    return {**task.key._asdict(), **texts, **counts, "tries": tries, "seconds": round(seconds, 3), "error": reason}


class Ledger:
    """responses.jsonl and its totals. One thread adds; any may read."""

    def __init__(self, path: Path, budget: int | None):
        """Reads what earlier runs left. `budget`: tokens that all responses together may use."""
        self.prompt_tokens = self.completion_tokens = 0
        self.sampled = self.sampled_now = self.failed_now = 0
        self.failed: set[ResponseKey] = set()
        self._budget = budget
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
        numbers = copies(problem.content_hash for problem in problems)
        for (problem, copy), sample in product(zip(problems, numbers, strict=True), range(samples)):
            task = Wanted(problem, sample, copy)
            if task.key not in self.lines or (retry_failed and task.key in self.failed):
                wanted.append(task)
        return wanted

    def of(self, problems: Sequence[Problem]) -> list[tuple[Problem, list[ResponseKey]]]:
        """What is there of these problems, in their order and that of the samples."""
        found: defaultdict[tuple[str, str], list[ResponseKey]] = defaultdict(list)
        for key in self.lines:
            found[key.id, key.content_hash].append(key)
        return [(problem, sorted(found[problem.id, problem.content_hash])) for problem in problems]

    @property
    def tokens(self) -> int:
        """Tokens used by all responses."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def spent(self) -> bool:
        """Whether the budget is used up."""
        return self._budget is not None and self.tokens >= self._budget

    def has_room(self, expected: int, estimate: int) -> bool:
        """Whether a response of about `estimate` tokens fits beside the `expected` ones of those under way.

        Beside nothing it does: the last response may overrun the budget.
        """
        return self._budget is None or not expected or self.tokens + expected + estimate <= self._budget

    def mean_tokens(self, default: int) -> int:
        """Tokens of the mean response so far, its prompt included."""
        return max(1, round(self.tokens / self.sampled)) if self.sampled else default

    def _count(self, key: ResponseKey, row: dict[str, Any]) -> None:
        if row["error"] is None:
            self.failed.discard(key)
            self.sampled += 1
            self.prompt_tokens += row["prompt_tokens"]
            self.completion_tokens += row["completion_tokens"]
        else:
            self.failed.add(key)

    def close(self) -> None:
        """Closes the file; again is harmless."""
        self.lines.close()


def _key(row: dict[str, Any]) -> ResponseKey:
    return ResponseKey(str(row["id"]), str(row["content_hash"]), int(row["sample"]))
