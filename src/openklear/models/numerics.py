"""Torch's settings that are part of a result's bits, and the device, in one place.

Imported only by what is about to compute.
"""

from __future__ import annotations

import torch


def device() -> torch.device:
    """Where models live: the GPU where there is one (of several, the process's current one), else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def set_up(threads: int) -> None:
    """CPU threads of this process, and on a machine without a GPU the deterministic algorithms, which cost nothing.

    On a GPU some of them do not exist and torch would refuse; the documentation says what holds there.
    """
    torch.set_num_threads(threads)
    if device().type == "cpu":
        torch.use_deterministic_algorithms(True)
        # By default every new tensor would be filled with nan, which only helps in debugging.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
