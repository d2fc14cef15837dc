"""GPPO and CE-GPPO in TRL: `GPPOConfig` and `GPPOTrainer` stand in for `GRPOConfig` and `GRPOTrainer`.

What TRL does besides its policy loss goes on as before: generation, rewards, advantages, the KL term, the correction of
vLLM's log-probabilities, the entropy bonus, the auxiliary loss of experts. The loss is ours: the objective, the joint
loss on correct completions, and one token mean over the whole optimizer step. TRL's "dapo" divides every step of a
generation batch by the mean of their token counts, so that tokens of a step with short answers weigh less than others.

TRL drops no groups, so the joint loss counts the correct rollouts of all of them.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import CodeType
from typing import Any

import torch
from torch import Tensor

from openklear.errors import RunError, UsageError
from openklear.integrations.trl_loss import (
    StepTotals,
    TrlBatch,
    loss_masks,
    policy_losses,
    reference_kl,
    shown,
    sums_of,
)
from openklear.objectives import diagnostics
from openklear.objectives.aggregate import aggregate
from openklear.objectives.policy import CATALOG
from openklear.objectives.ratio import at_least_fp32
from openklear.objectives.supervised import negative_log_likelihood

__all__ = ["GPPOConfig", "GPPOTrainer"]

LEAST_TRL = (1, 16)
_INSTALL = "Install it with: pip install 'openklear[trl]'"

try:
    import trl
    from trl import GRPOConfig, GRPOTrainer
except (ImportError, RuntimeError) as error:  # its lazy modules turn an ImportError into a RuntimeError
    raise ImportError(
        f"openklear.integrations.trl needs trl>=1.16, which does not load ({error}). {_INSTALL}"
    ) from error

HOOKS: Mapping[str, tuple[str, ...]] = {
    "get_batch_samples": ("self", "epoch_iterator", "num_batches", "device"),
    "_prepare_inputs": ("self", "generation_batch"),
    "_generate_and_score_completions": ("self", "inputs"),
    "_calculate_rewards": ("self", "inputs", "prompts", "completions", "completion_ids_list"),
    "_compute_loss": ("self", "model", "inputs"),
    "_get_per_token_logps_and_entropies": (
        *("self", "model", "input_ids", "attention_mask", "logits_to_keep"),
        *("batch_size", "compute_entropy", "compute_aux_loss"),
    ),
}
"""Methods of TRL's trainer that are overridden or called here -> the parameters they begin with."""

