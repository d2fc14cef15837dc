"""Causal attention within each sequence of a packed row, behind transformers' own attention interface.

A packed row (1, T) holds sequences end to end, with no padding: norms, projections and MLPs run on real tokens alone.
Only attention has to know where a sequence begins. transformers would build a dense (T, T) mask from the positions;
here the row's `Segments` reach the attention function as a keyword argument, and no mask is built.

On the CPU, and on a GPU in float32, sequences of like length are one batch of scaled dot-product attention, filled up
to the longest of them (on the CPU mostly by `blocked`); on a GPU in half precision all are one call of torch's
variable-length attention. Never does a token see another sequence.

Sequences that begin alike (rollouts of one prompt) may share their common tokens: these are in the row once, so that
everything but attention computes them once, which is exact, as a token's state depends on those before it alone. For
attention every sequence is complete again.

Which models can be packed is found out by trying (`can_pack`): states between tokens, windows hidden in masks, biases
by distance and soft caps make a model's rows padded instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from inspect import signature
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from openklear import progress
from openklear.errors import ModelError
from openklear.models.batching import SHARED_TOKENS, by_content
from openklear.models.blocked import attend_in_blocks, fits_blocks

__all__ = ["Segments", "can_pack", "packed_states"]

OURS = "openklear"
"""The name under which transformers knows our attention: `sdpa`, but for rows that come with `Segments`."""
ALIKE = 1.25
"""Sequences share a batch while the longest is at most this times the shortest: 12 % of filling, and few calls."""
PROBE_LENGTHS = (5, 3, 5, 1, 4)
PROBE_TOLERANCE = 1e-3
"""Largest difference of a hidden state on the probe, relative to the largest; for coarser formats, 4 of their eps."""

_tried: WeakKeyDictionary[Any, tuple[str | None, str | None]] = WeakKeyDictionary()
"""For each model the attention that it had when it was tried, and why its sequences cannot share a row."""


@dataclass(frozen=True, slots=True)
class _Alike:
    """Sequences of like length as one batch of `count` rows of `longest` tokens."""

    count: int
    longest: int
    gather: Tensor | slice
    """Where in the packed row the batch's tokens lie, row after row; filling repeats a sequence's last token."""
    keep: Tensor | None
    """Which of the batch's tokens are neither filling nor in the row through an earlier sequence; None where all."""


@dataclass(frozen=True, eq=False)
class Segments:
    """The sequences of a row: their lengths, and where in the row their tokens lie. What attention needs is made once.

    E tokens in all sequences together, T <= E in the row.
    """

    lengths: tuple[int, ...]
    device: torch.device
    where: NDArray[np.int64] | None = None
    """(E,) the place in the row of each sequence's tokens; new places count upwards. None: end to end, none shared."""

    @staticmethod
    def sharing(rows: Sequence[NDArray[np.int32]], device: torch.device) -> Segments:
        """Of the sequences `rows` (T_i,): tokens that two of them begin with are in the row once."""
        lengths = tuple(map(len, rows))
        order, common = by_content(rows, SHARED_TOKENS)
        if not any(common):
            return Segments(lengths, device)
        nodes: list[NDArray[np.int64]] = [np.zeros(0, np.int64)] * len(rows)
        before, count = nodes[0], 0
        for index, shared in zip(order, common, strict=True):
            new = lengths[index] - shared
            nodes[index] = before = np.concatenate([before[:shared], np.arange(count, count + new)])
            count += new
        _, first, where = np.unique(np.concatenate(nodes), return_index=True, return_inverse=True)
        return Segments(lengths, device, np.argsort(np.argsort(first))[where])

    @cached_property
    def first(self) -> NDArray[np.int64]:
        """(T,) the first of the E tokens at each place of the row, upwards."""
        total = sum(self.lengths)
        return np.arange(total) if self.where is None else np.unique(self.where, return_index=True)[1]

    @cached_property
    def places(self) -> Tensor:
        """(E,) int64: `where`."""
        return torch.from_numpy(np.arange(sum(self.lengths)) if self.where is None else self.where).to(self.device)

    @cached_property
    def positions(self) -> Tensor:
        """(1, T) int64: the place of each of the row's tokens in its own sequence."""
        places = np.concatenate([np.arange(n) for n in self.lengths])
        return torch.from_numpy(places[self.first])[None].to(self.device)

    @cached_property
    def starts(self) -> Tensor:
        """(S + 1,) int32: where each sequence begins among the E tokens, and their number."""
        return torch.from_numpy(np.cumsum([0, *self.lengths])).to(self.device, torch.int32)

    @cached_property
    def tokens(self) -> Tensor:
        """(T,) int64: `first`."""
        return torch.from_numpy(self.first).to(self.device)

    @cached_property
    def alike(self) -> tuple[_Alike, ...]:
        """Neighbours of like length in batches; what they keep is the row, in its order."""
        found, start = [], 0
        for lengths in _neighbours_alike(self.lengths):
            found.append(self._batch(lengths, start))
            start += sum(lengths)
        return tuple(found)

    def _batch(self, lengths: Sequence[int], start: int) -> _Alike:
        """The batch of neighbours of these lengths, the first of which begins at `start` of the E tokens."""
        longest = max(lengths)
        if self.where is None and min(lengths) == longest:
            return _Alike(len(lengths), longest, slice(start, start + longest * len(lengths)), None)
        ends = np.asarray(lengths)[:, None]
        begins = start + np.cumsum([0, *lengths[:-1]])[:, None]
        tokens = begins + np.minimum(np.arange(longest), ends - 1)  # (n, longest), last token again
        kept = np.arange(longest) < ends
        if self.where is not None:
            kept &= self.first[self.where[tokens]] == tokens
            tokens = self.where[tokens]
        gather = torch.from_numpy(tokens.ravel()).to(self.device)
        return _Alike(len(lengths), longest, gather, torch.from_numpy(np.flatnonzero(kept)).to(self.device))


