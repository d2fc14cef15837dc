"""A model with its tokenizer, from a directory in the Hugging Face layout and back.

Whatever is wrong with a directory is reported before training starts: missing weights would otherwise be drawn
at random, and a missing end token would let every completion run to its limit.
"""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoModelForCausalLM, GenerationConfig, GgufConfig
from transformers.utils import logging

from openklear.errors import ModelError
from openklear.models.accepted import refuse_directory, refuse_weights, settle_tying
from openklear.models.chat.arguments import Value
from openklear.models.limits import Longest, longest
from openklear.models.lora import ADAPTER_CONFIG, merged
from openklear.models.numerics import device, weights_type
from openklear.models.spelling import spell_for_readers
from openklear.models.tokenizer import end_ids, first_line, load_tokenizer
from openklear.models.vocabulary import remember_tokenizer

__all__ = ["LoadedModel", "load_model", "save_model"]

_TOKENIZER_FILES = ("tokenizer.json", "*.model", "vocab.*", "*.tiktoken", "tekken.json")
_GGUF_PACKAGES = ("gguf", "accelerate")
"""What transformers wants for GGUF files and does not install itself."""


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A causal language model with its tokenizer and every token that ends a completion."""

    model: Any
    """A transformers causal language model in evaluation mode, so that no dropout ever applies."""
    tokenizer: Any
    """A transformers tokenizer with a chat template."""
    end_ids: frozenset[int]

    @property
    def longest(self) -> Longest:
        """How many tokens a row may have."""
        return longest(self.model.config)


def load_model(
    directory: Path | str,
    *,
    dtype: str = "float32",
    gguf_file: str | None = None,
    chat_template: Path | str | None = None,
    template_args: Mapping[str, Value] | None = None,
) -> LoadedModel:
    """Load weights (as `dtype`, where `numerics` says) and tokenizer; nothing is fetched from a network.

    `dtype` is float32, bfloat16 or auto (`numerics.weights_type`). `gguf_file` names a GGUF file inside the directory,
    dequantised here. `chat_template` is a Jinja file that replaces the tokenizer's; `template_args` become part of it.
    Raises ModelError where the directory, its configuration,
    tokenizer or chat template, one of the weights, or an end token is missing or damaged, or the template cannot be
    trained with.
    """
    directory = Path(directory)
    _require_files(directory, gguf_file)
    if gguf_file is None:
        refuse_directory(directory)
    template = None if chat_template is None else Path(chat_template)
    tokenizer = load_tokenizer(directory, gguf_file, template, template_args or {})
    model = _load_weights(directory, weights_type(dtype), gguf_file)
    rows = model.get_input_embeddings().weight.shape[0]
    if (largest := max(tokenizer.get_vocab().values())) >= rows:
        raise ModelError(
            f"{directory}: the tokenizer has tokens up to id {largest}, but the model has {rows} embeddings: "
            "they do not belong together. Copy the tokenizer files of this very model."
        )
    return with_tokenizer(model.to(device()), tokenizer, directory)


def with_tokenizer(model: Any, tokenizer: Any, directory: Path) -> LoadedModel:
    """The two together, with every end token that either names; ModelError where there is none."""
    said = (
        getattr(model.generation_config, "eos_token_id", None),
        getattr(model.config.get_text_config(), "eos_token_id", None),
    )
    remember_tokenizer(model, tokenizer)
    return LoadedModel(model.eval(), tokenizer, end_ids(tokenizer, said, directory))


def save_model(
    loaded: LoadedModel, directory: Path | str, *, weights: Mapping[str, torch.Tensor] | None = None
) -> None:
    """Write the Hugging Face layout: weights (tied ones once), configurations, tokenizer, chat template.

    `weights`: those of a model whose own lie in parts elsewhere, by their names in it.

    The generation configuration names every end token, so plain transformers and vLLM stop where OpenKlear does. The
    same model gives the same bytes. Adapters are merged: what is saved is a whole, plain model. The caller makes the
    directory whole (`durable.files.whole_directory`).
    """
    model = loaded.model
    model.generation_config = _generation_config(loaded)
    with _quiet():
        with merged(model):
            model.save_pretrained(directory, state_dict=None if weights is None else _once(model, weights))
        loaded.tokenizer.save_pretrained(directory)
    spell_for_readers(Path(directory))


def _once(model: Any, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Without the head where it is the embeddings: gathered from parts, the two are equal and no longer one."""
    own = {name for name, _ in model.named_parameters()} | {name for name, _ in model.named_buffers()}
    return {name: tensor for name, tensor in weights.items() if name in own}


