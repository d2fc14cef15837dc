"""Ranks as Ray actors: the steps of one process, and what is said of a rank that dies or hangs."""

import os
import re
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from tests.training.step_cases import rollouts, settings

from openklear.errors import NonFinite, ProcessLost
from openklear.models.loading import load_model, save_model
from openklear.models.tiny import make_tiny
from openklear.planner.auto import Sizes
from openklear.recipe.load import load_recipe
from openklear.training.leading import LeadingLearner, LedTrainee
from openklear.training.learner import LocalLearner
from openklear.training.optimizer import build_optimizer
from openklear.training.rank import Post

ray = pytest.importorskip("ray", reason="the extra `cluster` is not installed")
pytestmark = pytest.mark.cluster
RECIPE = Path(__file__).parents[2] / "recipes" / "quickstart.toml"
SIZES = Sizes(microbatch_tokens=64, activation_checkpointing=False, slots=8, cache_tokens=1024, dtype="float32")
RANKS, RATE, PATIENCE = 2, 0.01, 3.0
PHASE = settings(max_grad_norm=1.0)


@pytest.fixture(scope="module")
def cluster():
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    directory = tmp_path_factory.mktemp("model")
    save_model(make_tiny(16, 2, 2, 64, 0), directory)
    return directory


@pytest.fixture
def gang(cluster, model):
    """Makes gangs in one placement group, and ends them."""
    from openklear.cluster.gang import Gang

    group = ray.util.placement_group([{"CPU": 1}] * RANKS)
    ray.get(group.ready())
    made = []

    def make():
        post = Post(load_recipe(RECIPE), PHASE, model, SIZES, rank=0, ranks=1, address="")
        made.append(Gang(group, post, patience=PATIENCE))
        return made[-1]

    yield make
    for one in made:
        one.close()
    ray.util.remove_placement_group(group)


def pid_of(gang, rank):
    return int(gang.places()[rank].rpartition(" ")[2])


def struck(gang, rank, blow, seconds):
    """Sends a signal to a rank's process after so many seconds."""
    threading.Timer(seconds, os.kill, (pid_of(gang, rank), blow)).start()


def update_until_lost(gang, sequences):
    """Steps until a rank is lost: (what is said, seconds since the blow began to be possible)."""
    learner = LeadingLearner(gang.ask, RANKS)
    begun = time.monotonic()
    while time.monotonic() < begun + 60:
        try:
            learner.update(sequences, RATE)
        except ProcessLost as lost:
            return str(lost), time.monotonic() - begun
    pytest.fail("no rank was lost")


def test_a_gang_takes_the_steps_of_one_process_and_raises_what_all_raise(gang, model):
    sequences = rollouts(load_model(model).model, 8)
    loaded = load_model(model)
    alone = LocalLearner(loaded, build_optimizer(loaded.model, PHASE.optimizer), PHASE, 64)
    mine = gang()
    learner = LeadingLearner(mine.ask, RANKS)
    for _ in range(2):
        metrics, _ = learner.update(sequences, RATE)
        expected, _ = alone.update(sequences, RATE)
        assert metrics["loss"] == pytest.approx(expected["loss"], abs=1e-5)
    sequences[0].old_logprobs[:] = np.nan
    with pytest.raises(NonFinite, match="is nan"):
        learner.update(sequences, RATE)


def test_a_rank_that_dies_is_named_and_another_gang_goes_on(gang, model, tmp_path):
    sequences = rollouts(load_model(model).model, 8)
    first = gang()
    learner, trainee = LeadingLearner(first.ask, RANKS), LedTrainee(first.ask, RANKS, 1, hand=lambda *_: None)
    learner.update(sequences, RATE)
    trainee.write(tmp_path)
    expected, _ = learner.update(sequences, RATE)
    struck(first, 1, signal.SIGKILL, 0.5)
    said, seconds = update_until_lost(first, sequences)
    assert re.match(rf"rank 1 \({os.uname().nodename} \([\d.]+\), pid {pid_of(first, 1)}\) died", said)
    assert seconds < 0.5 + 10
    first.close()
    second = gang()
    LedTrainee(second.ask, RANKS, 1, hand=lambda *_: None).read(tmp_path)
    metrics, _ = LeadingLearner(second.ask, RANKS).update(sequences, RATE)
    assert metrics["loss"] == pytest.approx(expected["loss"], abs=1e-6)


def test_a_rank_that_hangs_is_named_and_ended(gang, model):
    sequences = rollouts(load_model(model).model, 8)
    mine = gang()
    pid = pid_of(mine, 0)
    struck(mine, 0, signal.SIGSTOP, 0.5)
    said, seconds = update_until_lost(mine, sequences)
    assert said.startswith("rank 0 (")
    assert "hangs: no answer for 3 s" in said
    assert seconds < 0.5 + PATIENCE + 10
    mine.close()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(f"/proc/{pid}").exists()
