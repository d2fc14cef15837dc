"""House rule 5: where the unscorable prevail, no figure is taken over what is left; the first reason is said instead.

A verdict is unscorable where a verifier failed, not an answer: it returned what is no verdict, raised, hung, or its
server was away. Such faults mostly concern a whole domain, since each domain has a verifier of its own, so the share is
taken by domain.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

from openklear.errors import RunError, VerifierError
from openklear.think import join_thought
from openklear.types import Attempt, Outcome, Problem, RolloutGroup, Verdict
from openklear.verifiers.printable import shown

UNSCORABLE_SHARE = 0.5
"""The share that stops a run where nothing else is said."""
TRIED = 4
"""Problems of a domain that a verifier from outside is asked about before anything is sampled for it."""


def refuse_unscorable(groups: Sequence[RolloutGroup], share: float, where: str) -> None:
    """RunError, with the first reason, where more than `share` of a domain's verdicts are unscorable.

    One problem among several that cannot be scored is that problem's own affair, however few share its domain.
    """
    for domain in dict.fromkeys(group.problem.domain for group in groups):
        some = [group for group in groups if group.problem.domain == domain]
        rollouts = chain.from_iterable(group.rollouts for group in some)
        verdicts = [rollout.verdict for rollout in rollouts]
        if len(some) > 1 or len(groups) == 1:
            refuse_verdicts(verdicts, len(verdicts), share, f"{where}, {domain}")


def refuse_verdicts(verdicts: Iterable[Verdict], total: int, share: float, where: str) -> None:
    """RunError, with the first reason, where more than `share` of `total` verdicts are unscorable."""
    lost = unscorable(verdicts)
    if len(lost) > share * total:
        raise RunError(
            f"{where}: {len(lost):,} of {total:,} verdicts are unscorable, above stop.unscorable_share = {share:g}, so "
            f"nothing is scored over the rest. The first reason: {shown(lost[0].reason)}. Mend what grades here "
            "(verifiers.graders, or the problems' tests and references) and give the same command again: what was "
            "finished is kept."
        )


def unscorable(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Those that say nothing of the answer."""
    return [verdict for verdict in verdicts if verdict.outcome is Outcome.UNSCORABLE]


def refuse_trial(grader: str, problems: Sequence[Problem], verdicts: Sequence[Verdict]) -> None:
    """VerifierError where a grader could score none of the problems' own references."""
    lost = unscorable(verdicts)
    if lost and len(lost) == len(verdicts):
        names = ", ".join(problem.id for problem in problems)
        raise VerifierError(
            f"{grader} was asked, before anything is sampled, about the references of {len(lost)} problems ({names}), "
            f"and could score none. The first reason: {shown(lost[0].reason)}. Mend it and give the same command "
            "again: what was finished is kept."
        )


def reference_attempt(problem: Problem) -> Attempt:
    """An attempt that every verifier of the problem's domain can score: its answer, or a program that does nothing."""
    text = f"\\boxed{{{problem.answer}}}" if problem.answer is not None else "```python\npass\n```"
    return Attempt(problem, join_thought("", text))
