"""An epoch of SFT on ragged long traces beside TRL's SFTTrainer, in one process, taking turns.
Seconds are CPU seconds with one thread, else wall.

    OMP_NUM_THREADS=1 python benchmarks/sft_step.py
    python benchmarks/sft_step.py --threads 2

64 traces of a log-normal number of tokens (median 300, at most 1,024; every token is trained on), in updates of 16.
Both sides: the same float32 model, AdamW, the same traces. TRL is measured at each of `--settings`, WAY-ROWS: rows
padded to the longest of a micro-batch, packed by best fit into rows of 1,024, or "free" of padding in one row; with
micro-batches of so many rows. What counts is the quickest.

Prediction, written before the first run: 1.8 to 2.2 times TRL's best, which is its padded rows (its packs meet a dense
mask on the CPU). Written before attention in blocks and fused norms were first run beside TRL: one pair had stood at
1.39 against packed-1, TRL's best after all; ours alone came down from 3.8 to 3.3 CPU-seconds, so 1.6.
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from openklear.models.chat import EncodedDemonstration
from openklear.models.loading import LoadedModel
from openklear.models.tiny import make_tiny
from openklear.recipe.optimizers import AdamW
from openklear.recipe.schema import Sft
from openklear.training.learner import SupervisedLearner
from openklear.training.optimizer import build_optimizer
from timing import seconds, spread

TRACES, TOGETHER, LONGEST, RATE = 64, 16, 1024, 1e-6


def make_traces() -> list[np.ndarray[Any, np.dtype[np.int32]]]:
    rng = np.random.default_rng(0)
    lengths = np.clip(np.exp(rng.normal(np.log(300), 0.8, TRACES)), 16, LONGEST).astype(int)
    return [rng.integers(7, 200, length).astype(np.int32) for length in lengths]


class Ours:
    """An epoch in updates of `TOGETHER` traces, as a stage `sft` makes them."""

    def __init__(self, loaded: LoadedModel, traces: Sequence[Any], microbatch_tokens: int) -> None:
        self.rows = [EncodedDemonstration(trace, np.arange(len(trace)) > 0) for trace in traces]
        optimizer = build_optimizer(loaded.model, AdamW(weight_decay=0.0))
        self.learner = SupervisedLearner(loaded, optimizer, Sft(), microbatch_tokens)

    def __call__(self) -> float:
        started = seconds()
        for start in range(0, TRACES, TOGETHER):
            self.learner.update(self.rows[start : start + TOGETHER], RATE)
        return seconds() - started


def trl_trainer(loaded: LoadedModel, traces: Sequence[Any], setting: str, rounds: int, folder: str) -> Any:
    """SFTTrainer of a copy of the model for one epoch and `rounds` more."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    way, rows = setting.split("-")
    packs = max(1, TOGETHER * sum(map(len, traces)) // TRACES // LONGEST)  # of one update
    config: Any = SFTConfig
    arguments = config(
        output_dir=folder,
        per_device_train_batch_size=int(rows),
        gradient_accumulation_steps=max(1, (packs if way == "packed" else TOGETHER) // int(rows)),
        num_train_epochs=rounds + 1,
        max_length=None if way == "free" else LONGEST,  # TRL cuts nothing there, and no trace is longer
        packing=way == "packed",
        padding_free=way == "free",
        learning_rate=RATE,
        lr_scheduler_type="constant",
        weight_decay=0.0,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        logging_steps=10_000,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    return SFTTrainer(
        model=copy.deepcopy(loaded.model),
        args=arguments,
        train_dataset=Dataset.from_dict({"input_ids": [trace.tolist() for trace in traces]}),
        processing_class=loaded.tokenizer,
    )


def turns(trainer: Any, ours: Ours) -> list[tuple[float, float]]:
    """Seconds of an epoch of theirs, and of ours. The first pair warms up and is left out."""
    from transformers import TrainerCallback

    found: list[tuple[float, float]] = []

    class Turns(TrainerCallback):
        mark = seconds()

        def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            theirs = seconds() - self.mark
            found.append((theirs, ours()))
            self.mark = seconds()

    trainer.add_callback(Turns())
    trainer.train()
    return found[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5, help="pairs for each setting of TRL")
    parser.add_argument("--settings", nargs="+", default=["padded-16", "padded-4", "packed-1", "free-16", "free-2"])
    parser.add_argument("--hidden-size", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--microbatch-tokens", type=int, default=2048)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    loaded, traces = make_tiny(options.hidden_size, options.layers, 4, LONGEST, seed=0), make_traces()
    rows = {}
    for setting in options.settings:
        mine = LoadedModel(copy.deepcopy(loaded.model), loaded.tokenizer, loaded.end_ids)
        with tempfile.TemporaryDirectory() as folder:
            trainer = trl_trainer(loaded, traces, setting, options.rounds, folder)
            pairs = turns(trainer, Ours(mine, traces, options.microbatch_tokens))
        rows[setting] = {
            "trl": [pair[0] for pair in pairs],
            "ours": [pair[1] for pair in pairs],
            "ratio": [pair[0] / pair[1] for pair in pairs],
        }
        if not options.json:
            print(f"{setting}: " + ", ".join(f"{name} {spread(values)}" for name, values in rows[setting].items()))
    if options.json:
        print(json.dumps({"threads": options.threads, "tokens": sum(map(len, traces)), "settings": rows}))


if __name__ == "__main__":
    main()
