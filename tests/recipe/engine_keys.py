"""Proofs that the keys of [engine] type = "vllm" do what they say, with a stand-in where vLLM would be."""

import json
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from openklear.errors import EngineError
from openklear.models.tiny import make_tiny
from openklear.recipe.engine import VllmEngine
from openklear.rollout.vllm import VllmSampler

STAND_IN = Path(__file__).parents[1] / "rollout" / "stand_in.py"


@cache
def started() -> dict[str, Any]:
    """What the process is told at its start with keys that are none of the defaults."""
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        log = Path(folder) / "log"
        patched.setenv("STAND_IN_LOG", str(log))
        engine = VllmEngine(python=sys.executable, slots=3, cache_gb=0.25, eager=False)
        VllmSampler(make_tiny(16, 1, 2, 96, seed=0), engine, STAND_IN).close()
        return json.loads(log.read_text().splitlines()[0])


def slots():
    assert started()["slots"] == 3


def cache_gb():
    assert started()["cache_bytes"] == 2**28


def eager():
    assert started()["eager"] is False


def python():
    with pytest.raises(EngineError, match=r"engine\.python: /nowhere/python"):
        VllmSampler(make_tiny(16, 1, 2, 96, seed=0), VllmEngine(python="/nowhere/python"))


def timeout(tmp_path, monkeypatch):
    monkeypatch.setenv("STAND_IN_LOG", str(tmp_path / "log"))
    with pytest.raises(EngineError, match=r"no sign of life for 0\.2 s"):
        VllmSampler(make_tiny(16, 1, 2, 96, seed=0), VllmEngine(python=sys.executable, timeout=0.2), STAND_IN)


PROOFS = {
    "engine.python [vllm]": python,
    "engine.slots [vllm]": slots,
    "engine.cache_gb [vllm]": cache_gb,
    "engine.eager [vllm]": eager,
    "engine.timeout [vllm]": timeout,
}
