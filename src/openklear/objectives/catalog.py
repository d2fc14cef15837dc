"""What tables say of a policy objective: entered beside its function, collected by `openklear.objectives.policy`.

Notation as there: d loss / d log pi = -A w, r = pi/pi_old, p = pi_old, el and eh the clip.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

PolicyLoss = Callable[..., Tensor]
"""(logprobs, old_logprobs, advantages, *, loss_mask=None, <the objective's own numbers>) -> loss (B, T)."""

Loss = TypeVar("Loss", bound=PolicyLoss)

_MORE_INPUTS = ("segment_ids", "correct")
_OLD_PROBABILITY = 0.2


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """One objective: its function and its row of the table."""

    loss: PolicyLoss
    title: str
    positive: str
    """w for A > 0."""
    negative: str
    """w for A < 0."""
    source: str
    note: str

    @property
    def numbers(self) -> dict[str, float | None]:
        """The published numbers, which are the function's defaults; None where one is off."""
        parameters = inspect.signature(self.loss).parameters.values()
        own = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
        return {name: value for name, value in own.items() if name not in ("loss_mask", *_MORE_INPUTS)}

    def weight(self, ratio: Tensor, positive: Tensor, **numbers: float | None) -> Tensor:
        """w (N,) by autograd of the loss, at ratios (N,) > 0 of sequences of one token; `positive` (N,) is A > 0.

        The token's old probability is 0.2, |A| is 1, and a rollout is correct where A > 0.
        """
        old = torch.full_like(ratio, math.log(_OLD_PROBABILITY))[:, None]
        logprobs = (old + ratio.log()[:, None]).requires_grad_()
        advantages = torch.where(positive, 1.0, -1.0)[:, None]
        more = {"correct": positive[:, None]} if "correct" in more_inputs(self.loss) else {}
        losses = self.loss(logprobs, old, advantages, **more, **numbers)
        (slopes,) = torch.autograd.grad(losses.sum(), logprobs)
        return (-advantages * slopes)[:, 0]

    @property
    def sequence(self) -> bool:
        """Whether the ratio is a sequence's, so that only the aggregation `sequence_mean` gives the published loss."""
        return "segment_ids" in more_inputs(self.loss)


def more_inputs(loss: PolicyLoss) -> tuple[str, ...]:
    """Which of `segment_ids` and `correct`, both (B, T), a loss reads: those that its parameters name."""
    return tuple(name for name in _MORE_INPUTS if name in inspect.signature(loss).parameters)


ENTRIES: dict[str, CatalogEntry] = {}
"""The recipe's `type` -> entry, in the order in which the families were imported."""


def listed(title: str, *, positive: str, negative: str, source: str, note: str = "") -> Callable[[Loss], Loss]:
    """Decorator: enters the loss under the name of its function, which is the recipe's `type`."""

    def enter(loss: Loss) -> Loss:
        ENTRIES[loss.__name__] = CatalogEntry(loss, title, positive, negative, source, note)
        return loss

    return enter
