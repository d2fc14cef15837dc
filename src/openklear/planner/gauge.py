"""How near to what its machine can do a running phase is: MFU, and its share of the floor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from openklear.planner.costs import NOTHING, Load, decoding_load, floor_seconds, forward_load, training_load
from openklear.planner.machines import Machine
from openklear.planner.memory import WIDTH
from openklear.planner.shape import ModelShape


@dataclass(frozen=True, slots=True)
class Gauge:
    """Of one model on one machine. Operations, bytes and floor as `planner.costs` counts them, of the real lengths."""

    shape: ModelShape
    machine: Machine
    dtype: str
    threads: int
    slots: int
    """Most sequences decoded at once."""
    adapters: int | None = None
    """Parameters of LoRA's adapters; None where all weights are trained."""

    def trained(self, rows: Iterable[tuple[int, int]], updates: int, seconds: float) -> dict[str, float]:
        """Of (tokens, tokens with a loss) of the rows that were trained on in so many updates."""
        tokens = losses = 0
        pairs = 0.0
        for length, loss in rows:
            tokens, losses, pairs = tokens + length, losses + loss, pairs + length**2 / 2
        width = WIDTH[self.dtype]
        load = training_load(
            *(self.shape, tokens, losses, pairs), microbatches=updates, updates=updates, width=width,
            adapters=self.adapters,
        )  # fmt: skip
        return self._shares("training", load, seconds)

    def sampled(self, groups: Iterable[tuple[int, Sequence[int]]], seconds: float) -> dict[str, float]:
        """Of (tokens of the prompt, those of each completion) of the groups; the prompt is read once for its group."""
        load, width = NOTHING, WIDTH[self.dtype]
        tokens = longest = 0
        for prompt, lengths in groups:
            load += forward_load(self.shape, prompt, 1, prompt**2 / 2, microbatches=0, width=width)
            for length in lengths:
                load += decoding_load(self.shape, 1, prompt, length, 0, width=width)
            tokens, longest = tokens + sum(lengths), max([longest, *lengths])
        steps = max(longest, tokens / self.slots)
        read = load.read + steps * self.shape.multiplied * width
        whole = Load(load.tokens, load.flops, load.executed, read, load.elements, load.layers)
        return self._shares("sampling", whole, seconds)

    def _shares(self, name: str, load: Load, seconds: float) -> dict[str, float]:
        if not load.tokens or seconds <= 0:
            return {}
        peak = self.machine.flops_of(self.dtype, self.threads)
        floor = floor_seconds(load, self.machine, self.dtype, self.threads)
        return {f"{name}_mfu": load.flops / peak / seconds, f"{name}_floor_share": floor / seconds}
