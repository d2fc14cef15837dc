"""Bookkeeping of the local engine on the host: which request each slot serves, and what it has sampled so far.

Columns of numpy arrays, one entry per slot, so that a step of decoding costs no Python loop over slots.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from openklear.types import Completion, SampleRequest, StopReason

IDLE = -1


class Slots:
    """What every slot (N of them) is doing."""

    def __init__(self, slots: int) -> None:
        self.request = np.full(slots, IDLE, np.int64)
        """Index of the request it serves, IDLE for none."""
        self.prompt = np.full(slots, IDLE, np.int64)
        """Which distinct prompt its cache row begins with, also while idle."""
        self.prompt_length = np.zeros(slots, np.int64)
        self.position = np.zeros(slots, np.int64)
        """Cache column that the next decoded token is written to; idle rows write behind their prompt, unread."""
        self.count = np.zeros(slots, np.int64)
        """Tokens sampled for the request in this call."""
        self.before = np.zeros(slots, np.int64)
        """Tokens sampled for it in earlier calls, the end of its prompt."""
        self.limit = np.zeros(slots, np.int64)
        self.key = np.zeros(slots, np.uint64)
        self.greedy = np.zeros(slots, np.bool_)
        """Whether the likeliest token is taken; the distribution is then the model's own: temperature 1, whole."""
        self.temperature = np.ones(slots, np.float32)
        self.top_p = np.ones(slots, np.float32)
        self.top_k = np.zeros(slots, np.int64)
        self.min_p = np.zeros(slots, np.float32)
        self._tokens = np.zeros((slots, 64), np.int32)
        self._logprobs = np.zeros((slots, 64), np.float32)

    def __len__(self) -> int:
        return len(self.request)

    @property
    def active(self) -> NDArray[np.bool_]:
        """(N,) whether the slot serves a request."""
        return np.not_equal(self.request, IDLE)

    def assign(self, slot: int, index: int, request: SampleRequest, prompt: int, limit: int) -> None:
        """Let an idle slot serve a request whose prompt fills its cache row."""
        self.request[slot], self.prompt[slot] = index, prompt
        self.prompt_length[slot] = self.position[slot] = len(request.prompt_ids)
        self.count[slot], self.limit[slot], self.key[slot] = 0, limit, request.key
        self.before[slot] = request.sampled
        # fp32 has no positive number below this one; what is meant by less is the same greedy choice.
        greedy = request.temperature == 0.0
        self.greedy[slot] = greedy
        self.temperature[slot] = 1.0 if greedy else max(request.temperature, float(np.finfo(np.float32).tiny))
        whole = SampleRequest((), 0, 0) if greedy else request
        self.top_p[slot], self.top_k[slot], self.min_p[slot] = whole.top_p, whole.top_k, whole.min_p

    def record(self, rows: NDArray[np.int64], tokens: NDArray[np.int32], logprobs: NDArray[np.float32]) -> None:
        """Append one token to each of the active `rows` (K,)."""
        columns = self.count[rows]
        if int(columns.max()) == self._tokens.shape[1]:
            self._tokens = np.concatenate((self._tokens, np.zeros_like(self._tokens)), axis=1)
            self._logprobs = np.concatenate((self._logprobs, np.zeros_like(self._logprobs)), axis=1)
        self._tokens[rows, columns] = tokens
        self._logprobs[rows, columns] = logprobs
        self.count[rows] += 1

    def release(self, slot: int, reason: StopReason, version: int) -> tuple[int, Completion]:
        """The finished request's index and completion; the slot is idle after."""
        length, index = int(self.count[slot]), int(self.request[slot])
        tokens, logprobs = self._tokens[slot, :length].copy(), self._logprobs[slot, :length].copy()
        completion = Completion(tokens, logprobs, reason, np.full(length, version, np.int32))
        self.request[slot] = IDLE
        self.position[slot] = self.prompt_length[slot]
        return index, completion

    def keep(self, rows: NDArray[np.int64]) -> None:
        """Keep only the slots `rows` (K,), in that order."""
        for name, column in vars(self).items():
            setattr(self, name, column[rows])


def distinct_prompts(requests: Sequence[SampleRequest]) -> tuple[list[tuple[int, ...]], list[int]]:
    """The distinct prompts in order of appearance, and which of them each request has."""
    numbers: dict[tuple[int, ...], int] = {}
    which = [numbers.setdefault(tuple(request.prompt_ids), len(numbers)) for request in requests]
    return list(numbers), which
