"""A model without its weights: tokenizer, configuration and shapes, for whoever leads others that have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from openklear.models.loading import LoadedModel, with_tokenizer
from openklear.models.numerics import weights_type
from openklear.models.tokenizer import load_tokenizer


def load_outline(directory: Path, *, dtype: str = "float32") -> LoadedModel:
    """Of a directory that a stage of a run left; its tensors lie on torch's "meta" device and hold nothing."""
    tokenizer = load_tokenizer(directory, None, None, {})
    config: Any = AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    make: Any = AutoModelForCausalLM.from_config
    with torch.device("meta"):
        model = make(config, dtype=getattr(torch, weights_type(dtype)))
    return with_tokenizer(model, tokenizer, directory)
