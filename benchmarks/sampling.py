"""Generation speed of the local engine beside its peers, side by side in one run: useful tokens a second.

    python benchmarks/sampling.py --vllm /path/to/venv-vllm/bin/python
    python benchmarks/sampling.py --model SmolLM2-135M-Instruct --requests 32 --median 40 --longest 160

Contenders: this engine; Hugging Face `generate` in one batch, and in batches of 8 sorted by length (it is told the
lengths beforehand); transformers' continuous batching; vLLM, in an environment of its own, through its offline `LLM`.
All have the same fp32 weights and prompts, sample at temperature 1, and are asked for the same ragged numbers of new
tokens (log-normal, groups of `--group` share a prompt); nothing ends earlier. Only tokens asked for count.

Rounds alternate between the contenders; shown are medians (smallest, largest), and the ratios of each round to the
others in it. With one thread time is CPU time, which holds up under other work; with more it is wall time. The floor is
the roofline of these very requests: each step of `slots` rows reads all weights once and the keys and values so far, at
the bandwidth measured in the same run, or computes its products at the measured speed, whichever is longer.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from transformers import GenerationConfig
from transformers.generation.configuration_utils import ContinuousBatchingConfig

from openklear.models.loading import load_model, save_model
from openklear.models.tiny import make_tiny
from openklear.rollout.local import LocalSampler
from openklear.types import SampleRequest
from sampling_vllm import WORKER

OURS = "openklear"


def requests(options: argparse.Namespace, vocabulary: int) -> list[SampleRequest]:
    """Prompts of 20..40 tokens; new tokens log-normal around the median."""
    rng = np.random.default_rng(1)
    spread = np.exp(rng.normal(np.log(options.median), options.sigma, options.requests))
    lengths = np.clip(spread, 4, options.longest).astype(int)
    prompts = [tuple(rng.integers(7, vocabulary, rng.integers(20, 41)).tolist()) for _ in lengths]
    return [SampleRequest(prompts[i // options.group], i, int(length)) for i, length in enumerate(lengths)]


def generate(model: Any, asked: Sequence[SampleRequest], batch: int) -> None:
    """What a user of transformers would write: left-padded batches, sampled at temperature 1."""
    for start in range(0, len(asked), batch):
        part = asked[start : start + batch]
        width = max(len(request.prompt_ids) for request in part)
        ids = torch.zeros(len(part), width, dtype=torch.int64)
        for row, request in enumerate(part):
            ids[row, width - len(request.prompt_ids) :] = torch.tensor(request.prompt_ids)
        longest = max(request.max_new_tokens for request in part)
        length = {"max_new_tokens": longest, "min_new_tokens": longest, "eos_token_id": None}
        model.generate(ids, attention_mask=(ids != 0).long(), do_sample=True, top_k=0, pad_token_id=0, **length)


def continuous(model: Any, asked: Sequence[SampleRequest]) -> None:
    """transformers' own engine of continuous batching: one request each with its own length."""
    settings = GenerationConfig(do_sample=True, top_k=0, eos_token_id=-1, pad_token_id=0, max_new_tokens=1)
    blocks = sum((len(request.prompt_ids) + request.max_new_tokens) // 32 + 1 for request in asked)
    sizes = ContinuousBatchingConfig(page_size=32, num_blocks=blocks + 1, max_batch_tokens=512)
    manager = model.init_continuous_batching(generation_config=settings, continuous_batching_config=sizes)
    manager.start()
    try:
        for number, request in enumerate(asked):
            manager.add_request(list(request.prompt_ids), f"{number}", max_new_tokens=request.max_new_tokens)
        done = 0
        while done < len(asked):
            result = manager.get_result(timeout=1)
            done += result is not None and result.is_finished()
    finally:
        manager.stop(block=True)


class Vllm:
    """vLLM in its own interpreter: loaded once, asked once a round."""

    def __init__(self, python: str, model: Path, asked: Sequence[SampleRequest], threads: int) -> None:
        known = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
        environment = {**os.environ, **known, "OMP_NUM_THREADS": str(threads)}
        work = json.dumps([[list(request.prompt_ids), request.max_new_tokens, request.key] for request in asked])
        self.process = subprocess.Popen(
            [python, "-c", WORKER, str(model)], env=environment, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._ask(work)

    def seconds(self, cpu: bool) -> float:
        """Of one round, measured there."""
        answer: float = json.loads(self._ask("go"))[0 if cpu else 1]
        return answer

    def _ask(self, line: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        while line := self.process.stdout.readline():
            if line.startswith("answer "):
                return line.removeprefix("answer ")
        raise SystemExit("vLLM ended: run its interpreter by hand to see why")


def timed(work: Callable[[], object], cpu: bool) -> float:
    clock = time.process_time if cpu else time.perf_counter
    start = clock()
    work()
    return clock() - start


def floor(model: Any, asked: Sequence[SampleRequest], slots: int, cpu: bool) -> tuple[float, float, float]:
    """(seconds that the roofline of these requests takes, bytes a second, operations a second), measured here."""
    wide = torch.ones(64 << 20)
    bandwidth = wide.numel() * 4 / min(timed(wide.sum, cpu) for _ in range(5))
    square = torch.randn(1024, 1024)
    speed = 2 * 1024**3 / min(timed(lambda: square @ square, cpu) for _ in range(5))
    weights = sum(parameter.numel() for parameter in model.parameters())
    config = model.config
    a_token = 8 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim  # bytes of keys and values
    seconds = 2 * weights * sum(len(prompt) for prompt in {request.prompt_ids for request in asked}) / speed
    running: list[list[int]] = []
    waiting = list(asked)
    while running or waiting:
        while waiting and len(running) < slots:
            request = waiting.pop(0)
            running.append([len(request.prompt_ids), request.max_new_tokens])
        moved = 4 * weights + a_token * sum(length for length, _ in running)
        seconds += max(moved / bandwidth, 2 * weights * len(running) / speed)
        running = [[length + 1, left - 1] for length, left in running if left > 1]
    return seconds, bandwidth, speed


def sides(model: Any, asked: Sequence[SampleRequest], options: argparse.Namespace) -> dict[str, Callable[[], float]]:
    """Name -> a round of it, in seconds."""
    cpu = options.threads == 1
    engine = LocalSampler(model, end_ids=frozenset(), slots=options.slots)
    by_length = sorted(asked, key=lambda request: request.max_new_tokens)
    found: dict[str, Callable[[], float]] = {OURS: lambda: timed(lambda: engine.sample(asked), cpu)}
    if not options.only_vllm:
        found |= {
            "generate, one batch": lambda: timed(lambda: generate(model, asked, len(asked)), cpu),
            "generate, sorted, 8": lambda: timed(lambda: generate(model, by_length, 8), cpu),
            "continuous batching": lambda: timed(lambda: continuous(model, asked), cpu),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a model directory; without it a tiny one is made")
    parser.add_argument("--hidden-size", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--requests", type=int, default=256)
    parser.add_argument("--group", type=int, default=8, help="requests that share a prompt")
    parser.add_argument("--median", type=float, default=60)
    parser.add_argument("--sigma", type=float, default=0.8)
    parser.add_argument("--longest", type=int, default=512)
    parser.add_argument("--slots", type=int, default=256, help="of this engine; vLLM has as many")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--vllm", help="interpreter of an environment with vLLM")
    parser.add_argument("--only-vllm", action="store_true", help="leave the Hugging Face contenders out")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    loaded = load_model(options.model) if options.model else make_tiny(options.hidden_size, options.layers, 4, 1024, 0)
    model = loaded.model
    asked = requests(options, min(model.config.vocab_size, 40_000))
    tokens = sum(request.max_new_tokens for request in asked)
    contenders = sides(model, asked, options)
    cpu = options.threads == 1
    with tempfile.TemporaryDirectory() as directory:
        if options.vllm:
            save_model(loaded, directory)
            other = Vllm(options.vllm, Path(directory), asked, options.threads)
            contenders["vLLM"] = lambda: other.seconds(cpu)
        rounds = [{name: work() for name, work in contenders.items()} for _ in range(options.repeat)]
    seconds, bandwidth, speed = floor(model, asked, options.slots, cpu)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"{parameters:,} parameters, {len(asked)} requests, {tokens:,} tokens, {options.threads} thread(s)")
    print(f"floor {tokens / seconds:,.0f} tokens/s at {bandwidth / 1e9:.1f} GB/s and {speed / 1e9:.0f} GFLOP/s")
    for name in contenders:
        speeds = [tokens / one[name] for one in rounds]
        ratios = [one[name] / one[OURS] for one in rounds]
        share = seconds / median(one[name] for one in rounds)
        print(
            f"{name:22}{median(speeds):10,.0f} tokens/s ({min(speeds):,.0f}..{max(speeds):,.0f}), {share:4.0%} of the "
            f"floor; ours is {median(ratios):5.2f} x ({min(ratios):.2f}..{max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
