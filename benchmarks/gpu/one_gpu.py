"""One GPU: correctness against the CPU, SFT and RL speed, MFU and peak memory beside the plan (see README.md here).

python benchmarks/gpu/one_gpu.py --output runs/gpu
python benchmarks/gpu/one_gpu.py --output runs/rehearsal --device cpu --small
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from transformers import AutoModelForCausalLM, Qwen3Config

from openklear.durable.files import append_jsonl
from openklear.models.chat import EncodedDemonstration
from openklear.models.loading import LoadedModel
from openklear.models.logprobs import sequence_logprobs
from openklear.models.numerics import device, set_up, weights_type
from openklear.models.recompute import recompute_layers
from openklear.models.tiny import make_tiny, make_tokenizer
from openklear.planner.costs import training_flops
from openklear.planner.memory import LIBRARIES, WIDTH, activation_bytes, head_bytes, optimizer_bytes
from openklear.planner.shape import ModelShape
from openklear.recipe.load import load_recipe
from openklear.recipe.optimizers import AdamW
from openklear.recipe.schema import Phase, Sft
from openklear.rollout.local import LocalSampler
from openklear.run.pipeline import run_pipeline
from openklear.training.learner import LocalLearner, SupervisedLearner
from openklear.training.memory import peak_memory_bytes, release
from openklear.training.optimizer import build_optimizer
from openklear.training.sharding import shard
from openklear.training.sizes import machine, shape_of_loaded
from openklear.training.step import PolicySequence
from openklear.types import SampleRequest

RECIPE = Path(__file__).parents[2] / "recipes" / "gsm8k-smollm2.toml"
QWEN3 = {
    "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16,
    "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151_936, "max_position_embeddings": 40_960,
    "tie_word_embeddings": True,
}  # fmt: skip
"""Qwen3-0.6B's own config.json; the weights are drawn at random."""
LARGER = {**QWEN3, "hidden_size": 2048, "intermediate_size": 6144}
"""Qwen3-1.7B's."""
SMALL = {**QWEN3, "hidden_size": 64, "intermediate_size": 192, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "head_dim": 32, "vocab_size": 2048}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="a model of 0.2 M parameters and short rows: a rehearsal")
    parser.add_argument("--smollm2", type=Path, help="SmolLM2-135M-Instruct, for GSM8K")
    parser.add_argument("--data", type=Path, help="directory with GSM8K's train.jsonl and test.jsonl")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    set_up(arguments.threads, arguments.device)
    log = Log(arguments.output)
    log.add("machine", {"device": machine().name, "torch": torch.__version__, "small": arguments.small})
    log.add("right", right())
    for tokens in (256, 512) if arguments.small else (4096, 16384):
        log.add(f"sft {tokens}", sft(model(arguments.small), tokens))
    log.add("rl", rl(model(arguments.small), arguments.small))
    log.add("rank", rank(SMALL if arguments.small else LARGER, 512 if arguments.small else 4096))
    if arguments.smollm2 is not None and arguments.data is not None:
        log.add("gsm8k", gsm8k(arguments))


class Log:
    """Results, on the terminal and in a file, one line a part."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / "results.jsonl"
        self.path.unlink(missing_ok=True)

    def add(self, part: str, found: Mapping[str, Any]) -> None:
        append_jsonl(self.path, {"part": part, **found})
        print(json.dumps({"part": part, **found}), flush=True)


def model(small: bool) -> LoadedModel:
    """A random Qwen3 on the device, in the type that `auto` means there."""
    return random_model(SMALL if small else QWEN3, weights_type("auto"))


def random_model(sizes: dict[str, Any], dtype: str) -> LoadedModel:
    """A Qwen3 of these sizes on the device."""
    torch.manual_seed(0)
    made: Any = AutoModelForCausalLM.from_config(Qwen3Config(**sizes))
    made = made.to(dtype=getattr(torch, dtype), device=device())
    return LoadedModel(made.eval(), make_tokenizer(), frozenset())


def right() -> dict[str, float]:
    """Largest differences: the device's float32 to the CPU's, and the sampler to the trainer in both types."""
    here = make_tiny(64, 3, 2, 256, seed=0).model.cpu()
    there = copy.deepcopy(here).to(device())
    ids = torch.randint(7, 200, (8, 100), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[:, :20] = False
    found = {}
    values, gradients = zip(*(_pass(one, ids, mask) for one in (here, there)), strict=True)
    found["logprobs"] = float((values[0] - values[1]).abs().max())
    found["gradient"] = float((gradients[0] - gradients[1]).norm() / gradients[0].norm())
    for name in ("float32", "bfloat16"):
        found[f"sampler gap {name}"] = _gap(there.to(getattr(torch, name)))
    assert found["logprobs"] < 1e-4, found
    assert found["gradient"] < 1e-4, found
    assert found["sampler gap float32"] < 1e-4, found
    return found


def _pass(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities (B, T) and the flat gradient of their sum, on the CPU."""
    logprobs, _ = sequence_logprobs(model, ids.to(model.device), mask.to(model.device), entropy=False)
    logprobs.sum().backward()
    return logprobs.detach().cpu(), torch.cat([p.grad.flatten() for p in model.parameters()]).cpu()


