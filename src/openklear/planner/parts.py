"""The work of a recipe, stage by stage and part by part: sampling, old log-probabilities, training, validation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from openklear.planner.amounts import Amounts
from openklear.planner.auto import Sizes
from openklear.planner.costs import Load, decoding_load, forward_load, training_load
from openklear.planner.memory import WIDTH, adapter_parameters
from openklear.planner.shape import ModelShape
from openklear.recipe.schema import Phase, Recipe, Sft

TEMPLATE_TOKENS = {"tiny": 4, "pretrained": 20}
"""That a chat template adds to a row, about; by the type of the model."""
GRADERS = {"math": 3e-4, "code": 15e-3}
"""CPU seconds to grade a completion; programs run in boxes of their own."""
REUSED = 0.75
"""Of sampling whose grading goes on beside it: what of the graders' time still shows, on a CPU that computes both."""


@dataclass(frozen=True, slots=True)
class Part:
    """One line of a plan's times."""

    stage: str
    name: str
    load: Load
    graders: float = 0.0
    """Seconds of graders, which no machine's speed changes."""


def parts(recipe: Recipe, shape: ModelShape, by_stage: Mapping[str, Sizes], amounts: Amounts) -> Iterator[Part]:
    """Every part of every stage, in their order; the sizes of the evaluations are those of "evaluate"."""
    makers = {name: _Maker(recipe, shape, sizes, amounts) for name, sizes in by_stage.items()}
    yield makers["evaluate"].evaluation("evaluate-base")
    if recipe.sft is not None:
        yield from makers["sft"].sft(recipe.sft)
        yield makers["evaluate"].evaluation("evaluate-sft")
    for phase in recipe.rl.phase if recipe.rl is not None else ():
        yield from makers[f"rl-{phase.name}"].phase(phase)
        yield makers["evaluate"].evaluation(f"evaluate-rl-{phase.name}")


