"""Stage `base`: the model that the run starts from, made from scratch or copied into the run's own layout."""

from __future__ import annotations

from pathlib import Path

from openklear import progress
from openklear.durable.files import require_space, whole_directory
from openklear.models.loading import LoadedModel, load_model, save_model
from openklear.models.tiny import make_tiny
from openklear.recipe.lengths import max_positions
from openklear.recipe.schema import Recipe, TinyModel
from openklear.rollout.open import open_sampler
from openklear.run.context import StageContext


def run(context: StageContext) -> None:
    """Leave the recipe's model in directory/model; if it is there, it is whole, and nothing is done."""
    target = context.directory / "model"
    if target.exists():
        return
    loaded = _model_of(context.recipe)
    open_sampler(context.recipe.engine, loaded)  # an architecture that cannot be sampled from is refused here
    _say_limits(context, loaded)
    size = sum(parameter.numel() * parameter.element_size() for parameter in loaded.model.parameters())
    require_space(target, size, "the base model")
    with whole_directory(target) as partial:
        save_model(loaded, partial)


def _say_limits(context: StageContext, loaded: LoadedModel) -> None:
    """The recipe's lengths against the model's positions, before anything is trained."""
    room, wanted = loaded.longest.sampled, max_positions(context.recipe)
    if room is not None and room < wanted:
        why = f" ({loaded.longest.why})" if loaded.longest.computed == room else ""
        progress.say(
            f"{context.name}: the model has {room} positions{why}, and the recipe's rows or prompts with completions "
            f"may have up to {wanted} tokens: sampling is cut off at {room}"
        )


def _model_of(recipe: Recipe) -> LoadedModel:
    model = recipe.model
    assert model is not None, "a recipe without a model has no stage base"
    if isinstance(model, TinyModel):
        return make_tiny(model.hidden_size, model.layers, model.heads, max_positions(recipe), recipe.seed)
    template = None if model.chat_template is None else Path(model.chat_template)
    return load_model(
        Path(model.path),
        dtype=model.dtype,
        gguf_file=model.gguf_file,
        chat_template=template,
        template_args=model.template_args,
    )
