"""Operations, bytes and seconds by hand, and the published points of another project."""

from __future__ import annotations

import pytest

from openklear.planner.costs import decoding_load, estimate, floor_seconds, forward_flops, training_flops, training_load
from openklear.planner.machines import GPUS
from openklear.planner.memory import cached_token_bytes
from openklear.planner.shape import ModelShape

QWEN3 = ModelShape(596_049_920, 151_936, 28, 1024, 16, 8, 128, 3072, 40_960, True, query_norms=True)
"""Qwen3-0.6B."""
H100 = GPUS["h100"]
PUBLISHED = [
    ("SFT", 8192, 26005.17, 16.814, None),
    ("SFT", 16384, 25486.15, 23.742, None),
    ("RL", 16384, 11895.99, 11.082, None),
    ("RL", 65536, 10147.47, 26.805, None),
    ("RL", 65536, 9976.95, 26.354, None),
    ("RL, LoRA", 16384, 13341.81, 10.902, 16),
    ("RL, LoRA", 65536, 9966.60, 25.187, 16),
    ("RL, LoRA", 65536, 9782.19, 24.721, 16),
]
"""Every row of Qwen3-0.6B on one H100 in prime-rl's benchmarks/results/BENCHMARKS.md of 2026-02-01 that ran, with the
digits of benchmarks/baselines/benchmark-1xh100-Qwen--Qwen3-0.6B-*.json: tokens of a row, tokens a second, MFU in %."""


@pytest.mark.parametrize(("kind", "length", "speed", "mfu", "rank"), PUBLISHED)
def test_published_mfu(kind: str, length: int, speed: float, mfu: float, rank: int | None) -> None:
    # an adapter on each of the seven matrices of a layer: rank x (inputs + outputs)
    adapters = rank and 28 * rank * (2 * (1024 + 2048) + 2 * (1024 + 1024) + 3 * (1024 + 3072))
    flops = training_flops(QWEN3, length, length, length**2 / 2, adapters=adapters)
    assert 100 * flops / length * speed / H100.flops["bfloat16"] == pytest.approx(mfu, rel=0.002)


def test_a_step_of_qwen3_by_hand() -> None:
    """4,096 tokens in two rows of 2,048, a loss on 1,000 of them."""
    layer = 2 * 1024 * 2048 + 2 * 1024 * 1024 + 3 * 1024 * 3072  # 15,728,640 parameters
    blocks = 6 * 28 * layer * 4096  # 10,823,317,585,920
    head = 6 * 151_936 * 1024 * 1000  # 933,494,784,000
    pairs = 2 * 2048**2 / 2
    attention = 12 * 28 * 2048 * pairs  # 2,886,218,022,912
    assert blocks + head + attention == 14_643_030_392_832
    assert training_flops(QWEN3, 4096, 1000, pairs) == 14_643_030_392_832
    assert forward_flops(QWEN3, 4096, 1000, pairs) * 3 == 14_643_030_392_832
    step = training_load(QWEN3, 4096, 1000, pairs, microbatches=2, updates=1, width=2, checkpointing=True)
    assert step.executed == 14_643_030_392_832 + (blocks + head) // 3  # once more, but for attention
    # weights of 1.19 GB through 2 micro-batches, 4 times each, and 28 bytes a parameter for the optimizer
    assert step.read == 596_049_920 * (2 * 2 * 4 + 28)
    assert floor_seconds(step, H100, "bfloat16", 1) == pytest.approx(14.643e12 / 989e12, rel=1e-4)


def test_keys_and_values_by_hand() -> None:
    assert cached_token_bytes(QWEN3, 2) == 114_688  # 2 x 8 heads x 128 x 28 layers x 2 bytes
    assert cached_token_bytes(ModelShape(1, 1, 30, 576, 9, 3, 64, 1536, None, True), 4) == 46_080  # SmolLM2, fp32


def test_decoding_is_bound_by_reading_and_a_long_prompt_by_compute() -> None:
    few = decoding_load(QWEN3, requests=8, prompt=100, completion=1000, steps=1000, width=2)
    assert few.read == 1000 * 595_984_384 * 2 + 8 * 1000 * 600 * 114_688
    assert floor_seconds(few, H100, "bfloat16", 1) == pytest.approx(few.read / 3.35e12)
    step = training_load(QWEN3, 65536, 65536, 65536 * 8192, microbatches=4, updates=1, width=2)
    found = estimate(step, H100, "bfloat16", 1)
    assert found.bound == "compute"
    assert found.floor < found.expected < 10 * found.floor
    assert 0.1 < found.mfu < 0.7
