"""How much memory training and sampling take, part by part: formulas, in bytes.

With layers L of width H, inner width I, query width Q and key width K, vocabulary V, P parameters of w bytes:

    gradients    P w
    optimizer    AdamW 8 P, of 8 bits 2.03 P, Muon 4 (P - E) + 8 E (E: embeddings and head); below fp32 4 P more for
                 masters, and 4 P of fp32 gradients while the weights move
    activations  what autograd keeps of a token, L (6 H + 2 Q + 2 K + 4 I) w (2 Q + 2 K more with norms of queries and
                 keys); with checkpointing the states between layers and what attention gave, L (H + Q) w, and one
                 layer's of a micro-batch while it is done again
    attention    on a CPU the probabilities of sequences of up to 1,024 tokens, in packs: half their length for a token
                 and head, of all layers, or of one with checkpointing
    head         two buffers of logits in fp32, at most 128 MiB together (on a GPU 512), and the head's gradient in fp32
    cache        2 K L w for a token whose keys and values are held; S V logits in fp32 for S sequences decoded at once
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from openklear.planner.shape import ModelShape
from openklear.recipe.optimizers import Optimizer
from openklear.recipe.schema import Recipe

HEAD_BYTES = {"cpu": 128 << 20, "gpu": 512 << 20}
"""`models.head.CHUNK_BYTES` and `GPU_CHUNK_BYTES`, which need torch."""
EIGHT_BITS = 2.05
"""Bytes of both moments of torchao's AdamW for a parameter: one each, and a scale in fp32 for a block of 256, and the
small tensors that it leaves in fp32."""
IN_BLOCKS = 1024
"""`models.blocked.LONGEST`."""
WIDTH = {"float32": 4, "bfloat16": 2}
LIBRARIES = {"cpu": 700 * 10**6, "gpu": 600 * 10**6}
"""Bytes of Python, torch, transformers and the rest; on a GPU of context and kernels, which torch does not count."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a stage holds at once: parts that stay, and those of training and of sampling, which alternate or are on
    different devices."""

    kept: Mapping[str, int]
    training: Mapping[str, int]
    sampling: Mapping[str, int]

    @property
    def peak(self) -> int:
        """Bytes at most."""
        return sum(self.kept.values()) + max(sum(self.training.values()), sum(self.sampling.values()))


def optimizer_bytes(shape: ModelShape, optimizer: Optimizer, width: int, *, adapters: int | None = None) -> int:
    """Moments, and the masters of weights narrower than fp32; of `adapters` parameters, None where all are trained."""
    trained, ends = (shape.parameters, shape.ends) if adapters is None else (adapters, 0)
    masters = 4 * trained if width < 4 else 0
    match optimizer.type:
        case "muon":
            return 4 * max(trained - ends, 0) + 8 * ends + masters
        case "adamw8bit":
            return int(EIGHT_BITS * trained) + masters
        case _:
            return 8 * trained + masters


def adapter_parameters(shape: ModelShape, recipe: Recipe) -> int | None:
    """Numbers of LoRA's adapters, on every matrix of a layer or on those that are named; None without [lora]."""
    lora = recipe.lora
    if lora is None:
        return None
    sides = {
        "q_proj": (shape.hidden, shape.query),
        "k_proj": (shape.hidden, shape.key),
        "v_proj": (shape.hidden, shape.key),
        "o_proj": (shape.query, shape.hidden),
        "gate_proj": (shape.hidden, shape.inner),
        "up_proj": (shape.hidden, shape.inner),
        "down_proj": (shape.inner, shape.hidden),
    }
    if shape.inner_matrices == 2:
        del sides["gate_proj"]
    chosen = [sum(both) for name, both in sides.items() if not lora.targets or name.endswith(tuple(lora.targets))]
    return int(shape.layers * lora.rank * sum(chosen or map(sum, sides.values())))


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
    kept = (shape.hidden + shape.query) * width + 4 * shape.heads
    return tokens * (shape.layers * kept + layer_bytes(shape, width))


def probability_bytes(shape: ModelShape, tokens: int, longest: int, *, checkpointing: bool) -> int:
    """What attention of short sequences keeps on a CPU in fp32 (`models.blocked`), each as long as it may be."""
    if tokens <= longest:  # one sequence alone does without
        return 0
    layers = 1 if checkpointing else shape.layers
    return tokens * min(longest, IN_BLOCKS) // 2 * shape.heads * layers * WIDTH["float32"]


def head_bytes(shape: ModelShape, tokens: int, kind: str, *, trained: bool = True) -> int:
    """Buffers of the language-model head, and its gradient before it is added up."""
    gradient = 4 * shape.vocabulary * shape.hidden if trained else 0
    return min(HEAD_BYTES[kind], 8 * tokens * shape.vocabulary) + gradient


def cached_token_bytes(shape: ModelShape, width: int) -> int:
    """Keys and values of one token."""
    return 2 * shape.key * shape.layers * width
