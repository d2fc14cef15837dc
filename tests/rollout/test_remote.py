"""A server over HTTP that really samples, as vLLM's does; and the recipe that evaluates what it serves."""

import json

import numpy as np
import pytest
from tests.rollout.remote_server import served

from openklear.durable.files import read_jsonl
from openklear.errors import EngineError, ModelError, RecipeError
from openklear.models.tiny import make_tiny
from openklear.recipe.engine import RemoteEngine
from openklear.recipe.lengths import max_positions
from openklear.recipe.load import load_recipe
from openklear.rollout.local import LocalSampler
from openklear.rollout.open import COMPLETIONS, TRAINING, open_sampler
from openklear.rollout.requests import seed_of
from openklear.run.pipeline import run_pipeline
from openklear.types import SampleRequest

ASKED = [SampleRequest((5, 9, 11, key), key, 12) for key in range(9)]


@pytest.fixture
def loaded():
    return make_tiny(16, 1, 2, 96, seed=0)


@pytest.fixture
def server(loaded):
    with served(loaded) as found:
        yield found


def engine(server, **more):
    return RemoteEngine(endpoint=server.endpoint, model="m", **more)


def tokens(completions):
    return [one.token_ids.tolist() for one in completions]


def test_tokens_come_back_in_order_whatever_ends_first(loaded, server, monkeypatch):
    monkeypatch.setenv("THE_KEY", "abc")
    sampler, ended = open_sampler(engine(server, slots=3, api_key_env="THE_KEY"), loaded, COMPLETIONS), []
    made = sampler.sample(ASKED, None, lambda index, one: ended.append(index))
    known = [SampleRequest(one.prompt_ids, seed_of(one), 12) for one in ASKED]
    wanted = LocalSampler(loaded.model, end_ids=loaded.end_ids, slots=9).sample(known)
    assert tokens(made) == tokens(wanted)
    assert [one.stop_reason for one in made] == [one.stop_reason for one in wanted]
    assert sorted(ended) == list(range(9))
    assert all(np.isnan(one.logprobs).all() and len(one.logprobs) == len(one.token_ids) for one in made)
    assert set(server.keys) == {"Bearer abc"}
    assert server.bodies[-1]["model"] == "m"
    assert server.bodies[-1]["stop_token_ids"] == sorted(loaded.end_ids)
    sampler.sample([SampleRequest((5,), 0, 3, temperature=0.5, top_p=0.9, top_k=4, min_p=0.1)])
    assert {name: server.bodies[-1][name] for name in ("temperature", "top_p", "top_k", "min_p")} == {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 4,
        "min_p": 0.1,
    }
    sampler.close()


def test_another_model_is_refused(server):
    other = make_tiny(16, 1, 2, 96, seed=5)
    for parameter in other.model.parameters():
        parameter.data.mul_(3.0)
    with pytest.raises(ModelError, match=r"does not serve the model of this stage: .* differ by"):
        open_sampler(engine(server), other)


def test_it_takes_no_weights(loaded, server):
    with pytest.raises(EngineError, match="does not support logprobs and publish"):
        open_sampler(engine(server), loaded, TRAINING)
    with pytest.raises(EngineError, match="cannot be given weights"):
        open_sampler(engine(server), loaded).publish(loaded.model, 1)


def test_a_busy_server_is_asked_again_and_a_refusal_is_said(loaded, server, monkeypatch):
    monkeypatch.setattr("openklear.rollout.remote.FIRST_WAIT", 0.001)
    sampler = open_sampler(engine(server, slots=1), loaded)
    server.statuses = [503, 429, 500]
    assert len(sampler.sample(ASKED[:2])) == 2
    server.statuses = [503] * 8
    with pytest.raises(EngineError, match="gave no answer in 8 tries, at last with status 503: no 503"):
        sampler.sample(ASKED[:1])
    server.statuses = [400]
    with pytest.raises(EngineError, match="refuses a request with status 400: no 400"):
        sampler.sample(ASKED)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda answer: {"choices": [{**answer["choices"][0], "token_ids": None}]},
        lambda answer: {"choices": []},
        lambda answer: [],
        lambda answer: {"choices": [{**answer["choices"][0], "token_ids": ["x"]}]},
        lambda answer: {
            "choices": [{**answer["choices"][0], "token_ids": [1], "logprobs": {"token_logprobs": [0, 0]}}]
        },
        lambda answer: {"choices": [{**answer["choices"][0], "finish_reason": "abort"}]},
    ],
)
def test_an_answer_that_is_none_is_refused(spoil, loaded, server):
    server.spoil = spoil
    with pytest.raises(EngineError, match=r"answers without the token ids|sent \(.*tokens with"):
        open_sampler(engine(server), loaded)


def test_a_server_that_is_not_there_is_named(loaded, monkeypatch):
    monkeypatch.setattr("openklear.rollout.remote.FIRST_WAIT", 0.001)
    with pytest.raises(EngineError, match=r"http://127\.0\.0\.1:9/v1/completions gave no answer in 8 tries.*Start it"):
        open_sampler(RemoteEngine(endpoint="http://127.0.0.1:9/v1", model="m"), loaded)


RECIPE = """
[world]
demonstrations = 4
problems = 4
validation = 2
heldout = 4
[model]
type = "tiny"
hidden_size = 16
layers = 1
heads = 2
[[data.source]]
name = "math-heldout"
path = "world:heldout/math.jsonl"
role = "heldout"
[evaluation]
samples = 2
max_completion_tokens = 12
[engine]
type = "remote"
endpoint = "{endpoint}"
model = "m"
"""


@pytest.mark.slow
def test_a_recipe_evaluates_what_a_server_serves(tmp_path):
    (tmp_path / "r.toml").write_text(RECIPE.format(endpoint="http://nowhere/v1"))
    recipe = load_recipe(tmp_path / "r.toml")
    with served(make_tiny(16, 1, 2, max_positions(recipe), recipe.seed)) as server:
        run_pipeline(load_recipe(tmp_path / "r.toml", [f"engine.endpoint={server.endpoint}"]), tmp_path / "run")
    (part,) = read_jsonl(tmp_path / "run" / "evaluate-base" / "timings.jsonl")
    assert part.keys() == {"sampling"}, "of the machine behind a server nothing is said"
    assert len(read_jsonl(tmp_path / "run" / "evaluate-base" / "completions.jsonl")) == 8
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["scores"]


def test_what_would_score_other_weights_is_refused(tmp_path):
    text = RECIPE.format(endpoint="http://nowhere/v1") + '[rl]\n[[rl.phase]]\nname = "math"\ndomains = ["math"]\n'
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(RecipeError, match=r"engine\.type: a server cannot be given the weights that \[rl\] trains"):
        load_recipe(tmp_path / "r.toml")
    (tmp_path / "r.toml").write_text(RECIPE.format(endpoint="localhost:8000"))
    with pytest.raises(RecipeError, match=r'engine\.endpoint: "localhost:8000" is no http address'):
        load_recipe(tmp_path / "r.toml")
