"""What the loops ask of a sampler, whichever engine is behind it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from openklear.types import Completion, SampleRequest

Progress = Callable[[int, int], None]
"""Called now and then with (requests finished, tokens sampled) since the last call."""

OnCompletion = Callable[[int, Completion], None]
"""Called with (index of the request, its completion) as soon as it has ended, on the thread that asked."""


class Sampler(Protocol):
    """Prompts in, sampled tokens with their log-probabilities out."""

    def sample(
        self,
        requests: Sequence[SampleRequest],
        on_progress: Progress | None = None,
        on_completion: OnCompletion | None = None,
    ) -> list[Completion]:
        """One completion a request, in the order of the requests; `on_completion` gets each when it ends.

        Draws depend on each request's key and on positions only (house rule 9). Raises EngineError where a request
        cannot be served (before anything is sampled) or where the engine failed. What a callback raises ends the call.
        """
        ...
