"""Sampled accuracy on the validation problems: a selection score, which chooses checkpoints and is never reported.

It alone pools sources: a domain's score is over the problems of all its validation sources, and the score that
chooses is the plain mean over domains. What is reported has a row for each benchmark (`openklear.evaluation.scores`).
"""

from __future__ import annotations

from collections.abc import Sequence

from openklear.errors import DataError
from openklear.evaluation.statistics import avg_at_k, correctness
from openklear.recipe.reward import ReportReward
from openklear.recipe.schema import Evaluation
from openklear.rollout.collect import Collector, Sampling
from openklear.rollout.encoding import EncodedProblem
from openklear.types import Problem, RolloutGroup
from openklear.verifiers.domains import DOMAINS

Lost = Sequence[tuple[Problem, str]]
"""Problems that cannot be asked, and why."""


def for_domains(problems: Sequence[Problem], domains: Sequence[str]) -> list[Problem]:
    """The problems of some domains, in the order given."""
    return [p for p in problems if p.domain in domains]


def require_choice(keep_best: bool, kept: Sequence[EncodedProblem], lost: Lost, stage: str) -> None:
    """DataError where the best checkpoint is asked for and no validation problem is left to choose it by.

    The stage `encode` says so before any training; this holds where a stage runs without it.
    """
    if not keep_best or kept:
        return
    first = f"the first, {lost[0][0].id}: {lost[0][1]}" if lost else ""
    why = f"all {len(lost)} are left out; {first}" if lost else "there are none in its domains"
    raise DataError(
        f"{stage}: checkpoints.keep_best chooses by validation, but no validation problem can be asked: {why}. Add "
        "shorter ones, raise the limit, or set keep_best to false"
    )


def asked(
    collector: Collector, problems: Sequence[EncodedProblem], evaluation: Evaluation, *, stage: str, at: int
) -> list[RolloutGroup]:
    """The validation problems, asked of the present weights; [] where there are none.

    The draws depend on the stage but not on `at`: checkpoints are compared under common random numbers.
    """
    if not problems:
        return []
    return collector.collect(
        problems,
        Sampling(
            evaluation.validation_samples,
            evaluation.temperature,
            evaluation.top_p,
            evaluation.max_completion_tokens,
            top_k=evaluation.top_k,
            min_p=evaluation.min_p,
        ),
        ReportReward(code="hard"),  # only correctness counts here, so tests stop at the first that fails
        purpose=f"validation/{stage}",
        label=f"{stage}: validation at {at}",
    )


def scores_of(groups: Sequence[RolloutGroup]) -> dict[str, float]:
    """avg@k by domain, and their plain mean as `validation_score`; {} where there is nothing to score.

    A domain of which nothing could be scored has no score and is in no mean.
    """
    scores: dict[str, float] = {}
    for domain in DOMAINS:
        found = avg_at_k(correctness([g for g in groups if g.problem.domain == domain]))
        if found.problems:
            scores[f"validation_{domain}"] = found.value
    return scores | {"validation_score": sum(scores.values()) / len(scores)} if scores else {}
