"""Rollouts that are under way: begun, broken off, gone on with; and when an iteration has enough whole groups.

The rule counts and looks at no clock. An iteration samples all groups under way, the oldest first, and ends as soon as
as many groups are whole as it trains on, and every group that was carried over long enough. It trains on those that
became whole first. The others go on in the next iteration, from the weights of then.

A draw depends on its rollout's key and its position alone. What depends on the order in which the engine serves
requests (its slots, its batches) is where a rollout is broken off, so from which weights its later tokens are drawn,
and in which iteration its group is trained on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from openklear.rollout.encoding import EncodedProblem
from openklear.types import Completion, StopReason

NOTHING = Completion(np.zeros(0, np.int32), np.zeros(0, np.float32), StopReason.PARTIAL, np.zeros(0, np.int32))
"""What is drawn of a rollout that has only been asked for."""


@dataclass(frozen=True, slots=True, eq=False)
class Begun:
    """One rollout that was asked for, and what was drawn of it so far; PARTIAL until it has ended."""

    sample: int
    key: int
    """Decides its draws, in whichever iteration they come."""
    drawn: Completion = NOTHING

    @property
    def ended(self) -> bool:
        """Whether nothing more is drawn for it."""
        return self.drawn.stop_reason is not StopReason.PARTIAL

    def cut(self, limit: int) -> Begun:
        """The rollout under a limit of tokens; one that has as many has ended."""
        if self.ended or len(self.drawn.token_ids) < limit:
            return self
        tokens, logprobs = self.drawn.token_ids[:limit], self.drawn.logprobs[:limit]
        return replace(self, drawn=Completion(tokens, logprobs, StopReason.LENGTH, versions(self.drawn, 0)[:limit]))


@dataclass(frozen=True, slots=True, eq=False)
class BegunGroup:
    """The rollouts of one problem, which were begun together."""

    owner: EncodedProblem
    since: int
    """The iteration that they were begun in."""
    rollouts: tuple[Begun, ...]


def joined(first: Completion, rest: Completion, version: int) -> Completion:
    """Two stretches of one rollout; `version` of the policy counts where the sampler does not say any."""
    if not len(first.token_ids):
        return rest
    return Completion(
        np.concatenate((first.token_ids, rest.token_ids)),
        np.concatenate((first.logprobs, rest.logprobs)),
        rest.stop_reason,
        np.concatenate((versions(first, version), versions(rest, version))),
    )


def versions(completion: Completion, version: int) -> NDArray[np.int32]:
    """(T,) the policy that each token was drawn from."""
    if completion.versions is not None:
        return completion.versions
    return np.full(len(completion.token_ids), version, np.int32)


@dataclass(frozen=True, slots=True)
class Quotas:
    """When an iteration ends."""

    groups: Mapping[str, int]
    """Groups that it trains on: of each domain, or of all together under ""."""
    overdue: int
    """Groups begun in this iteration or before are waited for."""

    def kind(self, group: BegunGroup) -> str:
        """Which of the quotas a group counts for."""
        domain = group.owner.problem.domain
        return domain if domain in self.groups else ""


def all_of(groups: Sequence[BegunGroup]) -> Quotas:
    """Every group is trained on, whatever its domain."""
    return Quotas({"": len(groups)}, -1)


@dataclass(slots=True)
class WholeGroups:
    """The groups under way in an iteration, as their rollouts end."""

    groups: Sequence[BegunGroup]
    left: list[int]
    """Rollouts of each group that have not ended."""
    quotas: Quotas
    whole: list[int] = field(default_factory=list)
    """Groups, in the order in which they became whole."""
    waited: set[int] = field(init=False)
    """Groups that are overdue and not whole."""
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.waited = {n for n, group in enumerate(self.groups) if group.since <= self.quotas.overdue}
        for number, left in enumerate(self.left):
            if not left:
                self._became_whole(number)

    def ended(self, group: int) -> None:
        """One more rollout of a group has ended."""
        self.left[group] -= 1
        if not self.left[group]:
            self._became_whole(group)

    def _became_whole(self, group: int) -> None:
        self.whole.append(group)
        self.waited.discard(group)
        self.counts[self.quotas.kind(self.groups[group])] += 1

    def enough(self) -> bool:
        """The sampler's `until`."""
        return not self.waited and all(self.counts[kind] >= count for kind, count in self.quotas.groups.items())

    def chosen(self) -> list[int]:
        """The groups that are trained on, in their order: the overdue ones and those that were whole first."""
        left, found = Counter(self.quotas.groups), []
        for number in sorted(self.whole, key=lambda n: self.groups[n].since > self.quotas.overdue):
            kind = self.quotas.kind(self.groups[number])
            if left[kind] > 0:
                left[kind] -= 1
                found.append(number)
        return sorted(found)
