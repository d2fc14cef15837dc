"""A policy loss of the user's own: tried on a few tokens before a run trusts it, and guarded while it trains."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from openklear.errors import UsageError
from openklear.objectives.catalog import PolicyLoss, more_inputs

# Two rollouts of three and four tokens. In the first one r = 1, as at the first update of every iteration; the second
# one lies on both sides of it. Outside the mask everything is 0, as in training.
_LOG_RATIO = ((0.0, 0.0, 0.0, 0.0), (-0.75, 0.75, -0.75, 0.75))
_ADVANTAGES = ((1.0, -1.0, 0.5, 0.0), (1.0, 1.0, -1.0, -1.0))
_OLD_LOGPROBS = ((-1.0, -2.0, -0.5, 0.0), (-1.0, -1.0, -1.0, -1.0))
_MASK = ((True, True, True, False), (True, True, True, True))


def guarded(loss: PolicyLoss, name: str) -> PolicyLoss:
    """The loss, with a UsageError that names it where it raises or does not return a loss of each token."""

    @functools.wraps(loss)
    def call(logprobs: Tensor, *tensors: Tensor, **keywords: Any) -> Tensor:
        try:
            losses = loss(logprobs, *tensors, **keywords)
        except Exception as error:  # the function is the user's own and may raise anything
            raise UsageError(f"{name} raised {type(error).__name__}: {error}; fix the function") from error
        if not isinstance(losses, Tensor) or losses.shape != logprobs.shape:
            found = f"shape {tuple(losses.shape)}" if isinstance(losses, Tensor) else f"a {type(losses).__name__}"
            shape = f"of shape (B, T) = {tuple(logprobs.shape)}, as logprobs have it"
            raise UsageError(f"{name} returned {found}; return the loss of each token, a tensor {shape}")
        return losses

    return call


def check(loss: PolicyLoss, name: str, arguments: Mapping[str, float]) -> None:
    """Call the loss once on seven tokens. UsageError where it cannot be trained with.

    It must take what policy losses get and these arguments, return (B, T), be finite, and have a gradient at r = 1.
    """
    mask = torch.tensor(_MASK)
    old, advantages = torch.tensor(_OLD_LOGPROBS), torch.tensor(_ADVANTAGES)
    logprobs = (old + torch.tensor(_LOG_RATIO)).requires_grad_()
    extra = {"segment_ids": torch.zeros(mask.shape, dtype=torch.int64), "correct": advantages > 0}
    keywords = {"loss_mask": mask, **{key: extra[key] for key in _checked_inputs(loss, name, arguments)}, **arguments}
    losses = torch.where(mask, guarded(loss, name)(logprobs, old, advantages, **keywords), 0.0)
    if not losses.requires_grad:
        raise UsageError(f"{name}: no gradient reaches logprobs; compute the loss from them, without detach or no_grad")
    (slopes,) = torch.autograd.grad(losses.sum(), logprobs, allow_unused=True, materialize_grads=True)
    for what, values in (("loss", losses), ("gradient", slopes)):
        for row, column in (~torch.isfinite(values)).nonzero().tolist():
            ratio, advantage = torch.tensor(_LOG_RATIO).exp()[row, column], advantages[row, column]
            token = f"a token with r = {ratio:.2g} and A = {advantage:g}"
            raise UsageError(f"{name}: the {what} of {token} is {values[row, column]:g}; make it finite")
    if not slopes[0].any():
        text = "its gradient is 0 wherever r = 1, which is where every iteration begins, so it would train nothing"
        raise UsageError(f"{name}: {text}; see docs/objectives.md for what a loss is given")


def _checked_inputs(loss: PolicyLoss, name: str, arguments: Mapping[str, float]) -> tuple[str, ...]:
    """`more_inputs` of the loss. UsageError where its parameters do not take what it would be given."""
    try:
        signature = inspect.signature(loss)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name}: its parameters cannot be read; wrap it in a Python function") from error
    more = more_inputs(loss)
    given = dict.fromkeys(("loss_mask", *more))
    if taken := sorted(given.keys() & arguments.keys()):
        raise UsageError(f"{name}: {taken[0]} is given to every loss; take it out of arguments")
    try:
        signature.bind(None, None, None, **given, **arguments)
    except TypeError as error:
        wanted = "(logprobs, old_logprobs, advantages, *, loss_mask) and the recipe's arguments"
        named = f"{name}({', '.join(signature.parameters)})"
        raise UsageError(f"{named} cannot be a policy loss: {error}; it is called with {wanted}") from error
    return more