def _gap(model: Any) -> float:
    """Largest difference between what the sampler says of its tokens and what the trainer does."""
    requests = [SampleRequest((9, 11 + key, 13), key, 64) for key in range(16)]
    completions = LocalSampler(model, end_ids=frozenset(), slots=8).sample(requests)
    rows = [[*r.prompt_ids, *c.token_ids.tolist()] for r, c in zip(requests, completions, strict=True)]
    ids = torch.tensor(rows, device=model.device)
    mask = torch.arange(ids.shape[1], device=model.device).expand_as(ids) >= 3
    with torch.no_grad():
        logprobs, _ = sequence_logprobs(model, ids, mask, entropy=False)
    said = torch.tensor(np.stack([c.logprobs for c in completions])).to(logprobs)
    return float((logprobs[:, 3:] - said).abs().max())


def sft(loaded: LoadedModel, tokens: int, steps: int = 4) -> dict[str, Any]:
    """Steps on one row, after one that is not timed."""
    _forget_peaks()
    recompute_layers(loaded.model)
    learner = SupervisedLearner(loaded, build_optimizer(loaded.model, AdamW()), Sft(max_tokens=tokens), tokens)
    seconds = _steps(learner, tokens, steps)
    return {**speed(loaded, [tokens] * steps, seconds), **peak(loaded, tokens)}


def rank(sizes: dict[str, Any], tokens: int, steps: int = 4) -> dict[str, Any]:
    """The same by one rank of those that train together (FSDP2): float32 masters, passes in bfloat16 on a GPU."""
    _forget_peaks()
    loaded = random_model(sizes, "float32")
    shape = shape_of_loaded(loaded)  # before there are parts
    recompute_layers(loaded.model)
    dtype = "bfloat16" if device().type == "cuda" else "float32"
    with tempfile.TemporaryDirectory() as directory:
        backend = "nccl" if device().type == "cuda" else "gloo"
        dist.init_process_group(backend, init_method=f"file://{directory}/meet", rank=0, world_size=1)
        try:
            group = dist.group.WORLD
            assert group is not None
            shard(loaded.model, group, compute_dtype=torch.bfloat16 if dtype == "bfloat16" else None)
            optimizer = build_optimizer(loaded.model, AdamW())
            learner = SupervisedLearner(loaded, optimizer, Sft(max_tokens=tokens), tokens, group)
            seconds = _steps(learner, tokens, steps)
        finally:
            dist.destroy_process_group()
    held = 4 * WIDTH["float32"] + WIDTH[dtype]  # masters, gradient and moments; the copy that passes compute with
    planned: float = held * shape.parameters
    planned += activation_bytes(shape, tokens, WIDTH[dtype], checkpointing=True)
    planned += head_bytes(shape, tokens, machine().kind) + _libraries()
    memory = {"peak GiB": peak_memory_bytes() / 2**30, "plan GiB": planned / 2**30}
    return {**_speed(shape, dtype, [tokens] * steps, seconds), **memory}


def _steps(learner: SupervisedLearner, tokens: int, steps: int) -> float:
    """Seconds of steps on one row, after one that is not timed."""
    rows = int(learner.loaded.model.config.vocab_size)
    ids = np.random.default_rng(0).integers(0, rows, tokens).astype(np.int32)
    row = EncodedDemonstration(ids, np.arange(tokens) > 0)
    learner.update([row], 1e-5)
    with timed() as clock:
        for _ in range(steps):
            metrics = learner.update([row], 1e-5)
    assert np.isfinite(metrics["loss"])
    return clock["seconds"]


