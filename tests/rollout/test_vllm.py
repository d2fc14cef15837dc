"""vLLM itself, in its own environment: what it draws, whether its weights are the trainer's, and what a kill leaves.

Run by make test-vllm; the variable OPENKLEAR_VLLM names the interpreter.
"""

import os
import signal
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from openklear.errors import EngineError, ModelError
from openklear.models.tiny import make_tiny
from openklear.recipe.engine import VllmEngine
from openklear.rollout import vllm_worker
from openklear.rollout.probe import gap
from openklear.rollout.protocol import Supports
from openklear.rollout.sampling import Cuts, next_token_probabilities
from openklear.rollout.vllm import VllmSampler
from openklear.types import SampleRequest, StopReason

pytestmark = pytest.mark.vllm

PREFIX = tuple(5 + (7 * place) % 200 for place in range(70))
"""Two blocks of the prefix cache."""
CLOSE = 1e-5
"""Largest difference of a log-probability, nats."""


def engine():
    if "OPENKLEAR_VLLM" not in os.environ:
        pytest.skip("OPENKLEAR_VLLM names no interpreter with vLLM: run make test-vllm")
    return VllmEngine(cache_gb=0.125, slots=16)


def made(seed=0, tied=True):
    loaded = make_tiny(64, 2, 2, 256, seed=seed)
    if not tied:
        config = loaded.model.config
        config.tie_word_embeddings = False
        torch.manual_seed(seed)
        type(loaded)  # the tokenizer stays
        return type(loaded)(type(loaded.model)(config).eval(), loaded.tokenizer, loaded.end_ids)
    return loaded


@pytest.fixture(scope="module")
def open_one():
    loaded = made()
    sampler = VllmSampler(loaded, engine())
    yield loaded, sampler
    sampler.close()


def asked(count=12, tokens=40, **settings):
    return [SampleRequest((*PREFIX, 9 + key % 3), key, tokens, **settings) for key in range(count)]


def tokens(completions):
    return [one.token_ids.tolist() for one in completions]


