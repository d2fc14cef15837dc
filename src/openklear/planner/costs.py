"""What arithmetic and traffic a pass over tokens costs, and the seconds that follow on a machine.

**Operations of a model** (for MFU; recomputation is not counted, causal attention is counted once): a token costs two
operations for each parameter of the matrices it is multiplied with, and a pair of tokens in attention 4 Q in each of L
layers (scores, and the sum of values, over Q = heads x head size). The backward pass costs twice the forward pass:

    training   6 (N - V H) T + 6 V H T' + 12 L Q pairs,   pairs = sum of n^2 / 2 over sequences of n tokens
    LoRA       frozen matrices 4 in place of 6 (no gradient of their own), 6 for each parameter of an adapter
    forward    a third of training's

N: `ModelShape.multiplied`; T tokens, T' tokens with a loss (the head computes no others). This is the formula of
prime-rl's published table where its width of attention, H, is half of Q, as in Qwen3-0.6B: there it writes 12 L H T,
which is attention as if it were not causal at half its true width, the same number (tests/planner/test_costs.py).

**Floor**: the larger of operations / peak and bytes that must be read / bandwidth, both as the maker says.

**Expected**: matrix products at a share of the peak, reading at a share of the bandwidth, element-wise passes at their
own rate, a fixed time for each layer and pass; `EFFICIENCY` says how much, and where it was measured.
"""

from __future__ import annotations

from dataclasses import dataclass

from openklear.planner.machines import Machine
from openklear.planner.memory import token_bytes
from openklear.planner.shape import ModelShape


@dataclass(frozen=True, slots=True)
class Efficiency:
    """How far from its peak a kind of machine works, in our code."""

    compute: float
    """Share of the peak in matrix products."""
    reading: float
    """Share of the bandwidth while decoding reads weights and cache."""
    elements: float
    """Bytes a second of element-wise passes (norms, softmax) over the bandwidth; on a CPU of each thread."""
    layer: float
    """Seconds that a layer's pass takes however little it computes."""
    where: str


EFFICIENCY = {
    "cpu": Efficiency(0.68, 0.6, 0.26, 3.0e-4, "measured on an AMD EPYC (Zen 4) with torch 2.13 at 0.2, 0.8 and 135 M"),
    "gpu": Efficiency(
        0.55, 0.6, 0.6, 3.0e-4, "taken from published runs of other projects: not measured with this code"
    ),
}
"""Kind of machine -> what to expect of it."""
ELEMENT_PASSES = 2.0
"""How often a kept activation is read or written in a forward pass besides the matrix products; backward doubles it."""
DECODING_PASSES = 11.0
"""The same for one token at a time: attention over rows of many lengths, fused weights, and bookkeeping beside them."""
LOGIT_PASSES = 6
"""The same for the logits that a token is drawn from."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a phase computes and moves."""

    tokens: float
    """That its speed is given in: trained, or sampled."""
    flops: float
    """Of the model, as MFU counts them."""
    executed: float
    """With what is computed again."""
    read: float
    """Bytes of weights and cache that must be read."""
    elements: float
    """Bytes of element-wise passes."""
    layers: float
    """Passes through one layer."""

    def __add__(self, other: Load) -> Load:
        return Load(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))

    def times(self, factor: float) -> Load:
        """So many of it."""
        return Load(*(getattr(self, name) * factor for name in self.__slots__))


