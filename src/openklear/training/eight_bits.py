"""AdamW with moments of 8 bits (Dettmers et al. 2022, arXiv 2110.02861), torchao's, as `training.optimizer` needs it.

Of tensors of 4,096 numbers and more, in multiples of 256, each moment takes a byte a number and a scale in fp32 every
256; the moments of others stay in fp32. torchao is imported only where a recipe asks for it. On a GPU its own step
runs, compiled. Compiling takes half a minute for every shape of a tensor on a CPU, and without it a step is slow: there
`quantised_step` does the same arithmetic, to the bit, a stretch that fits the cache at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from openklear.errors import UsageError
from openklear.training.quantised_step import Rates, step_of_8_bits

__all__ = ["adamw8bit", "plain", "quantised", "step"]

_PARTS = ("codes", "scale", "qmap")


def adamw8bit(groups: Sequence[dict[str, Any]], betas: tuple[float, float]) -> torch.optim.Optimizer:
    """torchao's AdamW8bit over groups with a weight_decay each. UsageError where torchao is not installed."""
    found: torch.optim.Optimizer = _torchao().AdamW8bit(list(groups), lr=0.0, betas=betas)
    return found


@torch.no_grad()
def step(optimizer: torch.optim.Optimizer) -> None:
    """Move the parameters that have a gradient; of any other optimizer, its own step."""
    if type(optimizer).__module__.partition(".")[0] != "torchao":
        optimizer.step()
        return
    on_cpu: Any = optimizer
    for group in optimizer.param_groups:
        moving = [p for p in group["params"] if p.grad is not None]
        if any(p.device.type != "cpu" for p in moving):
            optimizer.step()
            return
        for parameter in moving:
            _step_on_cpu(on_cpu, group, parameter)


def _step_on_cpu(optimizer: Any, group: Mapping[str, Any], parameter: Tensor) -> None:
    """The body of torchao's step."""
    state = optimizer.state[parameter]
    if not state:
        state["step"] = torch.tensor(0.0)
        state["exp_avg"] = optimizer._new_buffer(parameter, True)
        state["exp_avg_sq"] = optimizer._new_buffer(parameter, False)
    state["step"] += 1
    (beta1, beta2), rate, decay, eps = group["betas"], group["lr"], group["weight_decay"], group["eps"]
    first, second = state["exp_avg"], state["exp_avg_sq"]
    if hasattr(first, "qmap"):
        correct = 1 - beta1 ** state["step"], 1 - beta2 ** state["step"]
        step_of_8_bits(parameter, first, second, Rates(rate, rate * decay, beta1, beta2, *correct, eps))
    else:
        one = _torchao().adam.single_param_adam
        one(parameter, parameter.grad, state["step"], first, second, None, rate, beta1, beta2, decay, eps, True, False)


def plain(state: dict[str, Any]) -> dict[str, Any]:
    """An optimizer's state with its quantised moments as tables of plain tensors, which any torch can read."""
    return _each(state, lambda value: _apart(value) if hasattr(value, "qmap") else value)


def quantised(state: dict[str, Any]) -> dict[str, Any]:
    """The inverse of `plain`."""
    return _each(state, lambda value: _together(value) if isinstance(value, Mapping) else value)


def _each(state: dict[str, Any], change: Any) -> dict[str, Any]:
    moments = {}
    for index, of_tensor in state["state"].items():
        moments[index] = {name: change(value) for name, value in of_tensor.items()}
    return {**state, "state": moments}


def _apart(moment: Any) -> dict[str, Any]:
    return {name: getattr(moment, name) for name in _PARTS} | {"signed": moment.signed}


def _together(parts: Mapping[str, Any]) -> Tensor:
    make = _torchao().subclass_8bit.OptimState8bit
    found: Tensor = make(*(parts[name] for name in _PARTS), parts["signed"], dtype=torch.float32)
    return found


def _torchao() -> Any:
    """torchao.optim; what it says of GPU kernels that do not fit this torch is no matter here."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        import torchao.optim.subclass_8bit

        return torchao.optim
    except ImportError as error:
        raise UsageError(
            'optimizer.type = "adamw8bit" needs the package torchao: pip install "openklear[torchao]", or write "adamw"'
        ) from error
    finally:
        logging.disable(before)