def packed_states(model: Any, ids: Tensor, segments: Segments) -> Tensor:
    """States after the last norm (1, T, H) of the row of sequences (1, E), each as if it were alone.

    ModelError where that cannot be had (`can_pack`).
    """
    if not can_pack(model):
        raise ModelError(f"{type(model).__name__}: sequences of this model cannot share a row; give each its own.")
    return _row_states(model, ids, segments)


def can_pack(model: Any) -> bool:
    """Whether sequences in one row come out as each does alone; tried once for each model, on a few tokens."""
    tried, why = _tried.get(model, (None, None))
    if tried is None or tried != _implementation(model):
        why = _why_not(model)
        _tried[model] = (_implementation(model), why)
        if why is not None:
            name = type(model).__name__
            progress.say_once(f"{name}: sequences are padded to a common length in training, not packed ({why})")
    return why is None


def _implementation(model: Any) -> str:
    return str(model.config.get_text_config()._attn_implementation)


def _row_states(model: Any, ids: Tensor, segments: Segments) -> Tensor:
    # transformers takes a mask of four dimensions as it is: this one says that there is none to build.
    mask = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=ids.device)
    row = ids if segments.where is None else ids[:, segments.tokens]
    states: Tensor = model.get_decoder()(
        input_ids=row, attention_mask=mask, position_ids=segments.positions, use_cache=False, segments=segments
    ).last_hidden_state
    return states


def _why_not(model: Any) -> str | None:
    if _implementation(model) not in ("sdpa", OURS):
        return f"its attention is {_implementation(model)}"
    if not (getattr(model, "_supports_attention_backend", False) and getattr(model, "_supports_flash_attn", False)):
        return "its attention takes no other function"  # with one for flash attention, windows come as arguments
    if getattr(model.config.get_text_config(), "attention_chunk_size", None) is not None:
        return "its attention looks at chunks"
    model.config._attn_implementation = OURS
    why = _probed(model)
    if why is not None:
        model.config._attn_implementation = "sdpa"
    return why


@torch.no_grad()
def _probed(model: Any) -> str | None:
    """What is wrong with a packed row of a few short sequences, by the model's own attention to each alone."""
    embeddings = model.get_input_embeddings().weight
    ids = (torch.arange(1, sum(PROBE_LENGTHS) + 1, device=embeddings.device) * 7 % embeddings.shape[0])[None]
    decoder = model.get_decoder()
    alone = [decoder(input_ids=part, use_cache=False).last_hidden_state for part in ids.split(PROBE_LENGTHS, dim=1)]
    expected = torch.cat(alone, dim=1)
    try:
        found = _row_states(model, ids, Segments(PROBE_LENGTHS, ids.device))
    except Exception as error:  # trust boundary: an architecture that was never tried here may fail in any way
        return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    tolerance = max(PROBE_TOLERANCE, 4 * torch.finfo(expected.dtype).eps)
    if found.shape == expected.shape and bool((found - expected).abs().max() <= tolerance * expected.abs().max()):
        return None
    return "in one row they change each other"


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    segments: Segments | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """transformers' attention function: query, key and value (B, heads, T, D) -> (B, T, heads, D), and no weights."""
    if segments is None:
        more |= {"scaling": scaling, "dropout": dropout, "sliding_window": sliding_window}
        return sdpa_attention_forward(module, query, key, value, attention_mask, **more)
    if unknown := sorted(name for name in ("softcap", "s_aux", "position_bias", "cache") if more.get(name) is not None):
        raise ValueError(f"its attention has {', '.join(unknown)}")
    if more.get("is_causal") is False or not getattr(module, "is_causal", True):
        raise ValueError("its attention is not causal")
    # One row: (1, heads, T, D) -> (T, heads, D), which is how the projections left it.
    query, key, value = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    if _has_kernel(query, value, dropout):
        return _in_one_call(query, key, value, segments, scaling, sliding_window)[None], None
    return _in_batches(query, key, value, segments, scaling, dropout, sliding_window)[None], None


