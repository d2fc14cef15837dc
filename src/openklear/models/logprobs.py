"""Log-probabilities of given tokens in fp32, without ever holding the logits of a whole batch.

The language-model head is applied only where the loss mask is set, `chunk_tokens` positions at a time, and each chunk's
logits are computed again in the backward pass (Chen et al. 2016, arXiv 1604.06174). What a head does after its matrix
product (scales, soft caps) is known for the families in `_finish`; any other head is refused, because a probe compares
the result with the model's own logits once for each model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakSet

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from openklear.errors import ModelError

CHUNK_TOKENS = 1024
PROBE_TOKENS = 8
PROBE_TOLERANCE = 1e-3
"""Largest allowed difference between our logits and the model's on the probe, relative to the largest logit."""

_verified: WeakSet[PreTrainedModel] = WeakSet()


def sequence_logprobs(
    model: PreTrainedModel,
    input_ids: Tensor,
    loss_mask: Tensor,
    *,
    temperature: float = 1.0,
    entropy: bool = True,
    chunk_tokens: int = CHUNK_TOKENS,
) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the masked tokens, with gradient, and the entropies they were drawn at, without.

    `input_ids` (B, T) int64, right-padded with any valid id: causal attention keeps padding from what precedes it, so
    there is no attention mask. `loss_mask` (B, T) bool; column 0 must be False, as nothing precedes it.
    Returns two (B, T) fp32 tensors. Where `loss_mask[b, t]`, the first holds

        log p(ids[b, t] | ids[b, :t]),  p = softmax(logits[b, t - 1] / temperature),

    and the second the entropy -sum_v p(v) log p(v) in nats (NaN with `entropy=False`, so that it cannot be mistaken for
    one). Elsewhere both are 0. Raises ModelError for a head that this module cannot reproduce.
    """
    if input_ids.shape != loss_mask.shape or input_ids.ndim != 2:
        raise ValueError(f"ids {tuple(input_ids.shape)} and mask {tuple(loss_mask.shape)} must both be (B, T)")
    if bool(loss_mask[:, :1].any()):
        raise ValueError("loss_mask[:, 0] must be False: no token precedes the first one")
    if model not in _verified:
        verify_head(model)
    predicted = loss_mask[:, 1:]
    hidden = _hidden_states(model, input_ids[:, :-1])[predicted]  # (N, H): the state before each masked token
    targets = input_ids[:, 1:][predicted]  # (N,)
    logprobs, entropies = _in_chunks(model, hidden, targets, temperature, entropy, chunk_tokens)
    empty = torch.zeros(input_ids.shape, dtype=torch.float32, device=hidden.device)
    return empty.masked_scatter(loss_mask, logprobs), empty.masked_scatter(loss_mask, entropies)


def verify_head(model: PreTrainedModel) -> None:
    """Compare our logits with the model's own on a few tokens; ModelError where they differ. Remembers what passed."""
    embeddings: Any = model.get_input_embeddings()
    probe = torch.arange(1, PROBE_TOKENS + 1, device=embeddings.weight.device) * 7 % embeddings.weight.shape[0]
    probe = probe[None]
    with torch.no_grad():
        own = model(input_ids=probe, use_cache=False).logits.float()
        ours = _finish(model, _head(model)(_hidden_states(model, probe))).float()
    if own.shape != ours.shape or bool((own - ours).abs().max() > PROBE_TOLERANCE * (1 + own.abs().max())):
        raise ModelError(
            f"{type(model).__name__} computes its logits from the hidden states in a way that OpenKlear does not know "
            "(a scale or a cap), so its log-probabilities would be wrong. Use another model, or add the rule to "
            "openklear/models/logprobs.py."
        )
    _verified.add(model)


def _hidden_states(model: Any, ids: Tensor) -> Tensor:
    """States after the last norm, (B, T, H)."""
    states: Tensor = model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state
    return states


def _head(model: Any) -> torch.nn.Module:
    head = model.get_output_embeddings()
    if not isinstance(head, torch.nn.Linear):
        raise ModelError(f"{type(model).__name__} has no linear language-model head; it cannot be trained here.")
    return head


def _finish(model: PreTrainedModel, logits: Tensor) -> Tensor:
    """What some families do to the logits after the head: Granite divides, Cohere scales, Gemma caps."""
    config: Any = model.config.get_text_config()
    if (divisor := getattr(config, "logits_scaling", None)) is not None:
        logits = logits / divisor
    if (scale := getattr(config, "logit_scale", None)) is not None:
        logits = logits * scale
    if (cap := getattr(config, "final_logit_softcapping", None)) is not None:
        logits = cap * torch.tanh(logits / cap)
    return logits


def _in_chunks(
    model: PreTrainedModel, hidden: Tensor, targets: Tensor, temperature: float, entropy: bool, chunk_tokens: int
) -> tuple[Tensor, Tensor]:
    """Both results for (N, H) states and (N,) targets. A single chunk keeps its logits: nothing is gained without."""
    head: Any = _head(model)

    def score(states: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        # The product itself in fp32: bf16 logits would be off by up to 2^-8 of their size.
        bias = None if head.bias is None else head.bias.float()
        logits = F.linear(states.float(), head.weight.float(), bias)
        return _score(_finish(model, logits) / temperature, wanted, entropy)

    chunks = list(zip(torch.split(hidden, chunk_tokens), torch.split(targets, chunk_tokens), strict=True))
    run: Callable[..., Any] = score
    if len(chunks) > 1 and torch.is_grad_enabled():
        run = lambda *chunk: checkpoint(score, *chunk, use_reentrant=False)  # noqa: E731
    logprobs, entropies = zip(*(run(*chunk) for chunk in chunks), strict=True)
    return torch.cat(logprobs), torch.cat(entropies)


def _score(logits: Tensor, targets: Tensor, entropy: bool) -> tuple[Tensor, Tensor]:
    """Log-probability of each target (N,) under fp32 logits (N, V), and the detached entropies (N,)."""
    log_p = torch.log_softmax(logits, dim=-1)
    chosen = log_p.gather(-1, targets[:, None]).squeeze(-1)
    with torch.no_grad():
        entropies = torch.special.entr(log_p.exp()).sum(-1) if entropy else torch.full_like(chosen, float("nan"))
    return chosen, entropies
