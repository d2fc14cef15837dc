"""Proofs that the keys of [cluster] do what they say, with a stand-in where Ray would be: who is asked for what.

That the same recipe runs on a real cluster is shown by tests/e2e/test_cluster_training.py.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.stages.test_rl_asynchronous import Apart
from tests.stages.test_rl_carry import Desk, table

from openklear.models.tiny import make_tiny
from openklear.planner.auto import Sizes
from openklear.recipe.load import load_recipe
from openklear.recipe.partial import NoCarryOver
from openklear.rollout.open import TRAINING
from openklear.run.context import Kept, StageContext

MINI = Path(__file__).parents[1] / "e2e" / "mini.toml"
SIZES = Sizes(64, False, 4, 256, "float32")


def asked(monkeypatch: Any, tmp_path: Path, *changes: str, attempts: int = 1, gpus: int = 0) -> dict[str, Any]:
    """What a stage that is begun so many times asks of Ray, by what it asks for."""
    crew = pytest.importorskip("openklear.cluster.crew", reason="the extra `cluster` is not installed")
    told: dict[str, Any] = {"groups": [], "bundles": []}

    class Member:
        def __init__(self, group: Any, post: Any, patience: float, share: int = 1, **more: Any) -> None:
            told[type(self).__name__] = patience
            told["places"] = [*told.get("places", ()), (type(self).__name__, share, id(group))]

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def places(self) -> list[str]:
            return []

        close = ask = hand = verifiers = places
        driver_limits = None

    def group(bundles: list[Any], strategy: str) -> Any:
        told["groups"].append(len(bundles))
        told["bundles"].append(bundles[0])
        return SimpleNamespace(ready=lambda: None, bundle_specs=bundles)

    util = SimpleNamespace(placement_group=group, remove_placement_group=lambda group: None)
    ray = SimpleNamespace(init=lambda **more: told.update(more), util=util, cluster_resources=lambda: {"GPU": gpus})
    monkeypatch.setattr(crew, "RAY", ray)
    monkeypatch.setattr(crew.ray, "get", lambda *_, **__: None)
    monkeypatch.setattr(crew.ray, "wait", lambda refs, **_: (refs, []))
    monkeypatch.setattr(crew.ray, "shutdown", lambda: None)
    monkeypatch.setattr(crew, "knock", lambda where, named_by: told.update(knocked=where))
    for name in ("Gang", "ClusterSampler", "JudgePool"):
        supports = {"supports": getattr(getattr(crew, name), "supports", None)}
        monkeypatch.setattr(crew, name, type(name, (Member,), supports))
    recipe = load_recipe(MINI, ["cluster.address=local", *changes])
    context = StageContext(recipe, tmp_path, "sft", tmp_path, {"model": tmp_path}, kept=(kept := Kept()))
    assert recipe.sft is not None
    loaded = make_tiny(16, 1, 2, 64, 0)
    for _ in range(attempts):
        with crew.open_cluster_crew(context, loaded, recipe.sft, SIZES, takes_sampled=False) as made:
            made.panel.sampler(TRAINING)
    kept.close()
    told["trained"] = list(told["groups"])
    with crew.open_cluster_panel(context, SIZES) as panel:
        told["samplers"] = panel.samplers
    return told


def address(monkeypatch, tmp_path):
    assert "address" not in asked(monkeypatch, tmp_path)
    told = asked(monkeypatch, tmp_path, "cluster.address=there:6379")
    assert told["address"] == told["knocked"] == "there:6379"


def members(monkeypatch, tmp_path):
    """Trainers, samplers and judges, in this order."""
    numbers = ("cluster.trainers=2", "cluster.samplers=3", "cluster.judges=4")
    told = asked(monkeypatch, tmp_path, *numbers)
    assert told["trained"] == [2, 3, 4]
    assert told["samplers"] == 2 + 3, "an evaluation's samplers have the trainers' places too"


def patience(monkeypatch, tmp_path):
    told = asked(monkeypatch, tmp_path, "cluster.patience=7.5")
    assert told["Gang"] == told["ClusterSampler"] == told["JudgePool"] == 7.5


def samplers(monkeypatch, tmp_path):
    """With 0 of them they are in the trainers' bundles, which two have together."""
    told = asked(monkeypatch, tmp_path, "cluster.trainers=2", "cluster.samplers=0")
    assert told["trained"] == [2, 1]
    (_, _, judges), (gang, shared, trainers), (sampler, too, beside), *_ = told["places"]
    assert (gang, sampler, shared, too) == ("Gang", "ClusterSampler", 2, 2)
    assert trainers == beside != judges


def tensor_parallel(monkeypatch, tmp_path):
    """A sampler has all places of its engine on one host; that they are its engine's is engine_keys.py's."""
    words = ("engine.type=vllm", "engine.tensor_parallel=2", "cluster.samplers=3")
    told = asked(monkeypatch, tmp_path, *words)
    assert told["trained"] == [1, 3, 1]
    assert told["bundles"][:3] == [{"CPU": 1.0}, {"CPU": 2.0}, {"CPU": 1.0}]
    assert told["samplers"] == 3, "those of an evaluation are the same, for which there is room"
    assert told["num_cpus"] == 3 * 2 + 1, "what the evaluation was begun with"
    bundles = asked(monkeypatch, tmp_path, *words, gpus=8)["bundles"]
    assert bundles[:3] == [{"CPU": 1.0, "GPU": 1.0}, {"CPU": 2.0, "GPU": 2.0}, {"CPU": 1.0}]


def asynchronous(monkeypatch, tmp_path):
    """The second iteration is sampled from the weights before the first, by a sampler that has its own."""
    monkeypatch.setattr("openklear.rollout.open.LocalSampler", Apart)
    second = []
    for value in (False, True):
        desk = Desk(tmp_path / str(value))
        out = desk.run("run", iterations=2, asynchronous=value, partial_rollouts=NoCarryOver())
        second.append({one["policy_version"] for one in table(out, 2)})
    assert second == [{1}, {0}]


PROOFS = {
    "cluster.address": address,
    "cluster.trainers": members,
    "cluster.samplers": samplers,
    "cluster.judges": members,
    "cluster.patience": patience,
    "rl.phase.NAME.asynchronous": asynchronous,
}
