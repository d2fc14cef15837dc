"""Demonstrations -> rows to train on: long ones dropped or cut, impossible ones counted, none lost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from openklear import progress
from openklear.errors import DataError, RowRefused
from openklear.models.chat import EncodedDemonstration, encode_demonstration
from openklear.models.limits import OVER_POSITIONS, Longest
from openklear.models.tokenizer import Speaker
from openklear.recipe.schema import Sft
from openklear.rollout.wording import PLAIN, Wording
from openklear.types import Demonstration, Message


def encode_row(speaker: Speaker, demo: Demonstration, wording: Wording = PLAIN) -> EncodedDemonstration:
    """Token ids and loss mask of one row, whatever their number. RowRefused where it cannot be trained."""
    messages = [*wording.of(demo.problem.prompt), Message(role="assistant", content=demo.response)]
    return encode_demonstration(speaker.tokenizer, messages, end_ids=speaker.end_ids, where=demo.where)


def within(encoded: EncodedDemonstration, settings: Sft, longest: Longest) -> EncodedDemonstration:
    """The row as it is trained. RowRefused where it is too long, or where cutting it would leave no response."""
    limit = settings.max_tokens
    fault = text = f"over sft.max_tokens = {limit}"
    if longest.computed is not None and longest.computed < limit:
        limit, text = longest.computed, OVER_POSITIONS
        fault = longest.row_fault(len(encoded.ids)) or text
    if len(encoded.ids) <= limit:
        return encoded
    if settings.overlong == "drop" or not encoded.loss_mask[:limit].any():
        raise RowRefused(fault, text)
    return replace(encoded, ids=encoded.ids[:limit], loss_mask=encoded.loss_mask[:limit])


Loss = dict[str, str]
"""{where, reason} of a row that cannot be trained."""


class RowEncoder:
    """Demonstrations on their way to rows, one at a time; what became of them is counted.

    Rows over max_tokens are dropped or cut, as the recipe says, and counted.
    """

    def __init__(self, speaker: Speaker, settings: Sft, wordings: Mapping[str, Wording]) -> None:
        self._speaker, self._settings, self._wordings = speaker, settings, wordings
        self._first: Loss = {}
        self.counts = dict.fromkeys(
            ("demonstrations", "trained", "dropped", "overlong", "tokens", "response_tokens"), 0
        )

    def rows(
        self, demonstrations: Iterable[Demonstration], on_drop: Callable[[Loss], object]
    ) -> Iterator[EncodedDemonstration]:
        """The rows that can be trained, in order; the others go to `on_drop`. DataError at the end if there is none."""
        for demo in demonstrations:
            self.counts["demonstrations"] += 1
            try:
                row = self._row(demo)
            except RowRefused as error:  # a row the template cannot hold is one row less, not the end of the run
                loss = {"where": demo.where, "reason": str(error)}
                self._first = self._first or loss
                self.counts["dropped"] += 1
                on_drop(loss)
                continue
            self.counts["trained"] += 1
            self.counts["tokens"] += len(row.ids)
            self.counts["response_tokens"] += int(row.loss_mask.sum())
            yield row
        if not self.counts["trained"]:
            first = f"; the first: {self._first['reason']} ({self._first['where']})" if self._first else ""
            raise DataError(
                f"none of {self.counts['demonstrations']} demonstrations can be trained{first}. Raise sft.max_tokens, "
                "or fix the rows"
            )

    def _row(self, demo: Demonstration) -> EncodedDemonstration:
        whole = encode_row(self._speaker, demo, self._wordings.get(demo.problem.source, PLAIN))
        self.counts["overlong"] += len(whole.ids) > self._settings.max_tokens
        return within(whole, self._settings, self._speaker.longest)


def say_beyond(speaker: Speaker, lengths: NDArray[np.int64]) -> None:
    """How many rows go further than the model was trained, where some do; `lengths` (rows,) in tokens."""
    trained = speaker.longest.trained
    if trained is not None and (beyond := int((lengths > trained).sum())):
        progress.say(
            f"{beyond} of {len(lengths)} demonstrations are longer than the {trained} positions that the "
            "model was trained on: they are trained, but sampling ends there"
        )
