"""Sizes of models that studies name, as their config.json on the hub has them: to plan where nothing is fetched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openklear.planner.shape import ModelShape, shape_of

_QWEN3_8B = {
    "model_type": "qwen3",
    "vocab_size": 151_936,
    "num_hidden_layers": 36,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 12_288,
    "tie_word_embeddings": False,
}
"""Of the three of 8B below: the second and the third were trained from the first, so their matrices are its own."""

_QWEN3_1_7B = {
    "model_type": "qwen3",
    "vocab_size": 151_936,
    "num_hidden_layers": 28,
    "hidden_size": 2048,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 6144,
    "max_position_embeddings": 32_768,
    "tie_word_embeddings": True,
}

_SMOLLM2_135M = {
    "model_type": "llama",
    "vocab_size": 49_152,
    "num_hidden_layers": 30,
    "hidden_size": 576,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "head_dim": 64,
    "intermediate_size": 1536,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
}

PUBLISHED: Mapping[str, Mapping[str, Any]] = {
    "Qwen/Qwen3-8B-Base": {**_QWEN3_8B, "max_position_embeddings": 32_768},
    "Qwen/Qwen3-8B": {**_QWEN3_8B, "max_position_embeddings": 40_960},
    "Kwai-Klear/Klear-Reasoner-8B-SFT": {**_QWEN3_8B, "max_position_embeddings": None},
    "Qwen/Qwen3-1.7B-Base": _QWEN3_1_7B,
    "HuggingFaceTB/SmolLM2-135M-Instruct": _SMOLLM2_135M,
}
"""Name on the hub -> its configuration. Positions that are not known are None, which limits nothing."""


def published_shape(name: str) -> ModelShape | None:
    """The sizes of a model of the hub by its name; None for one that is not in the table."""
    config = PUBLISHED.get(name)
    return None if config is None else shape_of(config, _parameters(config))


def _parameters(config: Mapping[str, Any]) -> int:
    """Four matrices of attention, three of the feed-forward block, norms of a layer; of a Qwen3, of its heads too."""
    hidden, size = config["hidden_size"], config["head_dim"]
    queries, keys = config["num_attention_heads"] * size, config["num_key_value_heads"] * size
    attention = 2 * hidden * (queries + keys) + (2 * size if config["model_type"] == "qwen3" else 0)
    layer = attention + 3 * hidden * config["intermediate_size"] + 2 * hidden
    ends = config["vocab_size"] * hidden * (1 if config["tie_word_embeddings"] else 2)
    return int(config["num_hidden_layers"] * layer + ends + hidden)
