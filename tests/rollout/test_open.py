"""The door to a sampler, and what publishing does to the weights it samples from."""

import pytest
import torch

from openklear.errors import EngineError
from openklear.models.tiny import make_tiny
from openklear.recipe.schema import LocalEngine
from openklear.rollout.open import COMPLETIONS, TRAINING, VALIDATION, open_sampler, require
from openklear.rollout.protocol import Supports
from openklear.types import SampleRequest

ASKED = [SampleRequest((5, 9, 11), key, 12) for key in range(4)]


def sampled(sampler):
    return [made.token_ids.tolist() for made in sampler.sample(ASKED)]


def test_the_local_engine_serves_every_stage():
    loaded = make_tiny(16, 1, 2, 64, seed=0)
    for needs in (COMPLETIONS, VALIDATION, TRAINING):
        assert len(open_sampler(LocalEngine(slots=2), loaded, needs).sample(ASKED)) == 4


def test_what_an_engine_lacks_is_refused():
    require(Supports(logprobs=True), COMPLETIONS, "remote")
    require(Supports(publish=True), VALIDATION, "remote")
    with pytest.raises(EngineError, match='"remote" does not support publish, which'):
        require(Supports(logprobs=True), TRAINING, "remote")
    with pytest.raises(EngineError, match="support logprobs and publish, which"):
        require(Supports(), TRAINING, "remote")


def test_published_weights_are_sampled_from():
    one, other = (make_tiny(16, 1, 2, 64, seed=seed) for seed in (1, 2))
    sampler = open_sampler(LocalEngine(), one, TRAINING)
    before, wanted = sampled(sampler), sampled(open_sampler(LocalEngine(), other))
    assert sampler.version == 0
    assert before != wanted
    sampler.publish(other.model, 3)
    assert sampler.version == 3
    assert sampled(sampler) == wanted


def test_the_weights_of_the_shared_model_are_always_current():
    loaded = make_tiny(16, 1, 2, 64, seed=1)
    sampler = open_sampler(LocalEngine(), loaded, TRAINING)
    before = sampled(sampler)
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            parameter.mul_(2.0)
    sampler.publish(loaded.model, 1)
    assert sampler.version == 1
    assert sampled(sampler) != before
