"""Published sizes of models, held against transformers' own model of that configuration."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen3Config

from openklear.planner.published import PUBLISHED, published_shape


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_those_of_the_model_that_the_configuration_makes(name: str) -> None:
    config = {key: value for key, value in PUBLISHED[name].items() if value is not None}
    small = config.pop("model_type") == "llama"
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config((LlamaConfig if small else Qwen3Config)(**config))
    shape = published_shape(name)
    assert shape is not None
    assert shape.parameters == sum(one.numel() for one in model.parameters())
    assert shape.parameters == (134_515_008 if small else 8_190_735_360)
    assert (shape.inner_matrices, shape.query_norms, shape.tied) == (3, not small, small)
    assert (shape.query, shape.key, shape.layers, shape.inner) == (
        (576, 192, 30, 1536) if small else (4096, 1024, 36, 12_288)
    )


def test_other_models_are_not_known() -> None:
    assert published_shape("Qwen/Qwen3-8B-base") is None
