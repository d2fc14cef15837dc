"""Adapters of low rank in a model (LoRA, Hu et al. 2021, arXiv 2106.09685), put in place by peft.

The model stays the object and the class that it was: `add_adapters` swaps linear layers for peft's, inside it. All else
sees a model as before, in which only the adapters require a gradient. Where a model without adapters is needed (to be
saved, sampled from, published), `merged` makes it one for a while: each adapted layer is a plain one meanwhile, whose
weight is W + alpha / rank * B A. Afterwards the frozen weights are the very tensors of before, so that merging leaves
no trace in training.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from openklear.durable.files import write_json
from openklear.errors import ModelError
from openklear.models.dropout import Draws, TokenDropout
from openklear.recipe.optimizers import Lora

__all__ = [
    "ADAPTER_CONFIG",
    "ADAPTER_WEIGHTS",
    "add_adapters",
    "as_sampled",
    "has_adapters",
    "load_adapters",
    "merged",
    "plain_weights",
    "save_adapters",
    "trained_parameters",
]

ADAPTER_WEIGHTS, ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"
"""The files of an adapter, in peft's layout."""
MERGED_UP_TO = 16_000_000
"""Parameters of a model that is sampled from with merged weights. On a CPU, 32 rows, rank 16 in every layer: 1.35 times
as fast at 0.8 M with log-probabilities equal to 2e-6; at 135 M no faster, and equal to 4e-5 only."""
_MARK = "openklear_adapters"
_PREFIX = "base_model.model."
"""What peft writes before every name."""


@dataclass(frozen=True, slots=True, eq=False)
class _Adapted:
    """A layer with adapters, and where it hangs."""

    path: str
    """Its whole name in the model."""
    parent: nn.Module
    name: str
    """Its name in the parent."""
    layer: Any
    """peft's."""

    @torch.no_grad()
    def whole_weight(self) -> Tensor:
        """W + alpha / rank * B A in W's type, summed in fp32 or better."""
        weight, (down, up) = self.layer.base_layer.weight, self.matrices()
        wide = torch.promote_types(weight.dtype, torch.float32)
        change = (up.to(wide) @ down.to(wide)) * self.layer.scaling["default"]
        whole: Tensor = weight.to(wide) + (change.T if self.layer.fan_in_fan_out else change)
        return whole.to(weight.dtype)

    def matrices(self) -> tuple[Tensor, Tensor]:
        """A (rank, in) and B (out, rank)."""
        return self.layer.lora_A["default"].weight, self.layer.lora_B["default"].weight


def add_adapters(model: Any, settings: Lora, seed: int, purpose: str) -> int:
    """Put adapters in the model's linear layers and freeze all else; returns how many layers have some.

    A is uniform in +-1 / sqrt(in), drawn from the seed, the purpose and the layer's name; B is zero, so that nothing is
    changed yet. Adapters have the weights' type. ModelError where a target names no linear layer, or peft is missing.
    """
    names = _chosen(model, settings.targets)
    peft = _peft()
    config = peft.LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=names,
        init_lora_weights=False,
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]), _hushed():  # the library draws weights of its own first
        peft.inject_adapter_in_model(config, model)
    model.eval()
    found = []
    for name in names:
        parent, _, last = name.rpartition(".")
        found.append(_Adapted(name, model.get_submodule(parent), last, model.get_submodule(name)))
        _draw(found[-1], f"{seed}/{purpose}/{name}")
    setattr(model, _MARK, tuple(found))
    if settings.dropout:
        draws = Draws(model, f"{seed}/{purpose}")
        for place in found:
            place.layer.lora_dropout["default"] = TokenDropout(settings.dropout, place.path, draws)
    return len(found)


def has_adapters(model: Any) -> bool:
    """Whether only adapters are trained."""
    return bool(_adapted(model))


