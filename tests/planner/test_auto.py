"""What "auto" stands for: the recipe's own numbers first, then what is fast and fits, the same every time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from openklear.errors import UsageError
from openklear.planner import machines
from openklear.planner.auto import chosen
from openklear.planner.machines import GPUS, gpu_called, machine_named, this_cpu
from openklear.planner.probe import measured
from openklear.planner.shape import ModelShape, shape_of
from openklear.recipe.load import load_recipe

RECIPES = Path(__file__).parents[2] / "recipes"
SMOLLM2 = ModelShape(134_515_008, 49152, 30, 576, 9, 3, 64, 1536, 8192, True)
QWEN3 = {
    "model_type": "qwen3", "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28,
    "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936,
    "max_position_embeddings": 40960, "tie_word_embeddings": True,
}  # fmt: skip
LAPTOP = replace(this_cpu(), memory_bytes=16 * 10**9)


def test_a_models_shape_by_hand() -> None:
    shape = shape_of(QWEN3, 596_049_920)
    assert (shape.query, shape.key, shape.inner_matrices, shape.query_norms) == (2048, 1024, 3, True)
    # 28 layers of 2 x 1024 x 2048 + 2 x 1024 x 1024 + 3 x 1024 x 3072 = 15,728,640, and a head of 151,936 x 1024
    assert shape.multiplied == 28 * 15_728_640 + 155_582_464 == 595_984_384


def test_the_recipes_own_numbers_stand() -> None:
    recipe = load_recipe(RECIPES / "gsm8k-smollm2.toml", ["microbatch_tokens=3000", "engine.slots=17"])
    for machine in (LAPTOP, GPUS["h100"]):
        found = chosen(recipe, SMOLLM2, machine)
        assert (found.microbatch_tokens, found.slots) == (3000, 17)
        assert found.cache_tokens == 17 * 416  # 256 of a prompt and 160 of a completion


def test_activations_are_computed_again_where_they_would_not_fit() -> None:
    recipe = load_recipe(RECIPES / "gsm8k-smollm2.toml", ["microbatch_tokens=32768"])
    assert chosen(recipe, SMOLLM2, LAPTOP).activation_checkpointing
    assert not chosen(recipe, SMOLLM2, GPUS["h200"]).activation_checkpointing
    assert chosen(recipe, SMOLLM2, GPUS["3090"]).activation_checkpointing


def test_slots_go_by_the_model_and_the_machine() -> None:
    recipe = load_recipe(RECIPES / "gsm8k-smollm2.toml", ["engine.slots=auto"])
    assert chosen(recipe, SMOLLM2, LAPTOP).slots == 64
    assert chosen(recipe, replace(SMOLLM2, parameters=10**6), LAPTOP).slots == 256
    assert chosen(recipe, SMOLLM2, GPUS["4090"]).slots == 512


def test_microbatches_fill_a_gpu_and_stay_small_on_a_cpu() -> None:
    recipe = load_recipe(RECIPES / "gsm8k-smollm2.toml", ["microbatch_tokens=auto"])
    assert chosen(recipe, SMOLLM2, LAPTOP).microbatch_tokens == 2048
    few, many = (chosen(recipe, SMOLLM2, GPUS[name]).microbatch_tokens for name in ("l4", "h200"))
    assert 1024 <= few < many == 65_536
    assert chosen(recipe, SMOLLM2, GPUS["l4"]).dtype == "bfloat16"
    assert chosen(recipe, SMOLLM2, replace(LAPTOP, memory_bytes=4 * 10**9)).microbatch_tokens == 1024


def test_the_cache_never_takes_more_than_its_share_but_holds_one_row() -> None:
    changes = ["engine.slots=4096", "rl.max_completion_tokens=8000", "microbatch_tokens=32768"]
    recipe = load_recipe(RECIPES / "gsm8k-smollm2.toml", changes)
    each = 2 * 192 * 30 * 4  # keys and values of 192 in 30 layers, fp32
    assert chosen(recipe, SMOLLM2, LAPTOP).cache_tokens == 16 * 10**9 // 4 // each
    assert chosen(recipe, SMOLLM2, replace(LAPTOP, memory_bytes=10**9)).cache_tokens == 8192


def test_machines_have_names() -> None:
    assert machine_named("h100") is GPUS["h100"]
    assert gpu_called("NVIDIA A100-SXM4-40GB", 42 * 10**9).bandwidth == GPUS["a100-40"].bandwidth
    assert gpu_called("NVIDIA H100 PCIe", 1).flops == GPUS["h100-pcie"].flops
    assert gpu_called("NVIDIA L4", 1).bandwidth == 300e9
    assert "not a card that is known" in gpu_called("NVIDIA T1000", 4 * 10**9).source
    with pytest.raises(UsageError, match="no such machine; choose one of b200, h200, h100"):
        machine_named("h101")


def test_every_card_that_a_driver_may_name_is_found() -> None:
    assert set(machines.WORDS.values()) == set(GPUS)
    for card in GPUS.values():
        assert gpu_called(card.name, card.memory_bytes).flops == card.flops


def test_this_machine_is_the_same_every_time() -> None:
    machines.this_cpu.cache_clear()
    first = this_cpu()
    machines.this_cpu.cache_clear()
    assert first == this_cpu()
    assert 10**8 < first.memory_bytes <= machines.total_memory()
    assert first.flops_of("bfloat16", threads=10**6) == first.cores * first.flops["float32"]


DRIVER = """#!/bin/sh
echo "0, GPU-aaaa, NVIDIA GeForce RTX 4090, 24564"
echo "1, GPU-bbbb, NVIDIA A100-SXM4-40GB, 40960"
"""


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose driver names two cards."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text(DRIVER)
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.usefixtures("driver")
@pytest.mark.parametrize(
    ("visible", "asked", "found"),
    [
        (None, "auto", "4090"),
        (None, "cuda:1", "A100"),
        ("1", "auto", "A100"),
        ("1,0", "cuda:1", "4090"),
        ("GPU-bb", "cuda", "A100"),
        ("", "auto", None),
        ("7", "auto", None),
    ],
)
def test_the_card_at_hand(visible: str | None, asked: str, found: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    machine = machine_named(asked)
    if found is None:
        assert machine == this_cpu()
        return
    assert found in machine.name
    assert machine.memory_bytes == {"4090": 24564, "A100": 40960}[found] << 20
    assert machine.bandwidth == {"4090": 1008e9, "A100": 1555e9}[found]


@pytest.mark.usefixtures("driver")
@pytest.mark.parametrize("asked", ["cuda:2", "cuda:x", "cuda:-1", "cuda:"])
def test_a_card_that_is_not_there(asked: str) -> None:
    if asked == "cuda:":
        assert "4090" in machine_named(asked).name
        return
    with pytest.raises(UsageError):
        machine_named(asked)


def test_the_measured_processor_multiplies_and_reads() -> None:
    found = measured(this_cpu(), threads=1)
    assert 1e9 < found.flops["float32"] < 1e13
    assert 1e8 < found.bandwidth < 1e13
    assert found.memory_bytes == this_cpu().memory_bytes
    assert found.source == "measured, 1 thread"
