"""The whole recipe as frozen typed models: one class per table, one line of help per key.

Every field's description is what `openklear recipe show` prints beside it. A key that nothing reads is a defect;
tests/recipe/test_every_key.py proves that each one changes rows, ids, the loss, the schedule or a file.
Defaults are the report's (arXiv 2508.07629) where it gives one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import Field

from openklear.recipe import mix
from openklear.recipe.cluster import Cluster, cluster_rules
from openklear.recipe.curation import Data
from openklear.recipe.engine import Engine, LocalEngine, remote_faults
from openklear.recipe.hub import hub_fault
from openklear.recipe.machine import device_rules, microbatch_rules
from openklear.recipe.numbers import Auto, Count, Number, Rate, Seed, Temperature, Tokens, Whole
from openklear.recipe.objectives import Advantage, Correction, Gate, Gppo, Grpo, NoCorrection, NoGate, Objective
from openklear.recipe.optimizers import AdamW, Lora, Optimizer
from openklear.recipe.partial import UNCORRECTED, NoCarryOver, PartialRollouts, beside_rules, stale_rollouts, under_way
from openklear.recipe.reward import ReportReward, RewardScheme
from openklear.recipe.section import Above, Broken, DomainName, NotNegative, Positive, Section, repeated
from openklear.recipe.seeds import Part, Seeds
from openklear.recipe.stop import Stop
from openklear.recipe.track import Track
from openklear.recipe.verifiers import Verifiers
from openklear.recipe.world import World, faults_of_responses
from openklear.verifiers.domains import DOMAINS

PHASE_NAME = re.compile(r"[a-z0-9-]+")


class TinyModel(Section):
    """A Qwen3-architecture model made from scratch with a character tokenizer."""

    type: Literal["tiny"] = Field("tiny", description="make a small model from scratch")
    hidden_size: Annotated[int, Field(gt=0, le=65_536)] = Field(64, description="width of the residual stream")
    layers: Annotated[int, Field(gt=0, le=1000)] = Field(4, description="transformer blocks")
    heads: Annotated[int, Field(gt=0, le=65_536)] = Field(4, description="attention heads; must divide hidden_size")

    def broken_rules(self) -> Iterator[Broken]:
        """Heads divide the width, and a head's size is even (rotary embeddings turn pairs of numbers)."""
        if self.hidden_size % self.heads:
            text = f"{self.heads} heads do not divide hidden_size {self.hidden_size}; choose a divisor of it"
            yield Broken(("heads",), text)
        elif (self.hidden_size // self.heads) % 2:
            size = self.hidden_size // self.heads
            yield Broken(
                ("heads",), f"a head's size (hidden_size / heads) is {size}, but must be even; change one of them"
            )


class PretrainedModel(Section):
    """A model in the Hugging Face layout: a directory, or a model of the hub."""

    paths = ("path", "chat_template")
    type: Literal["pretrained"] = Field("pretrained", description="start from a model that there is")
    path: str = Field(
        description="directory that holds the model and its tokenizer, or OWNER/NAME or hub:OWNER/NAME@REVISION"
    )
    gguf_file: str | None = Field(None, description="a GGUF file in that directory, dequantised when loaded")
    chat_template: str | None = Field(None, description="a Jinja file to use in place of the tokenizer's chat template")
    template_args: dict[str, bool | Whole | Number | str] = Field(
        {}, description="arguments of the chat template, saved with it: { enable_thinking = false }"
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="type of the weights; auto: float32 on the CPU, on a GPU bfloat16 with float32 masters"
    )

    def broken_rules(self) -> Iterator[Broken]:
        """A name on the hub has its form."""
        if fault := hub_fault(self.path):
            yield Broken(("path",), fault)


Model = Annotated[TinyModel | PretrainedModel, Field(discriminator="type")]


class Sft(Section):
    """Supervised fine-tuning: token-mean loss on response tokens, cosine schedule (report: 8e-5 to 4e-5, 4 epochs)."""

    at_most = ("min_learning_rate", "learning_rate")
    epochs: Positive = Field(4, description="passes over the demonstrations")
    batch_tokens: Tokens = Field(
        131072, description="most tokens per optimizer step, prompt and response; a longer row is a step of its own"
    )
    max_tokens: Tokens = Field(32768, description="longest demonstration in tokens")
    overlong: Literal["drop", "cut"] = Field("drop", description="what happens to longer ones; both are counted")
    learning_rate: Rate = Field(8e-5, description="peak learning rate")
    min_learning_rate: Annotated[float, Field(ge=0.0, le=10.0)] = Field(4e-5, description="learning rate at the end")
    warmup_steps: Count = Field(10, description="steps of linear warm-up")
    max_grad_norm: Above = Field(1.0, description="gradient norm is clipped to this")
    save_every: Positive = Field(
        100, description="steps between checkpoints, each after a validation (sampled accuracy)"
    )
    optimizer: Optimizer = Field(AdamW(), description="the optimizer")


class Phase(Section):
    """One RL phase: the keys of [rl], overridden by this phase's own."""

    at_most = ("problems_per_update", "problems_per_iteration")
    name: str = Field(description="the stage is called rl-NAME")
    domains: tuple[DomainName, ...] = Field(description="domains of the problems that the phase trains on")
    mix: dict[DomainName, Above] = Field(
        {},
        description="shares of the domains in every iteration, as { code = 3, math = 1 }; empty draws from all "
        "problems alike",
    )
    iterations: Positive = Field(100, description="rollout batches (the report's steps)")
    problems_per_iteration: Positive = Field(128, description="problems sampled per iteration")
    group_size: Annotated[int, Field(ge=2, le=100_000)] = Field(8, description="rollouts per problem")
    problems_per_update: Positive = Field(16, description="problems per optimizer step (the mini-batch)")
    learning_rate: Rate = Field(1e-6, description="learning rate, constant after warm-up")
    warmup_steps: Count = Field(10, description="steps of linear warm-up")
    max_grad_norm: Above = Field(1.0, description="gradient norm is clipped to this")
    temperature: Temperature = Field(1.0, description="sampling temperature of rollouts")
    max_prompt_tokens: Tokens = Field(4096, description="longer prompts are dropped, never cut")
    max_completion_tokens: Tokens = Field(28672, description="a rollout is cut off after this many tokens")
    overlong: Literal["incorrect", "mask", "soft"] = Field(
        "incorrect", description="a rollout that was cut off is incorrect, left out of loss and group mean, or graded"
    )
    sft_loss_weight: NotNegative = Field(0.1, description="alpha of the joint loss (Eq. 14)")
    filter_zero_advantage: bool | Literal["uncounted"] = Field(
        True,
        description="leave out groups whose rewards are all equal; uncounted: they stay in the mini-batches, and their "
        "tokens out of the denominator",
    )
    aggregation: Literal["token_mean", "group_token_mean", "sequence_mean", "constant", "klear_released"] = Field(
        "token_mean",
        description="how token losses become one number, from counts over the whole update; only klear_released "
        "depends on the micro-batches",
    )
    validate_every: Positive = Field(10, description="iterations between validations")
    save_every: Positive = Field(1, description="iterations between checkpoints; those between are replayed from disk")
    old_logprobs: Literal["auto", "trainer", "sampler"] = Field(
        "auto",
        description="whose log-probabilities an iteration's updates after the first are measured against: the "
        "trainer's cost a pass; auto takes the sampler's where it computes with the trainer's own float32 weights",
    )
    objective: Objective = Field(Gppo(), description="the policy loss")
    entropy_gate: Gate = Field(NoGate(), description="leave out tokens whose entropy changed too much")
    advantage: Advantage = Field(Grpo(), description="how the rewards of a group become advantages")
    correction: Correction = Field(NoCorrection(), description="importance weights between sampler and trainer")
    partial_rollouts: PartialRollouts = Field(NoCarryOver(), description="whether rollouts outlast their iteration")
    asynchronous: bool = Field(
        False, description="sample the next iteration while this one trains: its tokens are one version older"
    )
    optimizer: Optimizer = Field(AdamW(), description="the optimizer; each phase starts with fresh moments")
    reward: RewardScheme = Field(ReportReward(), description="how verdicts become rewards")

    def broken_rules(self) -> Iterator[Broken]:
        """Names that fit a directory, and domains."""
        if not PHASE_NAME.fullmatch(self.name):
            yield Broken(("name",), f'"{self.name}" cannot name a phase; use lower-case letters, digits and - only')
        if not self.domains:
            yield Broken(("domains",), f"the phase trains on nothing; write one or more of {', '.join(DOMAINS)}")
        for _, name in repeated(list(self.domains)):
            yield Broken(("domains",), f'"{name}" is listed twice; name each domain once')
        if fault := mix.fault(self.mix, self.domains, self.problems_per_iteration):
            yield Broken(("mix",), fault)
        plain = isinstance(self.entropy_gate, NoGate) and isinstance(self.correction, NoCorrection)
        if self.old_logprobs == "sampler" and not plain:
            text = "an entropy gate and a correction compare the trainer with the sampler, and need the trainer's own; "
            yield Broken(("old_logprobs",), text + 'write "auto" or "trainer"')
        if getattr(self.objective, "sequence", False) and self.aggregation != "sequence_mean":
            text = f'{self.objective.type} has one ratio per rollout, which "{self.aggregation}" would weigh by its '
            yield Broken(
                ("aggregation",), text + 'length; write aggregation = "sequence_mean", or choose another objective'
            )
        if self.stale and isinstance(self.correction, NoCorrection):
            yield Broken(("correction",), UNCORRECTED.format(what=self.stale))

    @property
    def stale(self) -> str:
        """Which of its rollouts are drawn from older weights than the iteration begins with, in words; "": none."""
        return stale_rollouts(self.partial_rollouts, asynchronous=self.asynchronous)

    @property
    def counts(self) -> dict[str, int]:
        """With a mix, the problems of each domain in every iteration; {} without one."""
        return mix.counts(self.mix, self.domains, self.problems_per_iteration)

    def lacking(self, have: Mapping[str, int]) -> str | None:
        """What one iteration takes and `have`, the problems of each domain, does not hold; None if it suffices."""
        sampled = self.sampled_at_once
        return mix.lacking(sampled, self.domains, have, mixed=bool(self.mix), extra=self.partial_rollouts.carries)

    @property
    def quotas(self) -> dict[str, int]:
        """Problems that every iteration trains on: of each domain with a mix, else of all together, under ""."""
        return self.counts or {"": self.problems_per_iteration}

    @property
    def sampled_at_once(self) -> dict[str, int]:
        """Problems that are under way in every iteration, in the same way."""
        return under_way(self.partial_rollouts, self.quotas)


class Rl(Section):
    """Reinforcement learning in named phases. In the file, [rl] holds the defaults, and [[rl.phase]] overrides them."""

    phase: tuple[Phase, ...] = Field(description="the phases, in order")

    def broken_rules(self) -> Iterator[Broken]:
        """At least one phase; each with its own name."""
        if not self.phase:
            yield Broken(("phase",), "there are no phases; add a [[rl.phase]] with a name and domains, or remove [rl]")
        for index, name in repeated([item.name for item in self.phase]):
            yield Broken(("phase", index, "name"), f'a second phase is named "{name}"; give each its own name')


class Evaluation(Section):
    """Sampled evaluation on the held-out problems (report: temperature 0.6, top-p 0.95, avg@64 and avg@8)."""

    samples: Positive = Field(8, description="completions per problem: k of avg@k and pass@k")
    temperature: Annotated[float, Field(ge=0.0, le=100.0)] = Field(
        0.6, description="sampling temperature; 0 always takes the likeliest token (greedy), which leaves one sample"
    )
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        0.95, description="nucleus sampling: share of the probability that is kept"
    )
    top_k: Annotated[int, Field(ge=0, le=1_000_000_000)] = Field(
        0, description="so many of the likeliest tokens are kept; 0 keeps all"
    )
    min_p: Annotated[float, Field(ge=0.0, le=1.0)] = Field(
        0.0, description="tokens of less than this share of the likeliest one's probability are dropped; 0 keeps all"
    )
    max_completion_tokens: Tokens = Field(32768, description="a completion is cut off after this many tokens")
    validation_samples: Positive = Field(4, description="completions per problem in validations while training")

    def broken_rules(self) -> Iterator[Broken]:
        """Greedy completions of a problem are all alike, so more than one would only feign precision."""
        for key in ("samples", "validation_samples"):
            if self.temperature == 0.0 and getattr(self, key) > 1:
                yield Broken((key,), _GREEDY.format(key=key))


