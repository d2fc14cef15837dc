"""Small random models of many architectures, as transformers makes them."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM

from openklear.models.loading import LoadedModel
from openklear.models.tiny import make_tokenizer

COMMON = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "tie_word_embeddings": False,
}
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4}
DEFAULT = {"rope_type": "default", "rope_theta": 5e5}
YARN = {"rope_type": "yarn", "rope_theta": 3e4, "factor": 4.0, "original_max_position_embeddings": 32}
LINEAR = {"rope_type": "linear", "rope_theta": 2e4, "factor": 2.0}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 5e5,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
BY_LAYER = {
    "full_attention": {"rope_type": "linear", "rope_theta": 7e5, "factor": 4.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 3e3},
}

ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen3": ("Qwen3", {"rope_parameters": {**DEFAULT, "rope_theta": 1e6}, "head_dim": 8}),
    "qwen3 tied": ("Qwen3", {"tie_word_embeddings": True, "head_dim": 8}),
    "qwen3 yarn": ("Qwen3", {"rope_parameters": YARN, "head_dim": 8}),
    "qwen2": ("Qwen2", {"rope_parameters": DEFAULT}),
    "llama": ("Llama", {"rope_parameters": DEFAULT}),
    "llama3 rope": ("Llama", {"rope_parameters": LLAMA3}),
    "llama linear": ("Llama", {"rope_parameters": LINEAR}),
    "mistral": ("Mistral", {"rope_parameters": DEFAULT, "sliding_window": None}),
    "mixtral": ("Mixtral", {"rope_parameters": DEFAULT, "num_local_experts": 4, "sliding_window": None}),
    "qwen3 moe": ("Qwen3Moe", {"rope_parameters": DEFAULT, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "head_dim": 8}),
    "gemma": ("Gemma", {"rope_parameters": DEFAULT, "head_dim": 8}),
    "gemma2": ("Gemma2", {"rope_parameters": DEFAULT, "head_dim": 8}),
    "gemma3": ("Gemma3Text", {"rope_parameters": BY_LAYER, "head_dim": 8}),
    "phi": ("Phi", {"rope_parameters": {**DEFAULT, "partial_rotary_factor": 0.5}}),
    "phi3": ("Phi3", {"rope_parameters": DEFAULT, "pad_token_id": 0}),
    "gpt2": ("GPT2", {**GPT, "n_positions": 128}),
    "gpt neox": ("GPTNeoX", {"rope_parameters": {**DEFAULT, "partial_rotary_factor": 0.5}}),
    "gptj": ("GPTJ", {**GPT, "n_positions": 128, "rotary_dim": 4}),
    "olmo2": ("Olmo2", {"rope_parameters": DEFAULT}),
    "olmo3": ("Olmo3", {"rope_parameters": {"full_attention": YARN, "sliding_attention": {"rope_type": "default", "rope_theta": 3e4}}}),
    "smollm3": ("SmolLM3", {"rope_parameters": DEFAULT}),
    "granite": ("Granite", {"rope_parameters": DEFAULT}),
    "cohere": ("Cohere", {"rope_parameters": DEFAULT}),
    "starcoder2": ("Starcoder2", {"rope_parameters": DEFAULT}),
    "stablelm": ("StableLm", {"rope_parameters": {**DEFAULT, "partial_rotary_factor": 0.5}}),
    "glm": ("Glm", {"rope_parameters": {**DEFAULT, "partial_rotary_factor": 0.5}, "head_dim": 8, "pad_token_id": 0}),
    "ernie 4.5": ("Ernie4_5", {"rope_parameters": DEFAULT}),
    "seed oss": ("SeedOss", {"rope_parameters": DEFAULT, "head_dim": 8}),
    "opt": ("OPT", {"ffn_dim": 64, "word_embed_proj_dim": 32}),
}  # fmt: skip


def make(name: str, **changes: Any) -> LoadedModel:
    """The architecture with the demo's tokenizer; weights large enough for mistakes to show."""
    kind, own = ARCHITECTURES[name]
    tokenizer = make_tokenizer()
    end = int(tokenizer.eos_token_id)
    ids = {"bos_token_id": None, "eos_token_id": end, "pad_token_id": tokenizer.pad_token_id}
    common = {} if "n_embd" in own else COMMON
    settings = {"vocab_size": len(tokenizer), **ids, **common, **own, **changes}
    config = getattr(transformers, f"{kind}Config")(**settings)
    torch.manual_seed(0)
    make_model: Any = AutoModelForCausalLM
    model = make_model.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0 if parameter.ndim > 1 else 1.0)
    return LoadedModel(model, tokenizer, frozenset({end}))
