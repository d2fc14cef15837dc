"""Rules of the keys that say what computes and how much of it at once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Protocol

from openklear.recipe.section import Broken

DEVICE = re.compile(r"auto|cpu|cuda(:[0-9]{1,3})?", re.ASCII)


def device_rules(device: str) -> Iterator[Broken]:
    """What cannot be a device."""
    if not DEVICE.fullmatch(device):
        text = f'must be "auto", "cpu", "cuda" or "cuda:N", not "{device}"; write, for example, "auto"'
        yield Broken(("device",), text)


class PhaseRows(Protocol):
    """Of a phase what matters here."""

    @property
    def name(self) -> str:
        """What the stage is called after."""

    @property
    def max_prompt_tokens(self) -> int:
        """Of a prompt, at most."""

    @property
    def max_completion_tokens(self) -> int:
        """Of a rollout, at most."""

    @property
    def aggregation(self) -> str:
        """How token losses become one."""


def microbatch_rules(most: int | str, sft: int, phases: Sequence[PhaseRows]) -> Iterator[Broken]:
    """A micro-batch of `most` tokens holds every row; one that defines a result is not left to the machine.

    `sft`: tokens of the longest demonstration, 0 without SFT.
    """
    if isinstance(most, str):
        for phase in phases:
            if phase.aggregation == "klear_released":
                text = f'the aggregation "klear_released" of rl.phase.{phase.name} depends on the micro-batches, so '
                yield Broken(("microbatch_tokens",), text + 'what "auto" finds would change the result; write a number')
        return
    rows = {"sft.max_tokens": sft}
    for phase in phases:
        key = f"rl.phase.{phase.name}: max_prompt_tokens + max_completion_tokens"
        rows[key] = phase.max_prompt_tokens + phase.max_completion_tokens
    too_long = {key: tokens for key, tokens in rows.items() if tokens > most}
    if too_long:
        listed = ", ".join(f"{tokens} ({key})" for key, tokens in too_long.items())
        text = f"{most} tokens cannot hold the longest sequence the recipe allows, {listed}; "
        text += f"raise microbatch_tokens to {max(too_long.values())} or more, or lower those keys"
        yield Broken(("microbatch_tokens",), text)
