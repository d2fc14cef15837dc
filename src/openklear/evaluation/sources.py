"""Who completes an evaluation's prompts: a sampler that takes tokens, or a server that takes messages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from openklear.errors import EngineError, OpenKlearError
from openklear.evaluation.completions import Drawing, Drawn
from openklear.evaluation.queries import Query
from openklear.models.chat import decode_completion
from openklear.models.loading import LoadedModel
from openklear.rollout.answers import Answer
from openklear.rollout.chat_server import ChatServer, Endpoint
from openklear.rollout.protocol import Sampler
from openklear.rollout.refusals import AskAgain, PromptRefused
from openklear.rollout.seeds import rollout_key
from openklear.types import Completion, SampleRequest, StopReason

TOKENS_AT_ONCE = 1 << 26
"""Tokens, at most, that a sampler may be asked for in one call: it holds the completions of a call in memory."""
TRIES = 8
FIRST_WAIT = 1.0
"""Seconds before the second try of a request; every further wait is twice as long."""
LONGEST_WAIT = 60.0
TRIES_TO_REACH = 3
"""Connections that are tried before a server counts as absent."""


class Due(NamedTuple):
    """One completion that is wanted."""

    query: Query
    sample: int

    def draw(self, seed: int) -> int:
        """64 bits that name this draw (house rule 9)."""
        one = self.query
        return rollout_key(seed, "evaluation", 0, one.problem.content_hash, self.sample, one.copy)


Ended = Callable[[Due, Drawn], None]
"""Called as each completion ends, on the thread that asked."""
Told = Callable[[int], None]
"""Called now and then with the tokens that were sampled since."""


class Completer(Protocol):
    """Completes prompts."""

    @property
    def slots(self) -> int:
        """How many at once."""
        ...

    def complete(self, wanted: Sequence[Due], drawing: Drawing, ended: Ended, told: Told) -> None:
        """All of them, each to `ended` as soon as it is whole. What a callback raises ends the call."""
        ...


@dataclass(frozen=True, slots=True)
class TokenSource:
    """A sampler over a loaded model."""

    loaded: LoadedModel
    sampler: Sampler
    slots: int

    def complete(self, wanted: Sequence[Due], drawing: Drawing, ended: Ended, told: Told) -> None:
        """See `Completer`."""
        for some in _bounded(wanted):
            self._call(some, drawing, ended, told)

    def _call(self, wanted: Sequence[Due], drawing: Drawing, ended: Ended, told: Told) -> None:
        def made(index: int, completion: Completion) -> None:
            ids = completion.token_ids
            text = decode_completion(self.loaded.tokenizer, ids, self.loaded.end_ids)
            ended(wanted[index], Drawn(text, completion.stop_reason, len(ids), ids))

        requests = [_request(one, drawing) for one in wanted]
        self.sampler.sample(requests, lambda done, tokens: told(tokens), made)


def _request(wanted: Due, drawing: Drawing) -> SampleRequest:
    ids = wanted.query.prompt_ids
    assert ids is not None, "a query that was refused is not asked"
    return SampleRequest(
        prompt_ids=ids,
        key=wanted.draw(drawing.seed),
        max_new_tokens=wanted.query.limit,
        temperature=drawing.temperature,
        top_p=drawing.top_p,
        top_k=drawing.top_k,
        min_p=drawing.min_p,
    )


def _bounded(wanted: Sequence[Due]) -> Iterator[Sequence[Due]]:
    """In pieces whose completions find room in memory."""
    start, tokens = 0, 0
    for place, one in enumerate(wanted):
        if tokens and tokens + one.query.limit > TOKENS_AT_ONCE:
            yield wanted[start:place]
            start, tokens = place, 0
        tokens += one.query.limit
    yield wanted[start:]


@dataclass(frozen=True, slots=True)
class ChatSource:
    """A server of the OpenAI interface, asked for messages: the prompt's tokens are its own affair."""

    server: ChatServer

    @property
    def slots(self) -> int:
        """How many at once."""
        return self.server.concurrency

    def complete(self, wanted: Sequence[Due], drawing: Drawing, ended: Ended, told: Told) -> None:
        """See `Completer`. EngineError where a request failed too often: what came is kept by then."""
        try:
            asyncio.run(self._all(wanted, drawing, ended, told))
        except BaseExceptionGroup as group:
            meant = (error for error in group.exceptions if isinstance(error, OpenKlearError))
            raise next(meant, group.exceptions[0]) from None

    async def _all(self, wanted: Sequence[Due], drawing: Drawing, ended: Ended, told: Told) -> None:
        queue = iter(wanted)
        async with aclosing(Endpoint(self.server)) as endpoint, asyncio.TaskGroup() as group:
            for _ in range(min(self.slots, len(wanted))):
                group.create_task(_work(endpoint, queue, drawing, ended, told))


async def _work(endpoint: Endpoint, queue: Iterator[Due], drawing: Drawing, ended: Ended, told: Told) -> None:
    for wanted in queue:
        drawn = await _one(endpoint, wanted, drawing)
        ended(wanted, drawn)
        told(drawn.tokens or 0)


async def _one(endpoint: Endpoint, wanted: Due, drawing: Drawing) -> Drawn:
    query, why = wanted.query, ""
    for tries in range(TRIES):
        wait = None
        try:
            answer, _ = await endpoint.ask(query.messages, wanted.draw(drawing.seed) >> 33, query.limit)
        except PromptRefused as error:
            return Drawn(f"the server refuses the prompt: {error}", StopReason.ERROR, 0)
        except AskAgain as error:
            why, wait = str(error), error.wait
            if error.unreachable and tries + 1 >= TRIES_TO_REACH:
                break
        else:
            drawn = _drawn(answer, query.limit)
            if drawn is not None:
                return drawn
            why = f"it ended with {answer.finish_reason}"
        if tries + 1 < TRIES:
            await asyncio.sleep(min(LONGEST_WAIT, FIRST_WAIT * 2**tries) if wait is None else min(LONGEST_WAIT, wait))
    raise EngineError(
        f"{query.problem.id}, sample {wanted.sample}: the server gave no answer, at last: {why}. "
        "What came is kept; see to the server and give the same command again"
    )


def _drawn(answer: Answer, limit: int) -> Drawn | None:
    """What came; None where it was broken off. A server that does not say why it ended is held against the budget."""
    tokens, reason = answer.completion_tokens, answer.finish_reason
    if reason in ("abort", "error"):
        return None
    cut = reason == "length" or (reason is None and tokens is not None and tokens >= limit)
    return Drawn(answer.response, StopReason.LENGTH if cut else StopReason.STOP, tokens)
