"""From a verdict to a reward.

The report rewards mathematics by final correctness and programs by the share of tests passed, and says that reasoning
outside <think>...</think> is penalised. It gives no number for the penalty: ours (the recipe's `format_penalty`) is
ours.
"""

from __future__ import annotations

from typing import Literal

from openklear.types import Domain, Outcome, Reward, Verdict


def reward_of(verdict: Verdict, domain: Domain, *, code: Literal["soft", "hard"], format_penalty: float) -> Reward:
    """The reward, with its parts `task` and `format`.

    task: mathematics 1 correct, 0 incorrect; programs passed / total (`soft`: 4 of 16 tests give 0.25) or 1 where all
    pass, else 0 (`hard`). format: -format_penalty where the completion is not well formed, else 0.

    ValueError for an unscorable verdict: it is no answer, so it has no reward; leave it out of its group first.
    """
    if verdict.outcome is Outcome.UNSCORABLE:
        raise ValueError(f"an unscorable verdict has no reward ({verdict.reason})")
    if domain == "code" and code == "soft":
        if verdict.total < 1:
            raise ValueError("a verdict without tests has no share of passed tests")
        task = verdict.passed / verdict.total
    else:
        task = 1.0 if verdict.correct else 0.0
    penalty = 0.0 if verdict.well_formed else -format_penalty
    return Reward(task + penalty, {"task": task, "format": penalty})