_GREEDY = "evaluation.temperature = 0 is greedy: all completions of a problem would be alike; write {key} = 1"


class Checkpoints(Section):
    """What stays on disk."""

    keep_last: Positive = Field(1, description="newest checkpoints kept")
    keep_best: bool = Field(False, description="hand the best checkpoint on validation to the next stage, not the last")
    patience: Positive | None = Field(None, description="stop after this many validations without a better one")
    keep_rollouts: Positive | None = Field(None, description="newest iterations whose rollouts stay; all by default")


class Recipe(Section):
    """A whole run."""

    seed: Seed = Field(0, description="seed of initial weights, data order and every rollout")
    seeds: Seeds = Field(Seeds(), description="seeds of parts of the run")
    threads: Annotated[int, Field(gt=0, le=1024)] = Field(
        1, description="CPU threads of torch; changing it may change the last bits"
    )
    device: str = Field("auto", description="what computes: auto (a GPU where there is one), cpu, cuda or cuda:N")
    microbatch_tokens: Auto | Tokens = Field(
        "auto", description="most padded tokens in memory at once while training; auto: what fits and runs fast"
    )
    activation_checkpointing: Auto | bool = Field(
        "auto", description="compute activations twice to keep fewer; auto: where memory would not suffice without"
    )
    world: World | None = Field(None, description="write the demo world first")
    model: Model | None = Field(None, description="the model to train; without it the recipe only curates data")
    data: Data = Field(description="sources and curation")
    sft: Sft | None = Field(None, description="supervised fine-tuning; without it RL starts from the base model")
    rl: Rl | None = Field(None, description="reinforcement learning")
    lora: Lora | None = Field(None, description="train adapters of low rank; without it all weights are trained")
    evaluation: Evaluation = Field(Evaluation(), description="evaluation on held-out problems")
    verifiers: Verifiers = Field(Verifiers(), description="limits of the graders")
    engine: Engine = Field(LocalEngine(), description="the sampler")
    cluster: Cluster | None = Field(None, description="train on a Ray cluster; without it in this process")
    checkpoints: Checkpoints = Field(Checkpoints(), description="what stays on disk")
    stop: Stop = Field(Stop(), description="what stops a run by itself")
    track: Track = Field(Track(), description="where a run can be watched")

    def seed_of(self, part: Part) -> int:
        """The seed that a part of the run draws by."""
        own: int | None = getattr(self.seeds, part)
        return self.seed if own is None else own

    @property
    def dtype(self) -> str:
        """The type the weights are trained in, or auto."""
        return self.model.dtype if isinstance(self.model, PretrainedModel) else "float32"

    @property
    def optimizers(self) -> dict[str, Optimizer]:
        """Those of the stages that train, by the key of their table."""
        found = {} if self.sft is None else {"sft": self.sft.optimizer}
        return found | {f"rl.phase.{phase.name}": phase.optimizer for phase in (self.rl.phase if self.rl else ())}

    def broken_rules(self) -> Iterator[Broken]:
        """Rules between tables."""
        yield from _training(self)
        yield from _sources(self)
        yield from faults_of_responses(self.data, self.world)
        yield from _checkpoints(self)
        yield from device_rules(self.device)
        phases = self.rl.phase if self.rl else ()
        yield from cluster_rules(self.cluster, self.engine, self.optimizers, phases, adapted=self.lora is not None)
        yield from beside_rules(phases, self.cluster, self.engine)
        yield from microbatch_rules(self.microbatch_tokens, self.sft.max_tokens if self.sft else 0, phases)