def weights_hash(directory: Path | str) -> str:
    """Hash (blake2b, 32 hex digits) of all tensors in the directory's safetensors files: names, types, shapes, bytes.

    It does not depend on how the tensors are spread over files. ModelError: there is none, or one is damaged.
    """
    digest = hashlib.blake2b(digest_size=16)
    files = sorted(Path(directory).glob("*.safetensors"))
    if not files:
        raise ModelError(f"{directory}: no *.safetensors file to hash. Save the model again.")
    places: list[tuple[str, Path]] = []
    for file in files:
        with _opened(file) as tensors:
            places.extend((name, file) for name in tensors.keys())  # noqa: SIM118  it is no mapping
    for name, file in sorted(places):
        with _opened(file) as tensors:
            kind, tensor = tensors.get_slice(name).get_dtype(), tensors.get_tensor(name)
            digest.update(json.dumps([name, [kind, list(tensor.shape), tensor.nbytes]]).encode())
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    try:
        with safe_open(file, framework="pt") as tensors:
            yield tensors
    except SafetensorError as error:
        raise ModelError(f"{file}: not a safetensors file, or a damaged one ({error}). Copy it again.") from error


def _require_files(directory: Path, gguf_file: str | None) -> None:
    if not directory.is_dir():
        raise ModelError(f"{directory}: no such model directory. Put a model there, or correct model.path.")
    if gguf_file is not None:
        if not (directory / gguf_file).is_file():
            raise ModelError(f"{directory}: no file {gguf_file} in it. Correct model.gguf_file.")
        if missing := [name for name in _GGUF_PACKAGES if importlib.util.find_spec(name) is None]:
            raise ModelError(f"{directory}: reading {gguf_file} needs more packages: pip install {' '.join(missing)}.")
        return
    if not (directory / "config.json").is_file():
        if (directory / ADAPTER_CONFIG).is_file():
            raise ModelError(
                f"{directory}: holds adapters alone ({ADAPTER_CONFIG}), which are no model. Name the model/ of the "
                "stage that trained them, where they are merged, or merge them first (peft: merge_and_unload)."
            )
        raise ModelError(
            f"{directory}: no config.json, so this is not a model in the Hugging Face layout. Correct model.path, or "
            "name a GGUF file as model.gguf_file."
        )
    # Without any of these files the library would make an empty tokenizer of the architecture's kind.
    if not any(any(directory.glob(pattern)) for pattern in _TOKENIZER_FILES):
        raise ModelError(
            f"{directory}: no tokenizer.json (or another vocabulary). Copy the model's tokenizer files there."
        )


def _load_weights(directory: Path, dtype: str, gguf_file: str | None) -> Any:
    load: Any = AutoModelForCausalLM.from_pretrained
    unpacked = {"gguf_file": gguf_file, "quantization_config": GgufConfig(dequantize=True)}
    extra = {} if gguf_file is None else unpacked
    try:
        with _quiet():
            model, info = load(
                directory,
                dtype=getattr(torch, dtype),
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                **extra,
            )
    except Exception as error:  # trust boundary: configurations and files of others, read by the library's many readers
        line = first_line(error)
        if "ignore_mismatched_sizes" in line:
            line = "tensors in the files have other shapes than config.json says"
        raise ModelError(
            f"{directory}: the model cannot be loaded ({line}). "
            "Copy the directory again, or use a model that this version of transformers knows."
        ) from error
    refuse_weights(directory, model, info)
    settle_tying(directory, model)
    if gguf_file is not None:
        _forget_quantisation(model)
    return model


def _forget_quantisation(model: Any) -> None:
    """The weights are dense now; with these attributes the library would refuse to save them."""
    for owner, name in ((model, "hf_quantizer"), (model.config, "quantization_config")):
        if hasattr(owner, name):
            delattr(owner, name)
    model.is_quantized = False


def _generation_config(loaded: LoadedModel) -> GenerationConfig:
    """The model's own generation configuration with every end token; without its other keys if they contradict."""
    own: GenerationConfig = copy.deepcopy(loaded.model.generation_config)
    own._from_model_config = False  # else the library may derive it anew from config.json, which has one end token
    own.eos_token_id = sorted(loaded.end_ids)
    own.pad_token_id = loaded.tokenizer.pad_token_id if own.pad_token_id is None else own.pad_token_id
    try:
        own.validate(strict=True)
    except ValueError:  # published models carry such ones (a temperature without sampling), and saving would fail
        make: Any = GenerationConfig
        own = make(bos_token_id=own.bos_token_id, eos_token_id=own.eos_token_id, pad_token_id=own.pad_token_id)
    return own


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's progress bars (`progress` draws ours) and its reports of what `refuse_weights` says."""
    library: Any = logging
    shown, level = library.is_progress_bar_enabled(), library.get_verbosity()
    library.disable_progress_bar()
    library.set_verbosity_error()
    try:
        yield
    finally:
        library.set_verbosity(level)
        if shown:
            library.enable_progress_bar()
