"""TRL as it is installed, asked for the loss and the gradient of one optimizer step.

A real trainer with the settings that a user would write, on a model of a few weights, whose log-probabilities are
replaced by the fixture's; its own `_compute_loss` does the rest. `gppo` and `ce_gppo` go through
`openklear.integrations.trl` in the same way.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Mapping
from typing import Any
from unittest import mock

import torch
import trl
from datasets import Dataset
from torch import Tensor
from trl import GRPOConfig, GRPOTrainer

from openklear.conformance.compare import Framework
from openklear.conformance.fixture import Fixture, Partition
from openklear.errors import UsageError
from openklear.integrations.trl import GPPOConfig, GPPOTrainer
from openklear.models.tiny import make_tiny

NAME = "TRL"

LOSSES: Mapping[str, Mapping[str, Any]] = {
    "gppo": {"objective": "gppo"},
    "ce_gppo": {"objective": "ce_gppo"},
    "ppo_clip": {},
    "two_sided": {},
    "cispo_trl": {"loss_type": "cispo"},
    "sapo": {"loss_type": "sapo"},
    "gspo": {"importance_sampling_level": "sequence"},
    # With one update a generation batch TRL takes the current log-probabilities for the old ones: r = 1, and its cispo
    # is -A log pi.
    "reinforce": {"loss_type": "cispo", "epsilon_high": 5.0, "num_iterations": 1},
}
"""Our objective -> TRL's settings besides its numbers."""

AGGREGATIONS: Mapping[str, str] = {"token_mean": "dapo", "sequence_mean": "grpo", "constant": "dr_grpo"}
"""Our aggregation -> TRL's loss_type that means it; its constant is max_completion_length, here the fixture's width."""

ONLY: Mapping[str, str] = {
    "gppo": "token_mean",
    "ce_gppo": "token_mean",
    "cispo_trl": "token_mean",
    "reinforce": "token_mean",
    "sapo": "sequence_mean",
}
"""Objectives that have one aggregation in TRL."""

_BOUND = "log r has no bound, so r overflows and its gradient is inf times 0"
_LEAK = "values under the mask are multiplied, not replaced"
_ROWS = "grpo and dr_grpo average over each micro-batch's rows, of which TRL's trainer puts the same number in each"
_STEPS = "dapo, exact here, divides by the mean of a generation batch's optimizer steps where it has several"
NOTES: Mapping[str, str] = {
    "ppo_clip": f"{_BOUND}; {_LEAK}; {_ROWS}; {_STEPS}",
    "two_sided": f"{_BOUND}; {_LEAK}; {_ROWS}; {_STEPS}",
    "cispo_trl": f"{_LEAK}; {_STEPS.replace('dapo', 'its mean')}",
    "sapo": f"{_BOUND}; {_LEAK}; {_ROWS}; its temperatures are fp32 whatever the model is",
    "gspo": f"the mean of log r has no bound; {_LEAK}; {_ROWS}",
    "reinforce": _LEAK,
}
"""Objective -> why it departs where it does."""

_NUMBERS: Mapping[str, str] = {
    "clip_low": "epsilon",
    "clip_high": "epsilon_high",
    "dual_clip": "delta",
    "delta": "delta",
    "cap": "epsilon_high",
    "tau_positive": "sapo_temperature_pos",
    "tau_negative": "sapo_temperature_neg",
}


def peers() -> list[Framework]:
    """As its trainer runs."""
    return [Framework(NAME, trl.__version__, LOSSES, AGGREGATIONS, evaluate, NOTES)]


def evaluate(
    objective: str, numbers: Mapping[str, float], aggregation: str, fixture: Fixture, partition: Partition
) -> tuple[float, Tensor]:
    """(loss of the step, its derivative by logprobs (B, T)), rows split into micro-batches as `partition` says.

    Losses of micro-batches are added as they are: TRL's trainer stops its base class from dividing them. The
    fixture's type of numbers is kept. UsageError for an aggregation that TRL does not have for this objective.
    """
    logprobs = fixture.logprobs.detach().clone().requires_grad_()
    with tempfile.TemporaryDirectory() as folder:
        trainer = _trainer(_settings(objective, numbers, aggregation), fixture.mask.shape[1], len(partition), folder)
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = len(partition)

    def forward(model: Any, input_ids: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor, None]:
        chosen = logprobs[input_ids[:, 0]]
        return chosen, torch.zeros_like(chosen), None

    trainer._get_per_token_logps_and_entropies = forward
    batches = [_inputs(fixture, rows, with_old=trainer.num_iterations > 1) for rows in partition]
    if isinstance(trainer, GPPOTrainer):
        totals = trainer.totals_of(batches)
        batches = [batch | {"step_totals": totals} for batch in batches]
    loss: Tensor = torch.stack([trainer._compute_loss(trainer.model, batch) for batch in batches]).sum()
    (gradient,) = torch.autograd.grad(loss, logprobs)
    return float(loss.detach()), gradient


def _settings(objective: str, numbers: Mapping[str, float], aggregation: str) -> dict[str, Any]:
    settings = dict(LOSSES[objective])
    if ONLY.get(objective, aggregation) != aggregation:
        raise UsageError(f"TRL has no {objective} with {aggregation}; it has {ONLY[objective]}")
    if "objective" in settings:
        return settings | dict(numbers)
    settings.setdefault("loss_type", AGGREGATIONS[aggregation])
    return settings | {_NUMBERS[name]: value for name, value in numbers.items()}


def _trainer(settings: dict[str, Any], width: int, microbatches: int, folder: str) -> Any:
    ours = "objective" in settings
    base: dict[str, Any] = {
        "output_dir": folder,
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "log_level": "error",
        "per_device_train_batch_size": 2,
        "num_generations": 2,
        "gradient_accumulation_steps": microbatches,
        "steps_per_generation": microbatches,
        "num_iterations": 2,
        "max_completion_length": width,
    }
    loaded = make_tiny(4, 1, 1, 8, seed=0)
    config, trainer = (GPPOConfig, GPPOTrainer) if ours else (GRPOConfig, GRPOTrainer)
    prompts = Dataset.from_dict({"prompt": ["a", "b"]})
    # With CI set TRL reports nothing about this trainer over the network; its own deprecated options are not ours.
    with mock.patch.dict(os.environ, {"CI": "1"}), warnings.catch_warnings(action="ignore", category=FutureWarning):
        return trainer(
            loaded.model,
            lambda completions, **_: [0.0] * len(completions),
            config(**(base | settings)),
            train_dataset=prompts,
            processing_class=loaded.tokenizer,
        )


def _inputs(fixture: Fixture, rows: tuple[int, ...], *, with_old: bool) -> dict[str, Any]:
    """A micro-batch as TRL's trainer hands it to its loss; the prompt's one token is the row's number."""
    chosen = list(rows)
    mask = fixture.mask[chosen].long()
    batch: dict[str, Any] = {
        "prompt_ids": torch.tensor(chosen)[:, None],
        "prompt_mask": torch.ones(len(chosen), 1, dtype=torch.long),
        "completion_ids": torch.zeros_like(mask),
        "completion_mask": mask,
        "advantages": fixture.advantages[chosen],
        "num_items_in_batch": fixture.mask.sum(),
    }
    return batch | ({"old_per_token_logps": fixture.old_logprobs[chosen]} if with_old else {})
