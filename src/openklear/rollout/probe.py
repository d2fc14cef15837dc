"""Whether a model can be sampled from: a few tokens are, and their log-probabilities compared with the trainer's.

Architectures differ in what they keep between tokens (states, windows, biases of attention by distance, positions), and
transformers adds some every month. So this is found out by trying, before anything is trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from openklear.errors import EngineError, ModelError
from openklear.models.batching import pad_right
from openklear.models.logprobs import sequence_logprobs
from openklear.rollout.local import LocalSampler
from openklear.types import Completion, SampleRequest

__all__ = ["gap", "gaps", "probe", "probe_requests"]

PROMPTS = (3, 7)
"""Tokens of the prompts: of two lengths, so that one is padded."""
TOKENS = 6
TOLERANCE = 2e-3
"""Largest difference of a log-probability in float32; the same arithmetic in another order differs by about 1e-5."""


def probe(sampler: LocalSampler) -> None:
    """Sample a few tokens; ModelError where that fails, or gives other log-probabilities than the trainer's forward."""
    model = sampler.model
    requests = probe_requests(model)
    try:
        found = LocalSampler(model, end_ids=frozenset(), slots=len(requests)).sample(requests)
        difference = gap(model, requests, found)
    except EngineError as error:
        raise ModelError(f"{type(model).__name__}: {error}. Check the weights that it was loaded from.") from error
    except ModelError:
        raise
    except Exception as error:  # trust boundary: an architecture that was never tried here may fail in any way
        first = (str(error).strip().splitlines() or [""])[0][:200]
        raise ModelError(
            f"{type(model).__name__} cannot be sampled from by the local engine ({type(error).__name__}: {first}). "
            "Use another architecture, such as a Qwen3 or Llama model."
        ) from error
    if not difference <= TOLERANCE * max(1.0, torch.finfo(model.dtype).eps / torch.finfo(torch.float32).eps / 64):
        raise ModelError(
            f"{type(model).__name__} cannot be sampled from by the local engine: sampled tokens have other "
            f"log-probabilities than in training (they differ by {difference:.2g}). Use another architecture, "
            "such as a Qwen3 or Llama model."
        )


def probe_requests(model: Any, sizes: Sequence[int] = PROMPTS) -> list[SampleRequest]:
    """Requests with prompts of so many tokens, always the same for a model."""
    rows = model.get_input_embeddings().weight.shape[0]
    found = []
    for key, length in enumerate(sizes):
        prompt = tuple((5 + 7 * place + length) % rows for place in range(length))
        found.append(SampleRequest(prompt, key, TOKENS))
    return found


def gap(model: Any, requests: list[SampleRequest], found: list[Completion]) -> float:
    """Largest difference between the recorded log-probabilities and those of a forward over each whole sequence."""
    return float(gaps(model, requests, found).max())


def gaps(model: Any, requests: list[SampleRequest], found: list[Completion]) -> NDArray[np.float64]:
    """The difference of every token (T,), one sequence after the other, without its sign."""
    rows, masks = [], []
    for request, completion in zip(requests, found, strict=True):
        rows.append([*request.prompt_ids, *completion.token_ids.tolist()])
        masks.append([place >= len(request.prompt_ids) for place in range(len(rows[-1]))])
    ids, mask = pad_right(rows, 0, torch.int64).to(model.device), pad_right(masks, False, torch.bool).to(model.device)
    with torch.no_grad():
        logprobs, _ = sequence_logprobs(model, ids, mask, entropy=False)
    recorded = torch.cat([torch.from_numpy(c.logprobs) for c in found]).to(logprobs)
    difference: NDArray[np.float64] = (logprobs[mask] - recorded).abs().double().cpu().numpy()
    return difference
