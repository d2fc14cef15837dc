"""What training takes of memory and time, each case in a process of its own, beside the plan's figures.

    python benchmarks/memory.py --model DIRECTORY                        # SFT on one sequence of 8,192 tokens; RL
    python benchmarks/memory.py --model DIRECTORY --case sft --tokens 32768 --threads 2   # half an hour on two cores

`sft`: one whole step with AdamW on one sequence. `rl`: an iteration of recipes/gsm8k-smollm2.toml (4 problems of 8
rollouts: one update, a checkpoint, then sampling, with the optimizer's moments there), with activation checkpointing.
Peaks are of resident memory, reset between the parts. Needs Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

RECIPE = Path(__file__).parents[1] / "recipes" / "gsm8k-smollm2.toml"
GIB = 2**30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="SmolLM2-135M-Instruct, in the Hugging Face layout")
    parser.add_argument("--case", choices=("sft", "rl"), help="both without it")
    parser.add_argument("--tokens", type=int, default=8192, help="of the sequence")
    parser.add_argument("--new-tokens", type=int, default=160, help="of each rollout")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        found = sft(arguments) if arguments.case == "sft" else rl(arguments)
        print(json.dumps(found))
        return
    print("| case | peak, GiB | plan, GiB | plan / peak | CPU s | wall s | plan, s | parts |\n|" + "---|" * 8)
    for case in [arguments.case] if arguments.case else ["sft", "rl"]:
        words = [sys.executable, __file__, *sys.argv[1:], "--inside", "--case", case]
        environment = {**os.environ, "OMP_NUM_THREADS": str(arguments.threads)}
        said = subprocess.run(words, env=environment, stdout=subprocess.PIPE, check=True, text=True).stdout
        one = json.loads(said.splitlines()[-1])
        parts = ", ".join(f"{name} {size / GIB:.2f}" for name, size in one["parts"].items())
        peak, plan = max(one["parts"].values()), one["plan"]
        seconds = f"{one['cpu']:.0f} | {one['wall']:.0f} | {one['expected']:.0f}"
        print(f"| {one['case']} | {peak / GIB:.2f} | {plan / GIB:.2f} | {plan / peak:.2f} | {seconds} | {parts} |")


@contextmanager
def part(found: dict[str, int], name: str) -> Iterator[None]:
    """Writes the peak of the block."""
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    yield
    status = Path("/proc/self/status").read_text()
    found[name] = int(status.partition("VmHWM:")[2].split()[0]) * 1024
    print(f"{name}: {found[name] / GIB:.2f} GiB", file=sys.stderr, flush=True)


def opened(arguments: argparse.Namespace, case: str):
    """The recipe of a case, the model, and the peaks so far."""
    from openklear.models.loading import load_model
    from openklear.models.numerics import set_up
    from openklear.recipe.load import load_recipe

    changes = [f"model.path={arguments.model.absolute()}", "activation_checkpointing=true"]
    changes += {
        "sft": [f"{key}={arguments.tokens}" for key in ("sft.max_tokens", "sft.batch_tokens", "microbatch_tokens")],
        "rl": [f"rl.max_completion_tokens={arguments.new_tokens}", "rl.max_prompt_tokens=128"],
    }[case]
    recipe = load_recipe(RECIPE, changes)
    set_up(arguments.threads, "cpu")
    parts: dict[str, int] = {}
    with part(parts, "loading"):
        loaded = load_model(arguments.model)
    return recipe, loaded, parts


def planned(recipe, loaded, stage: str) -> int:
    from openklear.planner.amounts import Amounts
    from openklear.planner.fit import stage_sizes
    from openklear.planner.footprints import footprints
    from openklear.training.sizes import machine, shape_of_loaded

    shape, here, amounts = shape_of_loaded(loaded), machine(), Amounts()
    sizes = stage_sizes(recipe, shape, here, amounts)
    return dict(footprints(recipe, shape, sizes, here, amounts))[stage].peak


def expected(loaded, arguments: argparse.Namespace, case: str, prompts: int = 0, group: int = 0) -> float:
    """Seconds that the plan expects of a case."""
    from openklear.planner.costs import decoding_load, estimate, forward_load, training_load
    from openklear.training.sizes import machine, shape_of_loaded

    shape, rows = shape_of_loaded(loaded), prompts * group or 1
    prompt, losses = (128, arguments.new_tokens) if case == "rl" else (0, arguments.tokens)
    length = prompt + losses
    training = training_load(  # a prompt is computed once for its group
        *(shape, rows * losses + prompts * prompt, rows * losses, rows * length**2 / 2),
        microbatches=1, updates=1, width=4, checkpointing=True,
    )  # fmt: skip
    loads = [training]
    if case == "rl":
        loads += [forward_load(shape, prompts * prompt, prompts, prompts * prompt**2 / 2, microbatches=1, width=4)]
        loads += [decoding_load(shape, rows, prompt, losses, losses, width=4)]
    return sum(estimate(load, machine(), "float32", arguments.threads).expected for load in loads)


def sft(arguments: argparse.Namespace) -> dict:
    """One step on one sequence, all of whose tokens but the first are in the loss."""
    import numpy as np

    from openklear.models.chat import EncodedDemonstration
    from openklear.models.recompute import recompute_layers
    from openklear.training.learner import SupervisedLearner
    from openklear.training.optimizer import build_optimizer

    recipe, loaded, parts = opened(arguments, "sft")
    recompute_layers(loaded.model)
    ids = np.random.default_rng(0).integers(0, 49152, arguments.tokens).astype(np.int32)
    row = EncodedDemonstration(ids, np.arange(arguments.tokens) > 0)
    optimizer = build_optimizer(loaded.model, recipe.sft.optimizer)
    learner = SupervisedLearner(loaded, optimizer, recipe.sft, arguments.tokens)
    wall, cpu = time.perf_counter(), time.process_time()
    with part(parts, "step"):
        metrics = learner.update([row], 1e-5)
    assert np.isfinite(metrics["loss"])
    times = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    return {
        "case": f"SFT, {arguments.tokens:,} tokens",
        "parts": parts,
        "plan": planned(recipe, loaded, "sft"),
        "expected": expected(loaded, arguments, "sft"),
        **times,
    }


def rl(arguments: argparse.Namespace) -> dict:
    """One update, a checkpoint, and sampling while the optimizer's moments are there: what a second iteration holds."""
    import tempfile

    from openklear.models.recompute import recompute_layers
    from openklear.rollout.local import LocalSampler
    from openklear.rollout.open import open_sampler
    from openklear.training import checkpoint
    from openklear.training.learner import LocalLearner
    from openklear.training.memory import release
    from openklear.training.optimizer import build_optimizer
    from openklear.training.trainee import LocalTrainee
    from openklear.types import SampleRequest

    recipe, loaded, parts = opened(arguments, "rl")
    phase = recipe.rl.phase[0]
    recompute_layers(loaded.model)
    sampler = open_sampler(recipe.engine, loaded)
    assert isinstance(sampler, LocalSampler)
    sampler.end_ids = frozenset()  # every rollout runs to its limit: the most that the recipe allows
    optimizer = build_optimizer(loaded.model, phase.optimizer)
    learner = LocalLearner(loaded, optimizer, phase, recipe.microbatch_tokens, takes_sampled=True)
    prompts, update = rollouts(phase, arguments.new_tokens)
    wall, cpu = time.perf_counter(), time.process_time()
    with part(parts, "training"):
        learner.update(update, 1e-6)
        release()
    with part(parts, "checkpoint"), tempfile.TemporaryDirectory() as directory:
        position = checkpoint.Position(at=1)
        checkpoint.save(Path(directory), position, LocalTrainee(loaded, optimizer), recipe.checkpoints)
    with part(parts, "sampling"):
        keys = range(len(update))
        sampler.sample([SampleRequest(prompts[k // phase.group_size], k, arguments.new_tokens) for k in keys])
    times = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    case = f"RL, {len(update)} rollouts of 128 + {arguments.new_tokens} tokens"
    times["expected"] = expected(loaded, arguments, "rl", phase.problems_per_iteration, phase.group_size)
    return {"case": case, "parts": parts, "plan": planned(recipe, loaded, f"rl-{phase.name}"), **times}


def rollouts(phase, new_tokens: int):
    """Prompts, and random completions of full length with advantages of both signs."""
    import numpy as np

    from openklear.training.step import PolicySequence

    numbers = np.random.default_rng(0)
    prompts = [tuple(numbers.integers(10, 49152, 128).tolist()) for _ in range(phase.problems_per_iteration)]
    update = []
    for index in range(phase.problems_per_iteration * phase.group_size):
        group = index // phase.group_size
        ids = np.concatenate([prompts[group], numbers.integers(10, 49152, new_tokens)]).astype(np.int32)
        mask = np.arange(len(ids)) >= len(prompts[group])
        old = np.where(mask, np.float32(-10.8), np.float32(0.0))
        advantage = 1.0 if index % 2 else -1.0
        update.append(PolicySequence(ids, mask, old, advantage, index % 2 == 1, group, rollout_logprobs=old))
    return prompts, update


if __name__ == "__main__":
    main()
