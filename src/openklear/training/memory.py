"""What this process has taken of memory, at most."""

from __future__ import annotations

import resource
import sys

import torch


def peak_memory_bytes() -> int:
    """On a GPU what torch has allocated there at once, else what this process has had in main memory, at most."""
    if torch.cuda.is_available() and (used := torch.cuda.max_memory_allocated()):
        return used
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