def _training(whole: Recipe) -> Iterator[Broken]:
    if whole.model is None:
        for name in ("sft", "rl", "lora"):
            if getattr(whole, name) is not None:
                yield Broken((name,), f"[{name}] trains a model, but there is no [model]; add it, or remove [{name}]")
    elif whole.engine.type == "remote":
        yield from remote_faults([name for name in ("sft", "rl") if getattr(whole, name) is not None])


def _sources(whole: Recipe) -> Iterator[Broken]:
    sources = whole.data.source
    roles = {source.role for source in sources}
    for index, source in enumerate(sources):
        if source.path.startswith("world:") and whole.world is None:
            text = f"{source.path} is a file of the demo world, but there is no [world]; add [world] or name a file"
            yield Broken(("data", "source", index, "path"), text)
        if whole.evaluation.temperature == 0.0 and (source.samples or 1) > 1:
            yield Broken(("data", "source", index, "samples"), _GREEDY.format(key="samples"))
    if "heldout" not in roles and whole.model is not None:
        yield _no_source("heldout", "the final evaluation has no problems")
    if whole.sft is not None and "demonstrations" not in roles:
        yield _no_source("demonstrations", "[sft] has nothing to learn from", ", or remove [sft]")
    for index, item in enumerate(whole.rl.phase if whole.rl else ()):
        for domain in item.domains:
            if not any(source.role == "problems" and source.domain in (domain, None) for source in sources):
                text = f'no source has {domain} problems; add a [[data.source]] with role = "problems" and '
                path = ("rl", "phase", index, "domains")
                yield Broken(path, text + f'domain = "{domain}", or remove "{domain}" from domains')


