"""Sampling speed of the local engine beside Hugging Face's generate, in one process: useful tokens a CPU-second.

    OMP_NUM_THREADS=1 python benchmarks/sampling.py

256 requests with prompts of 20..40 tokens. "even" asks for 30..90 new tokens, "ragged" for a log-normal number
(median 60, at most 512). Neither side stops earlier, and only tokens asked for count: a row of `generate` whose
request has ended goes on until the longest of its batch has, as it does with end tokens. CPU time, best of `--repeat`
rounds in which the contenders take turns, because other work on the machine would count in wall time.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from openklear.models.tiny import make_tiny
from openklear.rollout.local import LocalSampler
from openklear.types import SampleRequest

NO_END: frozenset[int] = frozenset()


def requests(lengths: Sequence[int], group: int, vocabulary: int) -> list[SampleRequest]:
    rng = np.random.default_rng(0)
    prompts = [tuple(rng.integers(7, vocabulary, rng.integers(20, 41)).tolist()) for _ in range(len(lengths) // group)]
    return [SampleRequest(prompts[i // group], i, int(length)) for i, length in enumerate(lengths)]


def workloads(count: int, group: int, vocabulary: int) -> dict[str, list[SampleRequest]]:
    rng = np.random.default_rng(1)
    ragged = np.clip(np.exp(rng.normal(np.log(60), 1.0, count)), 4, 512).astype(int)
    even = rng.integers(30, 91, count)
    return {name: requests(lengths, group, vocabulary) for name, lengths in (("even", even), ("ragged", ragged))}


def generate(model: torch.nn.Module, asked: Sequence[SampleRequest], batch: int) -> None:
    """What a user of transformers would write: left-padded batches, sampled at temperature 1."""
    for start in range(0, len(asked), batch):
        part = asked[start : start + batch]
        width = max(len(request.prompt_ids) for request in part)
        ids = torch.zeros(len(part), width, dtype=torch.int64)
        for row, request in enumerate(part):
            ids[row, width - len(request.prompt_ids) :] = torch.tensor(request.prompt_ids)
        longest = max(request.max_new_tokens for request in part)
        length = {"max_new_tokens": longest, "min_new_tokens": longest}
        model.generate(ids, attention_mask=(ids != 0).long(), do_sample=True, top_k=0, pad_token_id=0, **length)


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def contenders(model: torch.nn.Module, asked: Sequence[SampleRequest]) -> dict[str, Callable[[], object]]:
    made: dict[str, Callable[[], object]] = {}
    for slots in (64, 128, 256):
        engine = LocalSampler(model, end_ids=NO_END, slots=slots)
        made[f"openklear, {slots} slots"] = lambda engine=engine: engine.sample(asked)
    for batch in (64, 256):
        made[f"generate, batches of {batch}"] = lambda batch=batch: generate(model, asked, batch)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=256)
    parser.add_argument("--group", type=int, default=1, help="requests that share a prompt")
    parser.add_argument("--hidden-size", type=int, default=64)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = make_tiny(options.hidden_size, options.layers, 4, 1024, seed=0).model
    report: dict[str, dict[str, float]] = {}
    for name, asked in workloads(options.requests, options.group, model.config.vocab_size).items():
        tokens = sum(request.max_new_tokens for request in asked)
        sides = contenders(model, asked)
        rounds = [{side: cpu_seconds(work) for side, work in sides.items()} for _ in range(options.repeat)]
        report[name] = {side: tokens / min(r[side] for r in rounds) for side in sides}
    if options.json:
        print(json.dumps(report, indent=2))
        return
    parameters = sum(p.numel() for p in model.parameters())
    print(
        f"{parameters:,} parameters, {options.requests} requests, {options.group} a prompt; useful tokens a CPU-second"
    )
    for name, speeds in report.items():
        best_peer = max(speed for side, speed in speeds.items() if side.startswith("generate"))
        for side, speed in speeds.items():
            print(f"{name:8}{side:28}{speed:10,.0f}   {speed / best_peer:5.2f} x the better generate")


if __name__ == "__main__":
    main()
