"""What surrounds vLLM, without vLLM: another process in its place that really samples from the weights it is sent.

Death, silence, lies about the weights, and what a caller may do meanwhile. With vLLM itself: test_vllm.py.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from openklear.errors import EngineError, ModelError, ProcessLost
from openklear.models.tiny import make_tiny
from openklear.recipe.engine import VllmEngine
from openklear.rollout.local import LocalSampler
from openklear.rollout.requests import seed_of
from openklear.rollout.vllm import VllmSampler
from openklear.types import SampleRequest, StopReason

HERE = Path(__file__).parent
ASKED = [SampleRequest((5, 9, 11, key), key, 30) for key in range(6)]


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """Opens a sampler over the stand-in with a fault; all are closed after."""
    monkeypatch.setenv("STAND_IN_LOG", str(tmp_path / "log"))
    made = []

    def open_one(fault="", *, timeout=60.0, seed=0, **settings):
        monkeypatch.setenv("STAND_IN", fault)
        engine = VllmEngine(python=sys.executable, timeout=timeout, **settings)
        made.append(VllmSampler(make_tiny(16, 1, 2, 96, seed=seed), engine, HERE / "stand_in.py"))
        return made[-1]

    yield open_one
    for one in made:
        one.close()


def told(tmp_path, do):
    lines = map(json.loads, (tmp_path / "log").read_text().splitlines())
    return [line for line in lines if line["do"] == do]


def tokens(completions):
    return [made.token_ids.tolist() for made in completions]


def wanted(seed=0):
    """What the stand-in must draw: the local engine's, with the seeds that vLLM is given for keys."""
    loaded = make_tiny(16, 1, 2, 96, seed=seed)
    asked = [SampleRequest(r.prompt_ids, seed_of(r), r.max_new_tokens) for r in ASKED]
    return LocalSampler(loaded.model, end_ids=loaded.end_ids, slots=8).sample(asked)


def changed(sampler, factor=1.5):
    model = make_tiny(16, 1, 2, 96, seed=0).model
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(factor)
    return model


def test_completions_come_with_logprobs_and_versions(opened, tmp_path):
    sampler, ended = opened(slots=4, cache_gb=0.5, eager=False), []
    made = sampler.sample(ASKED, None, lambda index, one: ended.append((index, one)))
    assert tokens(made) == tokens(wanted())
    for one, known in zip(made, wanted(), strict=True):
        np.testing.assert_allclose(one.logprobs, known.logprobs, atol=1e-5)
        assert one.versions.tolist() == [0] * len(one.token_ids)
        assert (one.token_ids.dtype, one.logprobs.dtype, one.versions.dtype) == (np.int32, np.float32, np.int32)
    assert sorted(index for index, _ in ended) == list(range(6))
    assert all(made[index] is one for index, one in ended)
    assert sampler.sample([]) == []
    (start,) = told(tmp_path, "open")
    assert (start["slots"], start["cache_bytes"], start["eager"], start["dtype"]) == (4, 2**29, False, "float32")
    assert start["omp"] == str(torch.get_num_threads())


def test_new_weights_are_sampled_from_and_the_same_ones_are_not_sent_twice(opened, tmp_path):
    sampler = opened()
    before = tokens(sampler.sample(ASKED))
    model = changed(sampler)
    sampler.publish(model, 7)
    made = sampler.sample(ASKED)
    assert tokens(made) != before
    assert made[0].versions.tolist() == [7] * len(made[0].token_ids)
    sampler.publish(model, 7)
    sampler.publish(model, 8)
    assert [(line["version"], line["right"]) for line in told(tmp_path, "weights")] == [(0, True), (7, True), (8, True)]
    assert sampler.version == 8


@pytest.mark.long
@pytest.mark.parametrize("fault", ["old weights", "other bytes"])
def test_weights_that_did_not_arrive_are_found_out(fault, opened):
    if fault == "other bytes":
        with pytest.raises(EngineError, match=r"says that it has weights 0 \(0\), not 0"):
            opened(fault)
        return
    sampler = opened(fault)
    with pytest.raises(ModelError, match=r"log-probabilities of its tokens differ by .* version 1, torch\.float32"):
        sampler.publish(changed(sampler), 1)
    assert sampler.pid is None, "it is ended"


@pytest.mark.long
def test_a_dead_one_is_started_once_more_with_the_same_draws(opened, tmp_path, capsys):
    sampler, ended = opened("dies once"), []
    made = sampler.sample(ASKED, None, lambda index, one: ended.append(index))
    assert tokens(made) == tokens(wanted())
    assert sorted(ended) == list(range(6)), "nothing is told twice"
    said = capsys.readouterr().err
    assert "vLLM was killed by signal 9 (SIGKILL) while sampling; it is started once more" in " ".join(said.split())
    asked = [line["requests"] for line in told(tmp_path, "sample")]
    assert asked == [2, 6, 2, 4], "two had ended, and only the others are drawn again; a probe comes after each start"


@pytest.mark.long
def test_a_second_death_in_one_call_ends_it(opened):
    sampler = opened("dies always")
    with pytest.raises(EngineError, match=r"killed by signal 9.*started twice(.|\n)*the stand-in is here"):
        sampler.sample(ASKED)
    assert sampler.pid is None


@pytest.mark.long
def test_silence_has_an_end_and_a_name(opened, capsys):
    with pytest.raises(EngineError, match="no sign of life for 1 s while starting and was ended; it was started twice"):
        opened("hangs", timeout=1.0)


