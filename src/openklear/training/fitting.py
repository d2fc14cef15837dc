"""What a model's template and the recipe's limits leave of the prepared rows: counted, with a reason for each loss."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Generic, TypeVar

import numpy as np

from openklear.errors import RowRefused
from openklear.models.chat import EncodedDemonstration
from openklear.models.tokenizer import Speaker
from openklear.recipe.schema import Sft
from openklear.rollout.collect import encode_problem
from openklear.training.demonstrations import encode_row, within
from openklear.types import Demonstration, Problem

Segment = tuple[str, bool]
"""A stretch of text, and whether its tokens are trained."""
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Loss:
    """A row that a stage cannot use."""

    where: str
    """file:line of a demonstration, id of a problem."""
    kind: str
    reason: str


@dataclass(slots=True)
class Fit:
    """The rows of one source on their way to one consumer (sft, rl-NAME, evaluation)."""

    role: str
    source: str
    consumer: str
    read: int = 0
    cut: int = 0
    """Demonstrations that are trained without their end."""
    losses: list[Loss] = field(default_factory=list)
    example: list[Segment] = field(default_factory=list)
    """The first row that is kept, as the model sees it."""

    @property
    def share_lost(self) -> float:
        """Of the rows read."""
        return len(self.losses) / self.read if self.read else 0.0

    @property
    def kinds(self) -> dict[str, int]:
        """Losses by kind, the most frequent first."""
        return dict(Counter(loss.kind for loss in self.losses).most_common())

    def row(self) -> dict[str, Any]:
        """As rows.json holds it."""
        place = {"role": self.role, "source": self.source, "consumer": self.consumer}
        counts = {"read": self.read, "kept": self.read - len(self.losses), "cut": self.cut}
        return {**place, **counts, "dropped": self.kinds}


@dataclass(frozen=True, slots=True)
class Taken(Generic[Row]):
    """How a consumer takes rows: `encode` gives the row's text in segments and whether it was cut, or RowRefused."""

    role: str
    consumer: str
    encode: Callable[[Row, bool], tuple[list[Segment], bool]]
    where: Callable[[Row], str]

    def fit(self, source: str, rows: Iterable[Row]) -> Fit:
        """Try every row."""
        fit = Fit(self.role, source, self.consumer)
        for row in rows:
            fit.read += 1
            try:
                segments, cut = self.encode(row, not fit.example)
            except RowRefused as error:
                fit.losses.append(Loss(self.where(row), error.kind, str(error)))
            else:
                fit.cut += cut
                fit.example = fit.example or segments
        return fit


def trained(speaker: Speaker, settings: Sft) -> Taken[Demonstration]:
    """Demonstrations as SFT takes them."""

    def encode(demo: Demonstration, shown: bool) -> tuple[list[Segment], bool]:
        whole = encode_row(speaker, demo)
        row = within(whole, settings, speaker.longest)
        return (segments(speaker, row) if shown else []), len(row.ids) < len(whole.ids)

    return Taken("demonstrations", "sft", encode, lambda demo: demo.where)


def asked(speaker: Speaker, role: str, consumer: str, longest: int) -> Taken[Problem]:
    """Problems as a stage asks them."""

    def encode(problem: Problem, shown: bool) -> tuple[list[Segment], bool]:
        encoded = encode_problem(speaker, problem, longest)
        return ([(_text(speaker, encoded.prompt_ids), False)] if shown else []), False

    return Taken(role, consumer, encode, lambda problem: problem.id)


def segments(speaker: Speaker, row: EncodedDemonstration) -> list[Segment]:
    """The text of a row in stretches that are trained or not."""
    edges = (np.flatnonzero(np.diff(row.loss_mask)) + 1).tolist()
    spans = pairwise([0, *edges, len(row.ids)])
    return [(_text(speaker, row.ids[start:end].tolist()), bool(row.loss_mask[start])) for start, end in spans]


def _text(speaker: Speaker, ids: Sequence[int]) -> str:
    text: str = speaker.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return text
