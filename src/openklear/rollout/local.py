"""The sampler inside the process: any Hugging Face decoder, a cache of its own, continuous refill.

It shares the learner's model object, so the weights it samples from are always the current ones. At most `slots`
sequences are decoded at once, with at most `cache_tokens` of keys and values; places that become free are refilled from
the queue, first in first out. Requests that share a prompt (a group) prefill it once, and so do all prompts of a call
with what they all begin with.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from openklear.errors import EngineError, ModelError
from openklear.models.limits import longest
from openklear.models.lora import as_sampled, plain_weights
from openklear.models.vocabulary import known_ids
from openklear.rollout.lean import LeanDecoder, is_lean
from openklear.rollout.protocol import OnCompletion, Progress, Supports, Until
from openklear.rollout.requests import checked_limit
from openklear.rollout.scheduler import Call, Room
from openklear.rollout.whole import WholeDecoder
from openklear.types import Completion, SampleRequest

# How configurations without a list of layer types name a window of attention.
_WINDOWS = ("sliding_window", "window_size", "attention_window_size", "local_window_size")
SLOTS = 128
"""Sequences decoded at once where nothing else is asked for."""


class LocalSampler:
    """A Sampler (see rollout.protocol) over `model`, a decoder with a plain linear head (Qwen3, Llama, SmolLM2, ...).

    Sampling stops at any of `end_ids` (kept in token_ids, STOP), or after max_new_tokens or at the model's last
    position (LENGTH). A completion depends on its own request only, up to the rounding of batched arithmetic.
    """

    def __init__(
        self, model: Any, *, end_ids: frozenset[int], slots: int = SLOTS, cache_tokens: int | None = None
    ) -> None:
        """`cache_tokens`: most tokens of keys and values held at once; None: as many as the slots need.

        Raises ModelError where the architecture is not one that this engine samples from correctly.
        """
        _check_architecture(model)
        if slots < 1 or (cache_tokens is not None and cache_tokens < 1):
            raise ValueError(f"slots and cache_tokens must be positive: {slots}, {cache_tokens}")
        self.model, self.end_ids, self.slots, self.cache_tokens = model, end_ids, slots, cache_tokens
        self.version = 0

    @property
    def supports(self) -> Supports:
        """Everything."""
        return Supports(logprobs=True, publish=True, partial=True)

    def close(self) -> None:
        """Nothing is held beyond a call."""

    def publish(self, model: Any, version: int) -> None:
        """The model that it shares with a learner is current as it is; the weights of another one are copied."""
        if model is not self.model:
            self.model.load_state_dict(dict(plain_weights(model)))
        self.version = version

    def sample(
        self,
        requests: Sequence[SampleRequest],
        on_progress: Progress | None = None,
        on_completion: OnCompletion | None = None,
        until: Until | None = None,
    ) -> list[Completion]:
        """One completion per request, in their order. on_progress gets (requests finished, tokens) since its last call.

        on_completion gets (index of the request, its completion) between two decoding steps; `until` is asked there
        too, and what it breaks off is PARTIAL.

        Raises EngineError: before anything is sampled where a request cannot be served; when memory runs out; when
        logits are not finite.
        """
        positions = longest(self.model.config).sampled
        vocabulary = self.model.get_output_embeddings().weight.shape[0]
        limits = [
            checked_limit(index, request, positions, vocabulary, self.cache_tokens)
            for index, request in enumerate(requests)
        ]
        if not requests:
            return []
        is_end = np.zeros(vocabulary, np.bool_)
        is_end[[i for i in self.end_ids if i < vocabulary]] = True
        with as_sampled(self.model), _evaluating(self.model), torch.inference_mode():
            try:
                decoder = self._decoder(max(len(r.prompt_ids) + n for r, n in zip(requests, limits, strict=True)))
                room = Room(self.slots, self.cache_tokens)
                call = Call(decoder, room, is_end, self.version, on_completion, known_ids(self.model))
                return call.run(requests, limits, on_progress, until)
            except torch.OutOfMemoryError as error:
                raise EngineError(
                    f"the sampler ran out of device memory with {self.slots} slots: "
                    "lower engine.cache_tokens, engine.slots or the longest completion"
                ) from error

    def _decoder(self, longest_sequence: int) -> LeanDecoder | WholeDecoder:
        return LeanDecoder(self.model, longest_sequence) if is_lean(self.model) else WholeDecoder(self.model)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """No dropout and no gradient checkpointing meanwhile; the learner finds its model as it left it."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def _check_architecture(model: Any) -> None:
    """ModelError for what would be sampled wrongly: windows of attention, logits changed after the head."""
    config = model.config
    layer_types = getattr(config, "layer_types", None)
    if layer_types is not None:
        windowed = any(kind != "full_attention" for kind in layer_types)
    else:
        windowed = any(getattr(config, name, None) is not None for name in _WINDOWS)
    changed = [
        name
        for name, neutral in (("final_logit_softcapping", None), ("logits_scaling", 1.0), ("logit_scale", 1.0))
        if getattr(config, name, neutral) not in (None, neutral)
    ]
    if windowed or changed:
        what = "attention other than full" if windowed else f"logits changed after the head ({', '.join(changed)})"
        raise ModelError(
            f"{type(model).__name__}: the local engine does not support {what}; use a Qwen3 or Llama model"
        )
