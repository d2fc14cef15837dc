"""The sizes of a decoder that its costs follow from: parameters, layers, widths. Without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

QUERY_NORMS = {"qwen3", "qwen3_moe", "olmo2", "olmo3", "gemma3", "gemma3_text", "glm4_moe", "hunyuan_v1_dense"}
"""Types of models with norms of queries and keys."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Sizes of a decoder. `parameters` are all that it holds, a tied head counted once."""

    parameters: int
    vocabulary: int
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_size: int
    inner: int
    """Width inside a feed-forward block; of one expert, where there are several."""
    positions: int | None
    tied: bool
    experts: int = 1
    """Feed-forward blocks of a layer."""
    experts_per_token: int = 1
    """Those of them that a token goes through."""
    query_norms: bool = False
    """Whether queries and keys have norms of their own."""

    @property
    def query(self) -> int:
        """Width of all queries together, and of what attention gives."""
        return self.heads * self.head_size

    @property
    def key(self) -> int:
        """Width of all keys together; values have it too."""
        return self.kv_heads * self.head_size

    @property
    def ends(self) -> int:
        """Parameters of embeddings and head."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def inner_matrices(self) -> int:
        """Matrices of a feed-forward block: 3 where it is gated, else 2; what the parameters leave room for."""
        attention = 2 * self.hidden * (self.query + self.key)
        rest = (self.parameters - self.ends) / max(self.layers, 1) - attention
        return 3 if rest > 2.5 * self.hidden * self.inner * self.experts else 2

    @property
    def multiplied(self) -> int:
        """Parameters of the matrices that a token is multiplied with, the head among them, embeddings not."""
        attention = 2 * self.hidden * (self.query + self.key)
        feed_forward = self.inner_matrices * self.hidden * self.inner * self.experts_per_token
        return self.layers * (attention + feed_forward) + self.vocabulary * self.hidden


def shape_of(config: Mapping[str, Any], parameters: int) -> ModelShape:
    """From a transformers configuration as JSON holds it, and the number of parameters.

    KeyError with the name of a size that it lacks.
    """
    config = {**config, **(config.get("text_config") or {})}
    heads = _first(config, "num_attention_heads", "n_head")
    hidden = _first(config, "hidden_size", "n_embd")
    experts = config.get("num_local_experts") or config.get("num_experts") or config.get("n_routed_experts") or 1
    inner = config.get("intermediate_size") or config.get("ffn_dim") or config.get("n_inner") or 4 * hidden
    return ModelShape(
        parameters=parameters,
        vocabulary=_first(config, "vocab_size"),
        layers=_first(config, "num_hidden_layers", "n_layer"),
        hidden=hidden,
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_size=config.get("head_dim") or hidden // heads,
        inner=(config.get("moe_intermediate_size") if experts > 1 else None) or inner,
        positions=config.get("max_position_embeddings") or config.get("n_positions"),
        tied=bool(config.get("tie_word_embeddings", False)),
        experts=experts,
        experts_per_token=config.get("num_experts_per_tok") or 1,
        query_norms=str(config.get("model_type")) in QUERY_NORMS,
    )


def _first(config: Mapping[str, Any], *names: str) -> int:
    for name in names:
        if isinstance(config.get(name), int):
            return int(config[name])
    raise KeyError(names[0])
