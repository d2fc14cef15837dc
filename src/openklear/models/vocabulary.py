"""Ids that a model has but its tokenizer does not: heads are often padded to a round size.

Nobody can read such an id, so none is ever sampled, and sampler and trainer alike give it no probability: a
distribution is one over the tokenizer's ids. Where nothing is padded, nothing is done.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

__all__ = ["known_ids", "remember_tokenizer", "within"]

_NAME = "openklear_known_ids"


def remember_tokenizer(model: Any, tokenizer: Any) -> None:
    """Let the model know how many ids its tokenizer has."""
    setattr(model, _NAME, max(tokenizer.get_vocab().values()) + 1)


def known_ids(model: Any) -> int | None:
    """The ids below this one are the tokenizer's; None where the head has no others, or no tokenizer is known."""
    known: int | None = getattr(model, _NAME, None)
    return None if known is None or known >= model.get_output_embeddings().weight.shape[0] else known


def within(rows: Tensor | None, known: int | None) -> Tensor | None:
    """The rows of a head's weight (V, H) or bias (V,) that belong to known ids, as a view."""
    return rows if rows is None or known is None else rows[:known]
