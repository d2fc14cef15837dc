"""Memory and speed of log-probabilities from hidden states, beside what one writes without `head_logprobs`.

    python benchmarks/head_logprobs.py                   # 15 to 25 minutes on two cores, 6 GB
    python benchmarks/head_logprobs.py --quick           # seconds, all contenders in both tables
    python benchmarks/head_logprobs.py --device cuda     # bf16

"plain" is linear, log_softmax and gather under autograd; "checkpoint" is the same over 1,024 tokens at a time, each
recomputed in backward by torch.utils.checkpoint. Every run is forward and backward to hidden states and weight.

Memory: each contender in a process of its own. Beyond = the peak of the process (of the allocator, on cuda) over what
it held with inputs in place and libraries warm, less the bytes of outputs and gradients. "plain" does not fit a laptop
at full size and runs only where asked for. Speed: contenders take turns for `--rounds` rounds; a ratio is taken within
its round, because other work on the machine changes from round to round. Errors: against float64, largest difference
over largest value.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from openklear.models.head import head_logprobs

CHECKPOINT_TOKENS = 1024
Contender = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor | None]]


def plain(hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, None]:
    log_p = F.linear(hidden, weight).float().log_softmax(-1)
    return log_p.gather(-1, targets[:, None]).squeeze(-1), None


def plain_with_entropy(hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    log_p = F.linear(hidden, weight).float().log_softmax(-1)
    with torch.no_grad():
        entropies = torch.special.entr(log_p.exp()).sum(-1)
    return log_p.gather(-1, targets[:, None]).squeeze(-1), entropies


def checkpointed(hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    pairs = zip(hidden.split(CHECKPOINT_TOKENS), targets.split(CHECKPOINT_TOKENS), strict=True)
    parts = [checkpoint(plain_with_entropy, part, weight, wanted, use_reentrant=False) for part, wanted in pairs]
    values, entropies = zip(*parts, strict=True)
    return torch.cat(values), torch.cat(entropies)


def without_entropy(hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, None]:
    return head_logprobs(hidden, weight, targets, entropy=False)[0], None


CONTENDERS: dict[str, Contender] = {
    "plain": plain,
    "plain, entropy": plain_with_entropy,
    "checkpoint, entropy": checkpointed,
    "openklear": without_entropy,
    "openklear, entropy": head_logprobs,
}


def inputs(tokens: int, vocabulary: int, width: int, device: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Hidden states, a weight that makes logits of deviation 2, targets, and upstream gradients of both signs."""
    generator = torch.Generator(device).manual_seed(0)
    place: dict[str, Any] = {
        "generator": generator,
        "device": device,
        "dtype": torch.bfloat16 if device == "cuda" else torch.float32,
    }
    hidden = torch.randn(tokens, width, **place)
    weight = torch.randn(vocabulary, width, **place).mul_(2 / width**0.5)
    targets = torch.randint(0, vocabulary, (tokens,), generator=generator, device=device)
    upstream = torch.randn(tokens, generator=generator, device=device)
    return hidden.requires_grad_(), weight.requires_grad_(), targets, upstream


def both_passes(contender: Contender, given: tuple[Tensor, Tensor, Tensor, Tensor]) -> list[Tensor]:
    """Values, entropies (where the contender has any), and the gradients of hidden states and weight."""
    hidden, weight, targets, upstream = given
    hidden.grad = weight.grad = None
    values, entropies = contender(hidden, weight, targets)
    values.backward(upstream.to(values.dtype))
    found = [values.detach(), entropies, hidden.grad, weight.grad]
    return [tensor for tensor in found if tensor is not None]