NOTHING = Load(0, 0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Expected:
    """Seconds of a phase."""

    floor: float
    expected: float
    bound: str
    """The largest part of what is expected: compute, memory bandwidth, element-wise passes or latency."""
    mfu: float
    """Operations of the model over expected seconds and peak."""


def forward_flops(shape: ModelShape, tokens: float, head_tokens: float, pairs: float) -> float:
    """Operations of one forward pass; `pairs` as above."""
    head = shape.vocabulary * shape.hidden
    return 2 * (shape.multiplied - head) * tokens + 2 * head * head_tokens + 4 * shape.layers * shape.query * pairs


def training_flops(
    shape: ModelShape, tokens: float, head_tokens: float, pairs: float, *, adapters: int | None = None
) -> float:
    """Operations of forward and backward; `adapters`: parameters of LoRA's, None where all weights are trained."""
    if adapters is None:
        return 3 * forward_flops(shape, tokens, head_tokens, pairs)
    attention = 12 * shape.layers * shape.query * pairs
    return 2 * forward_flops(shape, tokens, head_tokens, 0) + 6 * adapters * tokens + attention


def training_load(
    shape: ModelShape,
    tokens: float,
    head_tokens: float,
    pairs: float,
    *,
    microbatches: float,
    updates: float,
    width: int,
    checkpointing: bool = False,
    adapters: int | None = None,
    muon: bool = False,
) -> Load:
    """Forward, backward and optimizer steps. The head's logits are always computed twice."""
    flops = training_flops(shape, tokens, head_tokens, pairs, adapters=adapters)
    again = forward_flops(shape, tokens if checkpointing else 0, head_tokens, 0)  # attention is kept
    passes = 4 if checkpointing else 3
    weights = shape.parameters * width
    moved = 28 * (shape.parameters if adapters is None else adapters)  # weights, gradients, moments: read and written
    elements = tokens * token_bytes(shape, width) * ELEMENT_PASSES * passes / 2 * 1.5
    logits = head_tokens * shape.vocabulary * 4 * LOGIT_PASSES
    steps = updates * muon_flops(shape) if muon else 0.0
    return Load(
        tokens,
        flops,
        flops + again + steps,
        microbatches * weights * passes + updates * moved,
        elements + logits + updates * moved,
        shape.layers * microbatches * passes,
    )


def muon_flops(shape: ModelShape) -> float:
    """Operations of one step of Muon: five rounds of Newton and Schulz, 4 m^2 n + 2 m^3 each, for a matrix m x n."""
    sides = [(shape.hidden, shape.query)] * 2 + [(shape.hidden, shape.key)] * 2
    sides += [(shape.hidden, shape.inner)] * shape.inner_matrices * shape.experts
    rounds = [4 * min(pair) ** 2 * max(pair) + 2 * min(pair) ** 3 for pair in sides]
    return 5.0 * shape.layers * sum(rounds)


def forward_load(
    shape: ModelShape, tokens: float, head_tokens: float, pairs: float, *, microbatches: float, width: int
) -> Load:
    """A pass without gradients: old log-probabilities, prefills."""
    flops = forward_flops(shape, tokens, head_tokens, pairs)
    elements = tokens * token_bytes(shape, width) * ELEMENT_PASSES / 2 + head_tokens * shape.vocabulary * 4 * 2
    return Load(tokens, flops, flops, microbatches * shape.parameters * width, elements, shape.layers * microbatches)


def decoding_load(
    shape: ModelShape, requests: float, prompt: float, completion: float, steps: float, *, width: int
) -> Load:
    """Tokens one after the other: `requests` completions of so many tokens on average, in `steps` steps."""
    tokens = requests * completion
    held = prompt + completion / 2  # tokens behind each new one, on average
    flops = forward_flops(shape, tokens, tokens, tokens * held)
    cache = tokens * held * 2 * shape.key * shape.layers * width
    elements = tokens * (token_bytes(shape, width) * DECODING_PASSES / 2 + shape.vocabulary * 4 * LOGIT_PASSES)
    read = steps * shape.multiplied * width + cache
    return Load(tokens, flops, flops, read, elements, steps * shape.layers)


def estimate(load: Load, machine: Machine, dtype: str, threads: int) -> Expected:
    """Seconds of the load on a machine."""
    share = EFFICIENCY[machine.kind]
    peak = machine.flops_of(dtype, threads)
    parts = {
        "compute": load.executed / peak / share.compute,
        "memory bandwidth": load.read / machine.bandwidth / share.reading,
        "element-wise passes": load.elements / element_rate(machine, threads),
        "latency": load.layers * share.layer,
    }
    matrices = max(parts["compute"], parts["memory bandwidth"])
    expected = matrices + parts["element-wise passes"] + parts["latency"]
    return Expected(
        floor_seconds(load, machine, dtype, threads),
        expected,
        max(parts, key=lambda name: parts[name]),
        load.flops / peak / expected if expected else 0.0,
    )


def element_rate(machine: Machine, threads: int) -> float:
    """Bytes a second of element-wise passes: on a CPU in as many threads as there are, until memory is the limit."""
    if machine.kind == "gpu":
        return machine.bandwidth * EFFICIENCY["gpu"].elements
    return machine.bandwidth * min(EFFICIENCY["cpu"].elements * min(threads, machine.cores), 1.0)


def floor_seconds(load: Load, machine: Machine, dtype: str, threads: int) -> float:
    """No program that does this work can be faster: peak and bandwidth as the maker says."""
    return max(load.flops / machine.flops_of(dtype, threads), load.read / machine.bandwidth)
