"""Positions by hand, and that what is let through is the same in packs, caches and alone."""

import pytest
import torch
from tests.models.architectures import make

from openklear.models.limits import longest
from openklear.models.logprobs import sequence_logprobs
from openklear.rollout.local import LocalSampler
from openklear.types import SampleRequest

LONG = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "short_factor": [1.0] * 4,
    "long_factor": [4.0] * 4,
    "original_max_position_embeddings": 32,
}
DYNAMIC = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}


def of(name, **changes):
    found = longest(make(name, **changes).model.config)
    return found.computed, found.trained


def test_by_hand():
    assert of("llama") == (None, 128)
    assert of("qwen3 yarn") == (None, 128)
    assert of("gemma3") == (None, 128)
    assert of("gpt2", n_positions=64) == (64, 64)
    assert of("opt", max_position_embeddings=40) == (40, 40)
    assert of("llama", rope_parameters=dict(LONG)) == (32, 128)
    assert of("llama", rope_parameters=dict(DYNAMIC)) == (128, 128)


def test_reasons():
    learned = longest(make("gpt2", n_positions=64).model.config)
    assert learned.row_fault(64) is None
    assert learned.row_fault(65) == "65 tokens; the model takes 64 (it has no positions beyond)"
    assert learned.prompt_fault(63) is None
    assert "has 64 positions" in learned.prompt_fault(64)
    turning = longest(make("llama", rope_parameters=dict(LONG)).model.config)
    assert "longrope" in turning.row_fault(33)
    assert turning.sampled == 32
    rotary = longest(make("llama").model.config)
    assert rotary.row_fault(10**6) is None
    assert not rotary.is_beyond_training(128)
    assert rotary.is_beyond_training(129)


@pytest.mark.parametrize("rope", [LONG, DYNAMIC], ids=["longrope", "dynamic"])
def test_angles_that_change_with_length_are_one_thing_up_to_the_limit(rope):
    """A completion up to the limit, beside a short row: cache, batch and row alone agree."""
    loaded = make("llama", rope_parameters=dict(rope), max_position_embeddings=48)
    limit = longest(loaded.model.config).sampled
    requests = [SampleRequest(tuple(range(5, 25)), 1, 1000), SampleRequest((9, 8), 2, 4)]
    found = LocalSampler(loaded.model, end_ids=frozenset(), slots=2).sample(requests)
    assert len(found[0].token_ids) == limit - 20
    for request, completion in zip(requests, found, strict=True):
        ids = torch.tensor([[*request.prompt_ids, *completion.token_ids.tolist()]])
        mask = torch.arange(ids.shape[1])[None] >= len(request.prompt_ids)
        with torch.no_grad():
            alone, _ = sequence_logprobs(loaded.model, ids, mask)
        torch.testing.assert_close(alone[mask], torch.from_numpy(completion.logprobs), atol=1e-4, rtol=0)