def process_bytes(key: str) -> int:
    """VmRSS (now) or VmHWM (peak) of this process. ru_maxrss would also count what the parent held at the fork."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"the system does not tell {key}")


def measure_memory(name: str, sizes: tuple[int, int, int], device: str) -> dict[str, float]:
    """In the child: bytes beyond inputs, outputs and gradients at the peak, and seconds."""
    both_passes(CONTENDERS[name], inputs(64, 64, 64, device))  # thread pools, kernels, handles
    given = inputs(*sizes, device)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    else:
        before = process_bytes("VmRSS")
    start = time.perf_counter()
    results = both_passes(CONTENDERS[name], given)
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else process_bytes("VmHWM")
    kept = sum(tensor.numel() * tensor.itemsize for tensor in results)
    return {"beyond": peak - before - kept, "kept": kept, "before": before, "seconds": time.perf_counter() - start}


def print_memory(options: argparse.Namespace) -> None:
    tokens, vocabulary, width = sizes = (options.tokens, options.vocabulary, options.width)
    print(f"Memory: {tokens:,} tokens x {vocabulary:,} entries x {width:,}, forward + backward")
    print(f"{'':24}{'beyond, GB':>12}{'outputs + gradients, GB':>26}{'seconds':>10}")
    print(f"{'the full logits, fp32':24}{tokens * vocabulary * 4 / 1e9:12.2f}")
    for name in options.memory_of:
        command = [sys.executable, __file__, "--child", name, "--device", options.device]
        command += ["--threads", str(options.threads), "--sizes", *map(str, sizes)]
        got = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        print(f"{name:24}{got['beyond'] / 1e9:12.2f}{got['kept'] / 1e9:26.2f}{got['seconds']:10.1f}", flush=True)


def exact(given: tuple[Tensor, Tensor, Tensor, Tensor]) -> list[Tensor]:
    """Values, entropies and both gradients in float64, a few tokens at a time."""
    hidden, weight, targets, upstream = given
    weight = weight.detach().double().requires_grad_()
    values, entropies, slopes = [], [], []
    for states, wanted, gradient in zip(hidden.split(512), targets.split(512), upstream.split(512), strict=True):
        leaf = states.detach().double().requires_grad_()
        log_p = F.linear(leaf, weight).log_softmax(-1)
        values.append(log_p.gather(-1, wanted[:, None]).squeeze(-1))
        entropies.append(-(log_p.exp() * log_p).sum(-1).detach())
        values[-1].backward(gradient.double())
        assert leaf.grad is not None
        slopes.append(leaf.grad)
    assert weight.grad is not None
    return [torch.cat(values).detach(), torch.cat(entropies), torch.cat(slopes), weight.grad]


def errors(found: list[Tensor], true: list[Tensor]) -> list[float]:
    """Largest difference over the largest value, for values, entropies (NaN where there are none) and gradients."""
    if len(found) == len(true) - 1:
        found = [found[0], torch.full_like(found[0], float("nan")), *found[1:]]
    return [float((a.double() - b).abs().max() / b.abs().max()) for a, b in zip(found, true, strict=True)]


def seconds(contender: Contender, given: tuple[Tensor, Tensor, Tensor, Tensor], device: str) -> float:
    start = time.perf_counter()
    both_passes(contender, given)
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def print_speed(options: argparse.Namespace) -> None:
    tokens, vocabulary, device = options.speed_tokens, options.speed_vocabulary, options.device
    given = inputs(tokens, vocabulary, options.width, device)
    true = exact(given)
    wrong = {name: errors(both_passes(contender, given), true) for name, contender in CONTENDERS.items()}
    del true
    rounds = [{n: seconds(c, given, device) for n, c in CONTENDERS.items()} for _ in range(options.rounds)]
    print(f"\nSpeed: {tokens:,} tokens x {vocabulary:,} entries x {options.width:,}, {options.rounds} rounds in turns")
    print(f"{'':24}{'best s':>9}{'median s':>9}   x plain: median (range)  {'errors: value':>14}{'entropy':>9}", end="")
    print(f"{'d hidden':>10}{'d weight':>10}")
    for name in CONTENDERS:
        times = [r[name] for r in rounds]
        ratios = [r[name] / r["plain"] for r in rounds]
        print(f"{name:24}{min(times):9.3f}{statistics.median(times):9.3f}", end="")
        print(f"{statistics.median(ratios):13.2f} ({min(ratios):.2f}..{max(ratios):.2f}) ", end="")
        print(f"{wrong[name][0]:16.1e}{wrong[name][1]:9.1e}{wrong[name][2]:10.1e}{wrong[name][3]:10.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="fp32 on the CPU, bf16 on cuda")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=32_768)
    parser.add_argument("--vocabulary", type=int, default=151_936)
    parser.add_argument("--width", type=int, default=1024, help="of the hidden states, in both tables")
    measured = ["checkpoint, entropy", "openklear, entropy"]
    parser.add_argument("--memory-of", nargs="*", choices=CONTENDERS, metavar="CONTENDER", default=measured)
    parser.add_argument("--speed-tokens", type=int, default=8192)
    parser.add_argument("--speed-vocabulary", type=int, default=32_768)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="1/16 of the tokens, width and both vocabularies / 4")
    parser.add_argument("--child", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--sizes", type=int, nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.child:
        print(json.dumps(measure_memory(options.child, tuple(options.sizes), options.device)))
        return
    if options.quick:
        options.tokens, options.speed_tokens = options.tokens // 16, options.speed_tokens // 16
        options.vocabulary, options.speed_vocabulary = options.vocabulary // 4, options.speed_vocabulary // 4
        options.width, options.memory_of = options.width // 4, list(CONTENDERS)
    print(f"{options.device}, {options.threads} threads, torch {torch.__version__}")
    print_memory(options)
    print_speed(options)


if __name__ == "__main__":
    main()
