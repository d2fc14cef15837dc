"""What the loops ask of a sampler, whichever engine is behind it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from openklear.types import Completion, SampleRequest

Progress = Callable[[int, int], None]
"""Called now and then with (requests finished, tokens sampled) since the last call."""

OnCompletion = Callable[[int, Completion], None]
"""Called with (index of the request, its completion) as soon as it has ended, on the thread that asked."""

Until = Callable[[], bool]
"""Asked between decoding steps: once it says True, sampling is broken off."""


@dataclass(frozen=True, slots=True)
class Supports:
    """What a sampler can do beyond completions; what a stage needs is written in the same words."""

    logprobs: bool = False
    """Completions carry the log-probabilities of their tokens."""
    publish: bool = False
    """It can be given new weights while it is open."""
    partial: bool = False
    """It can be broken off (`until`) and go on with what it had sampled (`SampleRequest.sampled`)."""


class Sampler(Protocol):
    """Prompts in, sampled tokens with their log-probabilities out."""

    @property
    def supports(self) -> Supports:
        """What it can do; `open_sampler` refuses one that lacks what the stage needs."""
        ...

    @property
    def version(self) -> int:
        """Of the weights it samples from: the last one published, 0 before."""
        ...

    def close(self) -> None:
        """Give back what it holds; it cannot sample any more."""
        ...

    def publish(self, model: Any, version: int) -> None:
        """Sample from the weights of `model`, as they are now, until the next call."""
        ...

    def sample(
        self,
        requests: Sequence[SampleRequest],
        on_progress: Progress | None = None,
        on_completion: OnCompletion | None = None,
        until: Until | None = None,
    ) -> list[Completion]:
        """One completion per request, in the order of the requests; `on_completion` gets each when it ends.

        Once `until` says True, what is running ends with PARTIAL and the tokens it has, and what still waits comes back
        PARTIAL and empty; `on_completion` gets none of these. To go on with one, ask for prompt_ids + token_ids with
        `sampled` raised by their number.

        Draws depend on each request's key and on positions only (house rule 9). Raises EngineError where a request
        cannot be served (before anything is sampled) or where the engine failed. What a callback raises ends the call.
        """
        ...
