"""Rollouts with their tokens coloured by where the clip acts.

The ratio shown is that of the weights after an iteration's updates to those that sampled it, so a coloured token is
one that another pass over the same rollouts would clip: PPO would drop its gradient, GPPO keeps a bounded one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openklear.durable.sealed import latest
from openklear.models.batching import plan_microbatches
from openklear.models.loading import LoadedModel, load_model
from openklear.models.lora import add_adapters, load_adapters
from openklear.recipe.schema import Phase, Recipe
from openklear.reporting.band import band_at, kind_of
from openklear.rollout.records import Key, read_rollouts
from openklear.training.sharded_trainee import SHARDS, read_weights
from openklear.training.sizes import resolved
from openklear.training.step import PolicySequence, reference_logprobs
from openklear.types import Problem, Rollout

SHOWN = 4
"""Rollouts per phase: two that were reinforced, two that were pushed down."""


def shown_rollouts(
    stage: Path, recipe: Recipe, phase: Phase, problems: Sequence[Problem], start: Path
) -> list[dict[str, Any]]:
    """The rollouts of the newest checkpointed iteration that moved most; [] where the objective has no band.

    `start` is the stage whose model the phase began with.
    """
    newest = latest(stage)
    band = band_at(phase)
    if newest is None or band is None:
        return []
    record = stage / "iterations" / newest.name / "rollouts.parquet"
    if not record.is_file():
        return []
    groups, trained = read_rollouts(record, {p.id: p for p in problems})
    rollouts: dict[Key, Rollout] = {}
    for number, group in enumerate(groups):
        rollouts |= {(number, rollout.sample_index): rollout for rollout in group.rollouts}
    keys = [key for key, one in trained.items() if one.advantage]
    if not keys:
        return []
    loaded = open_weights(newest, recipe, start)
    pairs = [(rollouts[k].prompt_ids, rollouts[k].completion.token_ids) for k in keys]
    new = logprobs_of(loaded, pairs, phase, resolved(recipe, loaded).microbatch_tokens)
    ratios = {k: np.exp(np.clip(n - trained[k].old_logprobs, -20, 20)) for k, n in zip(keys, new, strict=True)}
    chosen = choose(ratios, {k: trained[k].advantage for k in keys}, band)
    return [_shown(loaded, rollouts[k], ratios[k], trained[k].advantage, band) for k in chosen]


def open_weights(checkpoint: Path, recipe: Recipe, start: Path) -> LoadedModel:
    """The model of a checkpoint: what is trained alone, where that is adapters; in parts, where ranks wrote it."""
    in_parts = (checkpoint / SHARDS).is_dir()
    if recipe.lora is None and not in_parts:
        return load_model(checkpoint)
    loaded = load_model(start / "model")
    if recipe.lora is not None:
        add_adapters(loaded.model, recipe.lora, recipe.seed, "")
    if in_parts:
        read_weights(checkpoint, loaded.model)
    else:
        load_adapters(checkpoint, loaded.model)
    return loaded


def logprobs_of(
    loaded: LoadedModel,
    pairs: Sequence[tuple[NDArray[np.int32], NDArray[np.int32]]],
    phase: Phase,
    microbatch_tokens: int,
) -> list[NDArray[np.float32]]:
    """(T,) of each completion under the model: `pairs` are (P,) ids of a prompt and (T,) ids of what followed it."""
    sequences = []
    for prompt, completion in pairs:
        ids = np.concatenate([prompt, completion]).astype(np.int32)
        mask = np.arange(len(ids)) >= len(prompt)  # (P + T,) True for the completion
        sequences.append(PolicySequence(ids, mask, np.zeros(len(ids), dtype=np.float32), 0.0, False, 0))
    batches = plan_microbatches([len(s.ids) for s in sequences], microbatch_tokens)
    logprobs, _ = reference_logprobs(loaded.model, sequences, batches, phase.temperature)
    return [values[s.loss_mask] for values, s in zip(logprobs, sequences, strict=True)]


def choose(
    ratios: dict[Key, NDArray[np.float32]], advantages: dict[Key, float], band: tuple[float, float]
) -> list[Key]:
    """For each sign of the advantage the rollouts with most clipped tokens, one of a group; ties go to the earlier."""
    chosen: list[Key] = []
    for sign in (1.0, -1.0):
        mine = [k for k in ratios if advantages[k] * sign > 0]
        mine.sort(key=lambda k: (-_clipped(ratios[k], advantages[k], band), k))
        of_groups: dict[int, Key] = {}
        for key in mine:
            of_groups.setdefault(key[0], key)
        chosen += list(of_groups.values())[: SHOWN // 2]
    return chosen


def _clipped(ratios: NDArray[np.float32], advantage: float, band: tuple[float, float]) -> int:
    return int((ratios > band[1]).sum() if advantage > 0 else (ratios < band[0]).sum())


def _shown(
    loaded: LoadedModel, rollout: Rollout, ratios: NDArray[np.float32], advantage: float, band: tuple[float, float]
) -> dict[str, Any]:
    tokens = [
        {"text": loaded.tokenizer.decode([token]), "ratio": ratio, "kind": kind_of(ratio, advantage, *band)}
        for token, ratio in zip(rollout.completion.token_ids.tolist(), ratios.tolist(), strict=True)
    ]
    verdict = rollout.verdict
    return {
        "prompt": rollout.problem.prompt[-1]["content"],
        "verdict": verdict.outcome + (f": {verdict.reason}" if verdict.reason else ""),
        "reward": rollout.reward.value,
        "advantage": advantage,
        "tokens": tokens,
    }