def move(model, by=0.05, seed=0):
    """Weights a good step away from what they were."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(by * parameter.std() * torch.randn_like(parameter))


def test_five_updates_within_a_minute_and_each_is_sampled_from(open_one):
    loaded, sampler = open_one
    assert sampler.supports == Supports(logprobs=True, publish=True, partial=True)
    began, draws = time.monotonic(), []
    for version in range(1, 6):
        move(loaded.model, seed=version)
        old = sampler.sample(asked())
        assert gap(loaded.model, asked(), old) > 1e-2, "the old weights are told from the new ones by far"
        sampler.publish(loaded.model, version)
        now = sampler.sample(asked())
        assert gap(loaded.model, asked(), now) <= CLOSE
        assert sampler.version == version
        assert {int(v) for one in now for v in one.versions} == {version}
        draws.append(tokens(now))
    assert time.monotonic() - began < 60
    assert len({str(one) for one in draws}) == 5


@pytest.mark.parametrize(
    "cuts",
    [
        {"temperature": 0.7, "top_p": 0.9},
        {"top_k": 5},
        {"temperature": 1.5, "min_p": 0.2},
        {"temperature": 0.8, "top_p": 0.8, "top_k": 20, "min_p": 0.02},
    ],
)
def test_logprobs_are_of_the_distribution_that_was_drawn_from(open_one, cuts):
    """Against a forward pass of the trainer's and the local engine's own cuts."""
    loaded, sampler = open_one
    for request, one in zip(asked(6, 20, **cuts), sampler.sample(asked(6, 20, **cuts)), strict=True):
        ids = torch.tensor([[*request.prompt_ids, *one.token_ids.tolist()]])
        with torch.no_grad():
            logits = loaded.model(ids).logits[0, len(request.prompt_ids) - 1 : -1]
        rows = torch.ones(len(logits))
        limits = Cuts(
            rows * request.top_p if request.top_p < 1 else None,
            (rows * request.top_k).long() if request.top_k else None,
            rows * request.min_p if request.min_p else None,
        )
        known = next_token_probabilities(logits, rows * request.temperature, limits).log()
        wanted = known.gather(1, torch.from_numpy(one.token_ids).long()[:, None])[:, 0]
        np.testing.assert_allclose(one.logprobs, wanted, atol=2 * CLOSE)


def test_greedy_takes_the_likeliest_and_reports_the_models_own_probability(open_one):
    loaded, sampler = open_one
    (one,) = sampler.sample([SampleRequest(PREFIX, 3, 12, temperature=0.0, top_p=0.5, top_k=3)])
    ids = torch.tensor([[*PREFIX, *one.token_ids.tolist()]])
    with torch.no_grad():
        known = torch.log_softmax(loaded.model(ids).logits[0, len(PREFIX) - 1 : -1], dim=-1)
    assert one.token_ids.tolist() == known.argmax(dim=1).tolist()
    np.testing.assert_allclose(one.logprobs, known.amax(dim=1), atol=CLOSE)


def test_a_completion_depends_on_its_own_request_alone(open_one):
    _, sampler = open_one
    together = tokens(sampler.sample(asked()))
    assert tokens(sampler.sample(asked()[::-1]))[::-1] == together
    assert tokens(sampler.sample([asked()[4]])) == [together[4]]
    assert len({str(one) for one in together}) > 6


def test_more_prompts_than_one_step_takes():
    """On a CPU vLLM fails where a prompt with a seed is cut in two: its generator cannot be set back."""
    many = [SampleRequest((9 + key, *PREFIX * 3), key, 3) for key in range(40)]
    assert sum(len(request.prompt_ids) for request in many) > 2 * 4096, "more than vLLM takes in a step"
    with closing(VllmSampler(made(), engine().model_copy(update={"slots": 64}))) as sampler:
        found = tokens(sampler.sample(many))
        assert tokens(sampler.sample(many[-1:])) == found[-1:]


def test_it_stops_at_the_trainers_end_tokens_and_at_its_last_position(open_one):
    loaded, sampler = open_one
    (one,) = sampler.sample([SampleRequest(PREFIX, 3, 10_000)])
    ended = one.token_ids[-1] in loaded.end_ids
    assert one.stop_reason is (StopReason.STOP if ended else StopReason.LENGTH)
    assert ended or len(PREFIX) + len(one.token_ids) == 256
    many = sampler.sample(asked(64, 150))
    stopped = [one for one in many if one.stop_reason is StopReason.STOP]
    assert stopped
    for one in stopped:
        assert one.token_ids[-1] in loaded.end_ids
        assert not loaded.end_ids & set(one.token_ids[:-1].tolist())


def test_broken_off_and_gone_on_with(open_one):
    loaded, sampler = open_one
    looks = []

    def until():
        looks.append(1)
        return len(looks) > 2

    first = asked(40, 180)
    parts = sampler.sample(first, until=until)
    broken = [index for index, one in enumerate(parts) if one.stop_reason is StopReason.PARTIAL]
    assert len(broken) > 10
    assert any(len(parts[index].token_ids) for index in broken)
    rest = [
        SampleRequest(
            (*first[i].prompt_ids, *parts[i].token_ids.tolist()), first[i].key, 20, sampled=len(parts[i].token_ids)
        )
        for i in broken
    ]
    went_on = sampler.sample(rest)
    assert (
        gap(
            loaded.model,
            [first[i] for i in broken if len(parts[i].token_ids)],
            [parts[i] for i in broken if len(parts[i].token_ids)],
        )
        <= CLOSE
    )
    assert gap(loaded.model, rest, went_on) <= CLOSE


def test_killed_while_sampling_it_is_started_once_more_with_the_same_draws(open_one, capsys):
    loaded, sampler = open_one
    requests = asked(24, 120)
    undisturbed, pid, ended = tokens(sampler.sample(requests)), sampler.pid, []

    def kill(index, one):
        ended.append(index)
        if len(ended) == 3:
            os.kill(pid, signal.SIGKILL)

    again = sampler.sample(requests, None, kill)
    assert tokens(again) == undisturbed
    assert sampler.pid != pid
    assert sorted(ended) == list(range(24))
    assert gap(loaded.model, requests, again) <= CLOSE
    assert "killed by signal 9 (SIGKILL) while sampling; it is started once more" in " ".join(
        capsys.readouterr().err.split()
    )


FORGOTTEN = {
    "the head": (("            rebuild_head(self.model)\n", ""),),
    "the cache": (("        if not self.engine.reset_prefix_cache():\n", "        if False:\n"),),
}


@pytest.mark.parametrize("what", FORGOTTEN)
def test_an_update_that_forgets_something_is_found_out(what, tmp_path):
    """The worker without the line that keeps the head, or the prefix cache, from being the old weights'."""
    text = Path(vllm_worker.__file__).read_text()
    for line, other in FORGOTTEN[what]:
        assert text.count(line) == 1
        text = text.replace(line, other)
    worker = tmp_path / "worker.py"
    worker.write_text(text)
    loaded, settings = made(), engine()
    with pytest.raises(ModelError, match=r"vLLM does not compute what the trainer does: .* differ by"):  # noqa: PT012
        sampler = VllmSampler(loaded, settings, worker)
        assert what == "the cache", "a head is wrong from the beginning, as the first weights are an update too"
        move(loaded.model)
        sampler.publish(loaded.model, 1)


