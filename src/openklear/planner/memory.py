"""How much memory training and sampling take, part by part: formulas, in bytes.

With layers L of width H, inner width I, query width Q and key width K, vocabulary V, P parameters of w bytes:

    gradients    P w
    optimizer    AdamW 8 P, Muon 4 (P - E) + 8 E (E: embeddings and head); below fp32 4 P more for masters, and 4 P of
                 fp32 gradients while the weights move
    activations  what autograd keeps of a token, L (6 H + 2 Q + 2 K + 4 I) w (2 Q + 2 K more with norms of queries and
                 keys); with checkpointing L H w of every token, and one layer's of a micro-batch while it is done again
    head         two buffers of logits in fp32, at most 512 MiB together, and the head's gradient in fp32
    cache        2 K L w for a token whose keys and values are held; S V logits in fp32 for S sequences decoded at once
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from openklear.planner.shape import ModelShape
from openklear.recipe.schema import AdamW, Muon

HEAD_BYTES = 512 << 20
"""`models.head.CHUNK_BYTES`, which needs torch."""
WIDTH = {"float32": 4, "bfloat16": 2}


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a stage holds at once: parts that stay, and those of training and of sampling, which alternate."""

    kept: Mapping[str, int]
    training: Mapping[str, int]
    sampling: Mapping[str, int]

    @property
    def peak(self) -> int:
        """Bytes at most."""
        return sum(self.kept.values()) + max(sum(self.training.values()), sum(self.sampling.values()))


def optimizer_bytes(shape: ModelShape, optimizer: AdamW | Muon, width: int) -> int:
    """Moments, and the masters of weights narrower than fp32."""
    blocks = max(shape.parameters - shape.ends, 0)
    moments = 4 * blocks + 8 * shape.ends if isinstance(optimizer, Muon) else 8 * shape.parameters
    return moments + (4 * shape.parameters if width < 4 else 0)


def token_bytes(shape: ModelShape, width: int) -> int:
    """What autograd keeps of one token, without checkpointing."""
    return shape.layers * layer_bytes(shape, width)


def layer_bytes(shape: ModelShape, width: int) -> int:
    """The same for one layer. Norms compute in fp32: of H states they keep 12 bytes each, 8 in bf16."""
    attention = (2 * shape.query + 2 * shape.key) * (2 if shape.query_norms else 1) * width
    norms = 2 * shape.hidden * (12 if width == 4 else 8)
    return norms + attention + 4 * shape.inner * shape.experts_per_token * width


def activation_bytes(shape: ModelShape, tokens: int, width: int, *, checkpointing: bool) -> int:
    """What is kept of a micro-batch from the forward to the backward pass."""
    if not checkpointing:
        return tokens * token_bytes(shape, width)
    return tokens * (shape.layers * shape.hidden * width + layer_bytes(shape, width))


def head_bytes(shape: ModelShape, tokens: int) -> int:
    """Buffers of the language-model head, and its gradient before it is added up."""
    return min(HEAD_BYTES, 8 * tokens * shape.vocabulary) + 4 * shape.vocabulary * shape.hidden


def cached_token_bytes(shape: ModelShape, width: int) -> int:
    """Keys and values of one token."""
    return 2 * shape.key * shape.layers * width
