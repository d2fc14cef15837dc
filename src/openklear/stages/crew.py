"""The one door to who trains, samples and judges: in this process, or on the cluster that the recipe names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import torch

from openklear import progress
from openklear.models.loading import LoadedModel, load_model
from openklear.models.outline import load_outline
from openklear.models.recompute import recompute_layers
from openklear.planner.auto import Sizes
from openklear.recipe.schema import Phase, Recipe, Sft
from openklear.rollout.open import open_sampler
from openklear.rollout.protocol import Sampler, Supports
from openklear.run.context import StageContext
from openklear.training.adapting import adapt
from openklear.training.crew import StageCrew, StagePanel
from openklear.training.learner import LocalLearner, SupervisedLearner, takes_sampled
from openklear.training.optimizer import build_optimizer
from openklear.training.sizes import Computing, found, here, resolved, stage_dtype
from openklear.training.trainee import LocalTrainee


def computing(recipe: Recipe) -> Computing:
    """Who computes a stage: this process, or the trainers and samplers of a cluster elsewhere."""
    cluster = recipe.cluster
    if cluster is None or not cluster.elsewhere:
        return here()
    from openklear.cluster.crew import computing_there

    return computing_there(cluster.address, recipe.device, recipe.threads)


def open_model(context: StageContext) -> LoadedModel:
    """The model that a stage trains or asks: whole where this process does it, else its tokenizer and its shape."""
    auto = computing(context.recipe).dtype
    place, dtype = context.inputs["model"] / "model", stage_dtype(context.recipe, context.directory, auto)
    if context.recipe.cluster is not None:
        return load_outline(place, dtype=dtype)
    return load_model(place, dtype=dtype)


@contextmanager
def open_crew(context: StageContext, loaded: LoadedModel, settings: Phase | Sft, longest: int) -> Iterator[StageCrew]:
    """Everybody whom a stage that trains `loaded` needs; `longest`: tokens of the longest row that it trains.

    Says what "auto" stands for. At the end all of them are gone.
    """
    recipe = context.recipe
    where = computing(recipe)
    sizes = resolved(recipe, loaded, longest, where)
    context.tell(found(recipe, sizes, where))
    sampled = isinstance(settings, Phase) and _takes_sampled(recipe, settings, sizes)
    if recipe.cluster is not None:
        from openklear.cluster.crew import open_cluster_crew  # it imports Ray, which only clusters need

        with open_cluster_crew(context, loaded, settings, sizes, takes_sampled=sampled) as crew:
            yield crew
        return
    with ExitStack() as stack:
        yield _local(context, loaded, settings, sizes, stack, sampled=sampled)


@contextmanager
def open_panel(context: StageContext, loaded: LoadedModel, sizes: Sizes) -> Iterator[StagePanel]:
    """Everybody whom a stage needs that only asks `loaded`."""
    if context.recipe.cluster is not None:
        from openklear.cluster.crew import open_cluster_panel

        with open_cluster_panel(context, sizes) as panel:
            yield panel
        return
    with ExitStack() as stack:
        yield _local_panel(context.recipe, loaded, sizes, stack)


def _local(
    context: StageContext, loaded: LoadedModel, settings: Phase | Sft, sizes: Sizes, stack: ExitStack, *, sampled: bool
) -> StageCrew:
    recipe = context.recipe
    adapt(loaded, recipe, context.name)
    if sizes.activation_checkpointing:
        recompute_layers(loaded.model)
    optimizer = build_optimizer(loaded.model, settings.optimizer)
    learner: LocalLearner | SupervisedLearner
    if isinstance(settings, Phase):
        learner = LocalLearner(loaded, optimizer, settings, sizes.microbatch_tokens, takes_sampled=sampled)
    else:
        learner = SupervisedLearner(loaded, optimizer, settings, sizes.microbatch_tokens)

    panel = _local_panel(recipe, loaded, sizes, stack)
    return StageCrew(loaded, sizes, LocalTrainee(loaded, optimizer), learner, panel)


def _local_panel(recipe: Recipe, loaded: LoadedModel, sizes: Sizes, stack: ExitStack) -> StagePanel:
    def sampler(needs: Supports) -> Sampler:
        return stack.enter_context(closing(open_sampler(recipe.engine, loaded, needs, sizes)))

    return StagePanel(sampler, recipe.verifiers.limits, lambda: None)


def _takes_sampled(recipe: Recipe, phase: Phase, sizes: Sizes) -> bool:
    """Says whose old log-probabilities the learner takes: the local sampler computes with the trainer's own weights."""
    exact = recipe.engine.type == "local" and sizes.dtype == str(torch.float32).removeprefix("torch.")
    sampled = takes_sampled(phase, exact=exact)
    if phase.problems_per_update < phase.problems_per_iteration:
        whose = "the sampler's" if sampled else "the trainer's, from a pass of its own"
        progress.say(f"rl-{phase.name}: old log-probabilities after the first update of an iteration are {whose}")
    return sampled
