"""Optimizers by the recipe's name, learning rates as functions of the step, and the clipping of gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from openklear.errors import NonFinite
from openklear.recipe.optimizers import AdamW, AdamW8bit, Muon
from openklear.training.eight_bits import adamw8bit, plain, quantised, step
from openklear.training.muon import BatchedMuon

ADAM_BETAS = (0.9, 0.95)
"""Of the AdamW part beside Muon."""


class Optimizer:
    """One or two torch optimizers that share a learning rate, each with its own ratio to it.

    Weights narrower than fp32 get fp32 masters here: an update of 1e-6 would vanish in bf16's 8 bits. The masters are
    taken when the optimizer is built and are part of its state, so load weights before building, or load both.
    """

    def __init__(self, parts: Sequence[tuple[torch.optim.Optimizer, float]], masters: Sequence[tuple[Tensor, Tensor]]):
        """`parts`: optimizers and the ratio of their learning rate; `masters`: (parameter, its fp32 master)."""
        self._parts = list(parts)
        self._masters = list(masters)

    def kinds(self) -> list[torch.optim.Optimizer]:
        """The torch optimizers that it is made of."""
        return [part for part, _ in self._parts]

    def set_learning_rate(self, learning_rate: float) -> None:
        """Of the next steps; a part with a ratio gets ratio * learning_rate."""
        for part, ratio in self._parts:
            for group in part.param_groups:
                if isinstance(group["lr"], Tensor):  # of an optimizer that is compiled
                    group["lr"].fill_(learning_rate * ratio)
                else:
                    group["lr"] = learning_rate * ratio

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient; without any (after `zero_grad`) nothing changes, decay included."""
        for parameter, master in self._masters:
            master.grad = None if parameter.grad is None else parameter.grad.float()
        for part, _ in self._parts:
            step(part)
        for parameter, master in self._masters:
            parameter.copy_(master)
            master.grad = None

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for part, _ in self._parts:
            part.zero_grad(set_to_none=True)
        for parameter, _ in self._masters:
            parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values only: `torch.load(weights_only=True)` reads it back."""
        return {
            "parts": [plain(part.state_dict()) for part, _ in self._parts],
            "masters": [master for _, master in self._masters],
            "form": self._form(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken: with the weights of then, further steps have the same bits.

        What was set since (betas, decay) stands: only what the steps have gathered is taken over.
        """
        for (part, _), saved in zip(self._parts, state["parts"], strict=True):
            groups = []
            for then, now in zip(saved["param_groups"], part.param_groups, strict=True):
                groups.append({**then, **now, "params": then["params"]})
            part.load_state_dict(quantised({**saved, "param_groups": groups}))
        self._take_masters(state["masters"])

    def take_over(self, state: dict[str, Any]) -> str | None:
        """`load_state_dict` if the state is of such an optimizer; else its moments stay at zero.

        Returns the reason in the second case. The weights must be those of then.
        """
        saved, form = state.get("form"), self._form()
        if saved == form:
            self.load_state_dict(state)
            return None
        self._take_masters(state["masters"])
        then, now = _kinds(saved), _kinds(form)
        if then != now:
            return f"those saved are of {then}, and this is {now}"
        return "those saved are of other groups of parameters"

    def _form(self) -> list[Any]:
        """Kind of each part, and the shapes in each of its groups: what two states must share to be exchanged."""
        form: list[Any] = []
        for part, _ in self._parts:
            kind = getattr(part, "kind", type(part).__name__)
            form.append([kind, [_shapes(group["params"]) for group in part.param_groups]])
        return form

    @torch.no_grad()
    def _take_masters(self, saved: Sequence[Tensor]) -> None:
        """The fp32 masters of then, whatever the optimizer; of the weights as they are, if there were none."""
        known = _shapes(saved) == _shapes([master for _, master in self._masters])
        for number, (parameter, master) in enumerate(self._masters):
            master.copy_(saved[number] if known else parameter)


def _shapes(tensors: Sequence[Tensor]) -> list[list[int]]:
    return [list(tensor.shape) for tensor in tensors]


def _kinds(form: Sequence[Any] | None) -> str:
    return " and ".join(kind for kind, _ in form) if form else "another version"