@dataclass(frozen=True, slots=True)
class _Maker:
    recipe: Recipe
    shape: ModelShape
    sizes: Sizes
    amounts: Amounts

    @property
    def template(self) -> int:
        """Tokens around each row."""
        return TEMPLATE_TOKENS[self.recipe.model.type] if self.recipe.model is not None else 0

    def sft(self, settings: Sft) -> Iterator[Part]:
        """Tokens of every epoch, and a validation at each checkpoint."""
        rows = self.amounts.demonstrations
        row = min(rows.prompt + rows.response + self.template, settings.max_tokens)
        number = rows.number * settings.epochs
        updates = math.ceil(number * row / settings.batch_tokens)
        muon = settings.optimizer.type == "muon"
        yield Part("sft", "training", self._training(number, row, rows.response, updates, muon))
        checkpoints = math.ceil(updates / settings.save_every)
        yield self._validation("sft", None, checkpoints)

    def phase(self, phase: Phase) -> Iterator[Part]:
        """What an iteration does, as often as there are iterations. TRAINED of the groups have an advantage."""
        stage, amounts = f"rl-{phase.name}", self.amounts
        rollouts = phase.problems_per_iteration * phase.group_size
        prompt = min(amounts.prompts(phase) + self.template, phase.max_prompt_tokens)
        completion = amounts.completion(phase.max_completion_tokens)
        most = phase.max_completion_tokens
        sampling = self._sampling(rollouts, phase.group_size, prompt, completion, most).times(phase.iterations)
        graders = phase.iterations * rollouts * self._grading(_share_of_code(phase))
        yield Part(stage, "sampling", sampling, graders)
        if share := self._old_share(phase):
            old = self._forward(share * rollouts * phase.iterations, prompt + completion, completion)
            yield Part(stage, "old log-probabilities", old)
        updates = -(-phase.problems_per_iteration // phase.problems_per_update) * phase.iterations
        number = rollouts * phase.iterations * (TRAINED if phase.filter_zero_advantage is True else 1)
        muon = phase.optimizer.type == "muon"
        work = self._training(number, prompt + completion, completion, updates, muon, phase.group_size)
        yield Part(stage, "training", work)
        yield self._validation(stage, phase, math.ceil(phase.iterations / phase.validate_every))

    def evaluation(self, stage: str) -> Part:
        """The benchmarks, asked of one model."""
        rows, completions = self.amounts.heldout, self.amounts.completions
        most = self.recipe.evaluation.max_completion_tokens
        prompt, length = rows.prompt + self.template, self.amounts.completion(most)
        group = completions / max(rows.number, 1)
        work = self._sampling(completions, group, prompt, length, most)
        return Part(stage, "evaluation", work, completions * self._grading(self.amounts.code))

    def _validation(self, stage: str, phase: Phase | None, times: int) -> Part:
        completions, prompt = self.amounts.validated(self.recipe, phase)
        evaluation = self.recipe.evaluation
        length = self.amounts.completion(evaluation.max_completion_tokens)
        group = evaluation.validation_samples
        most = evaluation.max_completion_tokens
        work = self._sampling(completions, group, prompt + self.template, length, most).times(times)
        share = self.amounts.code if phase is None else _share_of_code(phase)
        return Part(stage, "validation", work, times * completions * self._grading(share))

    def _training(
        self, number: float, row: float, response: float, updates: float, muon: bool, group: float = 1
    ) -> Load:
        """`number` rows in `updates` steps, a prompt computed once for its group. Lengths are taken to be spread as
        widely as their mean is long.
        """
        tokens = number * (response + (row - response) / group)
        each = self.sizes.microbatch_tokens
        pairs = number * row**2 / 2 * SPREAD
        microbatches = updates * math.ceil(max(tokens / max(updates, 1) / max(each, row), 1))
        return training_load(
            self.shape,
            tokens,
            number * response,
            pairs,
            microbatches=microbatches,
            updates=updates,
            width=WIDTH[self.sizes.dtype],
            checkpointing=self.sizes.activation_checkpointing,
            adapters=adapter_parameters(self.shape, self.recipe),
            muon=muon,
        )

    def _forward(self, number: float, row: float, response: float) -> Load:
        tokens, pairs = number * row, number * row**2 / 2 * SPREAD
        microbatches = tokens / max(self.sizes.microbatch_tokens, row)
        width = WIDTH[self.sizes.dtype]
        return forward_load(self.shape, tokens, number * response, pairs, microbatches=microbatches, width=width)

    def _sampling(self, requests: float, group: float, prompt: float, completion: float, most: int) -> Load:
        """Prefills, a prompt once for its group, and decoding in as many steps as slots and the longest row need."""
        slots = max(min(self.sizes.slots, requests, self.sizes.cache_tokens / (prompt + completion)), 1)
        steps = requests * completion / slots + min(most, TAIL * completion) - min(completion, most)
        prompts = requests / max(group, 1)
        width = WIDTH[self.sizes.dtype]
        prefill = forward_load(
            self.shape, prompts * prompt, prompts, prompts * prompt**2 / 2, microbatches=prompts / slots, width=width
        )
        decoding = decoding_load(self.shape, requests, prompt, completion, max(steps, 0), width=width)
        work = decoding + prefill
        return Load(decoding.tokens, work.flops, work.executed, work.read, work.elements, work.layers)

    def _old_share(self, phase: Phase) -> float:
        """Share of an iteration's rows that need a pass for their old log-probabilities (`training.learner`).

        The first update never does: its own pass has the weights of before.
        """
        exact = self.recipe.engine.type == "local" and self.sizes.dtype == "float32"
        plain = phase.entropy_gate.type == "none" and phase.correction.type == "none"
        if phase.old_logprobs == "sampler" or (phase.old_logprobs == "auto" and exact and plain):
            return 0.0
        return 1 - min(phase.problems_per_update / phase.problems_per_iteration, 1.0)

    def _grading(self, code: float) -> float:
        """Seconds for one completion, of which a share are programs."""
        seconds = code * GRADERS["code"] + (1 - code) * GRADERS["math"]
        return REUSED * seconds / self.recipe.verifiers.workers


SPREAD = 1.3
"""Mean of n^2 over the square of the mean of n, for rows of n tokens: that of lengths half as spread as exponential."""
TRAINED = 0.5
"""Share of the groups whose rewards are not all equal. It is every recipe's own: 0.48 and 0.33 were measured in the
quickstart's phases."""
TAIL = 3.0
"""The longest of a batch of completions over their mean, unless the recipe cuts them off before."""


def _share_of_code(phase: Phase) -> float:
    if phase.mix:
        return phase.mix.get("code", 0.0) / sum(phase.mix.values())
    return phase.domains.count("code") / len(phase.domains)
