"""Bookkeeping of the local engine on the host: which requests run, and what they have sampled so far.

Columns of numpy arrays, one entry for each running row, so that a step of decoding costs no Python loop over rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from openklear.types import SampleRequest

_TOKENS = 64
"""Columns for tokens at the start; doubled when a row is longer."""


class Running:
    """What runs, R rows."""

    def __init__(self, indices: Sequence[int], requests: Sequence[SampleRequest], limits: Sequence[int]) -> None:
        rows = len(requests)
        self.request = np.array(indices, np.int64)
        """Index of the request."""
        self.position = np.array([len(request.prompt_ids) for request in requests], np.int64)
        """Of the next token to be fed."""
        self.count = np.zeros(rows, np.int64)
        """Tokens sampled since it was given this row."""
        self.before = np.array([request.sampled for request in requests], np.int64)
        """Tokens sampled for it before, the end of its prompt."""
        self.limit = np.array(limits, np.int64)
        self.key = np.array([request.key for request in requests], np.uint64)
        self.greedy = np.array([request.temperature == 0.0 for request in requests], np.bool_)
        """Whether the likeliest token is taken; the distribution is then the model's own: temperature 1, whole."""
        whole = SampleRequest((), 0, 0)
        drawn = [whole if request.temperature == 0.0 else request for request in requests]
        # fp32 has no positive number below this one; what is meant by less is the same greedy choice.
        tiny = float(np.finfo(np.float32).tiny)
        self.temperature = np.array([max(request.temperature, tiny) for request in drawn], np.float32)
        self.top_p = np.array([request.top_p for request in drawn], np.float32)
        self.top_k = np.array([request.top_k for request in drawn], np.int64)
        self.min_p = np.array([request.min_p for request in drawn], np.float32)
        self.tokens = np.zeros((rows, _TOKENS), np.int32)
        self.logprobs = np.zeros((rows, _TOKENS), np.float32)

    def __len__(self) -> int:
        return len(self.request)

    @property
    def remaining(self) -> NDArray[np.int64]:
        """(R,) tokens that each may still get."""
        return self.limit - self.count

    def record(self, tokens: NDArray[np.int32], logprobs: NDArray[np.float32]) -> None:
        """Append one token (R,) to each row."""
        if len(self) and int(self.count.max()) == self.tokens.shape[1]:
            self._widen(2 * self.tokens.shape[1])
        rows = np.arange(len(self))
        self.tokens[rows, self.count] = tokens
        self.logprobs[rows, self.count] = logprobs
        self.count += 1

    def sampled(self, row: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Copies of what a row has sampled: tokens and log-probabilities (T,)."""
        count = int(self.count[row])
        return self.tokens[row, :count].copy(), self.logprobs[row, :count].copy()

    def keep(self, rows: NDArray[np.int64]) -> None:
        """Keep only `rows` (K,), in that order."""
        for name, column in vars(self).items():
            setattr(self, name, column[rows])

    def add(self, other: Running) -> None:
        """More rows, at the end."""
        width = max(self.tokens.shape[1], other.tokens.shape[1])
        self._widen(width)
        other._widen(width)
        for name, column in vars(self).items():
            setattr(self, name, np.concatenate((column, getattr(other, name))))

    def _widen(self, width: int) -> None:
        for name in ("tokens", "logprobs"):
            column = getattr(self, name)
            if width > column.shape[1]:
                setattr(self, name, np.pad(column, ((0, 0), (0, width - column.shape[1]))))


def distinct_prompts(requests: Sequence[SampleRequest]) -> tuple[list[tuple[int, ...]], list[int]]:
    """The distinct prompts in order of appearance, and which of them each request has."""
    numbers: dict[tuple[int, ...], int] = {}
    which = [numbers.setdefault(tuple(request.prompt_ids), len(numbers)) for request in requests]
    return list(numbers), which
