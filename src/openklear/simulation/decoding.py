"""How long decoding takes: one step of a batch, and many of them in closed form while the batch stays the same."""

from __future__ import annotations

import math
from dataclasses import dataclass

from openklear.planner.costs import DECODING_PASSES, EFFICIENCY, LOGIT_PASSES, element_rate
from openklear.planner.machines import Machine
from openklear.planner.memory import WIDTH, cached_token_bytes, token_bytes
from openklear.planner.shape import ModelShape

GRAPH_LAYER = 5.0e-5
"""Seconds that a layer of a recorded graph takes however little it computes, on a GPU; ours, not measured."""
TENSOR_LATENCY = 3.0e-5
"""Seconds that the two reductions of a layer take with tensor parallelism, whatever their size; ours, not measured."""


@dataclass(frozen=True, slots=True)
class StepTime:
    """Seconds of a step that decodes one token of each of b rows, which hold c tokens together:

        max(weights + c held, b multiplied) + b row + start

    Reading and multiplying go on beside each other, the longer one counts.
    """

    weights: float
    """To read the weights."""
    held: float
    """To read the keys and values of one token."""
    multiplied: float
    """To multiply one row."""
    row: float
    """Element-wise passes and drawing of one row."""
    start: float
    """Whatever the batch."""
    prefill: float = 0.0
    """For one token of a prompt."""

    def seconds(self, rows: int, held: float, steps: float) -> float:
        """Of so many steps, while every row grows by a token a step."""
        if rows == 0 or steps <= 0:
            return 0.0
        reading = self._reading(rows, held, steps)
        return reading + steps * (rows * self.row + self.start)

    def _reading(self, rows: int, held: float, steps: float) -> float:
        """The sum of max(weights + c held, b multiplied): first the arithmetic is longer, later the reading."""
        compute = rows * self.multiplied
        growth = rows * self.held
        at_first = self.weights + self.held * held
        before = 0.0
        if growth > 0:
            before = min(max(math.ceil((compute - at_first) / growth), 0), steps)
        elif at_first < compute:
            before = steps
        after = steps - before
        first = at_first + before * growth
        return before * compute + after * first + growth * after * max(after - 1, 0) / 2

    def steps_within(self, rows: int, held: float, seconds: float, most: int) -> int:
        """Whole steps that are over after so many seconds, at most `most`."""
        low, high = 0, min(most, int(seconds / self.seconds(rows, held, 1)))  # steps only become longer
        while low < high:
            middle = (low + high + 1) // 2
            if self.seconds(rows, held, middle) <= seconds:
                low = middle
            else:
                high = middle - 1
        return low


def roofline_step(shape: ModelShape, machine: Machine, dtype: str, *, tensor_parallel: int = 1) -> StepTime:
    """What the planner's shares of peak and bandwidth give for an engine of so many GPUs."""
    share, width = EFFICIENCY[machine.kind], WIDTH[dtype]
    peak = machine.flops_of(dtype) * share.compute * tensor_parallel
    reading = machine.bandwidth * share.reading * tensor_parallel
    elements = element_rate(machine, 1) * tensor_parallel
    passes = token_bytes(shape, width) * DECODING_PASSES / 2 + shape.vocabulary * 4 * LOGIT_PASSES
    layer = GRAPH_LAYER if machine.kind == "gpu" else share.layer
    latency = shape.layers * (layer + (TENSOR_LATENCY if tensor_parallel > 1 else 0.0))
    return StepTime(
        weights=shape.multiplied * width / reading,
        held=cached_token_bytes(shape, width) / reading,
        multiplied=2 * shape.multiplied / peak,
        row=passes / elements,
        start=latency,
        prefill=2 * shape.multiplied / peak,
    )
