"""How well the simulation foretells a real sampler: seconds predicted and measured, of ragged batches it has not seen.

    python benchmarks/simulation.py [--hidden 128] [--layers 4] [--threads 1]

The step time of our sampler (`simulation.decoding.StepTime`) is fitted to a few even batches: seconds for each step,
row, held token and prompt. Then the simulation decodes ragged ones (log-normal lengths, groups of 8, fewer slots than
requests) with it, and the sampler decodes the same. Shown are medians and the predicted over the measured time, with
its range. With one thread time is CPU time, which holds up under other work.

Expected before it was run: within 10 %.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch
from scipy.optimize import nnls

from openklear.models.tiny import make_tiny
from openklear.rollout.local import LocalSampler
from openklear.simulation.decoding import StepTime
from openklear.simulation.fleet import Placement
from openklear.simulation.flow import simulated
from openklear.simulation.lengths import DrawnRow
from openklear.types import SampleRequest

PROMPT, GROUP = 24, 8
EVEN = [(1, 48), (8, 48), (8, 384), (32, 96), (64, 192), (128, 48), (256, 24), (256, 96)]
"""(rows, tokens of each) of the batches that the step time is fitted to."""
RAGGED = [(64, 16, 60), (256, 64, 60), (256, 256, 60), (512, 128, 90)]
"""(rows, slots, median tokens) of those that are foretold."""


@dataclass(frozen=True)
class NoTraining:
    """A flow that samples alone."""

    def seconds(self, rows: Sequence[DrawnRow], ranks: int) -> float:
        return 0.0

    def publish_seconds(self, gpus: int) -> float:
        return 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    loaded = make_tiny(options.hidden, options.layers, 4, 1024, 0)
    step = fitted(loaded.model, options)
    print(f"a step {1e3 * step.start:.2f} ms, a row {1e6 * step.row:.1f} us, a held token {1e9 * step.held:.0f} ns")
    print("| rows | slots | median tokens | measured, s | predicted, s | predicted / measured |\n|" + "---:|" * 6)
    for number, slots, middle in RAGGED:
        lengths = ragged(number, middle)
        took = [measured(loaded.model, lengths, slots, options) for _ in range(options.rounds)]
        foretold = predicted(step, lengths, slots)
        ratios = sorted(foretold / seconds for seconds in took)
        spread = f"{foretold / median(took):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})"
        print(f"| {number} | {slots} | {middle} | {median(took):.2f} | {foretold:.2f} | {spread} |")


def fitted(model: object, options: argparse.Namespace) -> StepTime:
    """Seconds of a batch = steps x start + row-steps x row + tokens held at each step x held + prompts x prefill."""
    rows, seconds = [], []
    for number, tokens in EVEN:
        lengths = [tokens] * number
        took = median(measured(model, lengths, number, options) for _ in range(options.rounds))
        held = sum(number * (PROMPT + done) for done in range(tokens))
        prompts = -(-number // GROUP)
        rows.append([tokens / took, number * tokens / took, held / took, prompts * PROMPT / took])
        seconds.append(1.0)  # of relative errors, so that small batches count as much as large ones
    start, row, one, prefill = nnls(np.array(rows), np.array(seconds))[0]
    return StepTime(weights=0.0, held=one, multiplied=0.0, row=row, start=start, prefill=prefill)


def ragged(number: int, middle: int) -> list[int]:
    """Log-normal lengths of so many rows."""
    rng = np.random.default_rng(number)
    return [int(one) for one in np.clip(np.exp(rng.normal(np.log(middle), 0.6, number)), 4, 8 * middle)]


def measured(model: object, lengths: Sequence[int], slots: int, options: argparse.Namespace) -> float:
    """Of our sampler, which ends no row before its length."""
    rng = np.random.default_rng(1)
    prompts = [tuple(rng.integers(7, 200, PROMPT).tolist()) for _ in range(-(-len(lengths) // GROUP))]
    asked = [SampleRequest(prompts[i // GROUP], i, length) for i, length in enumerate(lengths)]
    sampler = LocalSampler(model, end_ids=frozenset(), slots=slots)
    clock = time.process_time if options.threads == 1 else time.perf_counter
    begin = clock()
    sampler.sample(asked)
    return clock() - begin


def predicted(step: StepTime, lengths: Sequence[int], slots: int) -> float:
    """Of one engine of the simulation."""
    rows = [DrawnRow(0, number // GROUP, PROMPT, length) for number, length in enumerate(lengths)]
    work = NoTraining()
    return simulated([rows], Placement(1, 1), step, work, slots=slots, cache_tokens=10**9).seconds


if __name__ == "__main__":
    main()
