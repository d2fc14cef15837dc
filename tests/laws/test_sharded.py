"""The law on a model in parts: on 1, 2 and 4 ranks, dealt unevenly, a step is the one of a single process."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.laws.ranks import CLIP, COUNT, SFT, WHOLE, trained
from tests.laws.sharded import CASES, DEALT, SUPERVISED, WORLDS, case_name, sequences_of
from tests.training.step_cases import distance, flat_gradient, gradient, tiny_model

from openklear.training.step import reference_logprobs, supervised_gradient

pytestmark = pytest.mark.long
TOLERANCE = 1e-6


@pytest.fixture(scope="module", params=WORLDS)
def world(request):
    return request.param


@pytest.fixture(scope="module")
def dealt(world, tmp_path_factory):
    """What each rank found."""
    directory = tmp_path_factory.mktemp(f"sharded-{world}")
    root = Path(__file__).parents[2]
    environment = {"PYTHONPATH": f"{root / 'src'}:{root}", "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.laws.sharded"]
    ranks = [
        subprocess.Popen(
            [*command, str(rank), str(world), str(directory)], env=environment, stderr=subprocess.PIPE, text=True
        )
        for rank in range(world)
    ]
    for rank in ranks:
        _, errors = rank.communicate(timeout=600)
        assert rank.returncode == 0, errors
    return [torch.load(directory / f"rank-{rank}.pt", weights_only=False) for rank in range(world)]


def same_on_all(dealt, name):
    first, *others = [rank[name] for rank in dealt]
    for other in others:
        assert torch.equal(first[0], other[0])
        assert first[1] == other[1]
    return first


def test_the_gradient_of_every_objective_is_that_of_one_process(dealt, world):
    for objective, aggregation in CASES[world]:
        name = case_name(objective, aggregation)
        found, metrics = same_on_all(dealt, name)
        expected, alone = gradient(tiny_model(), sequences_of(), [WHOLE], objective, aggregation)
        assert distance(expected, found) <= TOLERANCE, name
        assert metrics["loss"] == pytest.approx(alone["loss"], rel=1e-5, abs=1e-6), name
        assert metrics["tokens"] == alone["tokens"]


@pytest.mark.parametrize("name", [SUPERVISED, "recomputing"])
def test_the_supervised_gradient_is_that_of_one_process(dealt, name):
    found, metrics = same_on_all(dealt, name)
    model = tiny_model()
    alone = supervised_gradient(model, sequences_of(), [WHOLE])
    assert distance(flat_gradient(model), found) <= TOLERANCE
    assert metrics == {"loss": pytest.approx(alone["loss"], rel=1e-6), "tokens": alone["tokens"]}


def test_micro_batches_without_advantage_need_no_backward_pass_on_any_rank(dealt):
    found, _ = same_on_all(dealt, "idle")
    expected, _ = gradient(tiny_model(), sequences_of(0.0), [WHOLE])
    assert distance(expected, found) <= TOLERANCE


def test_a_rank_may_have_nothing_to_train_on(dealt, world):
    found, metrics = same_on_all(dealt, "few")
    only = [sequences_of()[DEALT[world][-1][0]]]
    expected, alone = gradient(tiny_model(), only, [[0]])
    assert distance(expected, found) <= TOLERANCE
    assert metrics["loss"] == pytest.approx(alone["loss"], rel=1e-5, abs=1e-6)


def test_old_logprobs_are_those_of_the_whole_model(dealt, world):
    expected = reference_logprobs(tiny_model(), sequences_of(), [WHOLE], 1.0, entropy=True)
    for rank, mine in zip(dealt, DEALT[world], strict=True):
        for ours, theirs in zip(rank["old"], expected, strict=True):
            for place, index in enumerate(mine):
                np.testing.assert_allclose(ours[place], theirs[index], atol=2e-6)


@pytest.mark.parametrize("kind", ["rl", SFT])
def test_steps_are_those_of_one_process(dealt, kind):
    """Weights after clipped steps of AdamW: the norm that clips is that of the whole gradient."""
    weights, norms = same_on_all(dealt, ("trained", kind))
    expected, alone = trained(kind, list(range(COUNT)))
    assert norms == pytest.approx(alone, rel=1e-9)
    assert min(norms) > 2 * CLIP
    assert float((weights - expected).abs().max()) <= 1e-9


def test_a_loss_that_is_not_finite_on_one_rank_stops_all_before_the_weights_move(dealt):
    said = {rank["refused"] for rank in dealt}
    assert len(said) == 1
    text, stayed = said.pop()
    assert "is nan" in text
    assert stayed
