"""What a model's template and the recipe's limits leave of the prepared rows: counted, with a reason for each loss."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Generic, TypeVar

import numpy as np

from openklear.errors import RowRefused
from openklear.evaluation.benchmarks import benchmarks
from openklear.evaluation.queries import ANY
from openklear.models.chat import EncodedDemonstration
from openklear.models.tokenizer import Speaker
from openklear.recipe.schema import Recipe, Sft
from openklear.rollout.encoding import encode_problem
from openklear.rollout.wording import PLAIN, Wording, wordings
from openklear.training.demonstrations import encode_row, within
from openklear.types import Demonstration, Problem

Segment = tuple[str, bool]
"""A stretch of text, and whether its tokens are trained."""
Row = TypeVar("Row", Demonstration, Problem)


@dataclass(frozen=True, slots=True)
class Rows:
    """What curation hands on, by role. All but the held-out problems may come from a file, once for each stage."""

    demonstrations: Iterable[Demonstration] = ()
    problems: Iterable[Problem] = ()
    validation: Iterable[Problem] = ()
    heldout: Sequence[Problem] = ()


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
    tokens: int = 0
    """Of the rows kept; of problems their prompts'."""
    trained: int = 0
    """Those of them that are trained."""
    kinds: Counter[str] = field(default_factory=Counter)
    """Losses by kind."""
    first: Loss | None = None
    """The first row that was lost."""
    example: list[Segment] = field(default_factory=list)
    """The first row that is kept, as the model sees it."""

    @property
    def kept(self) -> int:
        """Rows that the consumer can use."""
        return self.read - self.lost

    @property
    def lost(self) -> int:
        """Rows that the consumer cannot use."""
        return self.kinds.total()

    @property
    def share_lost(self) -> float:
        """Of the rows read."""
        return self.lost / self.read if self.read else 0.0

    def row(self) -> dict[str, Any]:
        """As rows.json holds it."""
        place = {"role": self.role, "source": self.source, "consumer": self.consumer}
        counts = {"read": self.read, "kept": self.kept, "cut": self.cut, "tokens": self.tokens, "trained": self.trained}
        return {**place, **counts, "dropped": dict(self.kinds.most_common())}


@dataclass(frozen=True, slots=True)
class Tried:
    """A row that can be used."""

    tokens: int
    trained: int
    cut: bool
    text: Callable[[], list[Segment]]


@dataclass(frozen=True, slots=True)
class Taken(Generic[Row]):
    """How a consumer takes the rows of a role; `encode` raises RowRefused for a row that it cannot use."""

    role: str
    consumer: str
    encode: Callable[[Row, Wording], Tried]

    def fits(self, rows: Iterable[Row], words: dict[str, Wording], on_row: OnRow) -> Iterator[Fit]:
        """Try every row, once and in order; the sources in the order of their first rows."""
        found: dict[str, Fit] = {}
        for row in rows:
            source = _problem(row).source
            fit = found.setdefault(source, Fit(self.role, source, self.consumer))
            on_row(fit, self.tried(fit, row, words.get(source, PLAIN)))
        yield from found.values()

    def tried(self, fit: Fit, row: Row, wording: Wording) -> Loss | None:
        """Try one row of a source; what is lost by it."""
        fit.read += 1
        try:
            tried = self.encode(row, wording)
        except RowRefused as error:
            where = row.where if isinstance(row, Demonstration) else row.id
            loss = Loss(where, error.kind, str(error))
            fit.kinds[loss.kind] += 1
            fit.first = fit.first or loss
            return loss
        fit.cut += tried.cut
        fit.tokens += tried.tokens
        fit.trained += tried.trained
        fit.example = fit.example or tried.text()
        return None


OnRow = Callable[[Fit, Loss | None], object]
"""Called after every row with the counts of its source, and with the row's loss if it is lost."""


def fits(recipe: Recipe, speaker: Speaker, rows: Rows, on_row: OnRow = lambda fit, loss: None) -> Iterator[Fit]:
    """Every source's rows, for every stage of the recipe that takes them."""
    words = wordings(recipe)
    if recipe.sft is not None:
        yield from _trained(speaker, recipe.sft).fits(rows.demonstrations, words, on_row)
        yield from _asked(speaker, "validation", "sft", recipe.sft.max_tokens).fits(rows.validation, words, on_row)
    for phase in recipe.rl.phase if recipe.rl is not None else ():
        for role, problems in (("problems", rows.problems), ("validation", rows.validation)):
            taken = _asked(speaker, role, f"rl-{phase.name}", phase.max_prompt_tokens)
            yield from taken.fits(_of_domains(problems, phase.domains), words, on_row)
    for benchmark in benchmarks(recipe):
        chosen = benchmark.problems(rows.heldout, recipe.seed_of("data"))
        yield from _asked(speaker, "heldout", "evaluation", ANY).fits(chosen, words, on_row)


def _trained(speaker: Speaker, settings: Sft) -> Taken[Demonstration]:
    """Demonstrations as SFT takes them."""

    def encode(demo: Demonstration, wording: Wording) -> Tried:
        whole = encode_row(speaker, demo, wording)
        row = within(whole, settings, speaker.longest)
        size, trained = len(row.ids), int(row.loss_mask.sum())
        return Tried(size, trained, size < len(whole.ids), lambda: segments(speaker, row))

    return Taken("demonstrations", "sft", encode)


def _asked(speaker: Speaker, role: str, consumer: str, longest: int) -> Taken[Problem]:
    """Problems as a stage asks them."""

    def encode(problem: Problem, wording: Wording) -> Tried:
        ids = encode_problem(speaker, problem, longest, wording).prompt_ids
        return Tried(len(ids), 0, False, lambda: [(_text(speaker, ids), False)])

    return Taken(role, consumer, encode)


def _of_domains(problems: Iterable[Problem], domains: Collection[str]) -> Iterator[Problem]:
    return (problem for problem in problems if problem.domain in domains)


def _problem(row: Demonstration | Problem) -> Problem:
    return row.problem if isinstance(row, Demonstration) else row


def segments(speaker: Speaker, row: EncodedDemonstration) -> list[Segment]:
    """The text of a row in stretches that are trained or not."""
    edges = (np.flatnonzero(np.diff(row.loss_mask)) + 1).tolist()
    spans = pairwise([0, *edges, len(row.ids)])
    return [(_text(speaker, row.ids[start:end].tolist()), bool(row.loss_mask[start])) for start, end in spans]


def _text(speaker: Speaker, ids: Sequence[int]) -> str:
    text: str = speaker.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return text
