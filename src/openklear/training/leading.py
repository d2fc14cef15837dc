"""The learner and the trainee of whoever leads ranks: the same protocols as in one process, and no weights here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openklear.rollout.protocol import Sampler
from openklear.training.dealing import dealt
from openklear.training.layout import TokenRow
from openklear.training.rank import Ask
from openklear.training.step import Metrics, PolicySequence


@dataclass(frozen=True, slots=True)
class LeadingLearner:
    """RL's: deals the sequences of a step to the ranks and puts what comes back into their order."""

    ask: Ask
    ranks: int
    takes_sampled: bool = False

    def with_old(self, sequences: Sequence[PolicySequence]) -> list[PolicySequence]:
        """As `LocalLearner.with_old`."""
        shares = _shares(sequences, self.ranks)
        return _in_order(shares, self.ask("with_old", _arguments(sequences, shares)))

    def update(
        self,
        sequences: Sequence[PolicySequence],
        learning_rate: float,
        check: Callable[[list[PolicySequence]], None] | None = None,
    ) -> tuple[Metrics, list[PolicySequence]]:
        """As `LocalLearner.update`; `check` is of all sequences, before any rank's weights move."""
        shares = _shares(sequences, self.ranks)
        found = self.ask("gradient", _arguments(sequences, shares))
        done = _in_order(shares, [made for _, made in found])
        if check is not None:
            check(done)
        moved = self.ask("step", [(learning_rate,)] * self.ranks)
        return found[0][0] | moved[0], done


@dataclass(frozen=True, slots=True)
class LeadingSupervised:
    """SFT's."""

    ask: Ask
    ranks: int

    def update(self, rows: Sequence[TokenRow], learning_rate: float, number: int = 0) -> Metrics:
        """As `SupervisedLearner.update`."""
        shares = _shares(rows, self.ranks)
        arguments = [(*share, learning_rate, number) for share in _arguments(rows, shares)]
        metrics: Metrics = self.ask("supervise", arguments)[0]
        return metrics


@dataclass(frozen=True, slots=True)
class LedTrainee:
    """What the ranks hold, as a Trainee; directories are ones that all of them see."""

    ask: Ask
    ranks: int
    parameters: int
    """Of the model."""
    hand: Callable[[Sampler, int], None]
    """Hands the whole weights to a sampler, as a version."""

    def write(self, directory: Path) -> None:
        """Each rank its parts."""
        self._all("write", directory)

    def read(self, directory: Path) -> None:
        """Each rank what is its part now."""
        self._all("read", directory)

    def write_model(self, directory: Path, written: Path | None = None) -> None:
        """The first rank a whole model."""
        self._all("write_model", directory, written)

    def publish(self, sampler: Sampler, version: int) -> None:
        """Gathered by the ranks, handed on by the first."""
        self.hand(sampler, version)

    def needed_bytes(self) -> int:
        """Weights in fp32 and two moments."""
        return 12 * self.parameters + 1_000_000

    def _all(self, method: str, *arguments: Any) -> None:
        self.ask(method, [arguments] * self.ranks)


def _shares(rows: Sequence[TokenRow], ranks: int) -> list[list[int]]:
    return dealt([len(row.ids) for row in rows], ranks)


def _arguments(rows: Sequence[TokenRow], shares: Sequence[Sequence[int]]) -> list[tuple[list[TokenRow]]]:
    return [(list(map(rows.__getitem__, share)),) for share in shares]


def _in_order(shares: Sequence[Sequence[int]], found: Sequence[Sequence[PolicySequence]]) -> list[PolicySequence]:
    """What the ranks made of their shares, by the index that each sequence had."""
    by_index: dict[int, PolicySequence] = {}
    for share, made in zip(shares, found, strict=True):
        by_index |= dict(zip(share, made, strict=True))
    return [by_index[index] for index in range(len(by_index))]
