"""What torch.compile gains in training: seconds of SFT updates with the layers compiled, and as they are.

    OMP_NUM_THREADS=1 python benchmarks/compiled.py
    OMP_NUM_THREADS=1 python benchmarks/compiled.py --model SmolLM2-135M-Instruct --rows 4

Ragged rows of up to 512 tokens in packs, AdamW. One model runs as a stage `sft` runs it; in the other every decoder
layer is compiled for lengths that change, without our own fused norms, which it would have to break its graph for. The
first update holds the compiling. Then the two take turns. On a GPU wall seconds count, on a CPU those of the process.

Prediction, written before the first run: on a CPU at most 1.1 times as fast, since our norms are fused and the rest is
matrix products, after a minute of compiling.
"""

from __future__ import annotations

import argparse
import copy
import time
from statistics import median
from unittest.mock import patch

import numpy as np

from openklear.models import logprobs
from openklear.models.chat import EncodedDemonstration
from openklear.models.fused import using_fused
from openklear.models.loading import LoadedModel, load_model
from openklear.models.numerics import device, set_up
from openklear.models.recompute import layers
from openklear.models.tiny import make_tiny
from openklear.recipe.optimizers import AdamW
from openklear.recipe.schema import Sft
from openklear.training.learner import SupervisedLearner
from openklear.training.optimizer import build_optimizer


def make_rows(count: int) -> list[EncodedDemonstration]:
    rng = np.random.default_rng(0)
    lengths = np.clip(np.exp(rng.normal(np.log(150), 0.8, count)), 16, 512).astype(int)
    rows = [rng.integers(7, 200, length).astype(np.int32) for length in lengths]
    return [EncodedDemonstration(row, np.arange(len(row)) > 0) for row in rows]


class Side:
    """A model and its optimizer; a call is an update of `rows` rows, other ones each time."""

    def __init__(self, loaded: LoadedModel, rows: int, compiled: bool) -> None:
        self.rows, self.at, self.compiled = make_rows(8 * rows), 0, compiled
        if compiled:
            for layer in layers(loaded.model):
                layer.compile(dynamic=True)
        optimizer = build_optimizer(loaded.model, AdamW(weight_decay=0.0))
        self.learner = SupervisedLearner(loaded, optimizer, Sft(), 4096)
        self.count = rows

    def __call__(self) -> float:
        clock = time.process_time if device().type == "cpu" else time.perf_counter
        batch = self.rows[self.at : self.at + self.count]
        self.at = (self.at + self.count) % len(self.rows)
        started = clock()
        if self.compiled:
            with patch.object(logprobs, "using_fused", lambda: using_fused(False)):
                self.learner.update(batch, 1e-6)
        else:
            self.learner.update(batch, 1e-6)
        return clock() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a model directory; without it 0.8 million parameters are made")
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    set_up(options.threads, options.device)
    loaded = load_model(options.model) if options.model else make_tiny(128, 4, 4, 1024, 0)
    loaded.model.to(device())
    other = LoadedModel(copy.deepcopy(loaded.model), loaded.tokenizer, loaded.end_ids)
    plain, compiled = Side(loaded, options.rows, False), Side(other, options.rows, True)
    first = [round(compiled(), 2) for _ in range(3)]
    for _ in range(3):
        plain()
    rounds = [(plain(), compiled()) for _ in range(options.rounds)]
    ratios = [one / two for one, two in rounds]
    print(f"{sum(p.numel() for p in loaded.model.parameters()):,} parameters, {options.rows} rows an update")
    print(f"first updates compiled: {first} s")
    print(f"plain {median(one for one, _ in rounds):.3f} s, compiled {median(two for _, two in rounds):.3f} s")
    print(f"compiled is {median(ratios):.2f} times as fast ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
