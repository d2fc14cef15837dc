"""Who trains, samples and judges in a stage that trains, wherever they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from openklear.models.loading import LoadedModel
from openklear.planner.auto import Sizes
from openklear.rollout.protocol import Sampler, Supports
from openklear.training.trainee import Trainee
from openklear.verifiers.domains import Verifier
from openklear.verifiers.limits import Limits


@dataclass(frozen=True, slots=True)
class StagePanel:
    """Who samples and judges in a stage, wherever they are. Opened by `stages.crew`, which ends them too."""

    sampler: Callable[[Supports], Sampler]
    """Opens the sampler, which must do so much."""
    limits: Limits
    """Of the judge."""
    verifiers: Callable[[], Mapping[str, Verifier] | None]
    """Opens what the judge asks; None: each domain's own, in processes of this machine."""
    samplers: int = 1
    """Processes that share what the sampler is asked for."""


@dataclass(frozen=True, slots=True)
class StageCrew:
    """Who trains in a stage, with its panel. Opened by `stages.crew.open_crew`, which ends them too."""

    loaded: LoadedModel
    """With its tokenizer; its weights are here only where this process trains."""
    sizes: Sizes
    trainee: Trainee
    learner: Any
    """Of RL a `LocalLearner` or what stands for it, of SFT a `SupervisedLearner` or the same."""
    panel: StagePanel