def rl(loaded: LoadedModel, small: bool) -> dict[str, Any]:
    """Rollouts by the local sampler, and one update on them, each after a short one that is not timed."""
    _forget_peaks()
    recompute_layers(loaded.model)
    prompts, group, new = (2, 4, 32) if small else (16, 8, 1024)
    phase = Phase(name="any", domains=("math",), group_size=group, problems_per_update=prompts)
    sampler = LocalSampler(loaded.model, end_ids=frozenset(), slots=prompts * group)
    learner = LocalLearner(loaded, build_optimizer(loaded.model, phase.optimizer), phase, 16384, takes_sampled=True)
    numbers = np.random.default_rng(0)
    asked = [tuple(numbers.integers(10, 2000, 100).tolist()) for _ in range(prompts)]
    found: dict[str, Any] = {}
    for limit in (8, new):
        requests = [SampleRequest(asked[k // group], k, limit) for k in range(prompts * group)]
        with timed() as sampling:
            completions = sampler.sample(requests)
        update = []
        for k, (request, one) in enumerate(zip(requests, completions, strict=True)):
            ids = np.concatenate([request.prompt_ids, one.token_ids]).astype(np.int32)
            mask = np.arange(len(ids)) >= len(request.prompt_ids)
            old = np.zeros(len(ids), np.float32)
            old[mask] = one.logprobs
            update.append(
                PolicySequence(ids, mask, old, 1.0 if k % 2 else -1.0, k % 2 == 1, k // group, rollout_logprobs=old)
            )
        with timed() as training:
            learner.update(update, 1e-6)
        lengths = [len(s.ids) for s in update]
        drawn = sum(len(c.token_ids) for c in completions)
        found = {"sampled tokens/s": drawn / sampling["seconds"], **speed(loaded, lengths, training["seconds"])}
    whole = sampling["seconds"] + training["seconds"]
    return found | {"tokens/s, whole step": sum(lengths) / whole, **peak(loaded, min(16384, sum(lengths)))}


@contextmanager
def timed() -> Iterator[dict[str, float]]:
    """Seconds of the block, in which everything that was begun has ended."""
    found: dict[str, float] = {}
    _wait()
    began = time.perf_counter()
    yield found
    _wait()
    found["seconds"] = time.perf_counter() - began


def _forget_peaks() -> None:
    """What an earlier part held is gone, and its peak with it."""
    release()
    if device().type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _wait() -> None:
    if device().type == "cuda":
        torch.cuda.synchronize()


def speed(loaded: LoadedModel, lengths: list[int], seconds: float) -> dict[str, float]:
    """Of training on rows of these lengths."""
    return _speed(shape_of_loaded(loaded), str(loaded.model.dtype).removeprefix("torch."), lengths, seconds)


def _speed(shape: ModelShape, dtype: str, lengths: list[int], seconds: float) -> dict[str, float]:
    flops = training_flops(shape, sum(lengths), sum(lengths), sum(n**2 / 2 for n in lengths))
    peak_flops = machine().flops_of(dtype, torch.get_num_threads())
    return {"trained tokens/s": sum(lengths) / seconds, "mfu": flops / seconds / peak_flops}


def peak(loaded: LoadedModel, tokens: int) -> dict[str, float]:
    """GiB at most so far, and by the plan's formulas for a micro-batch of so many tokens."""
    shape, width = shape_of_loaded(loaded), WIDTH[str(loaded.model.dtype).removeprefix("torch.")]
    kind = machine().kind
    kept = 2 * shape.parameters * width + optimizer_bytes(shape, AdamW(), width)
    passing = activation_bytes(shape, tokens, width, checkpointing=True) + head_bytes(shape, tokens, kind)
    return {
        "peak GiB": peak_memory_bytes() / 2**30,
        "plan GiB": (kept + passing + _libraries()) / 2**30,
    }


def _libraries() -> float:
    """Bytes that are in a process's memory anyway; a GPU's peak is torch's own."""
    return LIBRARIES["cpu"] if machine().kind == "cpu" else 0


def gsm8k(arguments: argparse.Namespace) -> dict[str, Any]:
    """The recipe as it is, on the device, with the sizes that are found for it."""
    paths = {"gsm8k-solutions": "train", "gsm8k-problems": "train", "gsm8k-test": "test"}
    changes = [f"data.source.{name}.path={arguments.data / f'{part}.jsonl'}" for name, part in paths.items()]
    changes += [f"model.path={arguments.smollm2}", f"device={arguments.device}"]
    changes += ["microbatch_tokens=auto", "evaluation.max_completion_tokens=160"]
    with timed() as clock:
        summary = run_pipeline(load_recipe(RECIPE, changes), arguments.output / "gsm8k")
    return {"seconds": clock["seconds"], "scores": summary.get("scores")}


if __name__ == "__main__":
    main()
