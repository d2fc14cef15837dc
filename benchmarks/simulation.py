"""How well the simulation foretells a real sampler: seconds predicted and measured, of ragged batches it has not seen.

    python benchmarks/simulation.py [--hidden 128] [--layers 4] [--threads 1]
    python benchmarks/simulation.py --model DIR --share 0.125 [--threads 2]

The step time of our sampler (`simulation.decoding.StepTime`) is fitted to a few even batches: seconds to read the
weights and a held token, to multiply a row, of each row, step and token of a prompt. Then the simulation decodes ragged
ones (log-normal lengths, groups of 8, fewer slots than requests) with it, and the sampler decodes the same. Shown are
medians and the predicted over the measured time, with its range. With one thread time is CPU time, which holds up under
other work. `--share`: of the rows of each batch, for a model that takes longer.

Expected before it was run: within 10 %.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import least_squares

from openklear.models.loading import load_model
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
    parser.add_argument("--model", type=Path, help="a directory with a model, in place of a tiny one")
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    loaded = load_model(options.model) if options.model else make_tiny(options.hidden, options.layers, 4, 1024, 0)
    step = fitted(loaded.model, options)
    print(step)
    print("| rows | slots | median tokens | measured, s | predicted, s | predicted / measured |\n|" + "---:|" * 6)
    for rows, most, middle in RAGGED:
        number, slots = shared(rows, options), shared(most, options)
        lengths = ragged(number, middle)
        took = [measured(loaded.model, lengths, slots, options) for _ in range(options.rounds)]
        foretold = predicted(step, lengths, slots)
        ratios = sorted(foretold / seconds for seconds in took)
        spread = f"{foretold / median(took):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})"
        print(f"| {number} | {slots} | {middle} | {median(took):.2f} | {foretold:.2f} | {spread} |", flush=True)


def shared(rows: int, options: argparse.Namespace) -> int:
    return max(1, round(rows * float(options.share)))


def fitted(model: object, options: argparse.Namespace) -> StepTime:
    """The step time with which the simulation comes closest to the even batches, by relative errors."""
    lengths, took = [], []
    measured(model, [8] * 8, 8, options)  # what the first call alone takes
    for rows, tokens in EVEN:
        even = [tokens] * shared(rows, options)
        lengths.append(even)
        took.append(median(measured(model, even, len(even), options) for _ in range(options.rounds)))
        print(f"{len(even)} x {tokens} tokens: {took[-1]:.2f} s", flush=True)
    alone = took[0] / EVEN[0][1]  # seconds of a step of one row
    full = took[-1] / len(lengths[-1]) / EVEN[-1][1]  # of a row in a large batch
    # Either what a step costs whatever its rows is waiting or it is reading weights: begin with both.
    starts = [
        StepTime(0.01 * alone, 1e-3 * full, 0.01 * full, full, alone, full),
        StepTime(alone, 1e-3 * full, full, 0.01 * full, 0.01 * alone, full),
    ]
    errors = partial(relative_errors, lengths=lengths, took=took)
    found = [least_squares(errors, np.log(as_row(start))) for start in starts]
    return StepTime(*np.exp(min(found, key=lambda one: one.cost).x).tolist())


def as_row(step: StepTime) -> list[float]:
    return [step.weights, step.held, step.multiplied, step.row, step.start, step.prefill]


def relative_errors(
    logarithms: NDArray[np.float64], lengths: Sequence[Sequence[int]], took: Sequence[float]
) -> list[float]:
    """(batches,) logarithms of predicted over measured seconds."""
    step = StepTime(*np.exp(logarithms).tolist())
    foretold = np.array([predicted(step, one, len(one)) for one in lengths])
    errors: list[float] = np.log(foretold / np.array(took)).tolist()
    return errors


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
