"""A model with its tokenizer, from a directory and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A causal language model with its tokenizer and every token that ends a completion."""

    model: Any
    tokenizer: Any
    end_ids: frozenset[int]
