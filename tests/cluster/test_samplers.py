"""Samplers as Ray actors: the completions of one in this process, whichever of them dies or hangs."""

import os
import re
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from openklear.errors import EngineError
from openklear.models.loading import load_model, save_model
from openklear.models.parcel import pack, unpack
from openklear.models.tiny import make_tiny
from openklear.planner.auto import Sizes
from openklear.recipe.load import load_recipe
from openklear.rollout.carry import joined
from openklear.rollout.local import LocalSampler
from openklear.types import Completion, SampleRequest, StopReason

ray = pytest.importorskip("ray", reason="the extra `cluster` is not installed")
pytestmark = pytest.mark.cluster
RECIPE = Path(__file__).parents[2] / "recipes" / "quickstart.toml"
SIZES = Sizes(microbatch_tokens=64, activation_checkpointing=False, slots=4, cache_tokens=4096, dtype="float32")
SAMPLERS, PATIENCE = 2, 3.0


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    directory = tmp_path_factory.mktemp("model")
    save_model(make_tiny(64, 2, 2, 512, 0), directory)
    return directory


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    return tmp_path_factory.mktemp("run") / "logs" / "rl-math"


@pytest.fixture(scope="module")
def pool(model, logs):
    from openklear.cluster.samplers import ClusterSampler, SamplerPost

    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, namespace="openklear")
    group = ray.util.placement_group([{"CPU": 1}] * SAMPLERS)
    ray.get(group.ready())
    post = SamplerPost(load_recipe(RECIPE), model, SIZES)
    made = ClusterSampler(group, post, patience=PATIENCE, work="rl-math of a run", logs=logs)
    yield made
    made.close()
    ray.shutdown()


