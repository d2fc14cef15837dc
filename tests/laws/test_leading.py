"""A learner that leads ranks takes the steps of one in this process, and what they hold is written, read and published."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.laws.gang import gang
from tests.training.step_cases import rollouts, settings

from openklear.errors import NonFinite, RunError
from openklear.models.loading import load_model, save_model, weights_hash
from openklear.models.parcel import unpack
from openklear.models.tiny import make_tiny
from openklear.planner.auto import Sizes
from openklear.recipe.load import load_recipe
from openklear.recipe.schema import Sft
from openklear.training.leading import LeadingLearner, LeadingSupervised, LedTrainee
from openklear.training.learner import LocalLearner, SupervisedLearner
from openklear.training.optimizer import build_optimizer
from openklear.training.rank import Post

pytestmark = pytest.mark.long
RECIPE = Path(__file__).parents[2] / "recipes" / "quickstart.toml"
SIZES = Sizes(microbatch_tokens=64, activation_checkpointing=False, slots=8, cache_tokens=1024, dtype="float32")
RANKS, STEPS, RATE = 2, 3, 0.01


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    directory = tmp_path_factory.mktemp("model")
    save_model(make_tiny(16, 2, 2, 64, 0), directory)
    return directory


def post(model, phase):
    return Post(load_recipe(RECIPE), phase, model, SIZES, rank=0, ranks=1, address="")


def published(trainee):
    """The weights that a sampler would get, by name."""
    given = {}
    hand = lambda sampler, version: given.update(unpack(trainee.ask("parcel", [()] * RANKS)[0]))  # noqa: E731
    replace(trainee, hand=hand).publish(None, 1)
    return given


def led(ask, parameters=10_000):
    return LedTrainee(ask, RANKS, parameters, hand=lambda *_: None)


def close_to(weights, module, tolerance=1e-6):
    own = dict(module.state_dict())
    return all(float((weights[name] - own[name]).abs().max()) <= tolerance for name in own)


def test_rl_led_is_rl_in_one_process(model, tmp_path):
    phase = settings(max_grad_norm=1.0)
    sequences = rollouts(load_model(model).model, 12)
    loaded = load_model(model)
    alone = LocalLearner(loaded, build_optimizer(loaded.model, phase.optimizer), phase, 64)
    seen = []
    with gang(post(model, phase), RANKS) as ask:
        learner, trainee = LeadingLearner(ask, RANKS), led(ask)
        bare = [replace(s, old_logprobs=None, old_entropies=None) for s in sequences]
        for ours, theirs in zip(learner.with_old(bare), alone.with_old(bare), strict=True):
            np.testing.assert_allclose(ours.old_logprobs, theirs.old_logprobs, atol=2e-6)
        for _ in range(STEPS):
            metrics, done = learner.update(sequences, RATE, seen.append)
            expected, made = alone.update(sequences, RATE)
            assert metrics["loss"] == pytest.approx(expected["loss"], abs=1e-5)
            assert metrics["grad_norm"] == pytest.approx(expected["grad_norm"], rel=1e-4)
            assert [s.sample for s in done] == [s.sample for s in made]
        assert close_to(published(trainee), loaded.model, 1e-4)
        assert len(seen) == STEPS
        before = published(trainee)
        (tmp_path / "checkpoint").mkdir()
        trainee.write(tmp_path / "checkpoint")
        learner.update(sequences, RATE)
        assert not torch.equal(before["model.norm.weight"], published(trainee)["model.norm.weight"])
        trainee.read(tmp_path / "checkpoint")
        assert all(torch.equal(tensor, published(trainee)[name]) for name, tensor in before.items())
        trainee.write_model(tmp_path / "model")
    handed_on = load_model(tmp_path / "model").model.state_dict()
    assert all(torch.equal(tensor, handed_on[name]) for name, tensor in before.items())
    assert len(weights_hash(tmp_path / "model")) == 32


def test_what_the_check_says_comes_before_any_weight_moves(model):
    phase = settings(max_grad_norm=1.0)
    sequences = rollouts(load_model(model).model, 6)

    def refuse(made):
        raise RunError("refused")

    with gang(post(model, phase), RANKS) as ask:
        learner, trainee = LeadingLearner(ask, RANKS), led(ask)
        before = published(trainee)
        with pytest.raises(RunError, match="refused"):
            learner.update(sequences, RATE, refuse)
        spoilt = [replace(s, old_logprobs=s.old_logprobs * np.nan) for s in sequences]
        with pytest.raises(NonFinite, match="is nan"):
            learner.update(spoilt, RATE)
        assert all(torch.equal(tensor, published(trainee)[name]) for name, tensor in before.items())


def test_sft_led_is_sft_in_one_process(model):
    phase = Sft(max_grad_norm=1.0)
    rows = rollouts(load_model(model).model, 12)
    loaded = load_model(model)
    alone = SupervisedLearner(loaded, build_optimizer(loaded.model, phase.optimizer), phase, 64)
    with gang(post(model, phase), RANKS) as ask:
        learner, trainee = LeadingSupervised(ask, RANKS), led(ask)
        for number in range(STEPS):
            metrics = learner.update(rows, RATE, number)
            expected = alone.update(rows, RATE, number)
            assert metrics["loss"] == pytest.approx(expected["loss"], abs=1e-5)
            assert metrics["tokens"] == expected["tokens"]
        assert close_to(published(trainee), loaded.model, 1e-4)
