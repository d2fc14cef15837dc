"""The whole method in one file: a small model learns arithmetic from demonstrations, then improves by GPPO.

    python examples/rl_loop.py

It needs no download and no GPU, and takes about two minutes on one core. Problems are chains such as (7+3)*4-9; the
model is a transformer of 0.2 M parameters that reads characters. It is fine-tuned on worked answers for a short while
(SFT), and then learns from its own answers: sample several per problem, verify them, turn the verdicts into advantages,
and take a few steps on the GPPO loss. Each part is the one that `openklear run` uses; a real run adds curated data,
fair comparisons, checkpoints and a report.

SFT stops early on purpose, to leave something to learn: demonstrations are free here, so more of them would help too.

Shapes: B rows of a batch, T tokens of the longest of them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from random import Random

import torch
from torch import Tensor

from openklear.demo import arithmetic
from openklear.models.batching import pad_right
from openklear.models.chat import decode_completion, encode_demonstration, encode_prompt
from openklear.models.loading import LoadedModel
from openklear.models.logprobs import sequence_logprobs
from openklear.models.tiny import make_tiny
from openklear.objectives.advantages import grpo
from openklear.objectives.policy import gppo
from openklear.objectives.supervised import negative_log_likelihood
from openklear.recipe.optimizers import AdamW, Muon
from openklear.rollout.local import LocalSampler
from openklear.rollout.seeds import rollout_key
from openklear.training.optimizer import Optimizer, build_optimizer, clip_gradients, warmup_constant
from openklear.types import Attempt, Completion, Message, Problem, SampleRequest
from openklear.verifiers.judge import Judge, Limits, open_judge

SEED = 0
LONGEST = 3  # problems chain two operations or more, and one more than this at most
HELDOUT, HELDOUT_SAMPLES = 200, 4  # problems that are never trained on, and answers sampled to each
MAX_NEW_TOKENS = 80  # the longest right answer has about 60

SFT_BATCH, SFT_LEARNING_RATE = 32, 0.02  # the rate of Muon, which moves the matrices

PROBLEMS, GROUP = 32, 8  # an iteration samples GROUP answers to each of PROBLEMS problems
UPDATES = 2  # optimizer steps on them; from the second one on the policy is no longer the one that sampled
RL_LEARNING_RATE = 5e-4
CLIP_LOW, CLIP_HIGH = 0.2, 0.28


# Problems. Each is drawn with a worked answer, which only the demonstrations show to the model.


def draw_problems(seed: int, without: frozenset[str] = frozenset()) -> Iterator[tuple[Problem, str]]:
    """Endless (problem, worked answer): chains of one-digit operations, none of whose prompts is in `without`."""
    rng = Random(seed)
    while True:
        chain = arithmetic.draw_chain(rng, level=rng.randint(1, LONGEST))
        question = arithmetic.word(rng, chain)
        if question not in without:
            message: Message = {"role": "user", "content": question}
            yield Problem(question, (message,), "math", answer=chain.answer), arithmetic.solution(chain)


# Supervised fine-tuning: the log-likelihood of the worked answers, token by token.


def fine_tune(policy: LoadedModel, problems: Iterator[tuple[Problem, str]], steps: int) -> None:
    """Train on `steps` batches of fresh demonstrations."""
    optimizer = build_optimizer(policy.model, Muon(adam_ratio=0.1, weight_decay=0.0))
    for step in range(steps):
        ids, mask = demonstrations([next(problems) for _ in range(SFT_BATCH)], policy)
        logprobs, _ = sequence_logprobs(policy.model, ids, mask, entropy=False)  # (B, T), 0 outside the mask
        loss = negative_log_likelihood(logprobs, mask, tokens=int(mask.sum()))
        update(policy, optimizer, loss, warmup_constant(step, warmup=20, peak=SFT_LEARNING_RATE))
        if step % 50 == 0:
            print(f"  step {step:3}  loss {loss.item():.3f} nats per token", flush=True)


def demonstrations(rows: Sequence[tuple[Problem, str]], policy: LoadedModel) -> tuple[Tensor, Tensor]:
    """Prompt and worked answer as ids (B, T), and the mask (B, T) of the answer's tokens."""
    encoded = []
    for problem, answer in rows:
        messages = [*problem.prompt, Message(role="assistant", content=answer)]
        encoded.append(encode_demonstration(policy.tokenizer, messages, end_ids=policy.end_ids, where=problem.id))
    return (
        pad_right([row.ids for row in encoded], fill=0, dtype=torch.int64),
        pad_right([row.loss_mask for row in encoded], fill=False, dtype=torch.bool),
    )


