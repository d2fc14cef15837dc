"""What a score depends on, gathered into evaluation.json: two scores are told apart by what differs here."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
import transformers

from openklear import __version__
from openklear.evaluation.stored import FORMAT
from openklear.models.loading import LoadedModel
from openklear.models.numerics import device
from openklear.recipe.schema import Recipe
from openklear.verifiers.tasks import GRADER_VERSION

PACE = ("slots", "cache_tokens", "cache_gb", "python", "timeout", "api_key_env")
"""Keys of an engine that change no score."""


def provenance(
    recipe: Recipe, loaded: LoadedModel | None, model: Mapping[str, Any], benchmarks: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """The document of evaluation.json. `model`: what names it; `benchmarks`: by name, how each was asked."""
    evaluation, verifiers = recipe.evaluation, recipe.verifiers.model_dump(mode="json")
    engine = {key: value for key, value in recipe.engine.model_dump(mode="json").items() if key not in PACE}
    return {
        "format": FORMAT,
        "model": {**model, **_facts(loaded)},
        "sampling": {key: getattr(evaluation, key) for key in ("temperature", "top_p", "top_k", "min_p")},
        "seed": recipe.seed_of("evaluation"),
        "engine": engine,
        "verifiers": {key: value for key, value in verifiers.items() if key not in ("workers", "minimum_isolation")},
        "grader": GRADER_VERSION,
        "benchmarks": [{"name": name, **asked} for name, asked in benchmarks.items()],
        "versions": {"openklear": __version__, "torch": torch.__version__, "transformers": transformers.__version__},
    }


def _facts(loaded: LoadedModel | None) -> dict[str, Any]:
    """Of a model that was loaded here: its type, where it computed, and its chat template's hash."""
    if loaded is None:
        return {}
    template = str(loaded.tokenizer.chat_template or "")
    return {
        "dtype": str(loaded.model.dtype).removeprefix("torch."),
        "device": str(device()),
        "positions": loaded.longest.sampled,
        "chat_template": hashlib.blake2b(template.encode(), digest_size=8).hexdigest(),
    }


def of_engine(sampler: Any) -> dict[str, str]:
    """What an open sampler says of itself, for `engine`: the version of an engine in an environment of its own."""
    version = getattr(sampler, "engine_version", None)
    return {} if version is None else {"version": str(version)}