def test_a_head_of_its_own_is_updated_too():
    loaded = made(tied=False)
    sampler = VllmSampler(loaded, engine())
    try:
        move(loaded.model)
        sampler.publish(loaded.model, 1)
        assert gap(loaded.model, asked(), sampler.sample(asked())) <= CLOSE
    finally:
        sampler.close()


def test_two_processes_hold_one_engine_and_a_death_of_either_is_survived(capsys):
    """Two heads of queries, one for each; the one head of keys stands in both."""
    loaded, before = made(), shared_memory()
    with closing(VllmSampler(loaded, engine().model_copy(update={"tensor_parallel": 2}))) as sampler:
        assert len(holders(sampler.pid)) == 2
        move(loaded.model)
        assert gap(loaded.model, asked(), sampler.sample(asked())) > 1e-2
        sampler.publish(loaded.model, 1)
        requests = asked(24)  # more than run at once, so that there is work left when the first ends
        undisturbed = sampler.sample(requests)
        assert gap(loaded.model, requests, undisturbed) <= CLOSE
        first, ended = sampler.pid, []

        def kill(index, one):
            ended.append(index)
            if len(ended) == 1:
                os.kill(holders(first)[0], signal.SIGKILL)

        assert tokens(sampler.sample(requests, None, kill)) == tokens(undisturbed)
        assert sampler.pid != first
        assert "ended with exit code 1 while sampling; it is started once more" in capsys.readouterr().err
    assert shared_memory() <= before, "nothing is left on the host"


def shared_memory():
    """Names in /dev/shm of segments that Python made."""
    return {one.name for one in Path("/dev/shm").iterdir() if one.name.startswith(("psm_", "sem.mp-"))}


def holders(pid):
    """The processes below vLLM's that hold a part of the model each."""
    below = [Path("/proc") / child for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [int(one.name) for one in below if (one / "cmdline").read_bytes().startswith(b"VLLM::Worker")]


def test_heads_that_it_does_not_have_are_named():
    with pytest.raises(ModelError, match=r"a head has 16 numbers, and vLLM's attention on CPUs takes only \[32, 64"):
        VllmSampler(make_tiny(32, 1, 2, 128, seed=0), engine())


def test_a_cache_that_is_too_small_is_named():
    with pytest.raises((ModelError, EngineError), match="cache"):
        VllmSampler(made(), engine().model_copy(update={"cache_gb": 1e-6}))
