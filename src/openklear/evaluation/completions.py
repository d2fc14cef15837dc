"""Completions as they come in, found again by what they depend on: a killed evaluation, or a larger k, samples only
what is not there yet."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from openklear.durable.files import writing
from openklear.durable.journal import Journal, Row, Span
from openklear.evaluation.queries import Query
from openklear.evaluation.stored import COMPLETIONS, packed
from openklear.types import StopReason

SYNC_SECONDS = 1.0
"""How much of the last completions a loss of power may cost; a kill costs none."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a model wrote."""

    text: str
    stop_reason: StopReason
    tokens: int | None
    """None where nobody counted."""
    ids: NDArray[np.int32] | None = None
    """(T,) None where a server sends none."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """How completions are drawn."""

    seed: int
    temperature: float
    top_p: float
    top_k: int = 0
    min_p: float = 0.0
    extra: Mapping[str, Any] | None = None
    """What else a server is told."""


def key_of(identity: str, drawing: Drawing, query: Query, sample: int) -> str:
    """What a completion depends on: the model, the prompt, how it is drawn, the budget, and which draw it is."""
    prompt: Any = query.prompt_ids if query.prompt_ids is not None else [dict(one) for one in query.messages]
    seed = 0 if drawing.temperature == 0.0 else drawing.seed
    how = [drawing.temperature, drawing.top_p, drawing.top_k, drawing.min_p, query.limit, seed]
    which = [query.problem.content_hash, sample, query.copy]
    text = json.dumps([identity, prompt, how, dict(drawing.extra or {}), which], separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


class Completions:
    """completions.jsonl. Use it as a context manager, or `close` it."""

    def __init__(self, directory: Path):
        self.spans: dict[str, Span] = {}
        self._synced = time.monotonic()
        self._path = directory / COMPLETIONS
        self._journal = Journal(self._path, self._seen)

    def _seen(self, row: Row, span: Span) -> None:
        if not isinstance(row["text"], str):
            raise TypeError("it has no text")
        StopReason(row["stop_reason"])
        self.spans[str(row["key"])] = span

    def add(self, key: str, query: Query, sample: int, drawn: Drawn) -> None:
        """Keeps a completion."""
        row = {
            "key": key,
            "benchmark": query.benchmark,
            "problem": query.problem.id,
            "sample": sample,
            "stop_reason": str(drawn.stop_reason),
            "tokens": drawn.tokens,
            "ids": None if drawn.ids is None else packed(drawn.ids),
            "text": drawn.text,
        }
        due = time.monotonic() - self._synced > SYNC_SECONDS
        (self.spans[key],) = self._journal.add([row], sync=due)
        if due:
            self._synced = time.monotonic()

    def read(self, key: str) -> Drawn:
        """A completion that is there, without its ids."""
        row = self._journal.read(self.spans[key])
        return Drawn(row["text"], StopReason(row["stop_reason"]), row["tokens"])

    def settle(self, keys: Sequence[str]) -> None:
        """Puts the file in the order of `keys`, those that are not among them behind, so that an evaluation that was
        killed leaves the bytes of an undisturbed one."""
        order = [*keys, *sorted(set(self.spans) - set(keys))]
        if sorted(order, key=lambda key: self.spans[key].start) != order:
            self._journal.close()
            self._rewrite(order)
            self._journal = Journal(self._path)

    def _rewrite(self, order: Sequence[str]) -> None:
        spans, end = {}, 0
        with self._path.open("rb") as source, writing(self._path) as target:
            for key in order:
                source.seek(self.spans[key].start)
                line = source.read(self.spans[key].length)
                target.write(line)
                spans[key], end = Span(end, len(line)), end + len(line)
        self.spans = spans

    def close(self) -> None:
        """Closes the file, all of it on the disk; again is harmless."""
        self._journal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
