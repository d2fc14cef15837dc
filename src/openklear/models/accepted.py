"""Which model directories are taken: what would be computed wrongly, or as something else, is refused by name.

`refuse_directory` looks at the files before any weight is read, `refuse_weights` at what the library made of them. Both
raise ModelError, which says what is wrong and what to do. Whether an architecture can be sampled from is found out by
trying (`openklear.rollout.probe`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import CONFIG_MAPPING, AutoConfig

from openklear import progress
from openklear.errors import ModelError
from openklear.models.lora import ADAPTER_CONFIG, ADAPTER_WEIGHTS

__all__ = ["refuse_directory", "refuse_weights", "settle_tying"]

HARMLESS = re.compile(r"(rotary_emb\.inv_freq|\.(attn|attention)\.(masked_)?bias|position_ids)$|^(model\.)?mtp\b")
"""Tensors that a file may hold and the model does without: buffers that are computed, and heads that look further ahead
than the next token."""
PACKED = ("I8", "U8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F4", "F6_E2M3", "F6_E3M2")
"""Types of quantised weights; the library would read them as if they were the weights."""
OTHER_SENSES = re.compile(r"^(vision|audio|image|speech|video|vq|codec)_\w*config$|^(vision|audio)_tower$")
SHOWN = 3


def refuse_directory(directory: Path) -> None:
    """ModelError for an adapter, remote code, quantised weights, or a model that is more than a decoder of text."""
    config = _config(directory)
    if any((directory / name).is_file() for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS)):
        raise ModelError(
            f"{directory}: an adapter (adapter_config.json) lies beside the model, and would be left out. Merge it "
            "into the weights first (peft: merge_and_unload, then save_pretrained), or move it away."
        )
    if _needs_remote_code(config):
        raise ModelError(
            f"{directory}: the model {config.get('model_type', '')!r} is code of its own (auto_map in config.json), "
            "which is never run here. Use a model that this version of transformers knows by itself."
        )
    if (packed := _quantised(directory, config)) is not None:
        raise ModelError(
            f"{directory}: the weights are quantised ({packed}), and only plain ones are trained. Use the model's "
            "float32 or bfloat16 edition, or dequantise it first (transformers: model.dequantize(), save_pretrained)."
        )
    if config.get("is_encoder_decoder"):
        raise ModelError(
            f"{directory}: an encoder with a decoder ({config.get('model_type')}) is not a model that continues text. "
            "Use a decoder, such as a Qwen3 or Llama model."
        )
    if other := [key for key, value in config.items() if OTHER_SENSES.match(key) and value]:
        raise ModelError(
            f"{directory}: the model also takes pictures or sound ({', '.join(other[:SHOWN])}), and only text is "
            "trained here. Use a model of text alone."
        )
    _refuse_unreadable(directory)


def refuse_weights(directory: Path, model: Any, info: Mapping[str, Any]) -> None:
    """ModelError where tensors are missing, left over, or not finite."""
    if missing := sorted(info["missing_keys"]):
        tied = missing == ["lm_head.weight"]
        more = (
            'If its embeddings are tied, write "tie_word_embeddings": true in config.json; else copy'
            if tied
            else "Copy"
        )
        raise ModelError(
            f"{directory}: the files lack {len(missing)} of the model's tensors ({_some(missing)}), which would be "
            f"random numbers. {more} the directory again."
        )
    if unused := sorted(name for name in info["unexpected_keys"] if not HARMLESS.search(name)):
        raise ModelError(
            f"{directory}: config.json has no place for {len(unused)} of the files' tensors ({_some(unused)}): "
            "this is another model than its configuration says, with fewer layers perhaps. Copy the config.json that "
            "belongs to the weights, or remove those tensors."
        )
    if broken := [name for name, tensor in _tensors(model) if not _finite(tensor)]:
        raise ModelError(
            f"{directory}: {len(broken)} of the model's tensors hold numbers that are not finite ({_some(broken)}). "
            "Copy the directory again; if it was trained, go back to an earlier checkpoint."
        )


def settle_tying(directory: Path, model: Any) -> None:
    """Make the configuration say what the weights are: readers of a saved model go by it."""
    head, embeddings = model.get_output_embeddings(), model.get_input_embeddings()
    if head is None or embeddings is None:
        return
    tied = head.weight is embeddings.weight
    for config in {id(one): one for one in (model.config, model.config.get_text_config())}.values():
        if bool(getattr(config, "tie_word_embeddings", tied)) is tied:
            continue
        if not tied:
            progress.say_once(
                f"{directory}: config.json says that embeddings and head are one matrix, but the files hold two "
                "different ones: they are kept apart, and a saved model says so"
            )
        config.tie_word_embeddings = tied


def _config(directory: Path) -> dict[str, Any]:
    path = directory / "config.json"
    try:
        table = json.loads(path.read_bytes())
    except ValueError as error:
        raise ModelError(f"{path}: not valid JSON ({error}). Copy it again.") from error
    if not isinstance(table, dict):
        raise ModelError(f"{path}: a JSON object was expected, not {type(table).__name__}. Copy it again.")
    return table


def _refuse_unreadable(directory: Path) -> None:
    read: Any = AutoConfig.from_pretrained
    try:
        read(directory, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # trust boundary: the library checks every architecture's settings in its own way
        said = " ".join(line.strip() for line in str(error).strip().splitlines()[:2]) or type(error).__name__
        raise ModelError(
            f"{directory}: the model cannot be loaded: transformers does not take its config.json ({said}). Copy the "
            "directory again, or use a model that this version of transformers knows."
        ) from error


def _needs_remote_code(config: Mapping[str, Any]) -> bool:
    """A model type that the library knows is computed by the library, whatever code lies beside it."""
    return bool(config.get("auto_map")) and config.get("model_type") not in CONFIG_MAPPING


def _quantised(directory: Path, config: Mapping[str, Any]) -> str | None:
    """How the weights are quantised, in a word; None where they are plain."""
    for holder in (config, config.get("text_config")):
        said = holder.get("quantization_config") if isinstance(holder, Mapping) else None
        if said:
            return str(said.get("quant_method", "quantization_config")) if isinstance(said, Mapping) else str(said)
    for name in ("hf_quant_config.json", "quantize_config.json", "quant_config.json"):
        if (directory / name).is_file():
            return name
    for name, kind in _kinds(directory):
        if kind in PACKED and name.endswith(("weight", "weight_packed", "qweight", "blocks")):
            return f"{name} is of type {kind}"
    return None


def _kinds(directory: Path) -> Iterator[tuple[str, str]]:
    """Name and type of every tensor, from the files' heads; a damaged file is found when it is loaded."""
    for file in sorted(directory.glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118  it is no mapping
                    yield name, str(tensors.get_slice(name).get_dtype())
        except (SafetensorError, OSError):
            continue


def _tensors(model: nn.Module) -> Iterator[tuple[str, Any]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


def _finite(tensor: Any) -> bool:
    """Least and largest are finite; one that is not a number makes both so."""
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    low, high = tensor.detach().aminmax()
    return bool(low.isfinite() & high.isfinite())


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + ("..." if len(names) > SHOWN else "")
