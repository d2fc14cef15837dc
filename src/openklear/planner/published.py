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
"""Of all three below: the second and the third were trained from the first, so their matrices are its own."""

PUBLISHED: Mapping[str, Mapping[str, Any]] = {
    "Qwen/Qwen3-8B-Base": {**_QWEN3_8B, "max_position_embeddings": 32_768},
    "Qwen/Qwen3-8B": {**_QWEN3_8B, "max_position_embeddings": 40_960},
    "Kwai-Klear/Klear-Reasoner-8B-SFT": {**_QWEN3_8B, "max_position_embeddings": None},
}
"""Name on the hub -> its configuration. Positions that could not be looked up are None, which limits nothing."""


def published_shape(name: str) -> ModelShape | None:
    """The sizes of a model of the hub by its name; None for one that is not in the table."""
    config = PUBLISHED.get(name)
    return None if config is None else shape_of(config, _parameters(config))


def _parameters(config: Mapping[str, Any]) -> int:
    """Of a Qwen3: four matrices of attention and three of the feed-forward block, norms of a layer and of its heads."""
    hidden, size = config["hidden_size"], config["head_dim"]
    queries, keys = config["num_attention_heads"] * size, config["num_key_value_heads"] * size
    attention = 2 * hidden * (queries + keys) + 2 * size
    layer = attention + 3 * hidden * config["intermediate_size"] + 2 * hidden
    ends = config["vocab_size"] * hidden * (1 if config["tie_word_embeddings"] else 2)
    return int(config["num_hidden_layers"] * layer + ends + hidden)
