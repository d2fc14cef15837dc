"""Rewrites a saved model directory so that other readers take it: older transformers, vLLM, llama.cpp's converter.

The installed transformers 5 spells some settings in a way that transformers 4 does not know and passes over in silence,
with other logits as the result (rope_parameters, for one). Both spellings are written, and the new one stays what the
installed library reads. Files get mode 0644: the safetensors writer leaves them to their owner alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import AutoConfig

__all__ = ["spell_for_readers"]

Table = dict[str, Any]

READABLE_FILE, READABLE_DIRECTORY = 0o644, 0o755
ANY_READER = "PreTrainedTokenizerFast"
"""The class that takes tokenizer.json as it is, in every version of transformers."""
SAME_EVERYWHERE = (ANY_READER, "GPT2Tokenizer", "Qwen2Tokenizer")
"""Classes that make the same tokens of the same tokenizer.json in transformers 4 and 5; others add tokens of theirs."""


def spell_for_readers(directory: Path) -> None:
    """Rewrite config.json and tokenizer_config.json in both spellings, and let everybody read the files."""
    _rewrite_config(directory)
    if (directory / "tokenizer.json").is_file():
        _rewrite(directory / "tokenizer_config.json", _tokenizer_settings)
    for path in directory.iterdir():
        path.chmod(READABLE_DIRECTORY if path.is_dir() else READABLE_FILE)
    directory.chmod(READABLE_DIRECTORY)


def _rewrite_config(directory: Path) -> None:
    """Where the installed library would read the older spelling as something else, config.json stays as it was."""
    path = directory / "config.json"
    before, saved = _read_back(directory), path.read_bytes()
    _rewrite(path, _model_settings)
    if _read_back(directory) != before:
        path.write_bytes(saved)


def _read_back(directory: Path) -> Any:
    """The rope settings that the installed library takes from the directory."""
    read: Any = AutoConfig.from_pretrained
    return getattr(read(directory, local_files_only=True).get_text_config(), "rope_parameters", None)


def _rewrite(path: Path, change: Any) -> None:
    table = change(json.loads(path.read_text(encoding="utf-8")))
    text = json.dumps(table, indent=2, sort_keys=True, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def _model_settings(table: Table) -> Table:
    found = {key: value for key, value in table.items() if key != "auto_map"}  # the code it names is not saved
    for key, value in found.items():
        if isinstance(value, dict) and "model_type" in value:  # a configuration in the configuration
            found[key] = _model_settings(value)
    model_type, rope = str(found.get("model_type", "")), found.get("rope_parameters")
    if "dtype" in found:
        found["torch_dtype"] = found["dtype"]
    if model_type == "qwen3_moe" and "num_local_experts" in found:
        found["num_experts"] = found["num_local_experts"]
    if isinstance(rope, dict) and rope:
        found |= _older_rope(rope, model_type)
    return found


def _older_rope(rope: Mapping[str, Any], model_type: str) -> Table:
    """rope_theta, rope_scaling and what else transformers 4 calls the settings of rotary embeddings."""
    if not isinstance(rope.get("full_attention"), dict):
        return _older_flat(rope, model_type)
    found = _older_flat(rope["full_attention"], model_type)
    if isinstance(local := rope.get("sliding_attention"), dict):
        found["rope_local_base_freq"] = local.get("rope_theta")
        if model_type.startswith("modernbert"):
            found |= {"global_rope_theta": found.get("rope_theta"), "local_rope_theta": local.get("rope_theta")}
    return found


def _older_flat(rope: Mapping[str, Any], model_type: str) -> Table:
    theta, partial = rope.get("rope_theta"), rope.get("partial_rotary_factor")
    found: Table = {}
    if theta is not None:
        found["rope_theta"] = theta
    if partial is not None:
        found["partial_rotary_factor"] = partial
    if model_type.startswith("gpt_neox"):
        found |= {"rotary_emb_base": theta, "rotary_pct": 1.0 if partial is None else partial}
    if rope.get("rope_type", "default") != "default":
        found["rope_scaling"] = {
            key: value for key, value in rope.items() if key not in ("rope_theta", "partial_rotary_factor")
        }
    return found


def _tokenizer_settings(table: Table) -> Table:
    found = {key: value for key, value in table.items() if key != "auto_map"}
    if found.get("tokenizer_class") not in SAME_EVERYWHERE:
        found["tokenizer_class"] = ANY_READER
    extra = found.get("extra_special_tokens")
    if isinstance(extra, list):  # transformers 4 knows the list by its other name, and fails on this one
        found["additional_special_tokens"] = found.pop("extra_special_tokens")
    return found
