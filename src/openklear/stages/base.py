"""Stage `base`: the model that the run starts from, made from scratch or copied into the run's own layout."""

from __future__ import annotations

from pathlib import Path

from openklear import progress
from openklear.durable.files import read_json, require_space, whole_directory, write_atomic, write_json
from openklear.models.hub import fetch
from openklear.models.loading import LoadedModel, load_model, save_model
from openklear.models.tiny import make_tiny
from openklear.recipe.engine import LocalEngine
from openklear.recipe.hub import HUB
from openklear.recipe.lengths import max_positions
from openklear.recipe.schema import PretrainedModel, TinyModel
from openklear.rollout.open import open_sampler
from openklear.run.context import StageContext


def run(context: StageContext) -> None:
    """Leave the recipe's model in directory/model; if it is there, it is whole, and nothing is done."""
    target = context.directory / "model"
    if target.exists():
        return
    loaded = _model_of(context)
    open_sampler(LocalEngine(), loaded)  # an architecture that cannot be sampled from is refused here
    if context.recipe.dtype == "auto":
        context.tell({"model.dtype": str(loaded.model.dtype).removeprefix("torch.")})
    size = sum(parameter.numel() * parameter.element_size() for parameter in loaded.model.parameters())
    require_space(target, size, "the base model")
    with whole_directory(target) as partial:
        save_model(loaded, partial)


def _model_of(context: StageContext) -> LoadedModel:
    recipe, model = context.recipe, context.recipe.model
    assert model is not None, "a recipe without a model has no stage base"
    if isinstance(model, TinyModel):
        return make_tiny(model.hidden_size, model.layers, model.heads, max_positions(recipe), recipe.seed_of("sft"))
    template = None if model.chat_template is None else Path(model.chat_template)
    return load_model(
        _fetched(context, model) if model.path.startswith(HUB) else Path(model.path),
        dtype=model.dtype,
        gguf_file=model.gguf_file,
        chat_template=template,
        template_args=model.template_args,
    )


def _fetched(context: StageContext, model: PretrainedModel) -> Path:
    """The hub's model at the commit that manifest.json names, where an earlier attempt of this run wrote one there."""
    path = context.root / "manifest.json"
    facts = read_json(path) if path.is_file() else {}
    pinned = facts.get("models", {})
    directory, commit = fetch(model.path, commit=pinned.get(model.path), gguf_file=model.gguf_file)
    write_json(path, {**facts, "models": {**pinned, model.path: commit}})
    card = directory / "README.md"
    if card.is_file():  # for the licence that it states, in the cards of the models trained from this one
        write_atomic(context.directory / "base-model.txt", card.read_text(encoding="utf-8", errors="replace"))
    progress.say(f"{context.name}: {model.path} at commit {commit}")
    return directory