def update(policy: LoadedModel, optimizer: Optimizer, loss: Tensor, learning_rate: float) -> None:
    """One optimizer step down the gradient of the loss."""
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    clip_gradients(policy.model, max_norm=1.0)
    optimizer.set_learning_rate(learning_rate)
    optimizer.step()


# Sampling and verifying: what the policy answers, and whether it is right.


def requests(policy: LoadedModel, problems: Sequence[Problem], count: int, purpose: str) -> list[SampleRequest]:
    """`count` requests for each problem, side by side.

    The key of a request decides every draw: no random state is kept anywhere, and a run can be repeated.
    """
    asked = []
    for problem in problems:
        prompt_ids = encode_prompt(policy.tokenizer, problem.prompt)
        for number in range(count):
            key = rollout_key(SEED, purpose, 0, problem.content_hash, number)
            asked.append(SampleRequest(prompt_ids, key, MAX_NEW_TOKENS, temperature=1.0))
    return asked


def sample(policy: LoadedModel, asked: Sequence[SampleRequest]) -> list[Completion]:
    """Sampled token ids with their log-probabilities, one completion to each request."""
    return LocalSampler(policy.model, end_ids=policy.end_ids, slots=256).sample(asked)


def verify(policy: LoadedModel, judge: Judge, problems: Sequence[Problem], completions: Sequence[Completion]) -> Tensor:
    """Whether the final answer is right: rewards (problems, count) of 1 and 0."""
    count = len(completions) // len(problems)
    attempts = []
    for index, completion in enumerate(completions):
        text = decode_completion(policy.tokenizer, completion.token_ids, policy.end_ids)
        attempts.append(Attempt(problems[index // count], text, stop_reason=completion.stop_reason))
    rewards = [float(verdict.correct) for verdict in judge.judge(attempts)]
    return torch.tensor(rewards).view(len(problems), count)


def accuracy(policy: LoadedModel, judge: Judge, heldout: Sequence[Problem]) -> float:
    """Share of right answers to the held-out problems, sampled at temperature 1."""
    completions = sample(policy, requests(policy, heldout, HELDOUT_SAMPLES, "evaluation"))
    return verify(policy, judge, heldout, completions).mean().item()


# Reinforcement learning: the report's algorithm box.


def reinforce(policy: LoadedModel, judge: Judge, problems: Iterator[tuple[Problem, str]], iterations: int) -> None:
    """Sample, verify, advantage, loss, step; `iterations` times."""
    optimizer = build_optimizer(policy.model, AdamW(weight_decay=0.0))
    for iteration in range(iterations):
        # Sample a group of answers to each problem. The worked answers are not looked at any more.
        chosen = [next(problems)[0] for _ in range(PROBLEMS)]
        asked = requests(policy, chosen, GROUP, purpose=f"train {iteration}")
        completions = sample(policy, asked)

        # Verify them.
        rewards = verify(policy, judge, chosen, completions)  # (PROBLEMS, GROUP)

        # Advantage: how much better than its group an answer is. A group that is all right or all wrong teaches
        # nothing, and is dropped.
        lengths = torch.tensor([len(c.token_ids) for c in completions]).view(PROBLEMS, GROUP)
        advantages = torch.stack(grpo(list(rewards), list(lengths))).float()  # (PROBLEMS, GROUP), mean 0 in each row
        kept = [index for index, group in enumerate(advantages) if group.any()]

        # Old log-probabilities: the policy that sampled, before its weights move.
        batches = []
        for part in range(UPDATES):
            rows = [index * GROUP + number for index in kept[part::UPDATES] for number in range(GROUP)]
            if rows:
                ids, mask = tokens([asked[row] for row in rows], [completions[row] for row in rows])
                with torch.no_grad():
                    old_logprobs, _ = sequence_logprobs(policy.model, ids, mask, entropy=False)
                per_token = advantages.view(-1)[rows][:, None].expand_as(mask)  # (B,) -> (B, T): alike at every token
                batches.append((ids, mask, old_logprobs, per_token))

        # The loss and the steps. GPPO has the value of PPO's clipped loss, but outside the band its gradient is bounded
        # instead of cut off: tokens that the policy moved too far, too early, are still learned from.
        for ids, mask, old_logprobs, per_token in batches:
            logprobs, _ = sequence_logprobs(policy.model, ids, mask, entropy=False)
            losses = gppo(
                logprobs, old_logprobs, per_token, clip_low=CLIP_LOW, clip_high=CLIP_HIGH, loss_mask=mask
            )  # (B, T)
            loss = losses.sum() / mask.sum()  # the token mean over the step
            update(policy, optimizer, loss, warmup_constant(iteration, warmup=5, peak=RL_LEARNING_RATE))

        if iteration % 10 == 0:
            print(f"  iteration {iteration:3}  reward {rewards.mean().item():.3f}  groups {len(kept)}", flush=True)


def tokens(asked: Sequence[SampleRequest], completions: Sequence[Completion]) -> tuple[Tensor, Tensor]:
    """Prompt and completion as ids (B, T), and the mask (B, T) of the completion's tokens.

    The sampled ids themselves: text that is decoded and encoded again may become other tokens.
    """
    ids, mask = [], []
    for request, completion in zip(asked, completions, strict=True):
        ids.append([*request.prompt_ids, *completion.token_ids])
        mask.append([False] * len(request.prompt_ids) + [True] * len(completion.token_ids))
    return pad_right(ids, fill=0, dtype=torch.int64), pad_right(mask, fill=False, dtype=torch.bool)


def main(sft_steps: int, iterations: int) -> tuple[float, float, float]:
    """Train and print the held-out accuracy along the way: untrained, after SFT, after GPPO."""
    torch.set_num_threads(1)  # a model this small is slower with more
    heldout = [problem for problem, _ in islice(draw_problems(SEED + 1), HELDOUT)]
    problems = draw_problems(SEED, without=frozenset(problem.id for problem in heldout))
    policy = make_tiny(hidden_size=64, layers=3, heads=2, max_positions=256, seed=SEED)
    start = time.monotonic()

    with open_judge(Limits(), ["math"], print) as judge:
        untrained = accuracy(policy, judge, heldout)
        print(f"untrained: {untrained:.3f} of the held-out answers are right")

        print(f"supervised fine-tuning on {sft_steps * SFT_BATCH:,} demonstrations")
        fine_tune(policy, problems, sft_steps)
        tuned = accuracy(policy, judge, heldout)
        print(f"after SFT: {tuned:.3f} ({time.monotonic() - start:.0f} s)")

        print(f"GPPO on {iterations * PROBLEMS * GROUP:,} answers of its own")
        reinforce(policy, judge, problems, iterations)
        reinforced = accuracy(policy, judge, heldout)
        print(f"after GPPO: {reinforced:.3f} ({time.monotonic() - start:.0f} s)")
    return untrained, tuned, reinforced


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A small model learns arithmetic by SFT and GPPO.")
    parser.add_argument("--sft-steps", type=int, default=280, help="batches of demonstrations (default: %(default)s)")
    parser.add_argument("--iterations", type=int, default=80, help="iterations of GPPO (default: %(default)s)")
    options = parser.parse_args()
    main(options.sft_steps, options.iterations)
