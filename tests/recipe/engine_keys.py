"""Proofs that the keys of vllm and remote do what they say, with a stand-in where vLLM or a server would be."""

import json
import sys
import time
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from tests.rollout.remote_server import Server, served

from openklear.errors import EngineError, UsageError
from openklear.models.tiny import make_tiny
from openklear.recipe.engine import RemoteEngine, VllmEngine
from openklear.rollout.remote import RemoteSampler
from openklear.rollout.vllm import VllmSampler
from openklear.types import SampleRequest

STAND_IN = Path(__file__).parents[1] / "rollout" / "stand_in.py"


@cache
def started() -> dict[str, Any]:
    """What the process is told at its start with keys that are none of the defaults."""
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        log = Path(folder) / "log"
        patched.setenv("STAND_IN_LOG", str(log))
        engine = VllmEngine(python=sys.executable, slots=3, cache_gb=0.25, eager=False, tensor_parallel=2)
        VllmSampler(make_tiny(16, 1, 2, 96, seed=0), engine, STAND_IN).close()
        return json.loads(log.read_text().splitlines()[0])


def slots():
    assert started()["slots"] == 3


def cache_gb():
    assert started()["cache_bytes"] == 2**28


def eager():
    assert started()["eager"] is False


def tensor_parallel():
    assert started()["tensor_parallel"] == 2


def python():
    with pytest.raises(EngineError, match=r"engine\.python: /nowhere/python"):
        VllmSampler(make_tiny(16, 1, 2, 96, seed=0), VllmEngine(python="/nowhere/python"))


def timeout(tmp_path, monkeypatch):
    monkeypatch.setenv("STAND_IN_LOG", str(tmp_path / "log"))
    with pytest.raises(EngineError, match=r"no sign of life for 0\.2 s"):
        VllmSampler(make_tiny(16, 1, 2, 96, seed=0), VllmEngine(python=sys.executable, timeout=0.2), STAND_IN)


def asked(monkeypatch, **settings) -> Server:
    """A server that was asked for eight completions; it notes how many requests it had at once."""
    monkeypatch.setenv("ENGINE_KEY", "secret")
    loaded = make_tiny(16, 1, 2, 96, seed=0)
    with served(loaded) as server:
        under_way, server.most = [], 0

        def slow(answer):
            under_way.append(1)
            server.most = max(server.most, len(under_way))
            time.sleep(0.05)
            under_way.pop()
            return answer

        sampler = RemoteSampler(loaded, RemoteEngine(**{"endpoint": server.endpoint, "model": "m", **settings}))
        server.spoil = slow
        sampler.sample([SampleRequest((5, key), key, 4) for key in range(8)])
        sampler.close()
    return server


def endpoint(monkeypatch):
    assert asked(monkeypatch).bodies
    monkeypatch.setattr("openklear.rollout.remote.FIRST_WAIT", 0.001)
    with pytest.raises(EngineError, match=r"http://127\.0\.0\.1:9/v1/completions gave no answer"):
        asked(monkeypatch, endpoint="http://127.0.0.1:9/v1")


def model(monkeypatch):
    assert {body["model"] for body in asked(monkeypatch, model="this one").bodies} == {"this one"}


def api_key_env(monkeypatch):
    assert set(asked(monkeypatch).keys) == {None}
    assert set(asked(monkeypatch, api_key_env="ENGINE_KEY").keys) == {"Bearer secret"}
    with pytest.raises(UsageError, match="NOT_SET holds no key"):
        asked(monkeypatch, api_key_env="NOT_SET")


def at_once(monkeypatch):
    assert asked(monkeypatch, slots=1).most == 1
    assert asked(monkeypatch, slots=8).most > 1


def seconds(monkeypatch):
    monkeypatch.setattr("openklear.rollout.remote.FIRST_WAIT", 0.001)
    monkeypatch.setattr("openklear.rollout.remote.TRIES", 1)
    with pytest.raises(EngineError, match=r"gave no answer .* with .*Timeout"):
        asked(monkeypatch, timeout=1e-4)


PROOFS = {
    "engine.endpoint [remote]": endpoint,
    "engine.model [remote]": model,
    "engine.api_key_env [remote]": api_key_env,
    "engine.slots [remote]": at_once,
    "engine.timeout [remote]": seconds,
    "engine.python [vllm]": python,
    "engine.slots [vllm]": slots,
    "engine.cache_gb [vllm]": cache_gb,
    "engine.eager [vllm]": eager,
    "engine.tensor_parallel [vllm]": tensor_parallel,
    "engine.timeout [vllm]": timeout,
}