def _checkpoints(whole: Recipe) -> Iterator[Broken]:
    kept = whole.checkpoints
    if kept.patience is not None and not kept.keep_best:
        text = "a run that stops early would hand on its last checkpoint, not its best; set keep_best = true"
        yield Broken(("checkpoints", "patience"), text + ", or remove patience")
    if kept.keep_best and not any(source.role == "validation" for source in whole.data.source):
        text = (
            'nothing says which checkpoint is best; add a [[data.source]] with role = "validation", or set it to false'
        )
        yield Broken(("checkpoints", "keep_best"), text)
    elif kept.keep_best:
        yield from _unchosen(whole)


def _unchosen(whole: Recipe) -> Iterator[Broken]:
    """Phases whose best checkpoint nothing can choose, as far as the recipe says which domains its sources have."""
    validated = {source.domain for source in whole.data.source if source.role == "validation"}
    for index, phase in enumerate(whole.rl.phase if whole.rl else ()):
        if None not in validated and validated.isdisjoint(phase.domains):
            names = " or ".join(phase.domains)
            text = f"checkpoints.keep_best chooses by validation, but no validation source has {names} problems; add a "
            text += f'[[data.source]] with role = "validation" and domain = "{phase.domains[0]}", or set it to false'
            yield Broken(("rl", "phase", index, "domains"), text)


def _no_source(role: str, consequence: str, otherwise: str = "") -> Broken:
    text = f'no source has role = "{role}": {consequence}; add a [[data.source]] with role = "{role}"{otherwise}'
    return Broken(("data", "source"), text)
