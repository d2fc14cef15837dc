"""Norms and rotary positions of a model as one operation each, forwards and backwards, while its gradient is computed.

transformers writes an RMSNorm as six operations and a rotation of queries and keys as ten; each goes over all of its
numbers once, and backwards twice. On a CPU this is a seventh of a training step of a small model.

`fuse` gives single modules of one model a class with another `forward`, where their own is, instruction by
instruction, the one that is known here, and a probe finds the model's states unchanged. It is used within `using_fused`
alone, which `sequence_logprobs` opens: sampling, evaluation and everybody else's passes run the model's own code.
Parameters are not touched. Anywhere but on a CPU in float32 the model's own code runs as well: in float64, which is for
tests of laws, float32 norms would make 1e-8 of another last digit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from types import FunctionType
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers.models.llama import modeling_llama as known

__all__ = ["as_now", "fuse", "using_fused"]

PROBE_TOKENS = 8
PROBE_TOLERANCE = 1e-4
"""Largest difference of a hidden state on the probe, relative to the largest. Rounding alone gives about 1e-6."""
ROTATION = "apply_rotary_pos_emb"

_using: ContextVar[bool] = ContextVar("openklear_fused", default=False)
_seen: WeakSet[Any] = WeakSet()


@contextmanager
def using_fused(on: bool = True) -> Iterator[None]:
    """Within, modules that `fuse` found compute as one operation."""
    token = _using.set(on)
    try:
        yield
    finally:
        _using.reset(token)


def as_now(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which will run as it would now: for what is computed anew in the backward pass."""
    on = _using.get()

    def run(*args: Any, **kwargs: Any) -> Any:
        with using_fused(on):
            return function(*args, **kwargs)

    return run


@torch.no_grad()
def fuse(model: Any) -> None:
    """Fuse what can be fused of the model, once; nothing where its states would not stay the same."""
    if model in _seen:
        return
    _seen.add(model)
    decoder = model.get_decoder()
    changed = [module for module in decoder.modules() if _fused(module)]
    if not changed:
        return
    embeddings = model.get_input_embeddings().weight
    ids = (torch.arange(1, PROBE_TOKENS + 1, device=embeddings.device) * 7 % embeddings.shape[0])[None]
    own = decoder(input_ids=ids, use_cache=False).last_hidden_state
    with using_fused():
        found = decoder(input_ids=ids, use_cache=False).last_hidden_state
    if not bool((found - own).abs().max() <= PROBE_TOLERANCE * own.abs().max()):
        for module in changed:
            module.__class__ = type(module).__base__


def _fused(module: nn.Module) -> bool:
    """Give the module a fused forward if its own is a known one.

    It becomes of a class derived from its own. A method bound to the module and kept in it would be a cycle, and the
    model's memory would stay taken until the next collection.
    """
    own = type(module).forward
    if "forward" in vars(module) or not isinstance(own, FunctionType) or module._forward_hooks:
        return False
    fused = _norm if _same(own, known.LlamaRMSNorm.forward) else _turning(own)
    if fused is None:
        return False
    kind: Any = type(module)
    module.__class__ = _derived(kind, fused)
    return True


@cache
def _derived(own: Any, forward: Any) -> Any:
    return type(own.__name__, (own,), {"forward": forward, "__module__": own.__module__})


@cache
def _turning(own: FunctionType) -> FunctionType | None:
    """The same code with another rotation; None where it has none that is known."""
    turn: Any = own.__globals__.get(ROTATION)
    if ROTATION not in own.__code__.co_names or not _same(turn, known.apply_rotary_pos_emb):
        return None
    if not _same(turn.__globals__.get("rotate_half"), known.rotate_half):
        return None
    forward = FunctionType(own.__code__, own.__globals__ | {ROTATION: _turned}, own.__name__, own.__defaults__)
    forward.__kwdefaults__ = own.__kwdefaults__
    return forward


def _same(one: Any, other: Any) -> bool:
    """Whether two functions are the same instructions with the same names and constants."""
    if not isinstance(one, FunctionType) or one.__closure__ is not None:
        return False
    codes = one.__code__, other.__code__
    mine, theirs = ((code.co_code, code.co_names, code.co_varnames, _constants(code)) for code in codes)
    return mine == theirs and one.__defaults__ == other.__defaults__


def _constants(code: Any) -> tuple[Any, ...]:
    return tuple(constant for constant in code.co_consts if constant != code.co_consts[0] or constant is None)


def _norm(module: Any, hidden_states: Tensor) -> Tensor:
    weight = module.weight
    known_types = hidden_states.dtype == weight.dtype == torch.float32
    if _using.get() and known_types and hidden_states.device.type == "cpu":
        apply: Any = _Norm.apply
        normed: Tensor = apply(hidden_states, weight, module.variance_epsilon)
        return normed
    own: Any = type(module).__base__
    plain: Tensor = own.forward(module, hidden_states)
    return plain


def _turned(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, unsqueeze_dim: int = 1) -> tuple[Tensor, Tensor]:
    """transformers' `apply_rotary_pos_emb`: states (B, heads, T, D), angles (B, T, D)."""
    known_types = q.dtype == k.dtype == cos.dtype == torch.float32
    if _using.get() and known_types and q.device.type == "cpu":
        cos, sin = cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim)
        apply: Any = _Turn.apply
        return apply(q, cos, sin), apply(k, cos, sin)
    own: tuple[Tensor, Tensor] = known.apply_rotary_pos_emb(q, k, cos, sin, unsqueeze_dim)
    return own


class _Norm(torch.autograd.Function):
    """y = w x / r with r^2 = mean(x^2) + eps over the last of the dimensions.

    With s = 1 / r, n = x s and upstream g:  dw = sum g n,  dx = s (g w - n mean(g w n)).
    """

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, eps: float) -> Tensor:
        norms = torch.linalg.vector_norm(states, dim=-1, keepdim=True)
        inverse = norms.square_().div_(states.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(states, weight, inverse)
        return torch.mul(states, inverse).mul_(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        states, weight, inverse = ctx.saved_tensors
        width = states.shape[-1]
        normed = states * inverse
        product = (upstream * normed).reshape(-1, width)
        for_weight = product.sum(0) if ctx.needs_input_grad[1] else None
        mean = torch.mv(product, weight).div_(-width).view_as(inverse)
        change = torch.mul(upstream, weight).addcmul_(normed, mean).mul_(inverse)
        return change, for_weight, None


class _Turn(torch.autograd.Function):
    """Pairs (x_i, x_{i + D/2}) turned by an angle; backwards by the opposite one."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _rotated(states, cos, sin, 1.0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        cos, sin = ctx.saved_tensors
        return _rotated(upstream, cos, sin, -1.0), None, None


def _rotated(states: Tensor, cos: Tensor, sin: Tensor, sign: float) -> Tensor:
    """`states` * cos + rotate_half(`states`) * sin * sign, (..., D).

    Angles of both halves are the same (transformers repeats them), so that the turn backwards is the opposite one.
    """
    half = states.shape[-1] // 2
    found = states * cos
    found[..., :half].addcmul_(states[..., half:], sin[..., :half], value=-sign)
    found[..., half:].addcmul_(states[..., :half], sin[..., half:], value=sign)
    return found
