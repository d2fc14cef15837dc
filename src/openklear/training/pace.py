"""How fast a training stage is, beside what its machine can do: for timings.jsonl, the terminal and the report."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from openklear import progress
from openklear.evaluation.queries import Query
from openklear.evaluation.stored import Place, Sample
from openklear.models.loading import LoadedModel
from openklear.planner.auto import Sizes
from openklear.planner.gauge import Gauge
from openklear.planner.memory import adapter_parameters
from openklear.recipe.schema import Recipe
from openklear.training.layout import TokenRow
from openklear.training.sizes import Computing, shape_of_loaded
from openklear.types import RolloutGroup

PARTS = {"sampling": "sampled_tokens_per_second", "training": "trained_tokens_per_second"}
"""Part of an iteration -> its speed."""


def gauge_of(recipe: Recipe, loaded: LoadedModel, sizes: Sizes, computing: Computing) -> Gauge:
    """Of the model that a stage trains or asks, on one of the devices that compute."""
    shape = shape_of_loaded(loaded)
    adapters = adapter_parameters(shape, recipe)
    return Gauge(shape, computing.machine, sizes.dtype, recipe.threads, sizes.slots, adapters)


def throughput(
    gauge: Gauge,
    groups: Sequence[RolloutGroup],
    updates: Sequence[Sequence[TokenRow]],
    laps: Mapping[str, float],
    drawn: int | None = None,
) -> dict[str, float]:
    """Of an iteration: tokens a second, MFU and share of the floor, of completions sampled (with what grading takes
    beyond them) and of rows trained on, prompts too.

    An iteration that was replayed sampled nothing. Where rollouts are carried over, the tokens `drawn` in it are not
    those of its groups: they alone make its speed, and of what its sampling computed nothing is said.
    """
    lengths = [_sampled(group) for group in groups]
    rows = [_tokens(row) for row in chain.from_iterable(updates)]
    sampled, trained = sum(map(sum, lengths)), sum(tokens for tokens, _ in rows)
    found: dict[str, float] = {}
    if drawn is not None and laps.get("sampling"):
        found[PARTS["sampling"]] = drawn / laps["sampling"]
    elif seconds := laps.get("sampling"):
        prompts = [len(group.rollouts[0].prompt_ids) for group in groups]
        found[PARTS["sampling"]] = sampled / seconds
        found |= gauge.sampled(zip(prompts, lengths, strict=True), seconds)
    if trained and (seconds := laps.get("training")):
        found[PARTS["training"]] = trained / seconds
        found |= gauge.trained(rows, len(updates), seconds)
    return found


def sampled_throughput(
    gauge: Gauge, queries: Sequence[Query], samples: Sequence[Sample], sampled: Collection[str], seconds: float
) -> dict[str, float]:
    """Of an evaluation: tokens a second, MFU and share of the floor, of the completions `sampled` (their keys) in it;
    those that were there before took none of the seconds."""
    lengths: dict[Place, list[int]] = {}
    for one in samples:
        if one.key in sampled:
            lengths.setdefault(one.place, []).append(one.tokens or 0)
    prompts = {(one.benchmark, one.problem.id): len(one.prompt_ids or ()) for one in queries}
    groups = [(prompts[place], some) for place, some in lengths.items()]
    tokens = sum(sum(some) for _, some in groups)
    return {PARTS["sampling"]: tokens / seconds, **gauge.sampled(groups, seconds)}


def supervised_throughput(gauge: Gauge, batch: Sequence[TokenRow], seconds: float) -> dict[str, float]:
    """The same of one step of SFT."""
    rows = [_tokens(row) for row in batch]
    return {"tokens_per_second": sum(tokens for tokens, _ in rows) / seconds, **gauge.trained(rows, 1, seconds)}


def say_pace(stage: str, timings: Sequence[Mapping[str, Any]]) -> None:
    """One line at a stage's end: medians over its steps or iterations."""
    parts = []
    for part, speed in (*PARTS.items(), ("training", "tokens_per_second")):
        known = [row for row in timings if speed in row and f"{part}_mfu" in row]
        if known:
            rate = statistics.median(row[speed] for row in known)
            mfu = 100 * statistics.median(row[f"{part}_mfu"] for row in known)
            floor = 100 * statistics.median(row[f"{part}_floor_share"] for row in known)
            parts.append(f"{part} {rate:,.0f} tokens/s, MFU {mfu:.2g} %, {floor:.2g} % of the floor's speed")
    if parts:
        progress.say(f"{stage}: {'; '.join(parts)} (medians)")


def _sampled(group: RolloutGroup) -> list[int]:
    """Tokens of each completion."""
    return [len(rollout.completion.token_ids) for rollout in group.rollouts]


def _tokens(row: TokenRow) -> tuple[int, int]:
    """(tokens, those with a loss)."""
    return len(row.ids), int(np.count_nonzero(row.loss_mask))