def trained_parameters(model: Any) -> int:
    """Numbers that learn."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


@contextmanager
def merged(model: Any) -> Iterator[None]:
    """The model is a plain one meanwhile, of the same function; for a model without adapters nothing is done.

    Takes the memory of the adapted layers' weights once more. Nothing may be trained meanwhile.
    """
    places = _adapted(model)
    if not places or getattr(places[0].parent, places[0].name) is not places[0].layer:  # merged already
        yield
        return
    frozen = [place.layer.base_layer.weight.data for place in places]
    try:
        for place in places:
            place.layer.base_layer.weight.data = place.whole_weight()
            setattr(place.parent, place.name, place.layer.base_layer)
        yield
    finally:
        for place, weight in zip(places, frozen, strict=True):
            place.layer.base_layer.weight.data = weight
            setattr(place.parent, place.name, place.layer)


def as_sampled(model: Any) -> AbstractContextManager[None]:
    """A context in which the model is sampled from: merged where that is faster and log-probabilities stay the same.

    That is small models in fp32. In a narrower type the merged weights would be rounded, and be another policy than the
    one that learns.
    """
    small = model.dtype.itemsize >= 4 and model.num_parameters() <= MERGED_UP_TO
    return merged(model) if small else nullcontext()


def plain_weights(model: Any) -> Iterator[tuple[str, Tensor]]:
    """Name and tensor of a plain model of the same function, one at a time: what other engines are given."""
    whole = {f"{place.path}.weight": place for place in _adapted(model)}
    for name, tensor in model.state_dict().items():
        if ".lora_" in name:
            continue
        plain = name.replace(".base_layer.", ".")
        yield plain, whole[plain].whole_weight() if plain in whole else tensor


def save_adapters(model: Any, directory: Path) -> None:
    """Write the adapters in peft's layout, which its PeftModel.from_pretrained puts on the model they belong to."""
    config = model.peft_config["default"].to_dict()
    table = {key: sorted(value) if isinstance(value, set) else value for key, value in config.items()}
    write_json(directory / ADAPTER_CONFIG, json.loads(json.dumps(table, default=str)) | {"inference_mode": True})
    save_file(_tensors(model), directory / ADAPTER_WEIGHTS, metadata={"format": "pt"})


@torch.no_grad()
def load_adapters(directory: Path, model: Any) -> None:
    """Put saved adapters in place of the model's. ModelError where they are not there, damaged, or of other layers."""
    try:
        saved = load_file(directory / ADAPTER_WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"{directory / ADAPTER_WEIGHTS}: the adapters cannot be read ({error}). Copy them again."
        ) from error
    mine = _tensors(model)
    if {name: t.shape for name, t in saved.items()} != {name: t.shape for name, t in mine.items()}:
        raise ModelError(
            f"{directory / ADAPTER_WEIGHTS}: these adapters are of other layers, or of another rank, than [lora]'s. "
            "Restore the recipe they were trained with, or remove the stage to train it again."
        )
    for name, tensor in mine.items():
        tensor.copy_(saved[name])


def _adapted(model: Any) -> Sequence[_Adapted]:
    found: Sequence[_Adapted] = getattr(model, _MARK, ())
    return found


def _tensors(model: Any) -> dict[str, Tensor]:
    """The adapters by peft's names."""
    found = {}
    for place in _adapted(model):
        for letter, tensor in zip("AB", place.matrices(), strict=True):
            found[f"{_PREFIX}{place.path}.lora_{letter}.weight"] = tensor.detach()
    return found


def _chosen(model: Any, targets: Sequence[str]) -> list[str]:
    """Names of the linear layers that get adapters, in the model's order."""
    from transformers.pytorch_utils import Conv1D  # what GPT-2 has for linear layers

    head = model.get_output_embeddings()
    every = [name for name, module in model.named_modules() if isinstance(module, (nn.Linear, Conv1D))]
    every = [name for name in every if model.get_submodule(name) is not head]
    kinds = ", ".join(dict.fromkeys(name.rpartition(".")[2] for name in every))
    for target in targets:
        if not any(_named(name, [target]) for name in every):
            raise ModelError(
                f'lora.targets: no linear layer of this {type(model).__name__} is called "{target}"; there are {kinds}'
            )
    if not every:
        raise ModelError(f"{type(model).__name__} has no linear layers that [lora] could adapt; remove [lora]")
    return [name for name in every if not targets or _named(name, targets)]


def _named(name: str, targets: Sequence[str]) -> bool:
    return any(name == target or name.endswith(f".{target}") for target in targets)


@torch.no_grad()
def _draw(place: _Adapted, purpose: str) -> None:
    """Drawn here, not by the library, so that another version of it gives the same weights."""
    down, up = place.matrices()
    seed = int.from_bytes(hashlib.blake2b(purpose.encode(), digest_size=8).digest(), "little") >> 1
    bound = 1.0 / math.sqrt(down.shape[1])
    drawn = torch.empty(down.shape).uniform_(-bound, bound, generator=torch.Generator().manual_seed(seed))
    down.copy_(drawn)
    up.zero_()


def _peft() -> Any:
    try:
        with _hushed():
            import peft
    except ImportError as error:
        raise ModelError('[lora] needs the package peft: pip install "openklear[lora]", or remove [lora]') from error
    return peft


@contextmanager
def _hushed() -> Iterator[None]:
    """Without the libraries' warnings of what they lack for other uses."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
