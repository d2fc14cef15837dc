"""From a verdict to a reward, in one place, with the parts it is made of: the schemes of the recipe's [rl.reward].

The report rewards mathematics by final correctness and programs by the share of tests passed; other domains follow
suit, by what they are held against. It says that reasoning outside <think>...</think> is penalised, and gives no number
for the penalty: that of `report` is ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

from openklear.errors import RecipeError
from openklear.recipe.reward import CustomReward, KlearReleased, ReportReward, RewardScheme
from openklear.think import FormatFault
from openklear.types import Outcome, Reward, Verdict
from openklear.verifiers.custom import function
from openklear.verifiers.domains import DOMAINS

Parts = Mapping[str, float]

_RELEASED_FAULTS: Mapping[FormatFault, float] = {FormatFault.NOT_OPENED: -2.0, FormatFault.NOT_CLOSED: -0.5}
"""What the released code gives for mathematics without a <think>, or without its </think>; -1 for other faults."""


def reward_of(verdict: Verdict, domain: str, scheme: RewardScheme, where: str = "") -> Reward:
    """The reward and its parts, whose sum it is. `where` names the rollout in an error of a custom function.

    ValueError for an unscorable verdict: it says nothing of the answer, so it has no reward; take it out of its group.
    RecipeError where a custom function fails.
    """
    if verdict.outcome is Outcome.UNSCORABLE:
        raise ValueError(f"an unscorable verdict has no reward ({verdict.reason})")
    if isinstance(scheme, CustomReward):
        parts = _custom(verdict, domain, scheme, where)
    elif isinstance(scheme, KlearReleased):
        parts = _klear_released(verdict, domain)
    else:
        parts = _report(verdict, domain, scheme)
    return Reward(math.fsum(parts.values()), parts)


def try_reward(scheme: RewardScheme, domains: Sequence[str]) -> None:
    """RecipeError where a custom function fails at a right or a wrong verdict: said before anything is trained."""
    if isinstance(scheme, CustomReward):
        for domain, outcome in product(domains, (Outcome.CORRECT, Outcome.INCORRECT)):
            passed = int(outcome is Outcome.CORRECT)
            reward_of(Verdict(outcome, passed=passed, total=1), domain, scheme, f"tried on a verdict in {domain}")


def needs_every_test(scheme: RewardScheme) -> bool:
    """Whether the reward looks at how many tests pass; where it does not, grading may stop at the first that fails."""
    return not (isinstance(scheme, ReportReward) and scheme.code == "hard")


def _report(verdict: Verdict, domain: str, scheme: ReportReward) -> Parts:
    """task: an answer 1 correct, 0 incorrect; tests passed / total (soft: 4 of 16 give 0.25), or 1 where all pass and
    else 0 (hard). format: -format_penalty where the completion is not well formed, else 0.
    """
    soft = DOMAINS[domain].tested and scheme.code == "soft"
    task = _share(verdict) if soft else float(verdict.correct)
    return {"task": task, "format": 0.0 if verdict.well_formed else -scheme.format_penalty}


def _klear_released(verdict: Verdict, domain: str) -> Parts:
    """The released code's numbers.

    Answers: 1 correct, -1 wrong or badly formed, but -0.5 without </think> and -2 without <think>. So an answer that
    was cut off is punished less than a wrong one. Tests: the mean of +1 and -1 over them, which is
    2 * passed / total - 1, whatever the form. (It draws up to 16 tests at random; here it is always all of them.)
    """
    if DOMAINS[domain].tested:
        return {"task": 2.0 * _share(verdict) - 1.0, "format": 0.0}
    task = 1.0 if verdict.correct else -1.0
    value = task if verdict.well_formed else _RELEASED_FAULTS.get(verdict.format_fault, -1.0)
    return {"task": task, "format": value - task}


def _share(verdict: Verdict) -> float:
    if verdict.total < 1:
        raise ValueError("a verdict without tests has no share of passed tests")
    return verdict.passed / verdict.total


def _custom(verdict: Verdict, domain: str, scheme: CustomReward, where: str) -> Parts:
    call: Callable[[Verdict, str], Any] = function(scheme.function).call
    place = f'rl.reward.function = "{scheme.function}"{where and f", {where}"}'
    try:
        value = call(verdict, domain)
    except Exception as error:  # the function is the user's and may raise anything
        raise RecipeError(f"{place}: it raised {type(error).__name__}: {error}; fix the function") from error
    parts = value if isinstance(value, Mapping) else {"custom": value}
    try:
        numbers = {str(name): float(part) for name, part in parts.items()}
    except (TypeError, ValueError) as error:
        raise RecipeError(f"{place}: it returned {value!r:.200}; return a number, or a mapping of numbers") from error
    if not numbers or not all(map(math.isfinite, numbers.values())):
        raise RecipeError(f"{place}: it returned {value!r:.200}, which is not a finite number; fix the function")
    return numbers
