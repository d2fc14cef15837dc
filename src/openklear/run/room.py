"""A run that cannot fit the memory of this machine is refused before anything is made."""

from __future__ import annotations

from importlib.util import find_spec

from openklear import progress
from openklear.errors import DataError, ModelError, UsageError
from openklear.planner.amounts import Amounts
from openklear.planner.fit import fits
from openklear.planner.machines import Machine, machine_named
from openklear.planner.plan import make_plan
from openklear.recipe.schema import Recipe
from openklear.run.amounts import amounts_of, looked_at
from openklear.run.model_facts import TokenCounter, facts_or_fetch

ANYWAY = "--anyway runs it all the same"


def require_room(recipe: Recipe, *, anyway: bool = False) -> None:
    """UsageError with the nearest change that fits; with `anyway` it is only said.

    A recipe without a model, or with one that is not known yet, is let through: what is wrong with it the run says.
    Rows are looked at only where the longest that the recipe allows would not fit.
    """
    if recipe.model is None:
        return
    try:
        shape = facts_or_fetch(recipe).shape
        machine = _machine(recipe)
        if fits(recipe, shape, machine, Amounts()):
            return
        amounts = amounts_of(recipe, looked_at(recipe, TokenCounter.of(recipe)))
    except (ModelError, DataError):
        return
    plan = make_plan(recipe, shape, machine, amounts)
    if plan.fits:
        return
    said = "\n".join([*plan.verdict(), f"  openklear plan shows what takes it; {ANYWAY}"])
    if not anyway:
        raise UsageError(said)
    progress.say(said)


def _machine(recipe: Recipe) -> Machine:
    """What one process computes on: here, or where the trainers of a cluster are."""
    cluster = recipe.cluster
    if cluster is None or not cluster.elsewhere or find_spec("ray") is None:  # what is missing the run says
        return machine_named(recipe.device, "device =")
    from openklear.cluster.crew import computing_there

    return computing_there(cluster.address, recipe.device, recipe.threads).machine
