"""Log-probabilities of given tokens under a model, in at least fp32, without ever holding the logits of a whole batch.

The language-model head is applied only where the loss mask is set, a chunk at a time (`head_logprobs`). What a head
does after its matrix product (scales, soft caps) is known for the families in `_finish`; any other head is refused,
because a probe compares the result with the model's own logits once for each model.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor
from transformers import PreTrainedModel

from openklear.errors import ModelError
from openklear.models.attention import Segments, packed_states
from openklear.models.fused import fuse, using_fused
from openklear.models.head import Finish, head_logits, head_logprobs
from openklear.models.vocabulary import known_ids, within

__all__ = ["sequence_logprobs"]

PROBE_TOKENS = 8
PROBE_TOLERANCE = 1e-3
"""Largest allowed difference between our logits and the model's on the probe, relative to the largest logit; where the
model rounds its logits to a coarser format, that format's eps."""

_verified: WeakSet[PreTrainedModel] = WeakSet()


def sequence_logprobs(
    model: PreTrainedModel,
    input_ids: Tensor,
    loss_mask: Tensor,
    *,
    segments: Segments | None = None,
    temperature: float = 1.0,
    entropy: bool = True,
    chunk_tokens: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the masked tokens, with gradient, and the entropies they were drawn at, without.

    `input_ids` (B, T) int64, right-padded with any valid id: causal attention keeps padding from what precedes it, so
    there is no attention mask. `loss_mask` (B, T) bool; column 0 must be False, as nothing precedes it.
    Returns two (B, T) tensors, fp32, or float64 for a float64 model. Where `loss_mask[b, t]`, the first holds

        log p(ids[b, t] | ids[b, :t]),  p = softmax(logits[b, t - 1] / temperature),

    and the second the entropy -sum_v p(v) log p(v) in nats (NaN with `entropy=False`, so that it cannot be mistaken for
    one). Elsewhere both are 0.

    With `segments` the batch is one row (1, T) of sequences end to end, of which none sees another. `loss_mask` must
    then be False at the first token of each.

    Raises ModelError for a head that this module cannot reproduce, ValueError for shapes and masks that do not fit.
    """
    if input_ids.shape != loss_mask.shape or input_ids.ndim != 2:
        raise ValueError(f"ids {tuple(input_ids.shape)} and mask {tuple(loss_mask.shape)} must both be (B, T)")
    if bool(loss_mask[:, :1].any()):
        raise ValueError("loss_mask[:, 0] must be False: no token precedes the first one")
    if segments is not None:
        _require_row(loss_mask, segments)
    if model not in _verified:
        verify_head(model)
    # The state at t - 1 predicts token t: states lose the last column, targets the first; both are (B, T - 1).
    predicted = loss_mask[:, 1:]
    fuse(model)
    with using_fused():
        if segments is None:
            states = _hidden_states(model, input_ids)[:, :-1][predicted]
        else:
            states = packed_states(model, input_ids, segments)[0].index_select(0, segments.places[:-1][predicted[0]])
    head, known = _head(model), known_ids(model)
    weight = within(head.weight, known)
    assert weight is not None
    logprobs, entropies = head_logprobs(
        states,  # (N, H): the state before each masked token
        weight,
        input_ids[:, 1:][predicted],
        bias=within(head.bias, known),
        temperature=temperature,
        finish=_finish(model),
        entropy=entropy,
        chunk_tokens=chunk_tokens,
    )
    empty = torch.zeros(input_ids.shape, dtype=logprobs.dtype, device=logprobs.device)
    return empty.masked_scatter(loss_mask, logprobs), empty.masked_scatter(loss_mask, entropies)


def verify_head(model: PreTrainedModel) -> None:
    """Compare our logits with the model's own on a few tokens; ModelError where they differ. Remembers what passed."""
    embeddings: Any = model.get_input_embeddings()
    probe = torch.arange(1, PROBE_TOKENS + 1, device=embeddings.weight.device) * 7 % embeddings.weight.shape[0]
    probe = probe[None]
    with torch.no_grad():
        own = model(input_ids=probe, use_cache=False).logits[0]
        states, head = _hidden_states(model, probe)[0], _head(model)
        ours = head_logits(states, head.weight, bias=head.bias, finish=_finish(model))
    tolerance = max(PROBE_TOLERANCE, torch.finfo(own.dtype).eps)
    if own.shape != ours.shape or bool((own - ours).abs().max() > tolerance * (1 + own.abs().max())):
        raise ModelError(
            f"{type(model).__name__} computes its logits from the hidden states in a way that OpenKlear does not know "
            "(a scale or a cap), so its log-probabilities would be wrong. Use another model, or add the rule to "
            "openklear/models/logprobs.py."
        )
    _verified.add(model)


def _require_row(loss_mask: Tensor, segments: Segments) -> None:
    if loss_mask.shape != (1, sum(segments.lengths)):
        raise ValueError(f"sequences of {segments.lengths} tokens are not a row of shape {tuple(loss_mask.shape)}")
    if bool(loss_mask[0, segments.starts[:-1]].any()):
        raise ValueError("loss_mask must be False at the first token of each sequence: no token precedes it")


def _hidden_states(model: Any, ids: Tensor) -> Tensor:
    """States after the last norm, (B, T, H)."""
    states: Tensor = model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state
    return states


def _head(model: Any) -> torch.nn.Linear:
    head = model.get_output_embeddings()
    if not isinstance(head, torch.nn.Linear):
        raise ModelError(f"{type(model).__name__} has no linear language-model head; it cannot be trained here.")
    return head


def _finish(model: PreTrainedModel) -> Finish:
    """What some families do to the logits after the head: Granite divides, Cohere scales, Gemma caps."""
    config: Any = model.config.get_text_config()
    scale = 1.0
    if (divisor := getattr(config, "logits_scaling", None)) is not None:
        scale /= divisor
    if (factor := getattr(config, "logit_scale", None)) is not None:
        scale *= factor
    return Finish(scale, getattr(config, "final_logit_softcapping", None))
