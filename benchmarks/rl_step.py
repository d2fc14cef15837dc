"""A whole RL step beside TRL's GRPOTrainer, in one process, taking turns, from prompts to moved weights.
Seconds are CPU seconds with one thread, else wall.

    OMP_NUM_THREADS=1 python benchmarks/rl_step.py
    python benchmarks/rl_step.py --threads 2

256 rollouts (32 prompts of 20..40 tokens, 8 of each) of ragged length: six tokens of 278 end a completion, so that
with the random weights of the model it has about 46 tokens, and at most 256. The reward is a function of the length:
nothing is verified. Then 4 updates of 64 rollouts. Both sides: float32, AdamW, the same prompts, lengths from the same
distribution, no filter, no reference model.

TRL is measured at each of `--settings`, WAY-ROWS: by transformers' `generate` in one batch or by its continuous
batching, and with micro-batches of so many rows. What counts is the quickest. The floor is the arithmetic alone: 6
operations for each weight of the layers and real token, at the speed of a float32 matrix product of 2,048 rows measured
in the same run.

Prediction, written before the first run: ours 2.6 to 3 CPU-seconds on one thread (before packing and without the pass
for the old log-probabilities dropped: 10.3), TRL 20; ratio 6 to 8. With
attention in blocks and fused norms: training a tenth less, 1.5 CPU-seconds.
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from openklear.models.loading import LoadedModel
from openklear.models.tiny import make_tiny
from openklear.recipe.optimizers import AdamW
from openklear.recipe.schema import Phase
from openklear.rollout.local import LocalSampler
from openklear.training.learner import LocalLearner
from openklear.training.optimizer import build_optimizer
from openklear.training.updates import updates_of
from openklear.types import Completion, Outcome, Problem, Reward, Rollout, RolloutGroup, SampleRequest, Verdict
from timing import seconds, spread

PROMPTS, GROUP, UPDATES, LONGEST, RATE = 32, 8, 4, 256, 1e-6
ROLLOUTS = PROMPTS * GROUP
LETTERS = "abcdefghijklmnopqrstuvwxyz +-*/=0123456789"


def make_loaded(hidden: int, layers: int) -> LoadedModel:
    """The tiny model with five more end tokens: weights are random, so each is drawn at about 1 in 278."""
    tiny = make_tiny(hidden, layers, 4, 1024, seed=0)
    with torch.no_grad():  # logits near 0: the end comes as often after every token
        tiny.model.get_input_embeddings().weight.mul_(0.3)
    ends = frozenset([*tiny.end_ids, *range(200, 205)])
    tiny.model.generation_config.eos_token_id = sorted(ends)
    return LoadedModel(tiny.model, tiny.tokenizer, ends)


def make_prompts() -> list[str]:
    rng = np.random.default_rng(0)
    return ["".join(rng.choice(list(LETTERS), rng.integers(20, 41))) for _ in range(PROMPTS)]


def reward(tokens: Sequence[int]) -> float:
    return (len(tokens) * 7 % 11) / 10


class Ours:
    """Sampling, advantages, and four updates, as a stage `rl` makes them."""

    def __init__(self, loaded: LoadedModel, prompts: Sequence[str], microbatch_tokens: int) -> None:
        self.prompts = [tuple(loaded.tokenizer(text)["input_ids"]) for text in prompts]
        self.problems = [Problem(text, ({"role": "user", "content": text},), "math", answer="1") for text in prompts]
        self.sampler = LocalSampler(loaded.model, end_ids=loaded.end_ids, slots=ROLLOUTS)
        self.phase = Phase(
            name="any",
            domains=("math",),
            problems_per_update=PROMPTS // UPDATES,
            sft_loss_weight=0.0,
            filter_zero_advantage=False,
            max_completion_tokens=LONGEST,
        )
        optimizer = build_optimizer(loaded.model, AdamW(weight_decay=0.0))
        self.learner = LocalLearner(loaded, optimizer, self.phase, microbatch_tokens, takes_sampled=True)
        self.number, self.laps, self.tokens = 0, (0.0, 0.0), (0, 0)

    def __call__(self) -> None:
        started, keys = seconds(), range(self.number * ROLLOUTS, (self.number + 1) * ROLLOUTS)
        self.number += 1
        requests = [SampleRequest(self.prompts[i // GROUP], key, LONGEST) for i, key in enumerate(keys)]
        self.sampler.publish(self.learner.loaded.model, self.number)
        completions = self.sampler.sample(requests)
        sampled = seconds()
        groups = [self.judged(i, completions[i * GROUP : (i + 1) * GROUP]) for i in range(PROMPTS)]
        updates = updates_of(groups, self.phase)
        for index, update in enumerate(updates):
            self.learner.update(self.learner.with_old(update) if index else update, RATE)
        self.laps = sampled - started, seconds() - sampled
        sequences = [sequence for update in updates for sequence in update]
        self.tokens = sum(len(c.token_ids) for c in completions), sum(len(s.ids) for s in sequences)

    def judged(self, index: int, completions: Sequence[Completion]) -> RolloutGroup:
        problem, prompt = self.problems[index], np.asarray(self.prompts[index], np.int32)
        verdict = Verdict(Outcome.INCORRECT)
        rollouts = [
            Rollout(problem, number, prompt, one, "", verdict, Reward(reward(one.token_ids.tolist())), 0)
            for number, one in enumerate(completions)
        ]
        return RolloutGroup(problem, tuple(rollouts))


def trl_trainer(loaded: LoadedModel, prompts: Sequence[str], setting: str, rounds: int, folder: str) -> Any:
    """GRPOTrainer of a copy of the model for one step and `rounds` more, each of 4 updates."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    way, rows = setting.split("-")
    size = ROLLOUTS // UPDATES
    accumulated = size // int(rows)
    config: Any = GRPOConfig
    arguments = config(
        output_dir=folder,
        per_device_train_batch_size=int(rows),
        gradient_accumulation_steps=accumulated,
        steps_per_generation=accumulated * UPDATES,
        num_generations=GROUP,
        max_completion_length=LONGEST,
        max_steps=UPDATES * (rounds + 1),
        learning_rate=RATE,
        lr_scheduler_type="constant",
        temperature=1.0,
        top_p=1.0,
        top_k=0,
        beta=0.0,
        use_transformers_continuous_batching=way == "continuous",
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        logging_steps=10_000,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    return GRPOTrainer(
        model=copy.deepcopy(loaded.model),
        reward_funcs=lambda completion_ids, **_: [reward(ids) for ids in completion_ids],
        args=arguments,
        train_dataset=Dataset.from_dict({"prompt": list(prompts)}),
        processing_class=loaded.tokenizer,
    )


def turns(trainer: Any, ours: Ours) -> list[tuple[float, float, float, float]]:
    """Seconds of their step, and of ours: all, sampling, training. The first pair warms up and is left out."""
    from transformers import TrainerCallback

    found: list[tuple[float, float, float, float]] = []

    class Turns(TrainerCallback):
        mark = seconds()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step % UPDATES == 0:
                theirs = seconds() - self.mark
                ours()
                found.append((theirs, sum(ours.laps), *ours.laps))
                self.mark = seconds()

    trainer.add_callback(Turns())
    trainer.train()
    return found[1:]


def product_speed() -> float:
    """Operations a second of a float32 matrix product (2048, 384) x (384, 128)."""
    one, other = torch.randn(2048, 384), torch.randn(384, 128)
    best = min(_seconds(lambda: one @ other) for _ in range(30))
    return 2 * 2048 * 384 * 128 / best


def _seconds(work: Callable[[], object]) -> float:
    start = seconds()
    for _ in range(10):
        work()
    return (seconds() - start) / 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5, help="pairs for each setting of TRL")
    parser.add_argument("--settings", nargs="+", default=["generate-64", "generate-16", "continuous-16"])
    parser.add_argument("--hidden-size", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--microbatch-tokens", type=int, default=2048)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    loaded, prompts = make_loaded(options.hidden_size, options.layers), make_prompts()
    weights = sum(p.numel() for p in loaded.model.parameters())
    speed, rows = product_speed(), {}
    for setting in options.settings:
        mine = LoadedModel(copy.deepcopy(loaded.model), loaded.tokenizer, loaded.end_ids)
        ours = Ours(mine, prompts, options.microbatch_tokens)
        with tempfile.TemporaryDirectory() as folder:
            pairs = turns(trl_trainer(loaded, prompts, setting, options.rounds, folder), ours)
        floor = (6 * ours.tokens[1] + 2 * ours.tokens[0]) * weights / speed
        rows[setting] = {
            "trl": [pair[0] for pair in pairs],
            "ours": [pair[1] for pair in pairs],
            "ours_sampling": [pair[2] for pair in pairs],
            "ours_training": [pair[3] for pair in pairs],
            "ratio": [pair[0] / pair[1] for pair in pairs],
            "floor_share": [floor / pair[1] for pair in pairs],
        }
        if not options.json:
            print(f"{setting}: " + ", ".join(f"{name} {spread(values)}" for name, values in rows[setting].items()))
    if options.json:
        about = {"parameters": weights, "threads": options.threads, "product_operations_per_second": speed}
        print(json.dumps({**about, "settings": rows}))


if __name__ == "__main__":
    main()
