"""How many tokens a row may have under a model, by the kind of its position embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["OVER_POSITIONS", "Longest", "longest"]

OVER_POSITIONS = "over the model's positions"
"""The kind of reason that a row is dropped for."""


@dataclass(frozen=True, slots=True)
class Longest:
    """Tokens of a row: prompt and completion together."""

    computed: int | None
    """Beyond it nothing can be computed, or not the same in sampling and training; None: any length."""
    trained: int | None
    """max_position_embeddings: beyond it the model was not trained. Sampling ends there."""
    why: str = ""
    """What sets `computed`, for a sentence."""

    def row_fault(self, tokens: int) -> str | None:
        """Why a row of so many tokens cannot be trained; None where it can."""
        if self.computed is None or tokens <= self.computed:
            return None
        return f"{tokens} tokens; the model takes {self.computed} ({self.why})"

    def prompt_fault(self, tokens: int) -> str | None:
        """Why nothing can be sampled after a prompt of so many tokens; None where something can."""
        if self.sampled is None or tokens < self.sampled:
            return None
        return f"prompt of {tokens} tokens; the model has {self.sampled} positions, and an answer needs room"

    def is_beyond_training(self, tokens: int) -> bool:
        """Whether a row of so many tokens goes further than the model was trained."""
        return self.trained is not None and tokens > self.trained

    @property
    def sampled(self) -> int | None:
        """Where sampling ends: the model's last position."""
        known = [limit for limit in (self.computed, self.trained) if limit is not None]
        return min(known, default=None)


ANY_LENGTH = Longest(None, None)


def longest(config: Any) -> Longest:
    """The limits of a model, from its transformers configuration.

    Rotary embeddings go on beyond the trained length. Learned and tabulated positions end. Dynamic NTK and longrope
    turn all of a sequence by other angles once it is longer than the original length: keys in a cache would be those of
    the shorter sequence, and a row's result that of the longest beside it. Up to that length all of it is one thing.
    """
    config = config.get_text_config()
    positions: int | None = getattr(config, "max_position_embeddings", None)
    ropes = list(_ropes(getattr(config, "rope_parameters", None)))
    if not ropes:
        ends = positions is not None and not getattr(config, "alibi", False)
        return Longest(positions if ends else None, positions, "it has no positions beyond")
    changing = {str(rope["rope_type"]): limit for rope in ropes if (limit := _original(rope, config, positions))}
    why = f"beyond, its {' and '.join(changing)} rotary embedding would turn all tokens of a sequence anew"
    return Longest(min(changing.values(), default=None), positions, why if changing else "")


def _ropes(parameters: Any) -> list[Mapping[str, Any]]:
    """The settings of each rotary embedding; configurations with several have one by kind of layer."""
    if not isinstance(parameters, Mapping) or not parameters:
        return []
    if "rope_type" in parameters or "rope_theta" in parameters:
        return [parameters]
    return [one for one in parameters.values() if isinstance(one, Mapping)]


def _original(rope: Mapping[str, Any], config: Any, positions: int | None) -> int | None:
    """Up to which length the angles of this embedding are always the same; None: for ever."""
    kind = str(rope.get("rope_type", "default"))
    if kind == "longrope":
        own = getattr(config, "original_max_position_embeddings", None)
        found = rope.get("original_max_position_embeddings", own)
        return positions if found is None else int(found)
    return positions if "dynamic" in kind else None