@pytest.mark.long
def test_one_that_stops_talking_is_started_once_more(opened, capsys):
    sampler = opened("stops talking", timeout=20.0)
    assert tokens(sampler.sample(ASKED)) == tokens(wanted())
    assert "gave no sign of life for 20 s while sampling and was ended" in " ".join(capsys.readouterr().err.split())


@pytest.mark.long
def test_what_it_refuses_is_said_in_its_words(opened):
    with pytest.raises(ModelError, match=r"cannot serve this model: ValueError: Model architectures \['X'\]"):
        opened("unknown model")
    sampler = opened("fails")
    with pytest.raises(EngineError, match="failed while sampling: RuntimeError: out of blocks"):
        sampler.sample(ASKED)


@pytest.mark.long
def test_weights_that_changed_since_they_were_published_are_not_sampled_from(opened):
    sampler = opened("dies once")
    with torch.no_grad():
        for parameter in sampler._model.parameters():
            parameter.mul_(1.1)
    with pytest.raises(ProcessLost, match="weights of version 0 have changed meanwhile"):
        sampler.sample(ASKED)


def test_until_ends_it_with_what_there_is(opened):
    sampler, seen = opened(slots=2), []

    def until():
        seen.append(1)
        return len(seen) > 3

    ended = []
    many = [SampleRequest((5, 9), key, 90) for key in range(40)]
    made = sampler.sample(many, None, lambda index, one: ended.append(index), until)
    kinds = [one.stop_reason for one in made]
    assert kinds.count(StopReason.PARTIAL) > 10
    assert all((index in ended) != (kind is StopReason.PARTIAL) for index, kind in enumerate(kinds))
    assert len(made[-1].token_ids) == 0
    assert all(len(one.token_ids) == len(one.logprobs) == len(one.versions) for one in made)
    assert tokens(sampler.sample(ASKED)) == tokens(wanted()), "and it samples on after that"


def test_what_a_callback_raises_ends_the_call_and_leaves_the_engine_whole(opened):
    sampler = opened()
    pid = sampler.pid

    def interrupt(index, made):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sampler.sample(ASKED, None, interrupt)
    assert tokens(sampler.sample(ASKED)) == tokens(wanted())
    assert sampler.pid == pid


def test_a_request_that_cannot_be_served_is_named_before_anything_is_sampled(opened, tmp_path):
    sampler = opened()
    before = len(told(tmp_path, "sample"))
    for request, words in (
        (SampleRequest((5,), 0, 9, temperature=0.004), "no temperature between 0 and 0.01, and 0.004"),
        (SampleRequest(tuple([5] * 96), 0, 9), "the prompt has 96 tokens, and the model 96 positions"),
        (SampleRequest((10**6,), 0, 9), "outside the model's vocabulary"),
    ):
        with pytest.raises(EngineError, match=f"request 1 cannot be sampled: .*{words}"):
            sampler.sample([ASKED[0], request])
    assert len(told(tmp_path, "sample")) == before


def test_seeds_are_the_keys_own_and_go_on_at_a_position():
    one = SampleRequest((1, 2), 12345, 5)
    assert seed_of(one) == seed_of(SampleRequest((3,), 12345, 9))
    assert len({seed_of(SampleRequest((1, 2), key, 5)) for key in range(10_000)}) >= 9_999
    assert seed_of(one) != seed_of(SampleRequest((1, 2), 12345, 5, sampled=1))
    assert all(0 <= seed_of(SampleRequest((1,), key, 1)) < 2**31 for key in (0, 2**64 - 1))


@pytest.mark.long
def test_it_dies_with_its_parent(tmp_path):
    program = f"""
import os, sys, time
from pathlib import Path
from openklear.models.tiny import make_tiny
from openklear.recipe.engine import VllmEngine
from openklear.rollout.vllm import VllmSampler
sampler = VllmSampler(make_tiny(16, 1, 2, 96, seed=0), VllmEngine(python=sys.executable), Path({str(HERE / "stand_in.py")!r}))
print(sampler.pid, flush=True)
time.sleep(1000)
"""
    environment = {**os.environ, "STAND_IN_LOG": str(tmp_path / "log"), "PYTHONPATH": str(HERE.parents[1] / "src")}
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment)
    child = int(parent.stdout.readline())
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    until = time.monotonic() + 20
    while Path(f"/proc/{child}").exists() and Path(f"/proc/{child}/stat").read_text().split()[2] != "Z":
        assert time.monotonic() < until, "it lives on"
        time.sleep(0.05)


def test_no_interpreter_is_said_with_what_to_do(tmp_path, monkeypatch):
    loaded = make_tiny(16, 1, 2, 96, seed=0)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENKLEAR_VLLM", raising=False)
    with pytest.raises(EngineError, match=r"neither engine\.python nor OPENKLEAR_VLLM is set.*docs/engines\.md"):
        VllmSampler(loaded, VllmEngine())
    monkeypatch.setenv("OPENKLEAR_VLLM", str(tmp_path / "none"))
    with pytest.raises(EngineError, match=r"engine\.python: .*none: there is no such file"):
        VllmSampler(loaded, VllmEngine())
    (tmp_path / "text").write_text("no program")
    with pytest.raises(EngineError, match=r"cannot be run \(Permission denied\)"):
        VllmSampler(loaded, VllmEngine(python=str(tmp_path / "text")))
    python = tmp_path / "bare"
    python.write_text(f"#!{sys.executable}\nimport sys\nsys.exit('No module named vllm')\n")
    python.chmod(0o755)
    with pytest.raises(EngineError, match=r"ended with exit code 1 while starting(.|\n)*No module named vllm"):
        VllmSampler(loaded, VllmEngine(python=str(python)))
