"""What a phase carries over from one iteration to the next, in memory and in the records of its iterations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openklear import progress
from openklear.durable.files import read_json
from openklear.errors import DataError
from openklear.recipe.partial import CarryOver
from openklear.recipe.schema import Phase
from openklear.rollout.carried import read_carried, write_carried
from openklear.rollout.carry import BegunGroup, Quotas
from openklear.rollout.encoding import EncodedProblem
from openklear.training.staleness import Staleness, carried_metrics, staleness
from openklear.training.updates import Update
from openklear.types import RolloutGroup

CARRIED = "carried.parquet"
"""In an iteration's record: the groups under way as it ended."""


@dataclass(slots=True)
class Carrying:
    """The groups under way between two iterations, whole ones among them; none where a phase has all tokens fresh."""

    stage: str
    phase: Phase
    problems: Mapping[str, EncodedProblem]
    """By id."""
    groups: list[BegunGroup] = field(default_factory=list)

    def quotas(self, number: int) -> Quotas | None:
        """When iteration `number` ends; None: with its longest rollout."""
        partial = self.phase.partial_rollouts
        return Quotas(self.phase.quotas, number - partial.oldest) if isinstance(partial, CarryOver) else None

    def new(self) -> dict[str, int]:
        """How many problems the next iteration begins, by the names of the phase's quotas."""
        counts = Counter(self.phase.sampled_at_once)
        for group in self.groups:
            counts[group.owner.problem.domain if self.phase.mix else ""] -= 1
        return {name: max(0, counts[name]) for name in self.phase.quotas}

    def holds(self, number: int) -> bool:
        """Whether what iteration `number` begins was sampled before it, beside the one before."""
        return any(group.since >= number for group in self.groups)

    def begun(self, number: int, groups: Sequence[BegunGroup]) -> dict[str, int]:
        """How many of these groups iteration `number` begins, in the same way; {} where it begins none."""
        since = [group.owner.problem.domain if self.phase.mix else "" for group in groups if group.since == number]
        return {name: since.count(name) for name in self.phase.quotas} if since else {}

    def staleness(self, number: int, groups: Sequence[RolloutGroup]) -> Staleness | None:
        """Of the tokens of iteration `number`, whose weights are of the version before it; None: all are fresh."""
        return staleness(groups, number - 1) if self.phase.stale else None

    def metrics(
        self, under_way: Sequence[BegunGroup], updates: Sequence[Update], stale: Staleness | None
    ) -> dict[str, float]:
        """How much the next iteration goes on with, and how old what is trained is; `updates` as they were made."""
        if stale is None:
            return {}
        return {"carried_problems": len(under_way), **carried_metrics(updates, stale)}

    def write(self, record: Path, number: int, groups: Sequence[BegunGroup]) -> None:
        """Into the record of iteration `number`."""
        if self.phase.stale:
            write_carried(record / CARRIED, groups, number - 1)

    def read(self, record: Path) -> list[BegunGroup]:
        """What a recorded iteration left under way; none where there is no record. DataError where its file is gone."""
        known: dict[str, Any] = read_json(record / "metrics.json") if (record / "metrics.json").is_file() else {}
        count = known.get("carried_problems", 0)
        if not count:
            return []
        if not self.phase.stale:  # a fork that changed it
            text = f"{count} problems that were under way are left aside, as nothing is carried over any more"
            progress.say(f"{self.stage}: {text}")
            return []
        if not (record / CARRIED).is_file():
            raise DataError(
                f"{record / CARRIED} is gone, and with it {count} problems that were under way; restore it from a copy "
                f"of the run, or remove {record.parents[1]} to train the stage from its beginning"
            )
        return read_carried(record / CARRIED, self.problems)

    def say_end(self) -> None:
        """What is lost with the end of the phase."""
        if self.groups:
            text = f"{len(self.groups)} problems are under way as the phase ends, and are not trained on"
            progress.say(f"{self.stage}: {text}")
