"""AdamW with moments of 8 bits (Dettmers et al. 2022, arXiv 2110.02861), torchao's, as `training.optimizer` needs it.

Of tensors of 4,096 numbers and more, in multiples of 256, each moment takes a byte a number and a scale in fp32 every
256; the moments of others stay in fp32. torchao is imported only where a recipe asks for it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from openklear.errors import UsageError

__all__ = ["adamw8bit", "plain", "quantised", "stepping"]

_PARTS = ("codes", "scale", "qmap")


def adamw8bit(groups: Sequence[dict[str, Any]], betas: tuple[float, float]) -> torch.optim.Optimizer:
    """torchao's AdamW8bit over groups with a weight_decay each. UsageError where torchao is not installed."""
    found: torch.optim.Optimizer = _torchao().AdamW8bit(list(groups), lr=0.0, betas=betas)
    return found


@contextmanager
def stepping(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """On a CPU without torch.compile, which would take half a minute for every shape of a tensor."""
    every = chain.from_iterable(group["params"] for group in optimizer.param_groups)
    on_cpu = {p.device.type for p in every} == {"cpu"}
    if not on_cpu or type(optimizer).__module__.partition(".")[0] != "torchao":
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


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
