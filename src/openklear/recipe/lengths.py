"""Lengths that follow from several keys of a recipe together. Without torch, so that a fingerprint can hold them."""

from __future__ import annotations

from openklear.recipe.schema import Recipe

_ROUNDING = 64


def max_positions(recipe: Recipe) -> int:
    """Positions that a tiny model needs for the recipe's longest sequence, rounded up to a multiple of 64."""
    return -(-longest_row(recipe) // _ROUNDING) * _ROUNDING


def longest_row(recipe: Recipe) -> int:
    """Tokens of the longest sequence that the recipe allows, prompt and completion together."""
    phases = recipe.rl.phase if recipe.rl is not None else ()
    longest = max((phase.max_prompt_tokens for phase in phases), default=0)
    lengths = [longest + recipe.evaluation.max_completion_tokens]
    lengths += [phase.max_prompt_tokens + phase.max_completion_tokens for phase in phases]
    if recipe.sft is not None:
        lengths.append(recipe.sft.max_tokens)
    return max(lengths)


def max_prompt_tokens(recipe: Recipe) -> int:
    """The longest prompt of evaluations that is planned for: that of any phase, or without RL what SFT rows may be."""
    if recipe.rl is not None:
        return max(phase.max_prompt_tokens for phase in recipe.rl.phase)
    return recipe.sft.max_tokens if recipe.sft is not None else 4096
