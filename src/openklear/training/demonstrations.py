"""Demonstrations -> rows to train on: long ones dropped or cut, impossible ones counted, none lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

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


def encode_rows(
    speaker: Speaker,
    demonstrations: Sequence[Demonstration],
    settings: Sft,
    wordings: Mapping[str, Wording] | None = None,
) -> tuple[list[EncodedDemonstration], list[dict[str, str]], dict[str, int]]:
    """Token ids and loss masks; the rows that cannot be trained, each with its reason; and counts.

    Rows over max_tokens are dropped or cut, as the recipe says, and counted. DataError where nothing is left.
    """
    rows: list[EncodedDemonstration] = []
    dropped: list[dict[str, str]] = []
    overlong = 0
    for demo in demonstrations:
        try:
            encoded = encode_row(speaker, demo, (wordings or {}).get(demo.problem.source, PLAIN))
            overlong += len(encoded.ids) > settings.max_tokens
            rows.append(within(encoded, settings, speaker.longest))
        except RowRefused as error:  # a row the template cannot hold is one row less, not the end of the run
            dropped.append({"where": demo.where, "reason": str(error)})
    if not rows:
        raise DataError(
            f"none of {len(demonstrations)} demonstrations can be trained; the first: {dropped[0]['reason']} "
            f"({dropped[0]['where']}). Raise sft.max_tokens, or fix the rows"
        )
    if beyond := sum(speaker.longest.is_beyond_training(len(row.ids)) for row in rows):
        progress.say(
            f"{beyond} of {len(rows)} demonstrations are longer than the {speaker.longest.trained} positions that the "
            "model was trained on: they are trained, but sampling ends there"
        )
    return (
        rows,
        dropped,
        {
            "demonstrations": len(demonstrations),
            "trained": len(rows),
            "dropped": len(dropped),
            "overlong": overlong,
            "tokens": sum(len(r.ids) for r in rows),
            "response_tokens": sum(int(r.loss_mask.sum()) for r in rows),
        },
    )
