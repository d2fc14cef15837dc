"""An architecture that the slot cache cannot serve is refused before anything is sampled or trained."""

import pytest
import torch
import transformers
from tests.models.architectures import ARCHITECTURES, make

from openklear.errors import ModelError
from openklear.models.loading import LoadedModel
from openklear.models.tiny import make_tokenizer
from openklear.recipe.schema import LocalEngine
from openklear.rollout.open import open_sampler

REFUSED = {"gemma2", "gemma3", "olmo3", "cohere"}
"""Windows of attention, and logits changed after the head."""


def other(kind, **settings):
    tokenizer = make_tokenizer()
    config = getattr(transformers, f"{kind}Config")(vocab_size=len(tokenizer), **settings)
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0 if parameter.ndim > 1 else 1.0)
    return LoadedModel(model, tokenizer, frozenset({1}))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_known_architecture(name):
    if name in REFUSED:
        with pytest.raises(ModelError, match="does not support"):
            open_sampler(LocalEngine(), make(name))
    else:
        open_sampler(LocalEngine(), make(name))


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("Bloom", {"hidden_size": 32, "n_layer": 2, "n_head": 4}),
        ("Mamba", {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}),
        ("Rwkv", {"hidden_size": 32, "num_hidden_layers": 2, "attention_hidden_size": 32}),
        ("Falcon", {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "alibi": True}),
        ("Bert", {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 32}),
        ("GPTNeo", {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]], "window_size": 64}),
    ],
)  # fmt: skip
def test_states_alibi_windows_and_encoders_are_refused(kind, settings):
    with pytest.raises(ModelError, match=r"(local engine|logits).*[Uu]se a"):
        open_sampler(LocalEngine(), other(kind, **settings))


def test_a_bias_by_distance_that_allows_for_more_columns_is_taken():
    open_sampler(LocalEngine(), other("Mpt", d_model=32, n_layers=2, n_heads=4))


def test_weights_that_overflow_are_refused():
    loaded = make("llama")
    with torch.no_grad():
        loaded.model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(ModelError, match="not finite"):
        open_sampler(LocalEngine(), loaded)