READ = frozenset(
    {
        *("_buffered_inputs", "_step", "_metrics", "num_iterations", "steps_per_generation"),
        *("current_gradient_accumulation_steps", "aux_loss_enabled", "router_aux_loss_coef", "entropy_coef"),
        *("prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "tool_mask", "advantages"),
        *("old_per_token_logps", "ref_per_token_logps", "importance_sampling_ratio"),
        *("_log_completion_extra", "_log_metric", "environments"),
    }
)
"""Names of TRL's trainer, and of what it hands to its loss, that are read here."""


def check_hooks(trainer: type, version: str) -> None:
    """ImportError unless this version of TRL's trainer has every hook used here, with its parameters in their order."""
    missing = []
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < LEAST_TRL:
        missing.append("a version of 1.16 or later")
    for name, wanted in HOOKS.items():
        method = getattr(trainer, name, None)
        if method is None or tuple(inspect.signature(method).parameters)[: len(wanted)] != wanted:
            missing.append(f"{trainer.__name__}.{name}({', '.join(wanted)})")
    if getattr(trainer, "loss_is_scaled_for_ga", None) is not True:
        missing.append(f"{trainer.__name__}.loss_is_scaled_for_ga = True")
    missing += sorted(READ - _names(*(member for member in vars(trainer).values() if callable(member))))
    if missing:
        raise ImportError(
            f"openklear.integrations.trl needs trl>=1.16 and found trl {version}, which lacks: "
            f"{'; '.join(missing)}. {_INSTALL}, or choose a version of trl that has them."
        )


def _names(*functions: Callable[..., Any]) -> set[str]:
    """Attribute names and strings in the code of functions."""
    codes: list[Any] = [getattr(inspect.unwrap(function), "__code__", None) for function in functions]
    found: set[str] = set()
    while codes:
        code = codes.pop()
        if isinstance(code, CodeType):
            found |= {*code.co_names, *(one for one in code.co_consts if isinstance(one, str))}
            codes.extend(code.co_consts)
    return found


check_hooks(GRPOTrainer, trl.__version__)

_MORE_INPUTS = tuple(inspect.signature(GRPOTrainer._get_per_token_logps_and_entropies).parameters)[8:]
"""Images and the like: whatever else TRL's forward pass takes from a batch."""

KEPT = frozenset(
    {
        *("beta", "use_bias_correction_kl", "use_vllm", "vllm_importance_sampling_correction", "entropy_coef"),
        *("router_aux_loss_coef", "steps_per_generation", "max_completion_length"),
    }
)
"""Options that TRL's loss reads and that mean here what they mean there."""

ADVICE: Mapping[str, str] = {
    "loss_type": "`objective` names the loss, and its mean is over the tokens of the optimizer step",
    "epsilon": "write clip_low and clip_high",
    "epsilon_high": "write clip_high",
    "delta": "write dual_clip",
    "importance_sampling_level": "the ratios of GPPO and CE-GPPO are those of tokens",
    "use_adaptive_entropy": "a constant entropy_coef works",
}


@dataclass
class GPPOConfig(GRPOConfig):  # type: ignore[misc]
    """TRL's `GRPOConfig` with the objective in place of its own loss options, which are refused.

    A number of the objective that is None is the published one: GPPO (arXiv 2508.07629) has a band of .2/.28 and betas
    of 1, CE-GPPO (arXiv 2509.20712) .2/.2 and .75/1.
    """

    objective: str = field(default="gppo", metadata={"help": "The policy loss: 'gppo' or 'ce_gppo'."})
    clip_low: float | None = field(default=None, metadata={"help": "The band of the ratio starts at 1 - clip_low."})
    clip_high: float | None = field(default=None, metadata={"help": "The band of the ratio ends at 1 + clip_high."})
    beta_low: float | None = field(
        default=None, metadata={"help": "Scales the gradient kept below the band where the advantage is negative."}
    )
    beta_high: float | None = field(
        default=None, metadata={"help": "Scales the gradient kept above the band where the advantage is positive."}
    )
    dual_clip: float | None = field(
        default=None, metadata={"help": "gppo: no gradient above this ratio where the advantage is negative."}
    )
    sft_loss_weight: float = field(
        default=0.0, metadata={"help": "Weight of -log pi over tokens of correct completions; the report's is 0.1."}
    )

    def __post_init__(self) -> None:
        """UsageError for an option that the objective would ignore, or an impossible number."""
        super().__post_init__()
        if self.objective not in ("gppo", "ce_gppo"):
            raise UsageError(f"objective = {self.objective!r} is not one of 'gppo', 'ce_gppo'")
        _refuse_ignored(self)
        _check_numbers(self)
        round_of = self.steps_per_generation * self.num_iterations
        if round_of % self.gradient_accumulation_steps:
            raise UsageError(
                f"gradient_accumulation_steps = {self.gradient_accumulation_steps} does not divide "
                f"steps_per_generation * num_iterations = {round_of}, so an optimizer step would hold completions that "
                "are not generated yet when its tokens are counted. Make steps_per_generation a multiple of it."
            )

    def numbers(self) -> dict[str, Any]:
        """The objective's numbers, as its function takes them."""
        defaults = CATALOG[self.objective].numbers
        given = {name: getattr(self, name) for name in defaults}
        return {name: defaults[name] if value is None else value for name, value in given.items()}


def _refuse_ignored(config: GPPOConfig) -> None:
    """TRL's options that its loss alone reads, those of later versions included, and numbers of other objectives."""
    defaults = {one.name: one.default for one in fields(GRPOConfig)}
    ignored = ((_names(GRPOTrainer._compute_loss) & set(defaults)) - KEPT) | (set(ADVICE) & set(defaults))
    changed = [name for name in sorted(ignored) if getattr(config, name) != defaults[name]]
    if changed:
        advice = "; ".join(f"{name}: {ADVICE.get(name, 'it belongs to another loss of TRL')}" for name in changed)
        raise UsageError(
            f"objective = {config.objective!r} would ignore {', '.join(changed)}. Leave what TRL has as its default "
            f"({advice}), or train with GRPOConfig and GRPOTrainer."
        )
    if config.dual_clip is not None and "dual_clip" not in CATALOG[config.objective].numbers:
        raise UsageError(
            f"objective = {config.objective!r} has no dual_clip; remove it, or use 'gppo' with these betas"
        )


def _check_numbers(config: GPPOConfig) -> None:
    numbers = config.numbers()
    wrong = [name for name, n in numbers.items() if n is not None and not (n >= 0 and math.isfinite(n))]
    wrong += [] if numbers["clip_low"] <= 1 else ["clip_low"]
    wrong += ["dual_clip"] if config.dual_clip is not None and config.dual_clip <= 1 else []
    wrong += [] if config.sft_loss_weight >= 0 and math.isfinite(config.sft_loss_weight) else ["sft_loss_weight"]
    if wrong:
        raise UsageError(
            f"impossible: {', '.join(f'{name} = {getattr(config, name)}' for name in wrong)}. "
            "Needed: clip_low in 0..1, dual_clip above 1, everything else a finite number of 0 or more."
        )


Verdict = Callable[..., Sequence[bool | None]]
"""Takes what TRL's reward functions take; says of each completion True, False, or None where nobody can say."""


class GPPOTrainer(GRPOTrainer):  # type: ignore[misc]
    """TRL's `GRPOTrainer` with the objective of a `GPPOConfig`, and the joint loss on completions with a true verdict.

    The loss of an optimizer step is sum over its tokens / their number, of policy loss + beta KL - entropy_coef H, plus
    sft_loss_weight times the mean of -log pi over the tokens of correct completions (report, Eq. 11, 13, 14; 0 when
    there are none). Numbers of tokens are those of the step's micro-batches on all processes, counted before the first,
    so the gradient does not depend on how they are split. (The auxiliary loss of experts is a mean over micro-batches,
    as in TRL: it is no sum over tokens.) Correct is what `verdict` calls True, never a reward of some size.
    """

    _tag_names = ["trl", "gppo"]  # noqa: RUF012  TRL's class attributes, for its model card
    _name = "GPPO"
    _paper = {  # noqa: RUF012
        "title": "Klear-Reasoner: Advancing Reasoning Capability via Gradient-Preserving Clipping Policy Optimization",
        "id": "2508.07629",
    }

    def __init__(
        self, model: Any, reward_funcs: Any = None, args: Any = None, *rest: Any, verdict: Any = None, **more: Any
    ) -> None:
        """UsageError for other arguments than a `GPPOConfig`, or a joint loss without a `verdict`."""
        if not isinstance(args, GPPOConfig):
            raise UsageError(f"GPPOTrainer needs args=GPPOConfig(...), not {type(args).__name__}")
        if args.sft_loss_weight > 0 and verdict is None:
            raise UsageError(
                f"sft_loss_weight = {args.sft_loss_weight} imitates correct completions, and a reward does not say "
                "which are: give GPPOTrainer(verdict=f), where f takes what a reward function takes and returns True, "
                "False or None (unscorable) for each completion, or set sft_loss_weight=0."
            )
        if inspect.iscoroutinefunction(verdict):
            raise UsageError("verdict must be an ordinary function; run the coroutine inside it with asyncio.run")
        self.verdict: Verdict | None = verdict
        self._loss = args.objective, args.numbers()
        self._correct: Tensor | None = None
        self._totals: StepTotals | None = None
        self._sums: dict[str, diagnostics.Sums | None] = {"train": None, "eval": None}
        super().__init__(model, reward_funcs, args, *rest, **more)

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> Any:
        """The Trainer calls this once an optimizer step, before its micro-batches: the next one is a step's first."""
        self._totals, self._sums["train"] = None, None
        return super().get_batch_samples(epoch_iterator, num_batches, device)

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        inputs: dict[str, Any] = super()._prepare_inputs(generation_batch)
        if not self.model.training:
            return inputs | {"step_totals": self.totals_of([inputs])}
        if self._totals is None:
            self._totals = self.totals_of(self._microbatches_of_step())
        return inputs | {"step_totals": self._totals}

    def _microbatches_of_step(self) -> list[Mapping[str, Any]]:
        """Those of the optimizer step that begins now, out of the generation batch that TRL keeps."""
        width, number = self.args.steps_per_generation, self.current_gradient_accumulation_steps
        if self._step % (width * self.num_iterations) + number > width * self.num_iterations:
            raise RunError(
                f"an optimizer step of {number} micro-batches begins at micro-batch {self._step}, and completions for "
                f"its end are not generated yet. Make steps_per_generation ({width}) a multiple of "
                f"gradient_accumulation_steps ({self.args.gradient_accumulation_steps})."
            )
        return [self._buffered_inputs[(self._step + k) % width] for k in range(number)]

    def totals_of(self, microbatches: Sequence[Mapping[str, Any]]) -> StepTotals:
        """Counts over these micro-batches of an optimizer step, and over those of the other processes."""
        masks = [loss_masks(inputs) for inputs in microbatches]
        counts = torch.stack([torch.stack([mask.sum(), correct.sum()]) for mask, correct in masks]).sum(0)
        tokens, correct_tokens = self.accelerator.reduce(counts, reduction="sum").tolist()
        return StepTotals(tokens, correct_tokens, len(microbatches))

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        return output if self._correct is None else output | {"correct": self._correct}

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> Tensor:
        rewards: Tensor = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        if self.verdict is not None:
            own = {"prompts": prompts, "completions": completions, "completion_ids": completion_ids_list}
            own |= {"trainer_state": self.state, "log_extra": self._log_completion_extra}
            own |= {"log_metric": self._log_metric}
            own |= {} if self.environments is None else {"environments": self.environments}
            columns: dict[str, Any] = {}
            for key in inputs[0].keys() - {"prompt", "completion", "completion_ids"}:
                columns[key] = [row[key] for row in inputs]
            self._correct = self._checked(self.verdict(**(columns | own)), len(prompts))
        return rewards

    def _checked(self, verdicts: Sequence[bool | None], number: int) -> Tensor:
        """Verdicts of this process as bools (B,), True for correct; their shares over all processes are logged."""
        verdicts = list(verdicts)
        wrong = next((one for one in verdicts if not (one is None or isinstance(one, bool))), None)
        if len(verdicts) != number or wrong is not None:
            what = f"{len(verdicts)} answers" if wrong is None else f"{wrong!r} of type {type(wrong).__name__}"
            raise UsageError(
                f"verdict must return True, False or None for each of {number} completions, and returned {what}. A "
                "reward is not a verdict: say by a rule what is correct, and wrap the answer of a numpy rule in bool()."
            )
        correct = torch.tensor([one is True for one in verdicts], device=self.accelerator.device)
        counts = torch.tensor([verdicts.count(True), verdicts.count(None), number], device=self.accelerator.device)
        right, unscorable, of = self.accelerator.reduce(counts, reduction="sum").tolist()
        self._log("verdict/correct", right / of)
        self._log("verdict/unscorable", unscorable / of)
        return correct

    def _compute_loss(self, model: Any, inputs: Mapping[str, Any]) -> Tensor:
        logprobs, entropies, auxiliary = self._forward(model, inputs)
        batch, totals = TrlBatch.of(inputs, logprobs), inputs["step_totals"]
        parts = self._parts(logprobs, entropies, batch, totals)
        loss = parts["policy_loss"]
        if self.args.sft_loss_weight > 0:
            loss = loss + self.args.sft_loss_weight * parts["sft_loss"]
        if "kl" in parts:
            loss = loss + self.beta * parts["kl"]
        if "entropy_bonus" in parts:
            loss = loss - parts["entropy_bonus"]
        self._record(logprobs, entropies, batch, parts)
        if auxiliary is not None:
            loss = loss + self.router_aux_loss_coef * auxiliary / totals.microbatches
            self._log("aux_loss", self.accelerator.gather_for_metrics(auxiliary.detach()).mean().item())
        return loss

    def _forward(self, model: Any, inputs: Mapping[str, Any]) -> tuple[Tensor, Tensor, Tensor | None]:
        """TRL's log-probabilities and entropies of the completions (B, T), and the auxiliary loss of experts."""
        found: tuple[Tensor, Tensor, Tensor | None] = self._get_per_token_logps_and_entropies(
            model,
            torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1),
            torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1),
            inputs["completion_ids"].size(1),
            compute_entropy=True,
            compute_aux_loss=self.aux_loss_enabled,
            **{name: inputs.get(name) for name in _MORE_INPUTS},
        )
        return found

    def _parts(self, logprobs: Tensor, entropies: Tensor, batch: TrlBatch, totals: StepTotals) -> dict[str, Tensor]:
        """This micro-batch's shares of the step's means, times the processes, over which gradients are averaged."""
        world = self.accelerator.num_processes
        mask, weights = batch.mask, torch.full_like(at_least_fp32(logprobs.detach()), world / max(totals.tokens, 1))
        parts = {"policy_loss": aggregate(policy_losses(*self._loss, logprobs, batch), weights, mask)}
        if self.beta:
            divergence = reference_kl(logprobs, batch, corrected=self.args.use_bias_correction_kl)
            parts["kl"] = aggregate(divergence, weights, mask)
        if self.entropy_coef:
            parts["entropy_bonus"] = self.entropy_coef * aggregate(entropies, weights, mask)
        if self.verdict is not None:
            parts["sft_loss"] = world * negative_log_likelihood(logprobs, batch.correct, totals.correct_tokens)
        return parts

    def _record(self, logprobs: Tensor, entropies: Tensor, batch: TrlBatch, parts: Mapping[str, Tensor]) -> None:
        """Adds this micro-batch to the step's sums; after the last one, logs the step's numbers over all processes."""
        sums = sums_of(*self._loss, logprobs, entropies, batch)
        shares = {name: part.detach().double() / self.accelerator.num_processes for name, part in parts.items()}
        mode = "train" if self.model.training else "eval"
        total = self._sums[mode] = diagnostics.add(self._sums[mode], sums | shares)
        if mode == "eval" or self.accelerator.sync_gradients:
            self._sums[mode] = None
            total = self._over_processes(total)
            for name, value in (shown(total) | {name: float(total[name]) for name in shares}).items():
                self._log(name, value)

    def _over_processes(self, sums: diagnostics.Sums) -> diagnostics.Sums:
        flat = self.accelerator.reduce(torch.cat([one.reshape(-1) for one in sums.values()]), reduction="sum")
        pieces: Iterable[Tensor] = flat.split([one.numel() for one in sums.values()])
        return {name: piece.view_as(one) for (name, one), piece in zip(sums.items(), pieces, strict=True)}

    def _log(self, name: str, value: float) -> None:
        """TRL shows the mean of what is logged under a name since it last showed it."""
        self._metrics["train" if self.model.training else "eval"][name].append(value)
