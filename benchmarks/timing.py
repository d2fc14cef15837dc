"""What benchmarks that stand beside a peer share: a clock, and how a spread is written."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import torch


def seconds() -> float:
    """With one thread the processor time of this process, which holds up under other work; with more wall time, since
    threads that wait for others take processor time too.
    """
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def spread(values: Sequence[float]) -> str:
    """Median (smallest to largest)."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"
