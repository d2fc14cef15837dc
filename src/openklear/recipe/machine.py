"""Rules of the keys that say what computes and how much of it at once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from openklear.recipe.section import Broken

DEVICE = re.compile(r"auto|cpu|cuda(:[0-9]{1,3})?", re.ASCII)


def device_rules(device: str) -> Iterator[Broken]:
    """What cannot be a device."""
    if not DEVICE.fullmatch(device):
        text = f'must be "auto", "cpu", "cuda" or "cuda:N", not "{device}"; write, for example, "auto"'
        yield Broken(("device",), text)


def microbatch_rules(most: int | str, rows: Mapping[str, int], released: Sequence[str]) -> Iterator[Broken]:
    """A micro-batch of `most` tokens holds every row; one that defines a result is not left to the machine.

    `rows`: keys -> the longest row that they allow; `released`: phases whose aggregation goes by micro-batches.
    """
    if isinstance(most, str):
        for name in released:
            text = f'the aggregation "klear_released" of rl.phase.{name} depends on the micro-batches, so what '
            yield Broken(("microbatch_tokens",), text + '"auto" finds would change the result; write a number')
        return
    too_long = {key: tokens for key, tokens in rows.items() if tokens > most}
    if too_long:
        listed = ", ".join(f"{tokens} ({key})" for key, tokens in too_long.items())
        text = f"{most} tokens cannot hold the longest sequence the recipe allows, {listed}; "
        text += f"raise microbatch_tokens to {max(too_long.values())} or more, or lower those keys"
        yield Broken(("microbatch_tokens",), text)
