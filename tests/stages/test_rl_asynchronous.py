"""The stage `rl-NAME` where an iteration is sampled while the one before it trains: how old, recorded, and resumed.

The sampler has weights of its own, as on a cluster: here a copy of the model in the same process.
"""

import copy
import shutil
import threading
from pathlib import Path

import pytest
import torch
from tests.stages.test_rl_carry import KEYS, Desk, Killed, digest, dying, table

from openklear import progress
from openklear.durable.files import read_jsonl
from openklear.errors import RecipeError
from openklear.models.loading import load_model
from openklear.recipe.load import load_recipe
from openklear.recipe.objectives import Truncate
from openklear.recipe.partial import CarryOver, NoCarryOver
from openklear.recipe.schema import Checkpoints
from openklear.rollout.local import LocalSampler
from openklear.rollout.seeds import rollout_key
from openklear.types import SampleRequest

MINI = Path(__file__).parents[1] / "e2e" / "mini.toml"

APART = {**KEYS, "asynchronous": True, "partial_rollouts": NoCarryOver(), "correction": Truncate()}
SETTINGS = {"whole": {}, "carried": {"partial_rollouts": CarryOver(extra=1.5, oldest=2)}}


class Apart(LocalSampler):
    """Over a copy of the model that is trained."""

    def __init__(self, model, **more):
        super().__init__(copy.deepcopy(model), **more)


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    progress.quiet(True)
    yield Desk(tmp_path_factory.mktemp("rl"))
    progress.quiet(False)


@pytest.fixture(autouse=True)
def apart(monkeypatch):
    monkeypatch.setattr("openklear.rollout.open.LocalSampler", Apart)


def run(desk, name, **changes):
    return desk.run(name, **{**APART, **changes})


@pytest.fixture(scope="module")
def undisturbed(desk):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("openklear.rollout.open.LocalSampler", Apart)
        return {name: digest(run(desk, name, **changes)) for name, changes in SETTINGS.items()}


def versions(rollout):
    return rollout["token_versions"] or [rollout["policy_version"]] * len(rollout["token_ids"])


def test_every_token_is_one_version_old_but_those_of_the_first_iteration(desk, undisturbed):
    for row in read_jsonl(desk.root / "whole/metrics.jsonl"):
        number = row["iteration"]
        rollouts = table(desk.root / "whole", number)
        assert len(rollouts) == row["rollouts"] == 2 * 3
        assert {version for rollout in rollouts for version in versions(rollout)} == {max(0, number - 2)}
        assert row["staleness_max"] == row["staleness_mean"] == min(1, number - 1)
        assert ("gap_k3" in row) == (number == 1), "only fresh tokens compare sampler and trainer"
        assert ("carried_k3" in row) == (number > 1)


def test_the_second_iteration_is_drawn_from_the_weights_before_the_first(desk, undisturbed):
    """By a sampler of its own over the model that the phase began with."""
    rollouts = table(desk.root / "whole", 2)
    loaded = load_model(desk.root / "base/model")
    asked = [
        SampleRequest(
            tuple(one["prompt_ids"]), rollout_key(0, "rl-math", 2, one["content_hash"], one["sample_index"]), 24
        )
        for one in rollouts
    ]
    for one, expected in zip(rollouts, LocalSampler(loaded.model, end_ids=loaded.end_ids).sample(asked), strict=True):
        assert one["token_ids"] == expected.token_ids.tolist()


@pytest.mark.long
def test_no_problem_is_left_out_or_trained_twice(desk):
    out = run(desk, "once", iterations=4)
    found = [one["problem_id"] for number in range(1, 5) for one in table(out, number)]
    assert sorted(map(found.count, set(found))) == [3] * 8


def test_it_samples_while_it_trains(desk, monkeypatch):
    """In a thread of its own, and the updates do not wait for it: sampling waits for one of them here."""
    trained, sampled = threading.Event(), []
    step, sample = torch.optim.Optimizer.zero_grad, Apart.sample

    def zero_grad(self, *args, **more):
        trained.set()
        return step(self, *args, **more)

    def waiting(self, *args, **more):
        if threading.current_thread().name == "beside":
            sampled.append(trained.wait(60))
        return sample(self, *args, **more)

    monkeypatch.setattr(torch.optim.Optimizer, "zero_grad", zero_grad)
    monkeypatch.setattr(Apart, "sample", waiting)
    out = run(desk, "beside", iterations=3)
    assert sampled == [True, True]
    rows = read_jsonl(out / "timings.jsonl")
    assert ["waiting" in row for row in rows] == ["sampling" in row for row in rows] == [True, True, False]
    assert all("sampled_tokens_per_second" in row for row in rows[:2])


