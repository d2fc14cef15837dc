"""Ask a model a few prompts: the shortest way from a directory to text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from openklear.models.chat import decode_completion, encode_prompt
from openklear.models.hub import local_directory
from openklear.models.loading import load_model
from openklear.recipe.engine import LocalEngine
from openklear.rollout.open import open_sampler
from openklear.rollout.seeds import copies, rollout_key
from openklear.types import Message, SampleRequest, StopReason, content_hash


@dataclass(frozen=True, slots=True)
class Generated:
    """One completion."""

    text: str
    stop_reason: StopReason
    tokens: int
    """Tokens sampled, the end token included."""


def generate(
    model_dir: Path | str,
    prompts: Sequence[str],
    *,
    count: int,
    temperature: float,
    top_p: float,
    max_tokens: int,
    seed: int,
) -> list[list[Generated]]:
    """`count` completions of each prompt, in the order of the prompts; the same seed gives the same completions.

    `model_dir` may be a hub's name (`models.hub`). Each prompt is one user message in the model's chat template. Raises
    ModelError where the directory cannot be used, EngineError where a prompt is too long for the model.
    """
    loaded = load_model(local_directory(model_dir))
    requests = []
    asked: list[tuple[Message, ...]] = [({"role": "user", "content": prompt},) for prompt in prompts]
    hashes = [content_hash(messages) for messages in asked]
    for messages, hashed, copy in zip(asked, hashes, copies(hashes), strict=True):
        ids = encode_prompt(loaded.tokenizer, messages)
        for sample in range(count):
            key = rollout_key(seed, "generate", 0, hashed, sample, copy)
            requests.append(SampleRequest(ids, key, max_tokens, temperature, top_p))
    completions = open_sampler(LocalEngine(), loaded).sample(requests)
    generated = [
        Generated(decode_completion(loaded.tokenizer, c.token_ids, loaded.end_ids), c.stop_reason, len(c.token_ids))
        for c in completions
    ]
    return [generated[start : start + count] for start in range(0, len(generated), count)]