AttentionInterface.register(OURS, _attention)
AttentionMaskInterface.register(OURS, sdpa_mask)


def _in_batches(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    segments: Segments,
    scale: float | None,
    dropout: float,
    window: int | None,
) -> Tensor:
    """(T, heads, D) of all -> (T, heads, D): scaled dot-product attention, one batch for sequences of like length."""
    found, many = [], len(segments.lengths) > 1  # a row of one sequence has the bits that it has without `Segments`
    for batch in segments.alike:
        shape = (batch.count, batch.longest, -1)
        q, k, v = (_taken(x, batch.gather).view(*shape, x.shape[-1]) for x in (query, key, value))
        near = None if window is None or window >= batch.longest else window
        if many and near is None and fits_blocks(query, batch.longest, dropout):
            out = attend_in_blocks(q, k, v, scale)
        else:
            out = _by_torch(q, k, v, scale, dropout, near)
        out = out.reshape(batch.count * batch.longest, *out.shape[2:])
        found.append(out if batch.keep is None else out.index_select(0, batch.keep))
    return torch.cat(found)


def _by_torch(
    query: Tensor, key: Tensor, value: Tensor, scale: float | None, dropout: float, window: int | None
) -> Tensor:
    """Causal attention of sequences of one length, (B, L, heads, D) of all."""
    q, k, v = (x.transpose(1, 2) for x in (query, key, value))
    mask = None if window is None else _band(q.shape[2], window, q.device)
    found: Tensor = scaled_dot_product_attention(
        q, k, v, mask, dropout, is_causal=mask is None, scale=scale, enable_gqa=q.shape[1] != k.shape[1]
    )
    return found.transpose(1, 2)


def _taken(rows: Tensor, where: Tensor | slice) -> Tensor:
    return rows[where] if isinstance(where, slice) else rows.index_select(0, where)


def _band(tokens: int, window: int, device: torch.device) -> Tensor:
    """(T, T) bool: a token sees itself and the `window` - 1 before it."""
    places = torch.arange(tokens, device=device)
    behind = places[:, None] - places[None, :]
    return (behind >= 0) & (behind < window)


def _has_kernel(query: Tensor, value: Tensor, dropout: float) -> bool:
    """Whether torch's variable-length attention takes these: half precision on a GPU, heads of one size up to 256."""
    half = query.is_cuda and query.dtype in (torch.float16, torch.bfloat16)
    return half and not dropout and query.shape[-1] == value.shape[-1] <= 256


def _in_one_call(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    segments: Segments,
    scale: float | None,
    window: int | None,
) -> Tensor:
    """(T, heads, D) of all -> (T, heads, D): torch's variable-length attention (FlashAttention), on a GPU."""
    from torch.nn.attention.varlen import varlen_attn

    groups = query.shape[1] // key.shape[1]
    more: dict[str, Any] = {}
    if groups > 1 and "enable_gqa" in signature(varlen_attn).parameters:
        more["enable_gqa"] = True
    elif groups > 1:  # torch 2.11 wants as many heads of keys
        key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
    if segments.where is not None:
        query, key, value = (x.index_select(0, segments.places) for x in (query, key, value))
    longest = max(segments.lengths)
    left = -1 if window is None else window - 1
    places = (segments.starts, segments.starts, longest, longest)
    attend: Any = varlen_attn
    found: Tensor = attend(query, key, value, *places, scale=scale, window_size=(left, 0), **more)
    return found if segments.where is None else found.index_select(0, segments.tokens)


def _neighbours_alike(lengths: Sequence[int]) -> Iterator[list[int]]:
    run: list[int] = []
    for length in lengths:
        if run and max(*run, length) > ALIKE * min(*run, length):
            yield run
            run = []
        run.append(length)
    yield run
