"""One rollout as text for the terminal: what the model writes is seen while it trains, not only in the report."""

from __future__ import annotations

from collections.abc import Sequence

from openklear.types import Rollout, RolloutGroup
from openklear.verifiers.printable import printable, shown

LONGEST = 800
"""Characters of a prompt or a completion that are shown; the middle of a longer one is left out."""


def one_of(groups: Sequence[RolloutGroup], number: int) -> Rollout:
    """Another problem, and another of its rollouts, with every number."""
    rollouts = groups[number % len(groups)].rollouts
    return rollouts[number % len(rollouts)]


def told(rollout: Rollout, where: str) -> str:
    """A rollout's prompt, completion, verdict and reward in plain text; every quoted line begins with a bar."""
    verdict, tokens = rollout.verdict, len(rollout.completion.token_ids)
    reason = f" ({shown(verdict.reason)})" if verdict.reason else ""
    reward = "no reward" if rollout.reward.value != rollout.reward.value else f"reward {rollout.reward.value:g}"
    head = f"{where}, a sample: {shown(rollout.problem.id)}, {verdict.outcome}{reason}, {reward}, {tokens:,} tokens"
    asked = "\n".join(message["content"] for message in rollout.problem.prompt if message["role"] == "user")
    return "\n".join((head, *_quoted("> ", asked), *_quoted("| ", rollout.text)))


def _quoted(mark: str, text: str) -> list[str]:
    if len(text) > LONGEST:
        half = LONGEST // 2
        text = f"{text[:half]} [... {len(text) - 2 * half:,} characters ...] {text[-half:]}"
    lines = printable(text, "\n\t").split("\n")
    if len(lines) > 24:
        lines = [*lines[:12], f"[... {len(lines) - 24} lines ...]", *lines[-12:]]
    return [f"  {mark}{line}" for line in lines]