def requests(groups: int, size: int, tokens: int) -> list[SampleRequest]:
    rng = np.random.default_rng(0)
    prompts = [tuple(rng.integers(7, 60, 12).tolist()) for _ in range(groups)]
    return [SampleRequest(prompts[i // size], 1000 + i, tokens) for i in range(groups * size)]


def alone(directory, asked, seed=None):
    """What one sampler in this process makes of them; with `seed` under other weights."""
    loaded = load_model(directory)
    if seed is not None:
        loaded.model.load_state_dict(make_tiny(64, 2, 2, 512, seed).model.state_dict())
    return LocalSampler(loaded.model, end_ids=loaded.end_ids, slots=4).sample(asked)


def same(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        assert np.array_equal(ours.token_ids, theirs.token_ids)
        assert ours.stop_reason is theirs.stop_reason
        np.testing.assert_allclose(ours.logprobs, theirs.logprobs, atol=1e-5)


def test_a_parcel_arrives_as_it_was_sent_or_not_at_all():
    weights = make_tiny(16, 1, 2, 64, 3).model.state_dict()
    parcel = pack(weights)
    assert all(bool((tensor == weights[name]).all()) for name, tensor in unpack(parcel).items())
    assert pack(weights).hash == parcel.hash
    spoilt = [content.copy() for content in parcel.contents]
    spoilt[1][5] ^= 1
    with pytest.raises(EngineError, match="damaged"):
        unpack(replace(parcel, contents=tuple(spoilt)))


def test_requests_that_are_shared_out_come_back_as_one_sampler_makes_them(pool, model):
    asked = requests(6, 4, 40)
    seen, told = [], []
    found = pool.sample(asked, lambda *some: told.append(some), lambda index, completion: seen.append(index))
    same(found, alone(model, asked))
    assert sorted(seen) == list(range(24))
    assert sum(number for number, _ in told) == 24


def test_new_weights_reach_every_sampler_under_their_version(pool, model):
    pool.publish(make_tiny(64, 2, 2, 512, 5).model, 7)
    asked = requests(4, 2, 20)
    found = pool.sample(asked)
    same(found, alone(model, asked, seed=5))
    assert pool.version == 7
    assert all(set(completion.versions.tolist()) == {7} for completion in found)


@pytest.mark.parametrize("blow", [signal.SIGSEGV, signal.SIGSTOP], ids=["dies", "hangs"])
def test_a_sampler_that_dies_or_hangs_is_replaced_and_the_completions_are_the_same(pool, model, logs, blow, capsys):
    pool.publish(make_tiny(64, 2, 2, 512, 6).model, 8)
    asked = requests(24, 4, 400)
    expected = alone(model, asked, seed=6)
    pid = int(pool.places()[1].rpartition(" ")[2])
    threading.Timer(0.3, os.kill, (pid, blow)).start()
    same(pool.sample(asked), expected)
    said = capsys.readouterr().err
    assert f"pid {pid})" in said
    assert ("died" if blow is signal.SIGSEGV else "has not answered for 3 s") in said
    assert "requests are asked again" in said
    assert int(pool.places()[1].rpartition(" ")[2]) != pid
    assert not Path(f"/proc/{pid}").exists(), "a process that is stopped outlives Ray's own kill"
    same(pool.sample(asked[:4]), expected[:4])
    printed = (logs / "sampler-1.log").read_text()
    assert re.findall(r": process (\d+) on ", printed)[-2:] == [str(pid), pool.places()[1].rpartition(" ")[2]]
    assert ("Fatal Python error: Segmentation fault" in printed) or blow is signal.SIGSTOP


def test_one_that_hangs_while_it_takes_new_weights_is_replaced(pool, model, capsys):
    pid = int(pool.places()[0].rpartition(" ")[2])
    os.kill(pid, signal.SIGSTOP)
    pool.publish(make_tiny(64, 2, 2, 512, 9).model, 9)
    assert f"pid {pid}) has not answered for 3 s while it took new weights" in capsys.readouterr().err
    asked = requests(4, 2, 20)
    same(pool.sample(asked), alone(model, asked, seed=9))


def test_a_call_that_is_broken_off_goes_on_where_it_was(pool, model):
    pool.publish(make_tiny(64, 2, 2, 512, 6).model, 10)
    asked = requests(12, 4, 400)
    seen = []
    first = pool.sample(asked, None, lambda index, completion: seen.append(index), lambda: len(seen) >= 3)
    partial = [index for index, one in enumerate(first) if one.stop_reason is StopReason.PARTIAL]
    assert sorted(seen + partial) == list(range(48))
    assert len(partial) > 12, "no longer than it takes to say so"
    left = [going_on(asked[index], first[index]) for index in partial]
    for index, rest in zip(partial, pool.sample(left), strict=True):
        first[index] = joined(first[index], rest, 10)
    same(first, alone(model, asked, seed=6))


def test_what_until_raises_ends_the_call_and_frees_the_samplers(pool, model):
    pool.publish(make_tiny(64, 2, 2, 512, 6).model, 11)
    asked = requests(12, 4, 400)

    def until():
        raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        pool.sample(asked, None, None, until)
    same(pool.sample(asked[:4]), alone(model, asked, seed=6)[:4])


def going_on(request: SampleRequest, drawn: Completion) -> SampleRequest:
    tokens = tuple(drawn.token_ids.tolist())
    left = request.max_new_tokens - len(tokens)
    return replace(request, prompt_ids=(*request.prompt_ids, *tokens), max_new_tokens=left, sampled=len(tokens))


def status() -> tuple[int, str]:
    """What another process says of the cluster."""
    address = ray.get_runtime_context().gcs_address
    words = [sys.executable, "-m", "openklear", "cluster", "status", "--address", address]
    environment = {**os.environ, "PYTHONPATH": str(RECIPE.parents[1] / "src")}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=120, check=False)
    return done.returncode, done.stdout + done.stderr


def test_the_status_says_who_does_what_and_who_does_not_answer(pool):
    code, said = status()
    assert code == 0, said
    assert re.search(r"^cluster at .*: 1 of 1 nodes alive; free: 2 of 4 CPU$", said, re.M)
    assert re.search(r"^rl-math of a run:\n  sampler 0 .*, pid \d+ +idle\n  sampler 1 .*, pid \d+ +idle$", said, re.M)
    busy = threading.Thread(target=pool.sample, args=(requests(300, 4, 400),))
    busy.start()
    code, said = status()
    busy.join()
    assert code == 0, said
    assert re.search(r"^  sampler \d .*, pid \d+ +sample \d+ requests, for [\d.]+ s$", said, re.M), said
    pid = int(pool.places()[1].rpartition(" ")[2])
    os.kill(pid, signal.SIGSTOP)
    code, said = status()
    os.kill(pid, signal.SIGCONT)
    assert code == 1, said
    assert re.search(r"^  sampler 1 +does not answer \(5 s\)$", said, re.M), said


def test_a_request_that_cannot_be_served_is_told_as_by_one_sampler(pool):
    with pytest.raises(EngineError, match="max_new_tokens is 0"):
        pool.sample([replace(requests(1, 1, 5)[0], max_new_tokens=0)])
