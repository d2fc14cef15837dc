"""Sampled accuracy on the validation problems: a selection score, which chooses checkpoints and is never reported.

It alone pools sources: a domain's score is over the problems of all its validation sources, and the score that
chooses is the plain mean over domains. What is reported has a row for each benchmark (`openklear.evaluation.scores`).
"""

from __future__ import annotations

from collections.abc import Sequence

from openklear.evaluation.statistics import avg_at_k, correctness
from openklear.recipe.reward import ReportReward
from openklear.recipe.schema import Evaluation
from openklear.rollout.collect import Collector, EncodedProblem, Sampling
from openklear.types import Problem
from openklear.verifiers.domains import DOMAINS


def for_domains(problems: Sequence[Problem], domains: Sequence[str]) -> list[Problem]:
    """The problems of some domains, in the order given."""
    return [p for p in problems if p.domain in domains]


def validate(
    collector: Collector,
    problems: Sequence[EncodedProblem],
    evaluation: Evaluation,
    *,
    stage: str,
    at: int,
) -> dict[str, float]:
    """avg@k by domain, and their plain mean as `validation_score`; {} where there are no validation problems.

    The draws depend on the stage but not on `at`: checkpoints are compared under common random numbers.
    """
    if not problems:
        return {}
    groups = collector.collect(
        problems,
        Sampling(
            evaluation.validation_samples, evaluation.temperature, evaluation.top_p, evaluation.max_completion_tokens
        ),
        ReportReward(code="hard"),  # only correctness counts here, so tests stop at the first that fails
        purpose=f"validation/{stage}",
        label=f"{stage}: validation at {at}",
    )
    scores: dict[str, float] = {}
    for domain in DOMAINS:
        table = correctness([g for g in groups if g.problem.domain == domain])
        if len(table):
            scores[f"validation_{domain}"] = avg_at_k(table).value
    scores["validation_score"] = sum(scores.values()) / len(scores)
    return scores
