"""Torch's settings that are part of a result's bits, and the device, in one place.

Imported only by what is about to compute.
"""

from __future__ import annotations

import logging

import torch

from openklear.errors import UsageError

_chosen = "auto"


def device() -> torch.device:
    """Where models live: what `set_up` was given; by itself the GPU where there is one, else the CPU."""
    if _chosen != "auto":
        return torch.device(_chosen)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def weights_type(wanted: str) -> str:
    """float32 or bfloat16; "auto" is float32 on the CPU, and bfloat16 on a GPU that computes in it."""
    if wanted != "auto":
        return wanted
    on_gpu = device().type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bfloat16" if on_gpu else "float32"


def set_up(threads: int, device_name: str = "auto") -> None:
    """The process's device (auto, cpu, cuda, cuda:N), its CPU threads, and on the CPU deterministic algorithms.

    They cost nothing there. On a GPU some of them do not exist and torch would refuse; the documentation says what
    holds there. UsageError where there is no such device.
    """
    global _chosen
    _require(device_name)
    _chosen = device_name
    torch.set_num_threads(threads)
    if device().type == "cuda":
        torch.cuda.set_device(device())
    torch.use_deterministic_algorithms(device().type == "cpu")
    # By default every new tensor would be filled with nan, which only helps in debugging.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    for name in ("torchao", "torch.utils._pytree"):  # transformers imports torchao, which tells of kernels it has not
        logging.getLogger(name).setLevel(logging.ERROR)


def _require(name: str) -> None:
    if not name.startswith("cuda"):
        return
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        raise UsageError(
            f'device = "{name}", but torch finds no GPU here; write "auto" or "cpu", or install a torch built for CUDA'
        )
    if int(name.partition(":")[2] or 0) >= count:
        raise UsageError(
            f'device = "{name}", but there are {count} GPUs here, counted from 0; write "cuda:{count - 1}"'
        )