CALLS = [(Apart, "sample", n) for n in (2, 3, 4)] + [(torch.optim.Optimizer, "zero_grad", n) for n in (1, 2, 3, 5, 6)]


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize(
    "call",
    [one if n == 6 else pytest.param(one, marks=pytest.mark.long) for n, one in enumerate(CALLS)],
    ids=lambda call: f"{call[1]}-{call[2]}",
)
def test_killed_anywhere_it_ends_with_the_bits_of_an_undisturbed_phase(desk, undisturbed, name, call, monkeypatch):
    place = f"{name}-{call[1]}-{call[2]}"
    with monkeypatch.context() as patch:
        dying(patch, *call)
        with pytest.raises(Killed):
            run(desk, place, **SETTINGS[name])
    assert digest(run(desk, place, **SETTINGS[name])) == undisturbed[name]


def test_with_partial_rollouts_tokens_are_of_several_versions_and_none_is_too_old(desk, undisturbed):
    mixed = 0
    for row in read_jsonl(desk.root / "carried/metrics.jsonl"):
        number = row["iteration"]
        for rollout in table(desk.root / "carried", number):
            ages = [number - 1 - version for version in versions(rollout)]
            assert min(ages) >= min(1, number - 1)
            assert max(ages) <= 2 + 1
            mixed += len(set(ages)) > 1
        assert row["staleness_max"] <= 3
    assert mixed


def test_what_fails_beside_is_raised_and_what_fails_before_ends_it(desk, monkeypatch):
    """Either way no thread is left behind."""

    class Broken(Exception):
        pass

    sample = Apart.sample

    def failing(self, *args, **more):
        if threading.current_thread().name == "beside":
            raise Broken
        return sample(self, *args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Apart, "sample", failing)
        with pytest.raises(Broken):
            run(desk, "failing")
    begun, ended = threading.Event(), []

    def endless(self, requests, on_progress, on_completion, until):
        begun.set()
        while not until():
            begun.wait(0.01)
        ended.append("without what `until` raises")

    def refused(self, *args, **more):
        assert begun.wait(60)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Apart, "sample", lambda self, *args: (endless if begun_beside() else sample)(self, *args))
        patch.setattr(torch.optim.Optimizer, "zero_grad", refused)
        with pytest.raises(Killed):
            run(desk, "stopped")
    assert begun.is_set()
    assert not ended
    assert "beside" not in {thread.name for thread in threading.enumerate()}


def begun_beside() -> bool:
    return threading.current_thread().name == "beside"


@pytest.mark.long
def test_a_fork_that_carries_nothing_over_ends_what_was_under_way_with_the_weights_of_then(desk):
    run(desk, "fork", iterations=3, **SETTINGS["carried"])
    shutil.rmtree(desk.root / "fork/iterations/000003")
    shutil.rmtree(desk.root / "fork/checkpoints/000003")
    under_way = table(desk.root / "fork", 2, "carried")
    again = table(run(desk, "fork", iterations=3), 3)
    last = [two["policy_version"] for one, two in zip(under_way, again, strict=True) if one["stop_reason"] == "partial"]
    assert last
    assert set(last) == {2}


@pytest.mark.long
def test_a_damaged_checkpoint_samples_nothing_again_that_is_recorded(desk, undisturbed, monkeypatch):
    """Even where the rollouts of the iterations in between are gone."""
    few = Checkpoints(keep_last=2, keep_rollouts=1)
    out = run(desk, "damaged", checkpoints=few)
    newest = out / "checkpoints/000004/model.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1] + b"\x01")
    assert not (out / "iterations/000003/rollouts.parquet").exists()
    calls = []
    monkeypatch.setattr(
        Apart, "sample", lambda self, *args, **more: calls.append(1) or LocalSampler.sample(self, *args)
    )
    again = digest(run(desk, "damaged", checkpoints=few))
    assert len(calls) <= 1, "the probe alone, where it was not there before"
    for name in ("model/model.safetensors", "metrics.jsonl"):
        assert again[name] == undisturbed["whole"][name]


def test_a_prolonged_phase_says_that_its_next_iteration_is_sampled_first(desk, monkeypatch):
    run(desk, "prolonged", iterations=2)
    said = []
    monkeypatch.setattr(progress, "say", said.append)
    run(desk, "prolonged", iterations=4)
    assert [line for line in said if "iteration 3: nothing was sampled for it beside the one before" in line]
    ages = [row["staleness_max"] for row in read_jsonl(desk.root / "prolonged/metrics.jsonl")]
    assert ages == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (["rl.correction.type=none"], "rollouts that are sampled while the iteration before them trains are drawn"),
        (["rl.correction.type=mask"], "the local engine samples from the very weights that are trained"),
        (["rl.correction.type=mask", "cluster.samplers=0"], "samplers and trainers work in turn"),
    ],
)
def test_what_it_needs_is_told(changes, told):
    with pytest.raises(RecipeError, match=told):
        load_recipe(MINI, ["rl.asynchronous=true", *changes])


def test_samplers_of_their_own_are_enough():
    load_recipe(MINI, ["rl.asynchronous=true", "rl.correction.type=mask", "cluster.samplers=1"])
