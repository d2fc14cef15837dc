"""Rules of the keys that say what computes and how much of it at once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from openklear.recipe.section import Broken

if TYPE_CHECKING:
    from openklear.recipe.schema import Recipe

DEVICE = re.compile(r"auto|cpu|cuda(:[0-9]{1,3})?", re.ASCII)


def machine_rules(whole: Recipe) -> Iterator[Broken]:
    """What does not hold: a device that cannot be one, a micro-batch that cannot hold a row, or is not known."""
    if not DEVICE.fullmatch(whole.device):
        text = f'must be "auto", "cpu", "cuda" or "cuda:N", not "{whole.device}"; write, for example, "auto"'
        yield Broken(("device",), text)
    if isinstance(whole.microbatch_tokens, int):
        yield from _too_small(whole, whole.microbatch_tokens)
    else:
        yield from _defined_by_microbatches(whole)


def _too_small(whole: Recipe, most: int) -> Iterator[Broken]:
    longest = {"sft.max_tokens": whole.sft.max_tokens} if whole.sft else {}
    for item in whole.rl.phase if whole.rl else ():
        key = f"rl.phase.{item.name}: max_prompt_tokens + max_completion_tokens"
        longest[key] = item.max_prompt_tokens + item.max_completion_tokens
    too_long = {key: tokens for key, tokens in longest.items() if tokens > most}
    if too_long:
        listed = ", ".join(f"{tokens} ({key})" for key, tokens in too_long.items())
        text = f"{most} tokens cannot hold the longest sequence the recipe allows, {listed}; "
        text += f"raise microbatch_tokens to {max(too_long.values())} or more, or lower those keys"
        yield Broken(("microbatch_tokens",), text)


def _defined_by_microbatches(whole: Recipe) -> Iterator[Broken]:
    for item in whole.rl.phase if whole.rl else ():
        if item.aggregation == "klear_released":
            text = f'the aggregation "klear_released" of rl.phase.{item.name} depends on the micro-batches, so what '
            yield Broken(("microbatch_tokens",), text + '"auto" finds would change the result; write a number')
