"""Published sizes of models, held against transformers' own model of that configuration."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen3Config

from openklear.planner.published import PUBLISHED, published_shape

QWEN3_8B = (8_190_735_360, 4096, 1024, 36, 12_288, False)
SIZES = {
    "Qwen/Qwen3-8B-Base": QWEN3_8B,
    "Qwen/Qwen3-8B": QWEN3_8B,
    "Kwai-Klear/Klear-Reasoner-8B-SFT": QWEN3_8B,
    "Qwen/Qwen3-1.7B-Base": (1_720_574_976, 2048, 1024, 28, 6144, True),
    "HuggingFaceTB/SmolLM2-135M-Instruct": (134_515_008, 576, 192, 30, 1536, True),
}
"""Parameters, widths of queries and keys, layers, inner width, whether the head is the embedding."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_those_of_the_model_that_the_configuration_makes(name: str) -> None:
    config = {key: value for key, value in PUBLISHED[name].items() if value is not None}
    llama = config.pop("model_type") == "llama"
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config((LlamaConfig if llama else Qwen3Config)(**config))
    shape = published_shape(name)
    assert shape is not None
    assert shape.parameters == sum(one.numel() for one in model.parameters())
    assert (shape.inner_matrices, shape.query_norms) == (3, not llama)
    found = (shape.parameters, shape.query, shape.key, shape.layers, shape.inner, shape.tied)
    assert found == SIZES[name]


def test_other_models_are_not_known() -> None:
    assert published_shape("Qwen/Qwen3-8B-base") is None
