"""What this process has taken of memory, at most."""

from __future__ import annotations

import ctypes
import gc
import resource
import sys

import torch


def release() -> None:
    """Hand what is free back to the system, before a part that needs memory elsewhere.

    glibc keeps small and middling tensors' memory (below 32 MiB) for later ones, where it can be of no use to larger.
    """
    gc.collect()
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)


def peak_memory_bytes() -> int:
    """On a GPU what torch has allocated there at once, else what this process has had in main memory, at most."""
    if torch.cuda.is_available() and (used := torch.cuda.max_memory_allocated()):
        return used
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
