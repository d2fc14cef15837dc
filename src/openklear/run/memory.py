"""How much memory a stage takes at its peak, by a formula: an estimate, which leaves out what the libraries need.

With P parameters of b bytes, of which E are embeddings and head, a vocabulary V, L layers of width H, inner width I,
query width Q and key-value width K, a micro-batch of T tokens and S sequences decoded at once:

    weights        P b                              gradients  P b
    optimizer      AdamW 8 P, Muon 4 (P - E) + 8 E, and 8 P more for the fp32 masters of narrower weights
    activations    T L (6 H + 3 Q + 4 K + 4 I) b    kept from the forward pass for the backward pass
    head           two buffers of T V fp32 logits, at most 512 MiB together
    cache          S (prompt + completion) L 2 K b, with S V fp32 logits
"""

from __future__ import annotations

from collections.abc import Iterator

from openklear.recipe.lengths import max_prompt_tokens
from openklear.recipe.schema import AdamW, Muon, Recipe
from openklear.run.model_facts import ModelFacts

HEAD_BYTES = 512 << 20
"""`models.head.CHUNK_BYTES`, which needs torch."""


def memory_lines(recipe: Recipe, model: ModelFacts, completions: int) -> list[str]:
    """One line for each stage with a model, and what is left out; `completions` of an evaluation, 0 if not known."""
    lines = list(_stages(recipe, model, completions))
    return [*lines, "memory is estimated from the recipe's sizes; the libraries take about 1 GB more"]


def _stages(recipe: Recipe, model: ModelFacts, completions: int) -> Iterator[str]:
    width = 2 if recipe.dtype == "bfloat16" else 4
    weights = model.parameters * width
    most = max_prompt_tokens(recipe) + recipe.evaluation.max_completion_tokens
    if recipe.sft is not None:
        kept = _optimizer(model, recipe.sft.optimizer, width)
        longest = min(_budget(recipe), max(recipe.sft.max_tokens, recipe.sft.batch_tokens))
        yield _shown("sft", weights, kept, _training(model, longest, width), 0)
    for phase in recipe.rl.phase if recipe.rl else ():
        kept = _optimizer(model, phase.optimizer, width)
        row = phase.max_prompt_tokens + phase.max_completion_tokens
        rollouts = phase.problems_per_iteration * phase.group_size
        longest = min(_budget(recipe), row * phase.problems_per_update * phase.group_size)
        cache = _sampling(model, min(recipe.engine.slots, rollouts), row, width)
        yield _shown(f"rl-{phase.name}", weights, kept, _training(model, longest, width), cache)
    asked = _sampling(model, min(recipe.engine.slots, completions or recipe.engine.slots), most, width)
    yield _shown("evaluate", weights, 0, 0, asked)


def _budget(recipe: Recipe) -> int:
    return recipe.microbatch_tokens if isinstance(recipe.microbatch_tokens, int) else 8192


def _optimizer(model: ModelFacts, optimizer: AdamW | Muon, width: int) -> int:
    ends = model.vocabulary * model.hidden * (1 if model.tied else 2)
    blocks = max(model.parameters - ends, 0)
    moments = 4 * blocks + 8 * ends if isinstance(optimizer, Muon) else 8 * model.parameters
    return moments + (8 * model.parameters if width < 4 else 0)


def _training(model: ModelFacts, tokens: int, width: int) -> int:
    """Gradients, activations and the head's buffers."""
    query, key = model.heads * model.head_size, model.kv_heads * model.head_size
    kept = model.layers * (6 * model.hidden + 3 * query + 4 * key + 4 * model.inner) * width
    return model.parameters * width + tokens * kept + min(HEAD_BYTES, 8 * tokens * model.vocabulary)


def _sampling(model: ModelFacts, slots: int, tokens: int, width: int) -> int:
    """The cache at its fullest, and a step's logits."""
    length = min(tokens, model.positions or tokens)
    cache = slots * length * model.layers * 2 * model.kv_heads * model.head_size * width
    return cache + slots * model.vocabulary * 4


def _shown(name: str, weights: int, kept: int, training: int, sampling: int) -> str:
    parts = {"weights": weights, "optimizer": kept, "training": training, "sampling": sampling}
    listed = ", ".join(f"{what} {_bytes(size)}" for what, size in parts.items() if size)
    return f"{name}: at most about {_bytes(weights + kept + max(training, sampling))} of memory ({listed})"


def _bytes(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e8 else f"{size / 1e6:,.1f} MB"
