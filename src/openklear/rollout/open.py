"""The one door to a sampler: from the recipe's [engine] to an open engine."""

from __future__ import annotations

from dataclasses import fields

from openklear.errors import EngineError
from openklear.models.loading import LoadedModel
from openklear.planner.auto import Sizes
from openklear.recipe.engine import Engine, RemoteEngine, VllmEngine
from openklear.rollout.local import SLOTS, LocalSampler
from openklear.rollout.probe import probe
from openklear.rollout.protocol import Sampler, Supports
from openklear.rollout.remote import RemoteSampler
from openklear.rollout.vllm import VllmSampler

COMPLETIONS = Supports()
TRAINING = Supports(logprobs=True, publish=True)
"""What RL needs: log-probabilities to compare with the trainer's, and the weights after every iteration."""
VALIDATION = Supports(publish=True)


def open_sampler(
    engine: Engine, loaded: LoadedModel, needs: Supports = COMPLETIONS, sizes: Sizes | None = None
) -> Sampler:
    """The sampler that the recipe asks for, over a loaded model; `close` it.

    `sizes` holds what "auto" stands for (`training.sizes`); without it the sampler's own default and as much cache as
    its slots need.
    Raises EngineError where it cannot do what `needs` says, ModelError where it cannot sample from this architecture.
    """
    if isinstance(engine, VllmEngine):
        return VllmSampler(loaded, engine)
    if isinstance(engine, RemoteEngine):
        require(RemoteSampler.supports, needs, engine.type)
        return RemoteSampler(loaded, engine)
    found: tuple[int, int | None] = (SLOTS, None) if sizes is None else (sizes.slots, sizes.cache_tokens)
    slots = found[0] if engine.slots == "auto" else engine.slots
    cache_tokens = found[1] if engine.cache_tokens == "auto" else engine.cache_tokens
    sampler = LocalSampler(loaded.model, end_ids=loaded.end_ids, slots=slots, cache_tokens=cache_tokens)
    require(sampler.supports, needs, engine.type)
    probe(sampler)
    return sampler


def require(supports: Supports, needs: Supports, engine: str) -> None:
    """EngineError where something needed is not supported."""
    missing = [f.name for f in fields(Supports) if getattr(needs, f.name) and not getattr(supports, f.name)]
    if missing:
        raise EngineError(
            f'engine.type = "{engine}" does not support {" and ".join(missing)}, which this stage needs; '
            'set engine.type = "local"'
        )