def build_optimizer(model: nn.Module, settings: AdamW | AdamW8bit | Muon) -> Optimizer:
    """The recipe's optimizer over the parameters that require a gradient; set a learning rate before the first step.

    AdamW: decoupled weight decay on matrices, none on norms, biases, embeddings and the output head. Muon (Jordan et
    al. 2024, with Nesterov momentum and the original sqrt(max(1, rows/columns)) scale) moves the 2-D matrices of the
    blocks; AdamW without weight decay, at learning rate * adam_ratio, moves the rest. Adapters (`models.lora`) are
    matrices of the blocks.
    """
    at_ends = _embeddings_and_head(model)
    trained = [p for p in model.parameters() if p.requires_grad]
    pairs = [(p, p if p.dtype.itemsize >= 4 else nn.Parameter(p.detach().float())) for p in trained]
    matrices = [master for p, master in pairs if p.ndim >= 2 and id(p) not in at_ends]
    if isinstance(settings, Muon):
        matrices = [p for p in matrices if p.ndim == 2]
    of_matrix = {id(p) for p in matrices}
    rest = [master for _, master in pairs if id(master) not in of_matrix]
    masters = [(p, master) for p, master in pairs if master is not p]
    if not isinstance(settings, Muon):
        groups = [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": rest, "weight_decay": 0.0}]
        betas = settings.beta1, settings.beta2
        make = adamw8bit if isinstance(settings, AdamW8bit) else _adamw
        return Optimizer([(make([g for g in groups if g["params"]], betas), 1.0)], masters)
    muon = BatchedMuon(matrices, lr=0.0, weight_decay=settings.weight_decay, momentum=settings.momentum, nesterov=True)
    if not rest:
        return Optimizer([(muon, 1.0)], masters)
    adamw = _adamw([{"params": rest, "weight_decay": 0.0}], ADAM_BETAS)
    return Optimizer([(muon, 1.0), (adamw, settings.adam_ratio)], masters)


def _adamw(groups: Sequence[dict[str, Any]], betas: tuple[float, float]) -> torch.optim.Optimizer:
    """torch's AdamW in one pass over memory for each tensor (3 to 8 times as fast on a CPU as its loop)."""
    every = chain.from_iterable(group["params"] for group in groups)
    fused = all(p.device.type in ("cpu", "cuda") for p in every)
    return torch.optim.AdamW(groups, lr=0.0, betas=betas, fused=fused)


def clip_gradients(model: nn.Module, max_norm: float) -> float:
    """Scale all gradients so that their joint 2-norm is at most `max_norm`; returns the norm before.

    NonFinite if it is not finite; the gradients are then left as they are.
    """
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    if not torch.isfinite(norm):
        raise NonFinite(f"the gradient's norm is {norm.item()}")
    nn.utils.clip_grads_with_norm_(model.parameters(), max_norm, norm)
    return float(norm)


def warmup_constant(step: int, warmup: int, peak: float) -> float:
    """Learning rate of update `step` (from 0): peak * (step + 1) / warmup over the first `warmup`, then peak."""
    return peak * min(1.0, (step + 1) / warmup) if warmup else peak


def warmup_cosine(step: int, total: int, warmup: int, peak: float, minimum: float) -> float:
    """Learning rate of update `step` (from 0) of `total`: linear warm-up, then half a cosine from peak to minimum.

    Update warmup - 1 (the first one without warm-up) has exactly `peak`, update total - 1 exactly `minimum`, unless
    the warm-up fills the whole schedule.
    """
    top = max(warmup - 1, 0)
    if step <= top:
        return warmup_constant(step, warmup, peak)
    share = min((step - top) / (total - 1 - top), 1.0)
    return minimum + (peak - minimum) * 0.5 * (1.0 + math.cos(math.pi * share))


def _embeddings_and_head(model: nn.Module) -> set[int]:
    """Identities of embedding tables and the output head; tied, they are one parameter."""
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    head: nn.Module | None = None
    if isinstance(model, PreTrainedModel):
        head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    return tables | ({id(p) for p in head.parameters()} if head is not None else set())
