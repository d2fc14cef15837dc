"""Memory of this process: what it has taken at most, and giving back what is free."""

from __future__ import annotations

import ctypes
import gc
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def settled() -> Iterator[None]:
    """Within, what is loaded by now is set aside: Python's collector would go through all modules each time, which
    takes a fifth of a second. For the loop of a stage, once it has its model.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def release() -> None:
    """Hand what is free back to the system, and a GPU's to its other processes, before a part that needs memory
    elsewhere.

    glibc keeps small and middling tensors' memory (below 32 MiB) for later ones, where it can be of no use to larger.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)


def peak_memory_bytes() -> int:
    """On a GPU what torch has allocated there at once, else what this process has had in main memory, at most."""
    if torch.cuda.is_available() and (used := torch.cuda.max_memory_allocated()):
        return used
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
