"""A second's measurement of what this processor can do, in place of what its frequency promises."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

from openklear.errors import UsageError
from openklear.planner.machines import Machine

PROBE = """
import os, time
alone = os.environ["OMP_NUM_THREADS"] == "1"
now = time.process_time if alone else time.perf_counter  # of one thread: what other programs take does not count
import numpy as np
a, b = (np.random.default_rng(0).standard_normal((768, 768), np.float32) for _ in range(2))
a @ b
products = []
for _ in range(20):
    started = now()
    a @ b
    products.append(now() - started)
wide, vector = np.zeros((1 << 16, 1024), np.float32), np.zeros(1024, np.float32)
wide.fill(1)
reads = []
for _ in range(5):
    started = now()
    wide @ vector
    reads.append(now() - started)
print(2 * 768**3 / min(products), wide.nbytes / min(reads))
"""
"""Products that stay in the cache, and one that reads 268 MB once: the best of each, in a process of its own."""
VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def measured(machine: Machine, threads: int) -> Machine:
    """The machine with the speeds that this processor shows; UsageError for a GPU, which is not measured."""
    if machine.kind != "cpu":
        raise UsageError(f"--measure: measures this machine's processor, not {machine.name}; leave one of the two out")
    threads = min(threads, machine.cores)
    environment = {**os.environ, **dict.fromkeys(VARIABLES, str(threads))}
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=60, check=True, env=environment
        )
        flops, bandwidth = map(float, done.stdout.split())
    except (subprocess.SubprocessError, OSError, ValueError) as error:
        raise UsageError(f"--measure: the measurement did not end ({error}); leave it out") from error
    source = f"measured, {threads} thread{'s' if threads > 1 else ''}"
    return replace(machine, flops={"float32": flops / threads}, bandwidth=bandwidth, source=source)
